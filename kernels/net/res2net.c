#include <stdio.h>

#include "kernels/net/stage.h"

enum { NONE = -1, SPLITS = 4, CONVS = SPLITS - 1 };

int ld_res2net_stem(const struct ld_stage *stage, int image, int width)
{
    const struct ld_filter filter[3] = {
        {.C = 3, .O = width / 2, .kernel = 3, .stride = 2},
        {.C = width / 2, .O = width / 2, .kernel = 3, .stride = 1},
        {.C = width / 2, .O = width, .kernel = 3, .stride = 1}};
    char conv[16], bn[16];
    int x = image;

    for (int i = 0; i < 3; i++) {
        snprintf(conv, sizeof(conv), "stem.%d", 3 * i);
        snprintf(bn, sizeof(bn), "stem.%d", 3 * i + 1);
        x = ld_graph_conv(stage->graph,
                          ld_stage_filter(stage, filter[i], conv, bn, false), x,
                          true);
    }
    return ld_graph_pool(stage->graph, x);
}

/* The parameters of a block; shortcut is NONE where x goes straight on. */
struct filters {
    int conv1, conv3, shortcut, conv[CONVS];
};

/* The three 3x3, deformable where the stage is, as the reference orders them:
 * convs.*, then bns.*. */
static void add_convs(const struct ld_stage *s, int conv[CONVS])
{
    struct ld_filter filter = {.C = s->planes,
                               .O = s->planes,
                               .kernel = 3,
                               .stride = s->stride,
                               .trained = s->trained};
    char name[LD_STAGE_PREFIX + 24];

    for (int i = 0; i < CONVS; i++) {
        snprintf(name, sizeof(name), "%s.convs.%d", s->prefix, i);
        conv[i] = ld_graph_filter(s->graph, filter, name, LD_INIT_KAIMING, 0);
        if (s->dcn == LD_DCN_NONE)
            continue;
        snprintf(name, sizeof(name), "%s.convs.%d.conv_offset", s->prefix, i);
        ld_graph_offsets(s->graph, conv[i], name, s->dcn == LD_DCN_V2);
    }
    for (int i = 0; i < CONVS; i++) {
        snprintf(name, sizeof(name), "%s.bns.%d", s->prefix, i);
        ld_graph_bn(s->graph, conv[i], name, 1, s->folded, s->caffe);
    }
}

static struct filters block_filters(const struct ld_stage *s, int C)
{
    int inner = SPLITS * s->planes;
    const struct ld_filter conv1 = {
        .C = C, .O = inner, .kernel = 1, .stride = 1};
    const struct ld_filter conv3 = {
        .C = inner, .O = s->out, .kernel = 1, .stride = 1};
    const struct ld_filter shortcut = {
        .C = C, .O = s->out, .kernel = 1, .stride = 1};
    struct filters f = {.shortcut = NONE};

    f.conv1 = ld_stage_filter(s, conv1, "conv1", "bn1", false);
    f.conv3 = ld_stage_filter(s, conv3, "conv3", "bn3", true);
    if (s->stride != 1 || C != s->out)
        f.shortcut =
            ld_stage_filter(s, shortcut, "downsample.1", "downsample.2", false);
    add_convs(s, f.conv);
    return f;
}

/* The last split is only passed on, thinned where the block thins. */
static void pass_on(const struct ld_stage *s, int x, int y)
{
    int w = s->planes, at = CONVS * w, split;

    if (s->stride == 1) {
        ld_graph_place(s->graph, x, at, w, y, at);
        return;
    }
    split = ld_graph_slice(s->graph, x, at, w, NONE);
    split = ld_graph_avgpool(s->graph, split, 3);
    ld_graph_place(s->graph, split, 0, w, y, at);
}

/* From the map of the four splits to that of the four results: each but the
 * last through its convolution; in a stage's first block alone, in others with
 * the result before it added. */
static int add_splits(const struct ld_stage *s, const int conv[CONVS], int x,
                      bool first)
{
    int w = s->planes, before = NONE;
    int y = ld_graph_map(s->graph, LD_MAP_FEATURE, SPLITS * w);

    for (int i = 0; i < CONVS; i++) {
        int split =
            ld_graph_slice(s->graph, x, i * w, w, first ? NONE : before);

        before = ld_graph_conv(s->graph, conv[i], split, true);
        ld_graph_place(s->graph, before, 0, w, y, i * w);
    }
    pass_on(s, x, y);
    return y;
}

int ld_res2net_block(const struct ld_stage *stage, int x, bool first)
{
    struct ld_graph *graph = stage->graph;
    struct filters f = block_filters(stage, graph->map[x].C);
    int y = ld_graph_conv(graph, f.conv1, x, true), identity = x;

    y = add_splits(stage, f.conv, y, first);
    if (f.shortcut != NONE) {
        if (stage->stride != 1)
            identity = ld_graph_avgpool(graph, x, 2);
        identity = ld_graph_conv(graph, f.shortcut, identity, false);
    }
    return ld_graph_residual(graph, f.conv3, y, identity);
}
