/* nets.h - networks for tests: those of the golden cases, and a tiny one. */
#pragma once

#include "kernels/net/net_parts.h"
#include "tests/golden.h"

/* Fails the running test, with the text of the failure, unless it is true. */
void check_ok(bool ok, const struct ld_err *err);

/* On one thread: most networks of tests are too small for two. */
struct ld_device *open_cpu(void);

/* Width 16, FPN 32, one convolution a tower, 3 classes, 4 bins. */
struct ld_model tiny_model(void);

/* A network with the weights of a case (of its teacher). Names of the case that
 * lack "backbone." get it; parameters it has not are as ld_net_init says. */
struct ld_net *golden_net(struct golden *g, struct ld_device *dev,
                          const struct ld_model *model, enum ld_net_use use);

/* The weights of a case as tensors, ready to load. */
const struct ld_tensor *golden_tensors(struct golden *g, bool of_teacher,
                                       int *count);

/* `count` floats of device memory, in the arena of g. */
float *fetched(struct golden *g, struct ld_device *dev, const float *from,
               size_t count);

/* From now on, on this canvas, reading memory that was not written or whose
 * owner is dead gives NaN. */
void poison(struct ld_net *net);

/* Forward on the case's "img", memory poisoned, named maps kept. */
void run_forward(struct golden *g, struct ld_net *net);

/* A named map as (N, C, H, W) on the host, in the arena of g. */
float *plain_map(struct golden *g, struct ld_net *net, const char *name,
                 struct ld_shape *shape);

/* Writes the gradients of C3 to C5 that the case's upstream_seed makes; returns
 * how many layers are the backbone's. */
int upload_map_gradients(struct golden *g, struct ld_net *net);

/* A parameter of the backbone, by its name there; fails the test without it. */
const struct ld_param *param_of(struct ld_net *net, const char *name);

/* The L2 norm of a parameter's gradient. */
double norm_of(struct golden *g, struct ld_net *net,
               const struct ld_param *param);
