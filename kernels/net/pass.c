#include <assert.h>

#include "kernels/net/pass.h"

enum { NONE = -1 };

void *ld_net_span(const struct ld_net *net, int span)
{
    return net->maps + net->plan->span[span].offset;
}

static void *saved(const struct ld_net *net, int i)
{
    return ld_net_span(net, ld_plan_saved(&net->graph, i));
}

static void *scratch(const struct ld_net *net)
{
    return ld_net_span(net, ld_plan_scratch(&net->graph));
}

/* ---- convolution ---- */

static const float *bias_of(const struct ld_net *net, const struct ld_filter *f)
{
    if (f->folded)
        return net->packed[f - net->graph.filter].shift;
    return f->bias == NONE ? NULL : net->param[f->bias].value.data;
}

static void conv_forward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    const struct ld_filter *f = &net->graph.filter[layer->filter];
    struct ld_device *dev = net->dev;
    const float *identity =
        layer->identity == NONE ? NULL : ld_pass_value(net, layer->identity);

    dev->ops->conv_forward(
        dev, net->plan->conv[i], ld_pass_value(net, layer->out),
        ld_pass_value(net, layer->in), net->packed[layer->filter].weights,
        bias_of(net, f), identity, scratch(net));
}

/* Where a layer's backward adds the gradients of its weights and bias: of the
 * parameters themselves, or, if a batch norm is folded in, of the folded ones,
 * zeroed here. */
static float *weights_grad(struct ld_net *net, int i, float **dbias)
{
    const struct ld_filter *f = &net->graph.filter[net->graph.layer[i].filter];
    size_t O = (size_t)f->O, n = ld_tensor_count(&net->param[f->weight].value);
    float *dfolded;

    if (!f->folded) {
        *dbias = f->bias == NONE ? NULL : net->param[f->bias].grad;
        return net->param[f->weight].grad;
    }
    dfolded = ld_net_span(net, ld_plan_folded(&net->graph, i));
    *dbias = dfolded + n;
    net->dev->ops->zero(net->dev, dfolded, (n + O) * sizeof(*dfolded));
    return dfolded;
}

/* From there on to those of weight, gamma and beta. */
static void unfold(struct ld_net *net, int i)
{
    const struct ld_filter *f = &net->graph.filter[net->graph.layer[i].filter];
    size_t n = ld_tensor_count(&net->param[f->weight].value);
    const float *dfolded;
    struct ld_bn bn;

    if (!f->folded)
        return;
    dfolded = ld_net_span(net, ld_plan_folded(&net->graph, i));
    bn = ld_net_bn(net, f);
    net->dev->ops->bn_unfold(net->dev, net->param[f->weight].grad, dfolded,
                             dfolded + n, net->param[f->weight].value.data, &bn,
                             f->O, (int)(n / (size_t)f->O));
}

static void weights_backward(struct ld_net *net, int i, float *dy)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    float *dbias, *dweight = weights_grad(net, i, &dbias);
    const float *y = layer->relu ? ld_pass_value(net, layer->out) : NULL;

    net->dev->ops->conv_backward_weights(
        net->dev, net->plan->conv[i], dweight, dbias, dy, y,
        ld_pass_value(net, layer->in), scratch(net));
    unfold(net, i);
}

/* The gradient of `identity` lies in the same memory as that of `out`. */
static void conv_backward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_device *dev = net->dev;
    float *dy = ld_pass_grad(net, layer->out);

    assert(layer->trained); /* what is frozen has nothing trained before it */
    weights_backward(net, i, dy);
    if (!net->graph.map[layer->in].has_grad)
        return;
    dev->ops->conv_backward_data(
        dev, net->plan->conv[i], ld_pass_grad(net, layer->in), dy,
        net->packed[layer->filter].weights, scratch(net));
}

/* ---- deformable convolution ---- */

static void deform_forward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    const struct ld_filter *f = &net->graph.filter[layer->filter];

    net->dev->ops->deform_forward(
        net->dev, net->plan->deform[i], ld_pass_value(net, layer->out),
        ld_pass_value(net, layer->in), ld_pass_value(net, layer->offset),
        net->packed[layer->filter].weights, bias_of(net, f), scratch(net));
}

/* The first to write the gradient of `in`: the convolution that made the
 * offsets from it comes after, and adds. */
