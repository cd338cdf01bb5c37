/* pass.h - what the passes of layers share: for pass.c, where layers with
 * parameters are, and pass_maps.c, where those without are. */
#pragma once

#include "kernels/net/net_parts.h"

/* Of layer i of the graph, on the plan in use. */
struct ld_pass {
    void (*forward)(struct ld_net *net, int i);
    void (*backward)(struct ld_net *net, int i);
};

/* graph.h says what they do. */
extern const struct ld_pass ld_pass_add_relu, ld_pass_relu, ld_pass_pool,
    ld_pass_avgpool, ld_pass_channels, ld_pass_upsample;

/* A map's memory, that of its gradient, its size. */
float *ld_pass_value(const struct ld_net *net, int map);
float *ld_pass_grad(const struct ld_net *net, int map);
struct ld_shape ld_pass_shape(const struct ld_net *net, int map);
