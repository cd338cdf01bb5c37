#include <stdint.h>

#include "kernels/net/net_parts.h"

/* `layer` is the earliest so far that adds to the gradient of `param`. */
static void touch(int *first, int param, int layer)
{
    if (param >= 0 && layer < first[param])
        first[param] = layer;
}

static void touch_filter(int *first, const struct ld_filter *f, int layer)
{
    touch(first, f->weight, layer);
    touch(first, f->bias, layer);
    if (f->bn < 0 || !f->folded)
        return;
    touch(first, f->bn, layer);
    touch(first, f->bn + 1, layer);
}

/* Parameters of a layer that has no filter: how many from layer->param on. */
static int count_params(const struct ld_layer *layer)
{
    switch (layer->kind) {
    case LD_LAYER_BN:
    case LD_LAYER_GN:
        return 2;
    case LD_LAYER_ROWS:
        return layer->param < 0 ? 0 : 1;
    case LD_LAYER_QUALITY:
        return 4;
    default:
        return 0;
    }
}

/* The first layer of all that use a parameter; backward comes to it last. */
static void find_first(const struct ld_graph *graph, int *first)
{
    for (int i = 0; i < graph->n_params; i++)
        first[i] = graph->n_layers;
    for (int i = 0; i < graph->n_layers; i++) {
        const struct ld_layer *layer = &graph->layer[i];

        if (layer->filter >= 0)
            touch_filter(first, &graph->filter[layer->filter], i);
        for (int k = 0; k < count_params(layer); k++)
            touch(first, layer->param + k, i);
    }
}

/* Trained parameters lie in their order, so what is complete after the backward
 * of layer i is the longest row of last ones that no layer before i uses. */
static void find_complete(const struct ld_net *net, const int *first,
                          size_t *complete)
{
    const struct ld_graph *graph = &net->graph;
    size_t from = net->n_trained;
    int p = graph->n_params - 1;

    for (int i = graph->n_layers - 1; i >= 0; i--) {
        for (; p >= 0 && (!net->param[p].trained || first[p] >= i); p--)
            if (net->param[p].trained)
                from = (size_t)(net->param[p].grad - net->grads);
        complete[i] = from;
    }
}

bool ld_net_watch(struct ld_net *net, ld_gradients_fn *fn, void *context,
                  struct ld_err *err)
{
    int first[LD_GRAPH_PARAMS];

    net->complete =
        ld_new((size_t)net->graph.n_layers, sizeof(*net->complete), err);
    if (!net->complete)
        return false;
    find_first(&net->graph, first);
    find_complete(net, first, net->complete);
    net->watch = fn;
    net->watch_context = context;
    return true;
}

float *ld_net_gradients(const struct ld_net *net, size_t *count)
{
    *count = net->n_trained;
    return net->grads;
}

void ld_net_share(struct ld_net *net, struct ld_reducer *reducer)
{
    size_t n_values = (size_t)(net->grads - net->params);

    reducer->ops->broadcast(reducer, net->params, n_values * sizeof(float));
    reducer->ops->broadcast(reducer, net->momenta,
                            net->n_trained * sizeof(float));
    ld_net_changed(net);
}

void ld_net_share_statistics(struct ld_net *net, struct ld_reducer *reducer)
{
    float *other = net->params + net->n_trained;

    reducer->ops->broadcast(reducer, other,
                            (size_t)(net->grads - other) * sizeof(float));
}
