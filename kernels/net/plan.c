#include "kernels/net/plan.h"

enum { NONE = -1, LAYER_SPANS = 3 };

int ld_plan_caller_step(const struct ld_graph *graph)
{
    return graph->n_layers;
}

int ld_plan_backward_step(const struct ld_graph *graph, int layer)
{
    return 2 * graph->n_layers - layer;
}

int ld_plan_value(const struct ld_graph *graph, int map)
{
    (void)graph;
    return map;
}

int ld_plan_grad(const struct ld_graph *graph, int map)
{
    return graph->n_maps + map;
}

int ld_plan_saved(const struct ld_graph *graph, int layer)
{
    return 2 * graph->n_maps + LAYER_SPANS * layer;
}

int ld_plan_folded(const struct ld_graph *graph, int layer)
{
    return ld_plan_saved(graph, layer) + 1;
}

int ld_plan_addend(const struct ld_graph *graph, int layer)
{
    return ld_plan_saved(graph, layer) + 2;
}

int ld_plan_scratch(const struct ld_graph *graph)
{
    return ld_plan_saved(graph, graph->n_layers);
}

/* ---- sizes and convolutions ---- */

static struct ld_conv_desc describe(const struct ld_graph *graph,
                                    const struct ld_layer *layer,
                                    struct ld_shape in)
{
    const struct ld_filter *filter = &graph->filter[layer->filter];

    return (struct ld_conv_desc){.in = in,
                                 .O = filter->O,
                                 .kernel = filter->kernel,
                                 .stride = filter->stride,
                                 .pad = filter->kernel / 2,
                                 .dilation = 1,
                                 .image =
                                     graph->map[layer->in].kind == LD_MAP_IMAGE,
                                 .relu = layer->relu,
                                 .residual = layer->identity != NONE,
                                 .train = filter->trained,
                                 .groups = filter->groups,
                                 .adds = layer->adds};
}

static bool same_shape(struct ld_shape a, struct ld_shape b)
{
    return a.N == b.N && a.C == b.C && a.H == b.H && a.W == b.W;
}

static bool same_conv(const struct ld_conv_desc *a,
                      const struct ld_conv_desc *b)
{
    return same_shape(a->in, b->in) && a->O == b->O && a->kernel == b->kernel &&
           a->stride == b->stride && a->image == b->image &&
           a->relu == b->relu && a->residual == b->residual &&
           a->train == b->train && a->groups == b->groups && a->adds == b->adds;
}

static struct ld_conv *prepared_conv(struct ld_device *dev,
                                     struct ld_plan *plan,
                                     const struct ld_conv_desc *desc,
                                     struct ld_err *err)
{
    struct ld_conv *conv;

    for (int i = 0; i < plan->n_owned; i++)
        if (same_conv(&plan->desc[i], desc))
            return plan->owned[i];
    conv = dev->ops->conv_new(dev, desc, err);
    if (conv) {
        plan->desc[plan->n_owned] = *desc;
        plan->owned[plan->n_owned++] = conv;
    }
    return conv;
}

static bool size_deform(struct ld_device *dev, const struct ld_graph *graph,
                        struct ld_plan *plan, int i, struct ld_err *err)
{
    const struct ld_layer *layer = &graph->layer[i];
    struct ld_deform_desc desc = {
        .conv = describe(graph, layer, plan->shape[layer->in]),
        .deform_groups = 1,
        .modulated = graph->filter[layer->filter].modulated};

    plan->shape[layer->out] = ld_conv_out(&desc.conv);
    plan->deform[i] = dev->ops->deform_new(dev, &desc, err);
    if (plan->deform[i])
        plan->owned_deform[plan->n_owned_deform++] = plan->deform[i];
    return plan->deform[i] != NULL;
}

static bool size_layer(struct ld_device *dev, const struct ld_graph *graph,
                       struct ld_plan *plan, int i, struct ld_err *err)
{
    const struct ld_layer *layer = &graph->layer[i];
    struct ld_shape in = plan->shape[layer->in],
                    *out = &plan->shape[layer->out];

