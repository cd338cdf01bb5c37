#include "kernels/net/graph.h"

#include <assert.h>
#include <stdio.h>

static const int NONE = -1;

const char *ld_layer_name(enum ld_layer_kind kind, bool backward)
{
    static const char *const names[][2] = {
        [LD_LAYER_CONV] = {"forward convolution", "backward convolution"},
        [LD_LAYER_DEFORM] = {"forward deformable convolution",
                             "backward deformable convolution"},
        [LD_LAYER_BN] = {"forward batch norm", "backward batch norm"},
        [LD_LAYER_ADD_RELU] = {"forward sum", "backward sum"},
        [LD_LAYER_POOL] = {"forward pool", "backward pool"},
        [LD_LAYER_AVGPOOL] = {"forward mean pool", "backward mean pool"},
        [LD_LAYER_CHANNELS] = {"forward channels", "backward channels"},
        [LD_LAYER_UPSAMPLE] = {"forward upsample", "backward upsample"},
        [LD_LAYER_RELU] = {"forward relu", "backward relu"},
        [LD_LAYER_GN] = {"forward group norm", "backward group norm"},
        [LD_LAYER_ROWS] = {"forward rows", "backward rows"},
        [LD_LAYER_QUALITY] = {"forward quality", "backward quality"},
    };

    return names[kind][backward];
}

int ld_graph_param(struct ld_graph *graph, struct ld_param_spec spec)
{
    assert(graph->n_params < LD_GRAPH_PARAMS);
    graph->param[graph->n_params] = spec;
    return graph->n_params++;
}

int ld_graph_vector(struct ld_graph *graph, const char *name, const char *part,
                    int C, float constant, bool trained)
{
    struct ld_param_spec spec = {.n_dims = 1,
                                 .dim = {C},
                                 .init = LD_INIT_CONSTANT,
                                 .constant = constant,
                                 .trained = trained};

    snprintf(spec.name, sizeof(spec.name), "%s.%s", name, part);
    return ld_graph_param(graph, spec);
}

int ld_graph_map(struct ld_graph *graph, enum ld_map_kind kind, int C)
{
    assert(graph->n_maps < LD_GRAPH_MAPS);
    graph->map[graph->n_maps] = (struct ld_map){.kind = kind, .C = C};
    return graph->n_maps++;
}

int ld_graph_filter(struct ld_graph *graph, struct ld_filter filter,
                    const char *name, enum ld_init init, float constant)
{
    int groups = filter.groups ? filter.groups : 1;
    struct ld_param_spec spec = {
        .n_dims = 4,
        .dim = {filter.O, filter.C / groups, filter.kernel, filter.kernel},
        .init = init,
        .constant = constant,
        .trained = filter.trained};

    assert(graph->n_filters < LD_GRAPH_FILTERS);
    snprintf(spec.name, sizeof(spec.name), "%s.weight", name);
    assert(filter.C % groups == 0 && filter.O % groups == 0);
    filter.groups = groups;
    filter.weight = ld_graph_param(graph, spec);
    filter.bias = filter.bn = filter.offsets = filter.layer = NONE;
    graph->filter[graph->n_filters] = filter;
    return graph->n_filters++;
}

void ld_graph_bias(struct ld_graph *graph, int filter, const char *name,
                   float constant)
{
    struct ld_filter *f = &graph->filter[filter];

    f->bias = ld_graph_vector(graph, name, "bias", f->O, constant, f->trained);
}

void ld_graph_bn(struct ld_graph *graph, int filter, const char *name,
                 float gamma, bool folded, bool fixed)
{
    struct ld_filter *f = &graph->filter[filter];
    bool trained = f->trained && !fixed;

    f->folded = folded;
    f->bn = ld_graph_vector(graph, name, "weight", f->O, gamma, trained);
    ld_graph_vector(graph, name, "bias", f->O, 0, trained);
    ld_graph_vector(graph, name, "running_mean", f->O, 0, false);
    ld_graph_vector(graph, name, "running_var", f->O, 1, false);
}

void ld_graph_offsets(struct ld_graph *graph, int filter, const char *name,
                      bool modulated)
{
    struct ld_filter *f = &graph->filter[filter];
    struct ld_filter offsets = {.C = f->C,
                                .O =
                                    (modulated ? 3 : 2) * f->kernel * f->kernel,
                                .kernel = f->kernel,
                                .stride = f->stride,
                                .trained = f->trained};

    f->modulated = modulated;
    f->offsets = ld_graph_filter(graph, offsets, name, LD_INIT_CONSTANT, 0);
    ld_graph_bias(graph, f->offsets, name, 0);
}

