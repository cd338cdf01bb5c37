/* run.h - what a command of ld-distill opens before it works. */
#pragma once

#include "formats/checkpoint.h"
#include "formats/config.h"
#include "formats/setup.h"
#include "kernels/net/net.h"

/* A detector from a checkpoint, ready to run, with what it knows of itself. */
struct ld_detector {
    struct ld_net *net;
    struct ld_model model;
    struct ld_config config; /* of its training */
    const char **class_names;
    int n_classes;
    int64_t epoch, step;
    struct ld_arena arena; /* owns the strings above */
};

/* Loads a checkpoint for inference. */
bool ld_detector_open(struct ld_detector *out, struct ld_device *dev,
                      const char *path, struct ld_err *err);
void ld_detector_close(struct ld_detector *detector); /* an empty one is fine */

/* Copies a net's parameters from host tensors of the same names, or to them:
 * the arena's. With `momentum`, the momentum of the trained ones. */
bool ld_run_read_params(struct ld_device *dev, struct ld_net *net,
                        bool momentum, struct ld_tensor **tensors, int *n,
                        struct ld_arena *arena, struct ld_err *err);
bool ld_run_write_momentum(struct ld_device *dev, struct ld_net *net,
                           const struct ld_tensor *tensors, int n,
                           struct ld_err *err);
