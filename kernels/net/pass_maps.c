#include "kernels/net/pass.h"

enum { NONE = -1 };

float *ld_pass_value(const struct ld_net *net, int map)
{
    return ld_net_span(net, ld_plan_value(&net->graph, map));
}

float *ld_pass_grad(const struct ld_net *net, int map)
{
    return ld_net_span(net, ld_plan_grad(&net->graph, map));
}

struct ld_shape ld_pass_shape(const struct ld_net *net, int map)
{
    return net->plan->shape[map];
}

/* The winners are remembered only for a backward pass to come. */
static uint8_t *winners_of(const struct ld_net *net, int i)
{
    int span = ld_plan_saved(&net->graph, i);

    return net->plan->span[span].bytes ? ld_net_span(net, span) : NULL;
}

static void pool_forward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];

    net->dev->ops->maxpool_forward(
        net->dev, ld_pass_value(net, layer->out), winners_of(net, i),
        ld_pass_value(net, layer->in), ld_pass_shape(net, layer->in));
}

static void pool_backward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];

    net->dev->ops->maxpool_backward(
        net->dev, ld_pass_grad(net, layer->in), ld_pass_grad(net, layer->out),
        winners_of(net, i), ld_pass_shape(net, layer->in));
}

const struct ld_pass ld_pass_pool = {pool_forward, pool_backward};

static void avgpool_forward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];

    net->dev->ops->avgpool_forward(
        net->dev, ld_pass_value(net, layer->out), ld_pass_value(net, layer->in),
        ld_pass_shape(net, layer->in), layer->kernel);
}

static void avgpool_backward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_shape in = ld_pass_shape(net, layer->in);
    float *dx = ld_pass_grad(net, layer->in), *to = dx;

    if (layer->adds) /* it overwrites: apart, then */
        to = ld_net_span(net, ld_plan_addend(&net->graph, i));
    net->dev->ops->avgpool_backward(net->dev, to, ld_pass_grad(net, layer->out),
                                    in, layer->kernel);
    if (layer->adds)
        net->dev->ops->add(net->dev, dx, to, in);
}

const struct ld_pass ld_pass_avgpool = {avgpool_forward, avgpool_backward};

/* Where a layer adds to its identity, that goes into `out` first. */
static void begin_with_identity(struct ld_net *net,
                                const struct ld_layer *layer)
{
    struct ld_device *dev = net->dev;
    float *y = ld_pass_value(net, layer->out);

    if (layer->identity != NONE && ld_pass_value(net, layer->identity) != y)
        dev->ops->copy(
            dev, y, ld_pass_value(net, layer->identity),
            dev->ops->map_bytes(dev, ld_pass_shape(net, layer->out)));
}

static void channels_forward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    const struct ld_ops *ops = net->dev->ops;
    struct ld_channels c = {.to = ld_pass_shape(net, layer->out),
                            .to_at = layer->out_at,
                            .from = ld_pass_shape(net, layer->in),
                            .from_at = layer->in_at,
                            .C = layer->C};

    begin_with_identity(net, layer);
    (layer->identity != NONE ? ops->channels_add : ops->channels_copy)(
        net->dev, ld_pass_value(net, layer->out), ld_pass_value(net, layer->in),
        &c);
}

/* The gradient of `identity` lies in the same memory as that of `out`. */
static void channels_backward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    const struct ld_ops *ops = net->dev->ops;
    struct ld_channels c = {.to = ld_pass_shape(net, layer->in),
                            .to_at = layer->in_at,
                            .from = ld_pass_shape(net, layer->out),
                            .from_at = layer->out_at,
                            .C = layer->C};

    (layer->adds ? ops->channels_add
                 : ops->channels_copy)(net->dev, ld_pass_grad(net, layer->in),
                                       ld_pass_grad(net, layer->out), &c);
}

const struct ld_pass ld_pass_channels = {channels_forward, channels_backward};

static void upsample_forward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_shape out = ld_pass_shape(net, layer->out);

    net->dev->ops->upsample_add(net->dev, ld_pass_value(net, layer->out),
                                ld_pass_value(net, layer->in),
                                ld_pass_shape(net, layer->in), out.H, out.W);
}

static void upsample_backward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_shape out = ld_pass_shape(net, layer->out);

    net->dev->ops->upsample_add_backward(
        net->dev, ld_pass_grad(net, layer->in), ld_pass_grad(net, layer->out),
        ld_pass_shape(net, layer->in), out.H, out.W);
}

const struct ld_pass ld_pass_upsample = {upsample_forward, upsample_backward};

static void add_relu_forward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];

    net->dev->ops->add_relu(net->dev, ld_pass_value(net, layer->out),
                            ld_pass_value(net, layer->identity),
                            ld_pass_shape(net, layer->out));
}

/* The gradient of `identity` lies in the same memory. */
static void add_relu_backward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];

    net->dev->ops->relu_backward(net->dev, ld_pass_grad(net, layer->out),
                                 ld_pass_value(net, layer->out),
                                 ld_pass_shape(net, layer->out));
}

const struct ld_pass ld_pass_add_relu = {add_relu_forward, add_relu_backward};

static void relu_forward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_shape shape = ld_pass_shape(net, layer->out);
    const struct ld_ops *ops = net->dev->ops;
    float *y = ld_pass_value(net, layer->out);

    ops->zero(net->dev, y, ops->map_bytes(net->dev, shape));
    ops->add_relu(net->dev, y, ld_pass_value(net, layer->in), shape);
}

static void relu_backward(struct ld_net *net, int i)
{
    const struct ld_layer *layer = &net->graph.layer[i];
    struct ld_shape shape = ld_pass_shape(net, layer->out);
    float *dy = ld_pass_grad(net, layer->out);

    net->dev->ops->relu_backward(net->dev, dy, ld_pass_value(net, layer->out),
                                 shape);
    net->dev->ops->add(net->dev, ld_pass_grad(net, layer->in), dy, shape);
}

const struct ld_pass ld_pass_relu = {relu_forward, relu_backward};
