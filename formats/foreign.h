/* foreign.h - what a checkpoint file of another program holds. */
#pragma once

#include <stdint.h>

#include "kernels/tensor.h"

/* Everything is the arena's of the function that read it. */
struct ld_foreign {
    struct ld_tensor *tensors; /* host memory; in the order of the file */
    int n_tensors;
    const char **class_names; /* NULL: the file names none */
    int n_classes;
    const char *config; /* YAML text of a run of ours, or NULL */
    const char *recipe; /* mmdetection's own config, Python text, or NULL */
    int64_t epoch, step;
};
