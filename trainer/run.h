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
    bool classes_assumed; /* as in struct ld_checkpoint */
    int64_t epoch, step;
    struct ld_arena arena; /* owns the strings above */
};

/* Loads a checkpoint for inference. */
bool ld_detector_open(struct ld_detector *out, struct ld_device *dev,
                      const char *path, struct ld_err *err);
void ld_detector_close(struct ld_detector *detector); /* an empty one is fine */

/* Copies of a net's parameters and running statistics on the host, or, with
 * `momentum`, of the momentum of the trained ones; the arena's. */
bool ld_run_read_params(struct ld_device *dev, struct ld_net *net,
                        bool momentum, struct ld_tensor **tensors, int *n,
                        struct ld_arena *arena, struct ld_err *err);

/* Sets the momentum of every trained parameter from the tensor of its name;
 * LD_ERR_MISMATCH names one that has none. */
bool ld_run_write_momentum(struct ld_device *dev, struct ld_net *net,
                           const struct ld_tensor *tensors, int n,
                           struct ld_err *err);
