#include "trainer/export_onnx_net.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Of BN and GN: the reference's (kernels/net/net_parts.h). */
static const double EPS = 1e-5;

enum { NONE = -1, MAX_NAME = 80 };

/* The first operator set with deformable convolution. */
enum { DEFORM_SET = 19 };

struct writer {
    struct ld_onnx *onnx;
    const struct ld_graph *graph;
    const struct ld_tensor *params;
    const char *value[LD_GRAPH_MAPS]; /* what a map holds by now */
    struct ld_onnx_logits *out;
};

/* ---- convolutions ----
 *
 * With a batch norm: W' = W g/s, b' = beta - mean g/s, s = sqrt(var + eps). */

static double bn_scale(const struct writer *w, const struct ld_filter *f, int o)
{
    const struct ld_tensor *bn = &w->params[f->bn];

    return bn[0].data[o] / sqrt(bn[3].data[o] + EPS);
}

static const char *weight_of(struct writer *w, const struct ld_filter *f)
{
    const struct ld_tensor *t = &w->params[f->weight];
    size_t O = (size_t)t->dim[0], n = ld_tensor_count(t) / O;
    int64_t dims[4] = {t->dim[0], t->dim[1], t->dim[2], t->dim[3]};
    float *folded =
        f->bn == NONE ? t->data : ld_onnx_room(w->onnx, O * n, sizeof(float));

    for (size_t o = 0; folded && f->bn != NONE && o < O; o++) {
        double scale = bn_scale(w, f, (int)o);

        for (size_t i = o * n; i < (o + 1) * n; i++)
            folded[i] = (float)(t->data[i] * scale);
    }
    return ld_onnx_floats(w->onnx, t->name, folded, 4, dims);
}

/* NULL without one. */
static const char *bias_of(struct writer *w, const struct ld_filter *f)
{
    const struct ld_tensor *bn;
    int64_t O = f->O;
    float *shift;

    if (f->bias != NONE)
        return ld_onnx_floats(w->onnx, w->params[f->bias].name,
                              w->params[f->bias].data, 1, &O);
    if (f->bn == NONE)
        return NULL;
    bn = &w->params[f->bn];
    shift = ld_onnx_room(w->onnx, (size_t)f->O, sizeof(float));
    for (int o = 0; shift && o < f->O; o++)
        shift[o] = (float)(bn[1].data[o] - bn[2].data[o] * bn_scale(w, f, o));
    return ld_onnx_floats(w->onnx, bn[1].name, shift, 1, &O);
}

static const char *relu(struct writer *w, const struct ld_layer *layer,
                        const char *x)
{
    return layer->relu ? ld_onnx_op(w->onnx, "Relu", x, NULL) : x;
}

static void set_window(struct ld_onnx_attribute *attribute,
                       const struct ld_filter *f)
{
    int64_t k = f->kernel, s = f->stride, pad = k / 2;

    attribute[0] = (struct ld_onnx_attribute){.name = "group", .i = f->groups};
    attribute[1] = (struct ld_onnx_attribute){
        .name = "kernel_shape", .n_ints = 2, .ints = {k, k}};
    attribute[2] = (struct ld_onnx_attribute){
        .name = "strides", .n_ints = 2, .ints = {s, s}};
    attribute[3] = (struct ld_onnx_attribute){
        .name = "pads", .n_ints = 4, .ints = {pad, pad, pad, pad}};
}

static const char *conv(struct writer *w, const struct ld_layer *layer)
{
    const struct ld_filter *f = &w->graph->filter[layer->filter];
    struct ld_onnx_node node = {
        .op = "Conv",
        .in = {w->value[layer->in], weight_of(w, f), bias_of(w, f)}};
    const char *x;

    set_window(node.attribute, f);
    x = ld_onnx_add(w->onnx, node);

    if (layer->identity != NONE)
        x = ld_onnx_op(w->onnx, "Add", x, w->value[layer->identity]);
    return relu(w, layer, x);
}