static void deform_backward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_deform_gradients to = {.doffset =
                                         ld_pass_grad(net, layer->offset)};
    struct ld_device *dev = net->dev;
    float *dy = ld_pass_grad(net, layer->out);

    assert(layer->trained); /* what is frozen has nothing trained before it */
    if (layer->relu)
        dev->ops->relu_backward(dev, dy, ld_pass_value(net, layer->out),
                                ld_pass_shape(net, layer->out));
    if (net->graph.map[layer->in].has_grad)
        to.dx = ld_pass_grad(net, layer->in);
    to.dweight = weights_grad(net, i, &to.dbias);
    dev->ops->deform_backward(dev, net->plan->deform[i], &to, dy,
                              ld_pass_value(net, layer->in),
                              ld_pass_value(net, layer->offset),
                              net->packed[layer->filter].weights, scratch(net));
    unfold(net, i);
}

/* ---- norms ---- */

static struct ld_bn_train bn_of(const struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    const struct ld_param *p = &net->param[layer->param];

    return (struct ld_bn_train){.shape = ld_pass_shape(net, layer->in),
                                .relu = layer->relu,
                                .eps = LD_NORM_EPS,
                                .gamma = p[0].value.data,
                                .beta = p[1].value.data,
                                .running_mean = p[2].value.data,
                                .running_var = p[3].value.data,
                                .stats = saved(net, i),
                                .dgamma = p[0].grad,
                                .dbeta = p[1].grad};
}

static void bn_forward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_bn_train bn = bn_of(net, i);

    net->dev->ops->bn_train_forward(net->dev, ld_pass_value(net, layer->out),
                                    ld_pass_value(net, layer->in), &bn);
}

static void bn_backward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_bn_train bn = bn_of(net, i);

    net->dev->ops->bn_train_backward(net->dev, ld_pass_grad(net, layer->in),
                                     ld_pass_grad(net, layer->out),
                                     ld_pass_value(net, layer->in), &bn);
}

static struct ld_group_norm gn_of(const struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    const struct ld_param *p = &net->param[layer->param];

    return (struct ld_group_norm){.shape = ld_pass_shape(net, layer->in),
                                  .groups = net->graph.gn_groups,
                                  .eps = LD_NORM_EPS,
                                  .gamma = p[0].value.data,
                                  .beta = p[1].value.data,
                                  .stats = saved(net, i),
                                  .dgamma = p[0].grad,
                                  .dbeta = p[1].grad};
}

static void gn_forward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_group_norm gn = gn_of(net, i);

    net->dev->ops->gn_relu_forward(net->dev, ld_pass_value(net, layer->out),
                                   ld_pass_value(net, layer->in), &gn);
}

static void gn_backward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_group_norm gn = gn_of(net, i);

    net->dev->ops->gn_relu_backward(net->dev, ld_pass_grad(net, layer->in),
                                    ld_pass_grad(net, layer->out),
                                    ld_pass_value(net, layer->in), &gn);
}

/* ---- rows ---- */

static struct ld_rows rows_of(const struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_rows rows = {.shape = ld_pass_shape(net, layer->in),
                           .start = net->plan->grid.start[layer->level],
                           .A = net->plan->grid.start[LD_MAX_LEVELS]};

    if (layer->param != NONE) {
        rows.scale = net->param[layer->param].value.data;
        rows.dscale = net->param[layer->param].grad;
    }
    return rows;
}

static void rows_forward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_rows rows = rows_of(net, i);

    net->dev->ops->rows_forward(net->dev, ld_pass_value(net, layer->out),
                                ld_pass_value(net, layer->in), &rows);
}

static void rows_backward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_rows rows = rows_of(net, i);

    net->dev->ops->rows_backward(net->dev, ld_pass_grad(net, layer->in),
                                 ld_pass_grad(net, layer->out),
                                 ld_pass_value(net, layer->in), &rows);
}

static struct ld_quality quality_of(const struct ld_net *net, int i)
{
    const struct ld_param *p = &net->param[net->graph.layer[i].param];
    struct ld_shape rows = ld_pass_shape(net, net->graph.layer[i].in);

    return (struct ld_quality){.n = (size_t)rows.N * (size_t)rows.H,
                               .B = rows.C / 4,
                               .weight0 = p[0].value.data,
                               .bias0 = p[1].value.data,
                               .weight2 = p[2].value.data,
                               .bias2 = p[3].value.data,
                               .dweight0 = p[0].grad,
                               .dbias0 = p[1].grad,
                               .dweight2 = p[2].grad,
                               .dbias2 = p[3].grad};
}

static void quality_forward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_quality q = quality_of(net, i);

    net->dev->ops->quality_forward(net->dev, ld_pass_value(net, layer->out),
                                   ld_pass_value(net, layer->in), &q);
}

