/* net_parts.h - what a network is made of: for kernels/net and its tests. */
#pragma once

#include "kernels/net/graph.h"
#include "kernels/net/net.h"
#include "kernels/net/plan.h"

enum { LD_NET_PLANS = 32 };

#define LD_NORM_EPS 1e-5F /* of BN and GN: the reference's */

/* A filter as the convolutions read it. */
struct ld_packed {
    void *weights; /* device memory */
    float *shift;  /* (O) of a folded batch norm */
    bool current;  /* no parameter has changed since */
};

struct ld_net {
    struct ld_device *dev;
    struct ld_model model;
    struct ld_graph graph;

    struct ld_param *param; /* (graph.n_params) */
    float *params;          /* device memory: trained values, other values, */
    float *grads, *momenta; /* gradients and momentum of the trained */
    size_t n_trained;       /* numbers of either, with the gaps */

    struct ld_packed *packed; /* (graph.n_filters) */
    float *scale;             /* (largest O) of the batch norm being folded */
    void *filters;            /* device memory that they lie in */

    struct ld_plan *plans[LD_NET_PLANS]; /* NULL: free */
    struct ld_plan *plan;                /* the one in use, or NULL */
    unsigned long clock;
    char *maps; /* device memory of the plan in use */
    size_t maps_bytes;
    uint8_t *picture; /* device memory of the one being drawn */
    size_t picture_bytes;

    struct ld_lane *lane; /* of the layers' spans; NULL: none */

    /* NULL, or called after the backward of layer i with complete[i]. */
    ld_gradients_fn *watch;
    void *watch_context;
    size_t *complete; /* (graph.n_layers) */

    /* For tests. Named maps stay readable until the caller's step is over: */
    bool keep;
    /* ... and this, unless NULL, is called when a step is over. */
    void (*after_step)(struct ld_net *net, int step);
};

/* Device memory of a span of the plan in use. */
void *ld_net_span(const struct ld_net *net, int span);

/* Lays out parameters, their gradients and momentum in device memory. */
bool ld_net_make_params(struct ld_net *net, struct ld_err *err);

/* Makes room for every filter as the convolutions read it; needs a plan. */
bool ld_net_make_filters(struct ld_net *net, struct ld_err *err);

/* Folds and packs the filters that are not current. The caller says that they
 * are then. */
void ld_net_pack(struct ld_net *net);

/* The batch norm of a filter, to be folded. */
struct ld_bn ld_net_bn(const struct ld_net *net, const struct ld_filter *f);

/* Backward of the layers before `n_layers`: of the backbone alone, in a test
 * that has written the gradients of what comes out of it. */
void ld_net_backward_from(struct ld_net *net, int n_layers);