/* Channels [begin, end) of a map. */
static const char *channels(struct writer *w, const char *map, int64_t begin,
                            int64_t end)
{
    struct ld_onnx *onnx = w->onnx;

    return ld_onnx_add(
        onnx,
        (struct ld_onnx_node){.op = "Slice",
                              .in = {map, ld_onnx_ints(onnx, 1, &begin),
                                     ld_onnx_ints(onnx, 1, &end),
                                     ld_onnx_ints(onnx, 1, (int64_t[]){1})}});
}

/* The order of the offsets' channels is ONNX's as well (kernels/ops.h). */
static const char *deform(struct writer *w, const struct ld_layer *layer)
{
    const struct ld_filter *f = &w->graph->filter[layer->filter];
    const char *offset = w->value[layer->offset], *bias = bias_of(w, f);
    int64_t taps = (int64_t)f->kernel * f->kernel;
    struct ld_onnx_node node = {
        .op = "DeformConv",
        .in = {w->value[layer->in], weight_of(w, f), offset, bias}};

    if (f->modulated) {
        node.in[2] = channels(w, offset, 0, 2 * taps);
        node.in[3] = bias ? bias : "";
        node.in[4] = ld_onnx_op(w->onnx, "Sigmoid",
                                channels(w, offset, 2 * taps, 3 * taps), NULL);
    }
    set_window(node.attribute, f);
    ld_onnx_need(w->onnx, DEFORM_SET);
    return relu(w, layer, ld_onnx_add(w->onnx, node));
}

/* ---- the other layers ---- */

static const char *pool(struct writer *w, const char *x)
{
    return ld_onnx_add(
        w->onnx, (struct ld_onnx_node){
                     .op = "MaxPool",
                     .in = {x},
                     .attribute = {
                         {.name = "kernel_shape", .n_ints = 2, .ints = {3, 3}},
                         {.name = "strides", .n_ints = 2, .ints = {2, 2}},
                         {.name = "pads", .n_ints = 4, .ints = {1, 1, 1, 1}}}});
}

/* Windows of 3 divide by 9 always; those of 2 by what they cover. */
static const char *average(struct writer *w, const struct ld_layer *layer,
                           const char *x)
{
    int64_t k = layer->kernel, pad = (k - 1) / 2;
    struct ld_onnx_node node = {
        .op = "AveragePool",
        .in = {x},
        .attribute = {
            {.name = "kernel_shape", .n_ints = 2, .ints = {k, k}},
            {.name = "strides", .n_ints = 2, .ints = {2, 2}},
            {.name = "pads", .n_ints = 4, .ints = {pad, pad, pad, pad}},
            {.name = "ceil_mode", .i = pad == 0},
            {.name = "count_include_pad", .i = pad > 0}}};

    return ld_onnx_add(w->onnx, node);
}

/* A slice of x, plus the identity; or, where `before` is the part of the map
 * placed so far, what makes it longer. */
static const char *part(struct writer *w, const struct ld_layer *layer,
                        const char *x, const char *before)
{
    if (layer->C < w->graph->map[layer->in].C)
        x = channels(w, x, layer->in_at, layer->in_at + layer->C);
    if (layer->identity != NONE)
        x = ld_onnx_op(w->onnx, "Add", x, w->value[layer->identity]);
    return before ? ld_onnx_concat(w->onnx, (const char *[]){before, x}, 2, 1)
                  : x;
}

/* To the size of `to`, whatever that is; then added to it. */
static const char *upsample(struct writer *w, const char *x, const char *to)
{
    const char *size = ld_onnx_op(w->onnx, "Shape", to, NULL);
    struct ld_onnx_node node = {
        .op = "Resize",
        .in = {x, "", "", size},
        .attribute = {
            {.name = "mode", .text = "nearest"},
            {.name = "coordinate_transformation_mode", .text = "asymmetric"},
            {.name = "nearest_mode", .text = "floor"}}};

    return ld_onnx_op(w->onnx, "Add", to, ld_onnx_add(w->onnx, node));
}

/* A channel's number for every place, (C, 1, 1). */
static const char *by_channel(struct writer *w, const struct ld_tensor *t)
{
    int64_t dims[3] = {t->dim[0], 1, 1};

    return ld_onnx_floats(w->onnx, t->name, t->data, 3, dims);
}