    if (layer->kind == LD_LAYER_CONV) {
        struct ld_conv_desc desc = describe(graph, layer, in);

        *out = ld_conv_out(&desc);
        plan->conv[i] = prepared_conv(dev, plan, &desc, err);
        return plan->conv[i] != NULL;
    }
    if (layer->kind == LD_LAYER_DEFORM)
        return size_deform(dev, graph, plan, i, err);
    if (layer->kind == LD_LAYER_POOL || layer->kind == LD_LAYER_AVGPOOL)
        *out = (struct ld_shape){in.N, in.C, (in.H + 1) / 2, (in.W + 1) / 2};
    else if (layer->kind == LD_LAYER_CHANNELS)
        *out = (struct ld_shape){in.N, graph->map[layer->out].C, in.H, in.W};
    else if (layer->kind == LD_LAYER_BN || layer->kind == LD_LAYER_GN ||
             layer->kind == LD_LAYER_RELU)
        *out = in;
    return true;
}

/* The grid is that of the maps, which an odd canvas rounds up. */
static void size_rows(const struct ld_graph *graph, struct ld_plan *plan)
{
    struct ld_grid *grid = &plan->grid;
    int rows[3] = {graph->class_rows, graph->box_rows, graph->quality_rows};

    grid->n_levels = LD_MAX_LEVELS;
    for (int i = 0; i < LD_MAX_LEVELS; i++) {
        struct ld_shape p = plan->shape[graph->pyramid[i]];

        grid->stride[i] = 8 << i;
        grid->H[i] = p.H;
        grid->W[i] = p.W;
        grid->start[i + 1] = grid->start[i] + p.H * p.W;
    }
    for (int i = 0; i < 3; i++)
        if (rows[i] != NONE)
            plan->shape[rows[i]] =
                (struct ld_shape){plan->image.N, graph->map[rows[i]].C,
                                  grid->start[LD_MAX_LEVELS], 1};
}

static bool size_all(struct ld_device *dev, const struct ld_graph *graph,
                     struct ld_plan *plan, struct ld_err *err)
{
    plan->shape[graph->image] = plan->image;
    for (int i = 0; i < graph->n_layers; i++)
        if (!size_layer(dev, graph, plan, i, err))
            return false;
    size_rows(graph, plan);
    return true;
}

/* ---- bytes ---- */

static size_t map_bytes(struct ld_device *dev, const struct ld_graph *graph,
                        const struct ld_plan *plan, int map)
{
    struct ld_shape s = plan->shape[map];

    if (graph->map[map].kind == LD_MAP_FEATURE)
        return dev->ops->map_bytes(dev, s);
    return (size_t)s.N * (size_t)s.C * (size_t)s.H * (size_t)s.W *
           sizeof(float);
}

static size_t saved_bytes(struct ld_device *dev, const struct ld_graph *graph,
                          const struct ld_plan *plan,
                          const struct ld_layer *layer)
{
    struct ld_shape in = plan->shape[layer->in];

    if (layer->kind == LD_LAYER_GN)
        return (size_t)in.N * (size_t)graph->gn_groups * 2 * sizeof(float);
    if (layer->kind == LD_LAYER_BN)
        return (size_t)in.C * 2 * sizeof(float);
    if (layer->kind == LD_LAYER_POOL && graph->map[layer->in].has_grad)
        return dev->ops->map_values(dev, plan->shape[layer->out]);
    return 0;
}

static size_t folded_bytes(const struct ld_graph *graph,
                           const struct ld_layer *layer)
{
    const struct ld_filter *f;
    size_t weights;

    if (layer->filter == NONE || !layer->trained)
        return 0;
    f = &graph->filter[layer->filter];
    weights = (size_t)f->O * (size_t)(f->C / f->groups) *
              (size_t)(f->kernel * f->kernel);
    return f->folded ? (weights + (size_t)f->O) * sizeof(float) : 0;
}

static size_t scratch_bytes(struct ld_device *dev, const struct ld_plan *plan)
{
    size_t most = 0;

    for (int i = 0; i < plan->n_owned; i++) {
        size_t bytes = dev->ops->conv_scratch_bytes(plan->owned[i]);

        most = bytes > most ? bytes : most;
    }
    for (int i = 0; i < plan->n_owned_deform; i++) {
        size_t bytes = dev->ops->deform_scratch_bytes(plan->owned_deform[i]);

        most = bytes > most ? bytes : most;
    }
    return most;
}

