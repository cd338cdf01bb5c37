#include "kernels/net/gfl.h"

#include <math.h>
#include <stdio.h>

#include "kernels/loss.h"
#include "kernels/net/net.h"

static const float HEAD_DEVIATION = 0.01F;
static const float PRIOR = 0.01F; /* score of every class to begin with: Lin et
                                     al. 2017 (focal loss), section 4.1 */

enum { NONE = -1, FPN_INPUTS = 3, MAX_NAME = 48 };

static int add_biased(struct ld_graph *graph, struct ld_filter filter,
                      const char *name, enum ld_init init, float bias)
{
    int added = ld_graph_filter(graph, filter, name, init, HEAD_DEVIATION);

    ld_graph_bias(graph, added, name, bias);
    return added;
}

/* P3, P4, P5 from C3, C4, C5; P6 and P7 each from the one before, of RetinaNet
 * P6 from C5. */
static void add_fpn(struct ld_graph *graph, const struct ld_model *model,
                    const int c[FPN_INPUTS], bool train)
{
    bool on_input = model->head == LD_HEAD_RETINA;
    int C = model->fpn_channels, from;
    int lateral[FPN_INPUTS], output[LD_MAX_LEVELS], map[FPN_INPUTS];
    int *p = graph->pyramid;
    char name[MAX_NAME];

    for (int i = 0; i < FPN_INPUTS; i++) {
        struct ld_filter filter = {.C = graph->map[c[i]].C,
                                   .O = C,
                                   .kernel = 1,
                                   .stride = 1,
                                   .trained = train};

        snprintf(name, sizeof(name), "neck.lateral_convs.%d.conv", i);
        lateral[i] = add_biased(graph, filter, name, LD_INIT_XAVIER, 0);
    }
    for (int i = 0; i < LD_MAX_LEVELS; i++) {
        bool widens = on_input && i == FPN_INPUTS;
        struct ld_filter filter = {.C = widens ? graph->map[c[FPN_INPUTS - 1]].C
                                               : C,
                                   .O = C,
                                   .kernel = 3,
                                   .stride = i < FPN_INPUTS ? 1 : 2,
                                   .trained = train};

        snprintf(name, sizeof(name), "neck.fpn_convs.%d.conv", i);
        output[i] = add_biased(graph, filter, name, LD_INIT_XAVIER, 0);
    }
    for (int i = 0; i < FPN_INPUTS; i++)
        map[i] = ld_graph_conv(graph, lateral[i], c[i], false);
    for (int i = FPN_INPUTS - 1; i > 0; i--)
        ld_graph_upsample(graph, map[i], map[i - 1]);
    for (int i = 0; i < LD_MAX_LEVELS; i++) {
        from = i < FPN_INPUTS ? map[i] : p[i - 1];
        if (on_input && i == FPN_INPUTS)
            from = c[FPN_INPUTS - 1];
        if (model->head == LD_HEAD_FCOS && i == LD_MAX_LEVELS - 1)
            from = ld_graph_relu(graph, from);
        p[i] = ld_graph_conv(graph, output[i], from, false);
    }
}

/* What comes out of a tower: its last convolution, the rows that this fills. */
struct outlet {
    const char *name;
    int filter, rows; /* rows NONE: the head has none */
    int scale[LD_MAX_LEVELS];
};

/* One of the two towers; all levels use the same. */
struct tower {
    int n_convs, conv[LD_MAX_HEAD_CONVS], gamma[LD_MAX_HEAD_CONVS];
    bool plain; /* its convolutions have biases and no normalisation */
};

static void add_tower_filters(struct ld_graph *graph, struct tower *tower,
                              const char *tower_name, bool train)
{
    int C = graph->map[graph->pyramid[0]].C;
    struct ld_filter filter = {
        .C = C, .O = C, .kernel = 3, .stride = 1, .trained = train};
    char name[MAX_NAME];

    for (int i = 0; i < tower->n_convs; i++) {
        snprintf(name, sizeof(name), "bbox_head.%s.%d.conv", tower_name, i);
        tower->conv[i] = ld_graph_filter(graph, filter, name, LD_INIT_NORMAL,
                                         HEAD_DEVIATION);
        if (tower->plain) {
            ld_graph_bias(graph, tower->conv[i], name, 0);
            continue;
        }
        snprintf(name, sizeof(name), "bbox_head.%s.%d.gn", tower_name, i);
        tower->gamma[i] = ld_graph_vector(graph, name, "weight", C, 1, train);
        ld_graph_vector(graph, name, "bias", C, 0, train);
    }
}

