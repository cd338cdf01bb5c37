#include "kernels/net/net.h"

#include <assert.h>
#include <string.h>

#include "kernels/net/gfl.h"
#include "kernels/net/net_parts.h"

static bool make_parts(struct ld_net *net, enum ld_net_use use,
                       struct ld_err *err)
{
    ld_gfl_build(&net->graph, &net->model, use == LD_NET_TRAIN);
    net->packed =
        ld_new((size_t)net->graph.n_filters, sizeof(*net->packed), err);
    return net->packed && ld_net_make_params(net, err);
}

struct ld_net *ld_net_new(struct ld_device *dev, const struct ld_model *model,
                          enum ld_net_use use, struct ld_err *err)
{
    struct ld_net *net;

    if (!ld_model_check(model, "model", err))
        return NULL;
    net = ld_new(1, sizeof(*net), err);
    if (!net)
        return NULL;
    net->dev = dev;
    net->model = *model;
    if (!make_parts(net, use, err)) {
        ld_net_free(net);
        return NULL;
    }
    return net;
}

void ld_net_free(struct ld_net *net)
{
    if (!net)
        return;
    for (int i = 0; i < LD_NET_PLANS; i++)
        ld_plan_free(net->dev, net->plans[i]);
    net->dev->ops->release(net->dev, net->maps);
    net->dev->ops->release(net->dev, net->picture);
    net->dev->ops->release(net->dev, net->filters);
    net->dev->ops->release(net->dev, net->params);
    ld_delete(net->complete);
    ld_delete(net->packed);
    ld_delete(net->param);
    ld_delete(net);
}

void ld_net_trace(struct ld_net *net, struct ld_lane *lane)
{
    net->lane = lane;
}

const struct ld_model *ld_net_model(const struct ld_net *net)
{
    return &net->model;
}

/* ---- canvas ---- */

static bool is_for(const struct ld_plan *plan, struct ld_shape image)
{
    return plan && plan->image.N == image.N && plan->image.H == image.H &&
           plan->image.W == image.W;
}

/* The plan for a canvas, or the place for one: free, or unused for longest. */
static struct ld_plan **find_plan(struct ld_net *net, struct ld_shape image)
{
    struct ld_plan **oldest = &net->plans[0];

    for (int i = 0; i < LD_NET_PLANS; i++) {
        struct ld_plan **at = &net->plans[i];

        if (is_for(*at, image))
            return at;
        if (*oldest && (!*at || (*at)->used < (*oldest)->used))
            oldest = at;
    }
    return oldest;
}

static bool reserve_maps(struct ld_net *net, size_t bytes, struct ld_err *err)
{
    const struct ld_ops *ops = net->dev->ops;

    if (bytes <= net->maps_bytes)
        return true;
    ops->release(net->dev, net->maps); /* first, so that both never coexist */
    net->maps_bytes = 0;
    net->maps = ops->alloc(net->dev, bytes, err);
    if (!net->maps)
        return false;
    net->maps_bytes = bytes;
    return true;
}

static bool use_plan(struct ld_net *net, struct ld_plan *plan,
                     struct ld_err *err)
{
    net->plan = plan;
    plan->used = ++net->clock;
    if (reserve_maps(net, plan->bytes, err) &&
        (net->filters || ld_net_make_filters(net, err)))
        return true;
    net->plan = NULL;
    return false;
}

bool ld_net_resize(struct ld_net *net, int N, int H, int W, struct ld_err *err)
{
    struct ld_shape image = {N, 3, H, W};
    struct ld_plan **place = find_plan(net, image);
    const int most = 1 << 14; /* keeps N, A and their product in an int */

    if (N < 1 || H < 1 || W < 1 || N > 1024 || H > most || W > most)
        return ld_fail(err, LD_ERR_USAGE,
                       "a batch of %d images of %d x %d pixels: expected 1 to "
                       "1024 images, sides of 1 to %d",
                       N, W, H, most);
    if (!is_for(*place, image)) {
        struct ld_plan *plan =
            ld_plan_new(net->dev, &net->graph, image, net->keep, err);

        if (!plan)
            return false;
        ld_plan_free(net->dev, *place);
        *place = plan;
    }
    return use_plan(net, *place, err);
}