static void set_bytes(struct ld_device *dev, const struct ld_graph *graph,
                      struct ld_plan *plan)
{
    for (int i = 0; i < graph->n_maps; i++) {
        size_t bytes = map_bytes(dev, graph, plan, i);

        plan->span[ld_plan_value(graph, i)].bytes = bytes;
        plan->span[ld_plan_grad(graph, i)].bytes = bytes;
    }
    for (int i = 0; i < graph->n_layers; i++) {
        const struct ld_layer *layer = &graph->layer[i];

        plan->span[ld_plan_saved(graph, i)].bytes =
            saved_bytes(dev, graph, plan, layer);
        plan->span[ld_plan_folded(graph, i)].bytes = folded_bytes(graph, layer);
        plan->span[ld_plan_addend(graph, i)].bytes =
            map_bytes(dev, graph, plan, layer->in);
    }
    plan->span[ld_plan_scratch(graph)].bytes = scratch_bytes(dev, plan);
}

/* ---- lives ---- */

static void touch_value(const struct ld_graph *graph, struct ld_plan *plan,
                        int map, int step)
{
    ld_spans_touch(plan->span, ld_plan_value(graph, map), step);
}

/* No gradient: nothing to touch. */
static void touch_grad(const struct ld_graph *graph, struct ld_plan *plan,
                       int map, int step)
{
    if (map != NONE && graph->map[map].has_grad)
        ld_spans_touch(plan->span, ld_plan_grad(graph, map), step);
}

static void touch_forward(const struct ld_graph *graph, struct ld_plan *plan,
                          int i)
{
    const struct ld_layer *layer = &graph->layer[i];

    touch_value(graph, plan, layer->in, i);
    touch_value(graph, plan, layer->out, i);
    if (layer->identity != NONE)
        touch_value(graph, plan, layer->identity, i);
    if (layer->kind == LD_LAYER_DEFORM)
        touch_value(graph, plan, layer->offset, i);
    if (plan->span[ld_plan_saved(graph, i)].bytes)
        ld_spans_touch(plan->span, ld_plan_saved(graph, i), i);
}

static void touch_caller(const struct ld_graph *graph, struct ld_plan *plan,
                         bool keep)
{
    int step = ld_plan_caller_step(graph);
    int rows[3] = {graph->class_rows, graph->box_rows, graph->quality_rows};

    for (int i = 0; i < 3; i++) {
        if (rows[i] == NONE)
            continue;
        touch_value(graph, plan, rows[i], step);
        touch_grad(graph, plan, rows[i], step);
    }
    for (int i = 0; graph->features && i < LD_MAX_LEVELS; i++) {
        touch_value(graph, plan, graph->pyramid[i], step);
        touch_grad(graph, plan, graph->pyramid[i], step);
    }
    for (int i = 0; keep && i < graph->n_maps; i++)
        if (graph->map[i].name)
            touch_value(graph, plan, i, step);
}

/* The values that backward of a layer reads: its input for the gradient of its
 * parameters, its output for the mask of a ReLU (norms make the mask again). */
static bool reads_input(const struct ld_layer *layer)
{
    return layer->trained; /* norms and ROWS too: their gradients need it */
}

static bool reads_output(const struct ld_layer *layer)
{
    return layer->relu &&
           (layer->kind == LD_LAYER_CONV || layer->kind == LD_LAYER_DEFORM ||
            layer->kind == LD_LAYER_ADD_RELU || layer->kind == LD_LAYER_RELU);
}

/* Whether its gradient, where it adds, is made apart and added then. */
static bool has_addend(const struct ld_layer *layer)
{
    return layer->kind == LD_LAYER_AVGPOOL;
}

static void touch_backward(const struct ld_graph *graph, struct ld_plan *plan,
                           int i)
{
    const struct ld_layer *layer = &graph->layer[i];
    int step = ld_plan_backward_step(graph, i);

    if (!graph->map[layer->out].has_grad)
        return;
    touch_grad(graph, plan, layer->out, step);
    touch_grad(graph, plan, layer->in, step);
    touch_grad(graph, plan, layer->identity, step);
    if (layer->kind == LD_LAYER_DEFORM) {
        touch_value(graph, plan, layer->offset, step);
        touch_grad(graph, plan, layer->offset, step);
    }
    if (reads_input(layer))
        touch_value(graph, plan, layer->in, step);
    if (reads_output(layer))
        touch_value(graph, plan, layer->out, step);
    if (plan->span[ld_plan_saved(graph, i)].bytes)
        ld_spans_touch(plan->span, ld_plan_saved(graph, i), step);
    if (plan->span[ld_plan_folded(graph, i)].bytes)
        ld_spans_touch(plan->span, ld_plan_folded(graph, i), step);
    if (layer->adds && has_addend(layer))
        ld_spans_touch(plan->span, ld_plan_addend(graph, i), step);
}