static void add_last_filter(struct ld_graph *graph, struct outlet *outlet,
                            float bias, bool train)
{
    struct ld_filter filter = {.C = graph->map[graph->pyramid[0]].C,
                               .O = graph->map[outlet->rows].C,
                               .kernel = 3,
                               .stride = 1,
                               .trained = train};

    outlet->filter =
        add_biased(graph, filter, outlet->name, LD_INIT_NORMAL, bias);
}

static void add_scales(struct ld_graph *graph, struct outlet *outlet,
                       bool train)
{
    for (int level = 0; level < LD_MAX_LEVELS; level++) {
        struct ld_param_spec spec = {
            .init = LD_INIT_CONSTANT, .constant = 1, .trained = train};

        snprintf(spec.name, sizeof(spec.name), "bbox_head.scales.%d.scale",
                 level);
        outlet->scale[level] = ld_graph_param(graph, spec);
    }
}

/* Returns the map that comes out. */
static int add_tower_layers(struct ld_graph *graph, const struct tower *tower,
                            int level)
{
    int x = graph->pyramid[level];

    for (int i = 0; i < tower->n_convs; i++) {
        x = ld_graph_conv(graph, tower->conv[i], x, tower->plain);
        if (!tower->plain)
            x = ld_graph_gn(graph, x, tower->gamma[i]);
    }
    return x;
}

static void add_outlet_layers(struct ld_graph *graph,
                              const struct outlet *outlet, int x, int level)
{
    x = ld_graph_conv(graph, outlet->filter, x, false);
    ld_graph_rows(graph, x, outlet->rows, level, outlet->scale[level]);
}

/* The heads' last convolutions; the last of them is of centerness. */
static const char *const outlet_names[][3] = {
    [LD_HEAD_GFL] = {"bbox_head.gfl_cls", "bbox_head.gfl_reg"},
    [LD_HEAD_GFLV2] = {"bbox_head.gfl_cls", "bbox_head.gfl_reg"},
    [LD_HEAD_ATSS] = {"bbox_head.atss_cls", "bbox_head.atss_reg",
                      "bbox_head.atss_centerness"},
    [LD_HEAD_FCOS] = {"bbox_head.conv_cls", "bbox_head.conv_reg",
                      "bbox_head.conv_centerness"},
    [LD_HEAD_RETINA] = {"bbox_head.atss_cls", "bbox_head.atss_reg"},
};

static void add_head(struct ld_graph *graph, const struct ld_model *model,
                     bool train)
{
    const char *const *names = outlet_names[model->head];
    bool plain = model->head == LD_HEAD_RETINA;
    struct tower cls = {.n_convs = model->head_convs, .plain = plain};
    struct tower reg = cls;
    struct outlet classes = {.name = names[0],
                             .rows = graph->class_rows,
                             .scale = {NONE, NONE, NONE, NONE, NONE}};
    struct outlet boxes = classes, centerness = classes;

    boxes.name = names[1];
    boxes.rows = graph->box_rows;
    centerness.name = names[2];
    centerness.rows = graph->quality_rows;
    add_tower_filters(graph, &cls, "cls_convs", train);
    add_tower_filters(graph, &reg, "reg_convs", train);
    add_last_filter(graph, &classes, -logf((1 - PRIOR) / PRIOR), train);
    add_last_filter(graph, &boxes, 0, train);
    if (!plain)
        add_scales(graph, &boxes, train);
    if (centerness.name)
        add_last_filter(graph, &centerness, 0, train);
    for (int level = 0; level < LD_MAX_LEVELS; level++) {
        int x = add_tower_layers(graph, &cls, level);

        add_outlet_layers(graph, &classes, x, level);
        x = add_tower_layers(graph, &reg, level);
        add_outlet_layers(graph, &boxes, x, level);
        if (centerness.name)
            add_outlet_layers(graph, &centerness, x, level);
    }
}