static void add_layer(struct ld_graph *graph, struct ld_layer layer)
{
    assert(graph->n_layers < LD_GRAPH_LAYERS);
    graph->layer[graph->n_layers++] = layer;
}

static int conv_layer(struct ld_graph *graph, int filter, int in, int identity,
                      bool relu)
{
    struct ld_filter *f = &graph->filter[filter];
    int out = ld_graph_map(graph, LD_MAP_FEATURE, f->O);

    assert(graph->map[in].C == f->C);
    if (f->layer == NONE)
        f->layer = graph->n_layers;
    add_layer(graph, (struct ld_layer){.kind = LD_LAYER_CONV,
                                       .in = in,
                                       .out = out,
                                       .identity = identity,
                                       .filter = filter,
                                       .param = NONE,
                                       .relu = relu,
                                       .trained = f->trained});
    return out;
}

/* Normalises with the parameters that begin at `gamma`. */
static int norm_layer(struct ld_graph *graph, enum ld_layer_kind kind, int in,
                      int gamma, bool relu)
{
    int out = ld_graph_map(graph, LD_MAP_FEATURE, graph->map[in].C);

    add_layer(graph, (struct ld_layer){.kind = kind,
                                       .in = in,
                                       .out = out,
                                       .identity = NONE,
                                       .filter = NONE,
                                       .param = gamma,
                                       .relu = relu,
                                       .trained = graph->param[gamma].trained});
    return out;
}

static int deform_layer(struct ld_graph *graph, int filter, int in, bool relu)
{
    struct ld_filter *f = &graph->filter[filter];
    int offset = conv_layer(graph, f->offsets, in, NONE, false);
    int out = ld_graph_map(graph, LD_MAP_FEATURE, f->O);

    if (f->layer == NONE)
        f->layer = graph->n_layers;
    add_layer(graph, (struct ld_layer){.kind = LD_LAYER_DEFORM,
                                       .in = in,
                                       .out = out,
                                       .identity = NONE,
                                       .offset = offset,
                                       .filter = filter,
                                       .param = NONE,
                                       .relu = relu,
                                       .trained = f->trained});
    return out;
}

/* Without a normalisation. */
static int bare_layer(struct ld_graph *graph, int filter, int in, bool relu)
{
    if (graph->filter[filter].offsets != NONE)
        return deform_layer(graph, filter, in, relu);
    return conv_layer(graph, filter, in, NONE, relu);
}

static bool has_bn_layer(const struct ld_filter *f)
{
    return f->bn != NONE && !f->folded;
}

int ld_graph_conv(struct ld_graph *graph, int filter, int in, bool relu)
{
    const struct ld_filter *f = &graph->filter[filter];

    if (!has_bn_layer(f))
        return bare_layer(graph, filter, in, relu);
    in = bare_layer(graph, filter, in, false);
    return norm_layer(graph, LD_LAYER_BN, in, f->bn, relu);
}

int ld_graph_residual(struct ld_graph *graph, int filter, int in, int identity)
{
    int out;

    assert(graph->filter[filter].offsets == NONE);
    if (!has_bn_layer(&graph->filter[filter]))
        return conv_layer(graph, filter, in, identity, true);
    out = ld_graph_conv(graph, filter, in, false);
    add_layer(graph, (struct ld_layer){.kind = LD_LAYER_ADD_RELU,
                                       .in = out,
                                       .out = out,
                                       .identity = identity,
                                       .filter = NONE,
                                       .param = NONE,
                                       .relu = true});
    return out;
}

int ld_graph_pool(struct ld_graph *graph, int in)
{
    int out = ld_graph_map(graph, LD_MAP_FEATURE, graph->map[in].C);

    add_layer(graph, (struct ld_layer){.kind = LD_LAYER_POOL,
                                       .in = in,
                                       .out = out,
                                       .identity = NONE,
                                       .filter = NONE,
                                       .param = NONE});
    return out;
}

int ld_graph_avgpool(struct ld_graph *graph, int in, int kernel)
{
    int out = ld_graph_map(graph, LD_MAP_FEATURE, graph->map[in].C);

    add_layer(graph, (struct ld_layer){.kind = LD_LAYER_AVGPOOL,
                                       .in = in,
                                       .out = out,
                                       .identity = NONE,
                                       .filter = NONE,
                                       .param = NONE,
                                       .kernel = kernel});
    return out;
}