/* n equal numbers. */
static const char *constants(struct writer *w, int n, float value)
{
    float *data = ld_onnx_room(w->onnx, (size_t)n, sizeof(float));
    char name[MAX_NAME];
    int64_t dim = n;

    for (int i = 0; data && i < n; i++)
        data[i] = value;
    snprintf(name, sizeof(name), "float_%.9g_x%d", (double)value, n);
    return ld_onnx_floats(w->onnx, name, data, 1, &dim);
}

/* Instance normalisation over groups laid end to end: GroupNormalization is of
 * a later operator set than most programs read. */
static const char *group_norm(struct writer *w, const struct ld_layer *layer,
                              const char *x)
{
    struct ld_onnx *onnx = w->onnx;
    int groups = w->graph->gn_groups;
    const char *shape = ld_onnx_op(onnx, "Shape", x, NULL);
    const char *to = ld_onnx_ints(onnx, 3, (int64_t[]){0, groups, -1});

    x = ld_onnx_op(onnx, "Reshape", x, to);
    x = ld_onnx_add(
        onnx, (struct ld_onnx_node){
                  .op = "InstanceNormalization",
                  .in = {x, constants(w, groups, 1), constants(w, groups, 0)},
                  .attribute = {
                      {.name = "epsilon", .is_float = true, .f = (float)EPS}}});
    x = ld_onnx_op(onnx, "Reshape", x, shape);
    x = ld_onnx_op(onnx, "Mul", x, by_channel(w, &w->params[layer->param]));
    x = ld_onnx_op(onnx, "Add", x, by_channel(w, &w->params[layer->param + 1]));
    return relu(w, layer, x);
}

static void take_rows(struct writer *w, const struct ld_layer *layer,
                      const char *x)
{
    if (layer->param != NONE) {
        const struct ld_tensor *scale = &w->params[layer->param];

        x = ld_onnx_op(
            w->onnx, "Mul", x,
            ld_onnx_floats(w->onnx, scale->name, scale->data, 0, NULL));
    }
    if (layer->out == w->graph->class_rows)
        w->out->classes[layer->level] = x;
    else
        w->out->boxes[layer->level] = x;
}

static void add_layer(struct writer *w, const struct ld_layer *layer)
{
    const char **out = &w->value[layer->out], *x = w->value[layer->in];

    switch (layer->kind) {
    case LD_LAYER_CONV:
        *out = conv(w, layer);
        return;
    case LD_LAYER_POOL:
        *out = pool(w, x);
        return;
    case LD_LAYER_AVGPOOL:
        *out = average(w, layer, x);
        return;
    case LD_LAYER_CHANNELS:
        *out = part(w, layer, x, *out);
        return;
    case LD_LAYER_UPSAMPLE:
        *out = upsample(w, x, *out);
        return;
    case LD_LAYER_GN:
        *out = group_norm(w, layer, x);
        return;
    case LD_LAYER_ROWS:
        take_rows(w, layer, x);
        return;
    case LD_LAYER_DEFORM:
        *out = deform(w, layer);
        return;
    case LD_LAYER_QUALITY:
        w->out->quality = &w->params[layer->param];
        return;
    case LD_LAYER_BN: /* of training with the batch's statistics alone */
    case LD_LAYER_ADD_RELU:
    case LD_LAYER_RELU: /* of FCOS alone */
        break;
    }
    ld_fail(w->onnx->err, LD_ERR_USAGE,
            "this kind of layer has no form in ONNX");
}

void ld_onnx_network(struct ld_onnx *onnx, const struct ld_graph *graph,
                     const struct ld_tensor *params, const char *image,
                     struct ld_onnx_logits *out)
{
    struct writer w = {
        .onnx = onnx, .graph = graph, .params = params, .out = out};

    w.value[graph->image] = image;
    for (int i = 0; i < graph->n_layers && ld_onnx_ok(onnx); i++)
        add_layer(&w, &graph->layer[i]);
}