static void touch_all(const struct ld_graph *graph, struct ld_plan *plan,
                      bool keep)
{
    int n = graph->n_layers, scratch = ld_plan_scratch(graph);

    ld_spans_touch(plan->span, scratch, 0);
    for (int i = 0; i < n; i++)
        touch_forward(graph, plan, i);
    touch_caller(graph, plan, keep);
    for (int i = n - 1; i >= 0; i--)
        touch_backward(graph, plan, i);
    ld_spans_touch(plan->span, scratch, ld_plan_backward_step(graph, 0));
}

/* `b` takes over the memory of `a`, if `step` is the last to need `a`. */
static void join_if_last(struct ld_plan *plan, int a, int b, int step)
{
    if (plan->span[ld_spans_root(plan->span, a)].last == step)
        ld_spans_join(plan->span, a, b);
}

/* What is summed in place. A residual's gradient is its sum's: pass.c relies
 * on it. The other pairs share where that does no harm. */
static void join_in_place(const struct ld_graph *graph, struct ld_plan *plan)
{
    for (int i = 0; i < graph->n_layers; i++) {
        const struct ld_layer *layer = &graph->layer[i];

        if (layer->identity == NONE)
            continue;
        if (graph->map[layer->identity].has_grad)
            ld_spans_join(plan->span, ld_plan_grad(graph, layer->out),
                          ld_plan_grad(graph, layer->identity));
        if (layer->kind != LD_LAYER_ADD_RELU)
            join_if_last(plan, ld_plan_value(graph, layer->identity),
                         ld_plan_value(graph, layer->out), i);
    }
    for (int i = graph->n_layers - 1; i >= 0; i--) {
        const struct ld_layer *layer = &graph->layer[i];

        if (graph->map[layer->in].has_grad &&
            (layer->kind == LD_LAYER_BN || layer->kind == LD_LAYER_GN))
            join_if_last(plan, ld_plan_grad(graph, layer->out),
                         ld_plan_grad(graph, layer->in),
                         ld_plan_backward_step(graph, i));
    }
}

/* ---- */

static bool make_lists(const struct ld_graph *graph, struct ld_plan *plan,
                       struct ld_err *err)
{
    size_t maps = (size_t)graph->n_maps, layers = (size_t)graph->n_layers;
    struct ld_arena *arena = &plan->arena;

    plan->n_spans = ld_plan_scratch(graph) + 1;
    plan->shape = ld_arena_new(arena, maps, sizeof(*plan->shape), err);
    plan->conv = ld_arena_new(arena, layers, sizeof(*plan->conv), err);
    plan->owned = ld_arena_new(arena, layers, sizeof(*plan->owned), err);
    plan->desc = ld_arena_new(arena, layers, sizeof(*plan->desc), err);
    plan->deform = ld_arena_new(arena, layers, sizeof(*plan->deform), err);
    plan->owned_deform =
        ld_arena_new(arena, layers, sizeof(*plan->owned_deform), err);
    plan->span =
        ld_arena_new(arena, (size_t)plan->n_spans, sizeof(*plan->span), err);
    return err->code == LD_OK;
}

struct ld_plan *ld_plan_new(struct ld_device *dev, const struct ld_graph *graph,
                            struct ld_shape image, bool keep,
                            struct ld_err *err)
{
    struct ld_plan *plan = ld_new(1, sizeof(*plan), err);

    if (!plan)
        return NULL;
    plan->image = image;
    if (!make_lists(graph, plan, err) || !size_all(dev, graph, plan, err)) {
        ld_plan_free(dev, plan);
        return NULL;
    }
    ld_spans_clear(plan->span, plan->n_spans);
    set_bytes(dev, graph, plan);
    touch_all(graph, plan, keep);
    join_in_place(graph, plan);
    if (!ld_spans_place(plan->span, plan->n_spans, &plan->bytes, err)) {
        ld_plan_free(dev, plan);
        return NULL;
    }
    return plan;
}

void ld_plan_free(struct ld_device *dev, struct ld_plan *plan)
{
    if (!plan)
        return;
    for (int i = 0; i < plan->n_owned; i++)
        dev->ops->conv_free(dev, plan->owned[i]);
    for (int i = 0; i < plan->n_owned_deform; i++)
        dev->ops->deform_free(dev, plan->owned_deform[i]);
    if (plan->forward.tape)
        dev->ops->tape_free(dev, plan->forward.tape);
    if (plan->backward.tape)
        dev->ops->tape_free(dev, plan->backward.tape);
    ld_arena_free(&plan->arena);
    ld_delete(plan);
}