static void quality_backward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_quality q = quality_of(net, i);

    net->dev->ops->quality_backward(net->dev, ld_pass_grad(net, layer->in),
                                    ld_pass_grad(net, layer->out),
                                    ld_pass_value(net, layer->in), &q);
}

/* ---- */

static const struct ld_pass *const passes[] = {
    [LD_LAYER_CONV] = &(const struct ld_pass){conv_forward, conv_backward},
    [LD_LAYER_DEFORM] =
        &(const struct ld_pass){deform_forward, deform_backward},
    [LD_LAYER_BN] = &(const struct ld_pass){bn_forward, bn_backward},
    [LD_LAYER_ADD_RELU] = &ld_pass_add_relu,
    [LD_LAYER_RELU] = &ld_pass_relu,
    [LD_LAYER_POOL] = &ld_pass_pool,
    [LD_LAYER_AVGPOOL] = &ld_pass_avgpool,
    [LD_LAYER_CHANNELS] = &ld_pass_channels,
    [LD_LAYER_UPSAMPLE] = &ld_pass_upsample,
    [LD_LAYER_GN] = &(const struct ld_pass){gn_forward, gn_backward},
    [LD_LAYER_ROWS] = &(const struct ld_pass){rows_forward, rows_backward},
    [LD_LAYER_QUALITY] =
        &(const struct ld_pass){quality_forward, quality_backward},
};

static void end_step(struct ld_net *net, int step)
{
    if (net->after_step)
        net->after_step(net, step);
}

/* ---- whole passes ---- */

static int count_stale(const struct ld_net *net)
{
    int n = 0;

    for (int i = 0; i < net->graph.n_filters; i++)
        n += !net->packed[i].current;
    return n;
}

/* Runs a pass, whose calls are the same whenever the buffers lie at the same
 * place and as many filters are stale: none, all trained ones, or all. */
static void perform(struct ld_net *net, struct ld_take *take,
                    void (*pass)(struct ld_net *))
{
    const struct ld_ops *ops = net->dev->ops;
    int n_stale = count_stale(net);

    if (!ops->record) {
        pass(net);
        return;
    }
    if (take->maps != net->maps || take->n_stale != n_stale) {
        if (take->tape)
            ops->tape_free(net->dev, take->tape);
        *take = (struct ld_take){.maps = net->maps, .n_stale = n_stale};
        pass(net);
        return;
    }
    if (!take->tape && !take->refused && ops->record(net->dev)) {
        pass(net);
        take->tape = ops->recorded(net->dev);
        take->refused = !take->tape;
    }
    if (take->tape)
        ops->play(net->dev, take->tape);
    else
        pass(net);
}

static void forward(struct ld_net *net)
{
    int64_t t = ld_lane_begin(net->lane);

    ld_net_pack(net);
    t = ld_lane_end(net->lane, "forward weights", t);
    for (int i = 0; i < net->graph.n_layers; i++) {
        enum ld_layer_kind kind = net->graph.layer[i].kind;

        passes[kind]->forward(net, i);
        t = ld_lane_end(net->lane, ld_layer_name(kind, false), t);
        end_step(net, i);
    }
}

void ld_net_forward(struct ld_net *net)
{
    assert(net->plan);
    perform(net, &net->plan->forward, forward);
    for (int i = 0; i < net->graph.n_filters; i++)
        net->packed[i].current = true;
}

void ld_net_backward_from(struct ld_net *net, int n_layers)
{
    const struct ld_graph *graph = &net->graph;
    int64_t t = ld_lane_begin(net->lane);

    for (int i = n_layers - 1; i >= 0; i--) {
        enum ld_layer_kind kind = graph->layer[i].kind;

        if (graph->map[graph->layer[i].out].has_grad)
            passes[kind]->backward(net, i);
        t = ld_lane_end(net->lane, ld_layer_name(kind, true), t);
        end_step(net, ld_plan_backward_step(graph, i));
        if (net->watch)
            net->watch(net->watch_context, net->complete[i]);
    }
}

static void backward(struct ld_net *net)
{
    ld_net_backward_from(net, net->graph.n_layers);
}

void ld_net_backward(struct ld_net *net)
{
    assert(net->plan && net->graph.map[net->graph.class_rows].has_grad);
    end_step(net, ld_plan_caller_step(&net->graph));
    if (net->watch) /* its calls are not the table's */
        backward(net);
    else
        perform(net, &net->plan->backward, backward);
}
