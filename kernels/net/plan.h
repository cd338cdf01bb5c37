/* plan.h - a graph on a canvas: sizes, prepared convolutions, and where every
 * buffer lies.
 *
 * Steps: forward of layer i is step i; then comes the step in which the caller
 * reads the rows and writes their gradients; then backward of the layers, in
 * reverse. The touch_ functions of plan.c say what each step reads and writes,
 * and pass.c does just that. */
#pragma once

#include "kernels/base/mem.h"
#include "kernels/net/graph.h"
#include "kernels/net/spans.h"
#include "kernels/ops.h"

/* A pass over a plan, on tape from its second time on. */
struct ld_take {
    struct ld_tape *tape; /* NULL: not yet, or the device has none of it */
    const void *maps;     /* for buffers that begin here; NULL: never run */
    int n_stale;          /* filters to be packed first */
    bool refused;
};

struct ld_plan {
    struct ld_shape image;     /* (N, 3, H, W) */
    unsigned long used;        /* when, to find the plan unused for longest */
    struct ld_grid grid;       /* of the pyramid's maps */
    struct ld_shape *shape;    /* of each map; of rows: (N, C, A, 1) */
    struct ld_conv **conv;     /* of each layer, NULL unless it is a CONV */
    struct ld_conv **owned;    /* the different ones: equal layers share */
    struct ld_conv_desc *desc; /* of each owned one */
    int n_owned;
    struct ld_deform **deform; /* of each layer, NULL unless it is a DEFORM */
    struct ld_deform **owned_deform;
    int n_owned_deform;
    struct ld_span *span; /* numbered by the functions below */
    int n_spans;
    size_t bytes;
    struct ld_take forward, backward;
    struct ld_arena arena;
};

/* `keep`: the memory of named maps is theirs until the caller's step is over.
 * NULL with LD_ERR_MEMORY or LD_ERR_DEVICE. */
struct ld_plan *ld_plan_new(struct ld_device *dev, const struct ld_graph *graph,
                            struct ld_shape image, bool keep,
                            struct ld_err *err);
void ld_plan_free(struct ld_device *dev, struct ld_plan *plan);

/* Steps. The caller's is the one after the last layer. */
int ld_plan_caller_step(const struct ld_graph *graph);
int ld_plan_backward_step(const struct ld_graph *graph, int layer);

/* Spans. */
int ld_plan_value(const struct ld_graph *graph, int map);
int ld_plan_grad(const struct ld_graph *graph, int map);
/* Statistics of a norm, winners of a pool. */
int ld_plan_saved(const struct ld_graph *graph, int layer);
/* Gradients of folded weights, then of the shift. */
int ld_plan_folded(const struct ld_graph *graph, int layer);
/* A gradient on its way to be added. */
int ld_plan_addend(const struct ld_graph *graph, int layer);
/* Scratch of the convolutions. */
int ld_plan_scratch(const struct ld_graph *graph);