static int add_quality_param(struct ld_graph *graph, const char *name, int O,
                             int C, bool train)
{
    struct ld_param_spec spec = {.n_dims = 4,
                                 .dim = {O, C, 1, 1},
                                 .init = LD_INIT_NORMAL,
                                 .constant = HEAD_DEVIATION,
                                 .trained = train};
    int weight;

    snprintf(spec.name, sizeof(spec.name), "%s.weight", name);
    weight = ld_graph_param(graph, spec);
    ld_graph_vector(graph, name, "bias", O, 0, train);
    return weight;
}

static void add_quality(struct ld_graph *graph, bool train)
{
    int param = add_quality_param(graph, "bbox_head.reg_conf.0",
                                  LD_QUALITY_HIDDEN, LD_QUALITY_STATS, train);

    add_quality_param(graph, "bbox_head.reg_conf.2", 1, LD_QUALITY_HIDDEN,
                      train);
    ld_graph_quality(graph, graph->box_rows, graph->quality_rows, param);
}

int ld_model_class_logits(const struct ld_model *model)
{
    return model->n_classes + model->background_logit;
}

void ld_gfl_build(struct ld_graph *graph, const struct ld_model *model,
                  bool train)
{
    static const char *const names[LD_MAX_LEVELS] = {"p3", "p4", "p5", "p6",
                                                     "p7"};
    int c[FPN_INPUTS], n = ld_head_anchors(model->head);
    bool has_quality =
        model->head == LD_HEAD_GFLV2 || ld_head_has_centerness(model->head);

    graph->gn_groups = model->gn_groups;
    graph->image = ld_graph_map(graph, LD_MAP_IMAGE, 3);
    graph->class_rows =
        ld_graph_map(graph, LD_MAP_ROWS, n * ld_model_class_logits(model));
    graph->box_rows =
        ld_graph_map(graph, LD_MAP_ROWS, n * 4 * (model->reg_max + 1));
    graph->quality_rows =
        has_quality ? ld_graph_map(graph, LD_MAP_ROWS, 1) : NONE;
    ld_resnet_build(graph, model, train, c);
    add_fpn(graph, model, c, train);
    for (int level = 0; level < LD_MAX_LEVELS; level++)
        graph->map[graph->pyramid[level]].name = names[level];
    add_head(graph, model, train);
    if (model->head == LD_HEAD_GFLV2)
        add_quality(graph, train);
    ld_graph_finish(graph);
}

static bool check_range(const char *where, const char *field, int value,
                        int least, int most, struct ld_err *err)
{
    if (value >= least && value <= most)
        return true;
    return ld_fail(err, LD_ERR_USAGE, "%s.%s: %d, expected %d to %d", where,
                   field, value, least, most);
}

/* Feature maps are laid out in blocks of 16 channels. */
static bool check_channels(const char *where, const char *field, int value,
                           struct ld_err *err)
{
    if (value >= 16 && value <= 1024 && value % 16 == 0)
        return true;
    return ld_fail(err, LD_ERR_USAGE,
                   "%s.%s: %d, expected a multiple of 16 from 16 to 1024",
                   where, field, value);
}

int ld_model_inner(const struct ld_model *model, int stage)
{
    return (model->width << (stage - 1)) * model->base_width / 64 *
           model->groups;
}

static bool check_res2net(const struct ld_model *model, const char *where,
                          struct ld_err *err)
{
    if (model->backbone != LD_RES2NET)
        return true;
    if (model->depth < 50)
        return ld_fail(err, LD_ERR_USAGE,
                       "%s.depth: %d, expected 50 or 101 with backbone res2net",
                       where, model->depth);
    if (model->groups == 1)
        return true;
    return ld_fail(err, LD_ERR_USAGE,
                   "%s.groups: %d, expected 1 with backbone res2net", where,
                   model->groups);
}

