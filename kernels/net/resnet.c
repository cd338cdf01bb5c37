#include <stdio.h>

#include "kernels/net/stage.h"

int ld_stage_filter(const struct ld_stage *stage, struct ld_filter filter,
                    const char *conv, const char *bn, bool last)
{
    char name[LD_STAGE_PREFIX + 24];
    int added;

    filter.trained = stage->trained;
    snprintf(name, sizeof(name), "%s.%s", stage->prefix, conv);
    added = ld_graph_filter(stage->graph, filter, name, LD_INIT_KAIMING, 0);
    if (stage->dcn != LD_DCN_NONE && filter.kernel == 3) {
        snprintf(name, sizeof(name), "%s.%s.conv_offset", stage->prefix, conv);
        ld_graph_offsets(stage->graph, added, name, stage->dcn == LD_DCN_V2);
    }
    snprintf(name, sizeof(name), "%s.%s", stage->prefix, bn);
    ld_graph_bn(stage->graph, added, name, last ? 0 : 1, stage->folded,
                stage->caffe);
    return added;
}

/* The convolutions of a block, in order; returns how many. */
static int block_filters(const struct ld_stage *s, int C, int filter[3])
{
    int planes = s->planes, stride = s->stride;

    if (s->bottleneck) {
        filter[0] =
            ld_stage_filter(s,
                            (struct ld_filter){.C = C,
                                               .O = planes,
                                               .kernel = 1,
                                               .stride = s->caffe ? stride : 1},
                            "conv1", "bn1", false);
        filter[1] =
            ld_stage_filter(s,
                            (struct ld_filter){.C = planes,
                                               .O = planes,
                                               .kernel = 3,
                                               .stride = s->caffe ? 1 : stride,
                                               .groups = s->groups},
                            "conv2", "bn2", false);
        filter[2] = ld_stage_filter(
            s,
            (struct ld_filter){
                .C = planes, .O = s->out, .kernel = 1, .stride = 1},
            "conv3", "bn3", true);
        return 3;
    }
    filter[0] = ld_stage_filter(
        s,
        (struct ld_filter){.C = C, .O = planes, .kernel = 3, .stride = stride},
        "conv1", "bn1", false);
    filter[1] = ld_stage_filter(
        s,
        (struct ld_filter){.C = planes, .O = planes, .kernel = 3, .stride = 1},
        "conv2", "bn2", true);
    return 2;
}

static int add_block(const struct ld_stage *s, int x)
{
    struct ld_graph *graph = s->graph;
    int C = graph->map[x].C, filter[3], y = x, identity = x;
    int n = block_filters(s, C, filter);

    for (int i = 0; i + 1 < n; i++)
        y = ld_graph_conv(graph, filter[i], y, true);
    if (s->stride != 1 || C != s->out) {
        int shortcut = ld_stage_filter(
            s,
            (struct ld_filter){
                .C = C, .O = s->out, .kernel = 1, .stride = s->stride},
            "downsample.0", "downsample.1", false);

        identity = ld_graph_conv(graph, shortcut, x, false);
    }
    return ld_graph_residual(graph, filter[n - 1], y, identity);
}

static int add_stem(const struct ld_stage *s, int image, int width)
{
    int filter, x;

    filter = ld_stage_filter(
        s, (struct ld_filter){.C = 3, .O = width, .kernel = 7, .stride = 2},
        "conv1", "bn1", false);
    x = ld_graph_conv(s->graph, filter, image, true);
    return ld_graph_pool(s->graph, x);
}

static const int *blocks_of_depth(int depth)
{
    static const int r18[4] = {2, 2, 2, 2}, r50[4] = {3, 4, 6, 3},
                     r101[4] = {3, 4, 23, 3};

    return depth == 18 ? r18 : depth == 101 ? r101 : r50; /* 34 is as 50 */
}

/* Frozen stages use stored statistics whatever norm_eval says. */
static void set_training(struct ld_stage *s, const struct ld_model *model,
                         bool train, int stage)
{
    s->trained = train && stage > model->frozen_stages;
    s->folded = !s->trained || model->norm_eval;
}

void ld_resnet_build(struct ld_graph *graph, const struct ld_model *model,
                     bool train, int out[3])
{
    static const char *const names[4] = {"c2", "c3", "c4", "c5"};
    const int *blocks = blocks_of_depth(model->depth);
    struct ld_stage s = {.graph = graph,
                         .bottleneck = model->depth >= 50,
                         .caffe = model->style == LD_STYLE_CAFFE,
                         .groups = model->groups};
    bool res2net = model->backbone == LD_RES2NET;
    int x;

    set_training(&s, model, train, 0);
    snprintf(s.prefix, sizeof(s.prefix), "backbone");
    x = (res2net ? ld_res2net_stem : add_stem)(&s, graph->image, model->width);
    for (int stage = 1; stage <= 4; stage++) {
        set_training(&s, model, train, stage);
        s.dcn = stage >= model->dcn_from ? model->dcn : LD_DCN_NONE;
        s.planes = ld_model_inner(model, stage);
        s.out = (model->width << (stage - 1)) * (s.bottleneck ? 4 : 1);
        for (int i = 0; i < blocks[stage - 1]; i++) {
            snprintf(s.prefix, sizeof(s.prefix), "backbone.layer%d.%d", stage,
                     i);
            s.stride = i == 0 && stage > 1 ? 2 : 1;
            x = res2net ? ld_res2net_block(&s, x, i == 0) : add_block(&s, x);
        }
        graph->map[x].name = names[stage - 1];
        if (stage > 1)
            out[stage - 2] = x;
    }
}