static void channels_layer(struct ld_graph *graph, struct ld_layer layer)
{
    layer.kind = LD_LAYER_CHANNELS;
    layer.filter = layer.param = NONE;
    assert(layer.in_at + layer.C <= graph->map[layer.in].C);
    assert(layer.out_at + layer.C <= graph->map[layer.out].C);
    add_layer(graph, layer);
}

int ld_graph_slice(struct ld_graph *graph, int in, int at, int C, int identity)
{
    int out = ld_graph_map(graph, LD_MAP_FEATURE, C);

    channels_layer(
        graph,
        (struct ld_layer){
            .in = in, .in_at = at, .C = C, .out = out, .identity = identity});
    return out;
}

void ld_graph_place(struct ld_graph *graph, int in, int at, int C, int out,
                    int out_at)
{
    channels_layer(graph, (struct ld_layer){.in = in,
                                            .in_at = at,
                                            .C = C,
                                            .out = out,
                                            .out_at = out_at,
                                            .identity = NONE});
}

void ld_graph_upsample(struct ld_graph *graph, int in, int out)
{
    add_layer(graph, (struct ld_layer){.kind = LD_LAYER_UPSAMPLE,
                                       .in = in,
                                       .out = out,
                                       .identity = NONE,
                                       .filter = NONE,
                                       .param = NONE});
}

int ld_graph_relu(struct ld_graph *graph, int in)
{
    int out = ld_graph_map(graph, LD_MAP_FEATURE, graph->map[in].C);

    add_layer(graph, (struct ld_layer){.kind = LD_LAYER_RELU,
                                       .in = in,
                                       .out = out,
                                       .identity = NONE,
                                       .filter = NONE,
                                       .param = NONE,
                                       .relu = true});
    return out;
}

int ld_graph_gn(struct ld_graph *graph, int in, int gamma)
{
    return norm_layer(graph, LD_LAYER_GN, in, gamma, true);
}

void ld_graph_rows(struct ld_graph *graph, int in, int out, int level,
                   int scale)
{
    add_layer(graph, (struct ld_layer){.kind = LD_LAYER_ROWS,
                                       .in = in,
                                       .out = out,
                                       .identity = NONE,
                                       .filter = NONE,
                                       .param = scale,
                                       .level = level,
                                       .trained = scale != NONE &&
                                                  graph->param[scale].trained});
}

void ld_graph_quality(struct ld_graph *graph, int in, int out, int param)
{
    add_layer(graph, (struct ld_layer){.kind = LD_LAYER_QUALITY,
                                       .in = in,
                                       .out = out,
                                       .identity = NONE,
                                       .filter = NONE,
                                       .param = param,
                                       .trained = graph->param[param].trained});
}

static void find_gradients(struct ld_graph *graph)
{
    for (int i = 0; i < graph->n_layers; i++) {
        const struct ld_layer *layer = &graph->layer[i];

        if (layer->trained || graph->map[layer->in].has_grad ||
            (layer->identity != NONE && graph->map[layer->identity].has_grad))
            graph->map[layer->out].has_grad = true;
    }
}

/* Whether it writes the gradient of a part of `in` that no other layer does. */
static bool is_part(const struct ld_graph *graph, const struct ld_layer *layer)
{
    return layer->kind == LD_LAYER_CHANNELS &&
           layer->C < graph->map[layer->in].C;
}

void ld_graph_finish(struct ld_graph *graph)
{
    bool written[LD_GRAPH_MAPS] = {false};

    find_gradients(graph);
    written[graph->box_rows] = true; /* by the caller, before backward */
    for (int i = 0; graph->features && i < LD_MAX_LEVELS; i++)
        written[graph->pyramid[i]] = true;
    for (int i = graph->n_layers - 1; i >= 0; i--) {
        struct ld_layer *layer = &graph->layer[i];
        const struct ld_map *in = &graph->map[layer->in];
        int identity = layer->identity;

        /* A residual's gradient takes over the memory of its sum's. */
        if (identity != NONE && graph->map[identity].has_grad) {
            assert(!written[identity]);
            written[identity] = true;
        }
        if (!in->has_grad || layer->in == layer->out)
            continue;
        layer->adds = written[layer->in] && !is_part(graph, layer);
        written[layer->in] = true;
        assert(layer->adds == (layer->kind == LD_LAYER_UPSAMPLE ||
                               layer->kind == LD_LAYER_RELU ||
                               layer->kind == LD_LAYER_QUALITY) ||
               layer->kind == LD_LAYER_CONV ||
               layer->kind == LD_LAYER_AVGPOOL ||
               layer->kind == LD_LAYER_CHANNELS);
    }
}