/* ---- what the caller reads and writes ---- */

float *ld_net_input(const struct ld_net *net)
{
    return ld_net_span(net, ld_plan_value(&net->graph, net->graph.image));
}

static bool reserve_picture(struct ld_net *net, size_t bytes,
                            struct ld_err *err)
{
    const struct ld_ops *ops = net->dev->ops;

    if (bytes <= net->picture_bytes)
        return true;
    ops->release(net->dev, net->picture);
    net->picture_bytes = 0;
    net->picture = ops->alloc(net->dev, bytes, err);
    if (!net->picture)
        return false;
    net->picture_bytes = bytes;
    return true;
}

bool ld_net_show(struct ld_net *net, int i, const uint8_t *rgb,
                 const struct ld_draw *d, struct ld_err *err)
{
    struct ld_shape image = net->plan->image;
    size_t bytes = 3 * (size_t)d->from_H * (size_t)d->from_W;
    size_t plane = (size_t)image.H * (size_t)image.W;
    struct ld_draw draw = *d;

    draw.canvas_H = image.H;
    draw.canvas_W = image.W;
    if (d->H < 1 || d->W < 1 || d->H > image.H || d->W > image.W)
        return ld_fail(err, LD_ERR_MISMATCH,
                       "a view of %d x %d pixels on a canvas of %d x %d", d->W,
                       d->H, image.W, image.H);
    if (!reserve_picture(net, bytes, err))
        return false;
    net->dev->ops->upload(net->dev, net->picture, rgb, bytes);
    net->dev->ops->draw(net->dev, ld_net_input(net) + (size_t)i * 3 * plane,
                        net->picture, &draw);
    return true;
}

struct ld_grid ld_net_grid(const struct ld_net *net)
{
    return ld_grid_with_head(net->plan->grid, net->model.head);
}

float *ld_net_class_rows(const struct ld_net *net)
{
    return ld_net_span(net, ld_plan_value(&net->graph, net->graph.class_rows));
}

float *ld_net_box_rows(const struct ld_net *net)
{
    return ld_net_span(net, ld_plan_value(&net->graph, net->graph.box_rows));
}

float *ld_net_quality_rows(const struct ld_net *net)
{
    int map = net->graph.quality_rows;

    return map < 0 ? NULL : ld_net_span(net, ld_plan_value(&net->graph, map));
}

float *ld_net_quality_rows_grad(const struct ld_net *net)
{
    int map = net->graph.quality_rows;

    return map < 0 ? NULL : ld_net_span(net, ld_plan_grad(&net->graph, map));
}

float *ld_net_class_rows_grad(const struct ld_net *net)
{
    return ld_net_span(net, ld_plan_grad(&net->graph, net->graph.class_rows));
}

float *ld_net_box_rows_grad(const struct ld_net *net)
{
    return ld_net_span(net, ld_plan_grad(&net->graph, net->graph.box_rows));
}

void ld_net_keep_features(struct ld_net *net)
{
    assert(!net->plan || net->graph.features);
    net->graph.features = true;
    ld_graph_finish(&net->graph);
}

const float *ld_net_feature(const struct ld_net *net, int level,
                            struct ld_shape *shape)
{
    int map = net->graph.pyramid[level];

    assert(net->graph.features);
    *shape = net->plan->shape[map];
    return ld_net_span(net, ld_plan_value(&net->graph, map));
}

float *ld_net_feature_grad(const struct ld_net *net, int level)
{
    assert(net->graph.features);
    return ld_net_span(net,
                       ld_plan_grad(&net->graph, net->graph.pyramid[level]));
}

const float *ld_net_map(const struct ld_net *net, const char *name,
                        struct ld_shape *shape)
{
    const struct ld_graph *graph = &net->graph;

    for (int i = 0; i < graph->n_maps; i++) {
        int span = ld_plan_value(graph, i);

        if (!graph->map[i].name || strcmp(graph->map[i].name, name) != 0)
            continue;
        *shape = net->plan->shape[i];
        return net->plan->span[span].last >= ld_plan_caller_step(graph)
                   ? ld_net_span(net, span)
                   : NULL;
    }
    return NULL;
}