static bool check_style(const struct ld_model *model, const char *where,
                        struct ld_err *err)
{
    if (model->style == LD_STYLE_PYTORCH)
        return true;
    if (model->backbone != LD_RESNET || model->depth < 50)
        return ld_fail(err, LD_ERR_USAGE,
                       "%s.style: caffe, expected with ResNets of depth 50 "
                       "and 101 only",
                       where);
    return model->norm_eval ||
           ld_fail(err, LD_ERR_USAGE,
                   "%s.style: caffe, whose batch norms are fixed: expected "
                   "norm_eval true",
                   where);
}

static bool check_bottlenecks(const struct ld_model *model, const char *where,
                              struct ld_err *err)
{
    const int most = 4096; /* channels of layer4's 3x3; X-101-64x4d has 2048 */

    if (model->groups == 1 && model->base_width == 64)
        return true;
    if (model->depth < 50)
        return ld_fail(
            err, LD_ERR_USAGE,
            "%s.groups: %d, and base_width %d: only bottlenecks have "
            "them, expected 1 and 64 with depth %d, or depth 50 or "
            "101",
            where, model->groups, model->base_width, model->depth);
    if (!check_range(where, "groups", model->groups, 1, 1024, err) ||
        !check_range(where, "base_width", model->base_width, 1, 1024, err))
        return false;
    if (ld_model_inner(model, 1) >= 1 && ld_model_inner(model, 4) <= most)
        return true;
    return ld_fail(err, LD_ERR_USAGE,
                   "%s.groups: %d of base_width %d make the 3x3 of layer1 %d "
                   "channels wide, of layer4 %d: expected 1 to %d",
                   where, model->groups, model->base_width,
                   ld_model_inner(model, 1), ld_model_inner(model, 4), most);
}

static bool check_head(const struct ld_model *model, const char *where,
                       struct ld_err *err)
{
    if (model->head != LD_HEAD_GFLV2 && model->background_logit)
        return ld_fail(
            err, LD_ERR_USAGE,
            "%s.background_logit: set, expected with head gflv2 only", where);
    return check_range(where, "reg_max", model->reg_max,
                       model->head == LD_HEAD_GFLV2 ? LD_QUALITY_TOP - 1 : 1,
                       255, err);
}

bool ld_model_check(const struct ld_model *model, const char *where,
                    struct ld_err *err)
{
    int depth = model->depth;

    if (depth != 18 && depth != 34 && depth != 50 && depth != 101)
        return ld_fail(err, LD_ERR_USAGE,
                       "%s.depth: %d, expected 18, 34, 50 or 101", where,
                       depth);
    if (!check_channels(where, "width", model->width, err) ||
        !check_res2net(model, where, err) || !check_style(model, where, err) ||
        !check_bottlenecks(model, where, err) ||
        !check_channels(where, "fpn_channels", model->fpn_channels, err) ||
        !check_range(where, "head_convs", model->head_convs, 1,
                     LD_MAX_HEAD_CONVS, err) ||
        !check_range(where, "gn_groups", model->gn_groups, 1,
                     model->fpn_channels, err) ||
        !check_range(where, "n_classes", model->n_classes, 1, 10000, err) ||
        !check_head(model, where, err) ||
        !check_range(where, "frozen_stages", model->frozen_stages, -1, 4, err))
        return false;
    if (model->dcn != LD_DCN_NONE && depth < 50)
        return ld_fail(err, LD_ERR_USAGE,
                       "%s.dcn: R-%d has no bottlenecks, which alone can be "
                       "deformable: expected depth 50 or 101",
                       where, depth);
    if (model->dcn != LD_DCN_NONE &&
        !check_range(where, "dcn_from", model->dcn_from, 1, 4, err))
        return false;
    if (model->fpn_channels % model->gn_groups == 0)
        return true;
    return ld_fail(err, LD_ERR_USAGE,
                   "%s.gn_groups: %d does not divide fpn_channels, %d", where,
                   model->gn_groups, model->fpn_channels);
}
