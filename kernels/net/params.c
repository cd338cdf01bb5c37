#include <assert.h>
#include <string.h>

#include "kernels/net/net_parts.h"

static size_t room_of(const struct ld_param_spec *spec)
{
    size_t count = 1;

    for (int i = 0; i < spec->n_dims; i++)
        count *= (size_t)spec->dim[i];
    return ld_spans_room(count * sizeof(float)) / sizeof(float);
}

/* Numbers of all parameters that are trained, or of all that are not. */
static size_t count_of(const struct ld_graph *graph, bool trained)
{
    size_t count = 0;

    for (int i = 0; i < graph->n_params; i++)
        if (graph->param[i].trained == trained)
            count += room_of(&graph->param[i]);
    return count;
}

static void place_params(struct ld_net *net, bool trained, float *at,
                         float *grad, float *momentum)
{
    for (int i = 0; i < net->graph.n_params; i++) {
        const struct ld_param_spec *spec = &net->graph.param[i];
        struct ld_param *param = &net->param[i];
        size_t room = room_of(spec);

        if (spec->trained != trained)
            continue;
        param->trained = trained;
        param->value.name = spec->name;
        param->value.n_dims = spec->n_dims;
        memcpy(param->value.dim, spec->dim, sizeof(spec->dim));
        param->value.data = at;
        param->grad = grad;
        param->momentum = momentum;
        at += room;
        grad = grad ? grad + room : NULL;
        momentum = momentum ? momentum + room : NULL;
    }
}

bool ld_net_make_params(struct ld_net *net, struct ld_err *err)
{
    size_t trained = count_of(&net->graph, true);
    size_t other = count_of(&net->graph, false);

    net->n_trained = trained;
    net->param = ld_new((size_t)net->graph.n_params, sizeof(*net->param), err);
    net->params = net->dev->ops->alloc(
        net->dev, (3 * trained + other) * sizeof(float), err);
    if (!net->param || !net->params)
        return false;
    net->grads = net->params + trained + other;
    net->momenta = net->grads + trained;
    place_params(net, true, net->params, net->grads, net->momenta);
    place_params(net, false, net->params + trained, NULL, NULL);
    return true;
}

struct ld_param *ld_net_params(struct ld_net *net, int *count)
{
    *count = net->graph.n_params;
    return net->param;
}

void ld_net_zero_grad(struct ld_net *net)
{
    net->dev->ops->zero(net->dev, net->grads, net->n_trained * sizeof(float));
}

static bool same_sgd(struct ld_sgd a, struct ld_sgd b)
{
    return a.rate == b.rate && a.momentum == b.momentum && a.decay == b.decay;
}

static bool is_conv_bias(const struct ld_graph *graph, int param)
{
    for (int i = 0; i < graph->n_filters; i++)
        if (graph->filter[i].bias == param)
            return true;
    return false;
}

/* Parameters that are trained stand one after the other, with zeros between
 * them: a run of those with the same rule is one call. */
static void sgd_apart(struct ld_net *net, struct ld_sgd s, struct ld_sgd bias)
{
    const struct ld_param *first = NULL; /* of the run */
    const float *end = net->params + net->n_trained;
    bool is_bias = false;

    for (int i = 0; i <= net->graph.n_params; i++) {
        const struct ld_param *p = &net->param[i];
        bool last = i == net->graph.n_params;
        bool own = !last && is_conv_bias(&net->graph, i);

        if (!last && (!p->trained || (first && own == is_bias)))
            continue;
        if (first)
            net->dev->ops->sgd(
                net->dev, first->value.data, first->momentum, first->grad,
                (size_t)((last ? end : p->value.data) - first->value.data),
                is_bias ? bias : s);
        first = p;
        is_bias = own;
    }
}

void ld_net_sgd(struct ld_net *net, struct ld_sgd s, struct ld_sgd bias)
{
    if (same_sgd(s, bias))
        net->dev->ops->sgd(net->dev, net->params, net->momenta, net->grads,
                           net->n_trained, s);
    else
        sgd_apart(net, s, bias);
    for (int i = 0; i < net->graph.n_filters; i++)
        if (net->graph.filter[i].trained)
            net->packed[i].current = false;
}

void ld_net_changed(struct ld_net *net)
{
    for (int i = 0; i < net->graph.n_filters; i++)
        net->packed[i].current = false;
}

/* ---- filters ---- */

static size_t weight_bytes(const struct ld_net *net, const struct ld_filter *f)
{
    const struct ld_ops *ops = net->dev->ops;

    return f->offsets >= 0
               ? ops->deform_weight_bytes(net->plan->deform[f->layer])
               : ops->conv_weight_bytes(net->plan->conv[f->layer]);
}

bool ld_net_make_filters(struct ld_net *net, struct ld_err *err)
{
    const struct ld_graph *graph = &net->graph;
    const struct ld_ops *ops = net->dev->ops;
    size_t at[LD_GRAPH_FILTERS], bytes = 0, most = 0;

    for (int i = 0; i < graph->n_filters; i++) {
        const struct ld_filter *f = &graph->filter[i];
        size_t room = ld_spans_room((size_t)f->O * sizeof(float));

        at[i] = bytes;
        bytes += room;
        bytes += ld_spans_room(weight_bytes(net, f));
        most = room > most ? room : most;
    }
    net->filters = ops->alloc(net->dev, bytes + most, err);
    if (!net->filters)
        return false;
    for (int i = 0; i < graph->n_filters; i++) {
        char *place = (char *)net->filters + at[i];
        size_t O = (size_t)graph->filter[i].O;

        net->packed[i].shift = (float *)(void *)place;
        net->packed[i].weights = place + ld_spans_room(O * sizeof(float));
    }
    net->scale = (float *)(void *)((char *)net->filters + bytes);
    return true;
}

struct ld_bn ld_net_bn(const struct ld_net *net, const struct ld_filter *f)
{
    const struct ld_param *p = &net->param[f->bn];

    return (struct ld_bn){.gamma = p[0].value.data,
                          .beta = p[1].value.data,
                          .mean = p[2].value.data,
                          .var = p[3].value.data,
                          .dgamma = p[0].grad,
                          .dbeta = p[1].grad,
                          .eps = LD_NORM_EPS};
}

static void pack_filter(struct ld_net *net, int i)
{
    const struct ld_filter *f = &net->graph.filter[i];
    const struct ld_ops *ops = net->dev->ops;
    struct ld_packed *packed = &net->packed[i];
    const float *weight = net->param[f->weight].value.data;
    const float *scale = f->folded ? net->scale : NULL;

    if (f->folded) {
        struct ld_bn bn = ld_net_bn(net, f);

        ops->bn_fold(net->dev, net->scale, packed->shift, &bn, f->O);
    }
    if (f->offsets >= 0)
        ops->deform_pack(net->dev, net->plan->deform[f->layer], packed->weights,
                         weight, scale);
    else
        ops->conv_pack(net->dev, net->plan->conv[f->layer], packed->weights,
                       weight, scale);
}

void ld_net_pack(struct ld_net *net)
{
    for (int i = 0; i < net->graph.n_filters; i++)
        if (!net->packed[i].current)
            pack_filter(net, i);
}
