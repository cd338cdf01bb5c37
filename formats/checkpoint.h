/* checkpoint.h - named tensors, what they are, and where the run stood.
 *
 * An HDF5 file:
 *   /tensors/<name>    float32, the shapes and names of mmdetection
 *   /momentum/<name>   float32, of the trained ones; absent in an export
 *   attributes of /    format (1), config (YAML text), classes (strings),
 *                      mean, std, epoch, step, program
 *   /checksum          CRC-32 of every tensor's bytes, in order of names
 * Written whole or not at all (formats/file.h). */
#pragma once

#include <stdint.h>

#include "kernels/base/mem.h"
#include "kernels/tensor.h"

struct ld_checkpoint {
    int64_t epoch; /* whole epochs done */
    int64_t step;  /* of all epochs */
    int64_t step_of_epoch;
    const char *config; /* YAML text of the run: model, data, schedule */
    const char **class_names;
    int n_classes;
    struct ld_tensor *tensors; /* host memory */
    struct ld_tensor *momentum; /* same names; n_momentum 0 in an export */
    int n_tensors, n_momentum;
};

bool ld_checkpoint_save(const char *path, const struct ld_checkpoint *in,
                        struct ld_err *err);

/* Everything is the arena's. LD_ERR_FORMAT names the file and the tensor whose
 * checksum is wrong, or what is missing. */
bool ld_checkpoint_load(const char *path, struct ld_checkpoint *out,
                        struct ld_arena *arena, struct ld_err *err);
