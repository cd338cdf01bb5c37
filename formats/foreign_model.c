#include "formats/foreign_model.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/box.h"

enum { GN_GROUPS = 32, N_STAGES = 4, MAX_BLOCKS = 64 };

struct reader {
    const struct ld_foreign *from;
    struct ld_model *model;
    char *why;
};

static bool fail(struct reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool fail(struct reader *r, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(r->why, LD_WHY_SIZE, format, args);
    va_end(args);
    return false;
}

/* ---- tensors by name ---- */

static int by_name(const void *a, const void *b)
{
    const struct ld_tensor *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static const struct ld_tensor *find(const struct reader *r, const char *format,
                                    ...) __attribute__((format(printf, 2, 3)));

static const struct ld_tensor *find(const struct reader *r, const char *format,
                                    ...)
{
    char name[256];
    struct ld_tensor key = {.name = name};
    va_list args;

    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    return r->from->n_tensors == 0
               ? NULL
               : bsearch(&key, r->from->tensors, (size_t)r->from->n_tensors,
                         sizeof(key), by_name);
}

/* The first name that begins so, or NULL. */
static const char *first_with(const struct reader *r, const char *prefix)
{
    for (int i = 0; i < r->from->n_tensors; i++)
        if (strncmp(r->from->tensors[i].name, prefix, strlen(prefix)) == 0)
            return r->from->tensors[i].name;
    return NULL;
}

/* The first name that does not begin so; NULL if all do. */
static const char *first_without(const struct reader *r, const char *prefix)
{
    for (int i = 0; i < r->from->n_tensors; i++)
        if (strncmp(r->from->tensors[i].name, prefix, strlen(prefix)) != 0)
            return r->from->tensors[i].name;
    return NULL;
}

/* A convolution's weight of that name, (O, C, h, w). */
static const struct ld_tensor *weight(struct reader *r, const char *name)
{
    const struct ld_tensor *t = find(r, "%s", name);

    if (t && t->n_dims == 4 && t->dim[0] > 0 && t->dim[1] > 0)
        return t;
    fail(r, t ? "'%s' is no convolution's weight" : "it has no '%s'", name);
    return NULL;
}

/* ---- head and neck ---- */

/* The heads by the name of their last convolutions; the quality of GFL V2 and
 * the centerness of the others by that of its first tensor. */
static const struct known_head {
    enum ld_head head;
    const char *cls, *reg, *quality;
} known_heads[] = {
    {LD_HEAD_GFLV2, "gfl_cls", "gfl_reg", "reg_conf.0"},
    {LD_HEAD_GFL, "gfl_cls", "gfl_reg", NULL},
    {LD_HEAD_ATSS, "atss_cls", "atss_reg", "atss_centerness"},
    {LD_HEAD_FCOS, "conv_cls", "conv_reg", "conv_centerness"},
    {LD_HEAD_RETINA, "atss_cls", "atss_reg", NULL},
};

static const struct known_head *head_of(const struct reader *r)
{
    for (size_t i = 0; i < sizeof(known_heads) / sizeof(known_heads[0]); i++) {
        const struct known_head *head = &known_heads[i];

        if (find(r, "bbox_head.%s.weight", head->cls) &&
            (!head->quality || find(r, "bbox_head.%s.weight", head->quality)))
            return head;
    }
    return NULL;
}

static bool check_head(struct reader *r)
{
    const char *head = first_with(r, "bbox_head."), *other;

    if (head_of(r))
        return true;
    if (head)
        return fail(r, "its head has '%s' and no bbox_head.gfl_cls", head);
    other = first_without(r, "backbone.");
    if (other)
        return fail(r, "it has '%s' and no bbox_head", other);
    return fail(r, "it holds a backbone alone, to start from (model.init)");
}

/* Channels of the class head beyond the classes: 0 or 1. */
static bool read_classes(struct reader *r, int channels)
{
    int named = r->from->n_classes;
    bool v2 = r->model->head == LD_HEAD_GFLV2;

    if (named > 0 && channels != named && channels != named + 1)
        return fail(r, "it names %d classes and its head has %d", named,
                    channels);
    r->model->background_logit = named > 0
                                     ? channels == named + 1
                                     : v2 && (channels == 81 || channels == 21);
    r->model->n_classes = channels - r->model->background_logit;
    return true;
}

static bool read_head(struct reader *r)
{
    const struct known_head *head = head_of(r);
    const struct ld_tensor *cls, *reg;
    struct ld_model *m = r->model;
    char name[64];
    int anchors;

    snprintf(name, sizeof(name), "bbox_head.%s.weight", head->cls);
    cls = weight(r, name);
    snprintf(name, sizeof(name), "bbox_head.%s.weight", head->reg);
    reg = cls ? weight(r, name) : NULL;
    if (!reg)
        return false;
    anchors = ld_head_anchors(head->head);
    if (reg->dim[0] % (4 * anchors) != 0 || reg->dim[0] < 8 * anchors)
        return fail(r,
                    "its bbox_head.%s has %d channels, expected a "
                    "distribution for each of %d sides",
                    head->reg, reg->dim[0], 4 * anchors);
    if (cls->dim[0] % anchors != 0)
        return fail(r,
                    "its bbox_head.%s has %d channels, expected those of 9 "
                    "anchors",
                    head->cls, cls->dim[0]);
    m->reg_max = reg->dim[0] / (4 * anchors) - 1;
    m->head = head->head;
    for (m->head_convs = 0; m->head_convs < MAX_BLOCKS; m->head_convs++)
        if (!find(r, "bbox_head.cls_convs.%d.conv.weight", m->head_convs))
            break;
    return read_classes(r, cls->dim[0] / anchors);
}

static bool read_neck(struct reader *r)
{
    const struct ld_tensor *t = weight(r, "neck.lateral_convs.0.conv.weight");

    if (!t)
        return false;
    r->model->fpn_channels = t->dim[0];
    r->model->gn_groups = GN_GROUPS;
    while (t->dim[0] % r->model->gn_groups != 0)
        r->model->gn_groups--;
    return true;
}

/* ---- backbone ---- */

static bool read_depth(struct reader *r)
{
    static const struct {
        int depth, blocks[N_STAGES];
        bool bottleneck;
    } known[] = {
        {18, {2, 2, 2, 2}, false},
        {34, {3, 4, 6, 3}, false},
        {50, {3, 4, 6, 3}, true},
        {101, {3, 4, 23, 3}, true},
    };
    bool bottleneck = find(r, "backbone.layer1.0.conv3.weight");
    int blocks[N_STAGES] = {0};

    for (int i = 0; i < N_STAGES; i++)
        while (blocks[i] < MAX_BLOCKS &&
               find(r, "backbone.layer%d.%d.conv1.weight", i + 1, blocks[i]))
            blocks[i]++;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (bottleneck == known[i].bottleneck &&
            memcmp(blocks, known[i].blocks, sizeof(blocks)) == 0) {
            r->model->depth = known[i].depth;
            return true;
        }
    return fail(r,
                "its layers have %d, %d, %d, %d %s blocks, expected a "
                "ResNet of depth 18, 34, 50 or 101",
                blocks[0], blocks[1], blocks[2], blocks[3],
                bottleneck ? "bottleneck" : "basic");
}

/* The width that floor(planes * base_width / 64) channels come from. */
static int base_width_of(int channels, int planes)
{
    int64_t width = (64 * (int64_t)channels + planes - 1) / planes;

    return width < INT_MAX ? (int)width : INT_MAX;
}

static bool read_resnet(struct reader *r)
{
    const struct ld_tensor *stem = weight(r, "backbone.conv1.weight"), *conv2;
    struct ld_model *m = r->model;

    if (!stem)
        return false;
    m->backbone = LD_RESNET;
    m->width = stem->dim[0];
    m->groups = 1;
    m->base_width = 64;
    if (m->depth < 50)
        return true;
    conv2 = weight(r, "backbone.layer1.0.conv2.weight");
    if (!conv2)
        return false;
    if (conv2->dim[0] % conv2->dim[1] != 0)
        return fail(r, "'%s' has %d channels in groups of %d", conv2->name,
                    conv2->dim[0], conv2->dim[1]);
    m->groups = conv2->dim[0] / conv2->dim[1];
    m->base_width = base_width_of(conv2->dim[1], m->width);
    return true;
}

/* v1d: the stem's third convolution has the width, its first two half. */
static bool read_res2net(struct reader *r)
{
    const struct ld_tensor *stem = weight(r, "backbone.stem.6.weight");
    const struct ld_tensor *split =
        weight(r, "backbone.layer1.0.convs.0.weight");

    if (!stem || !split)
        return false;
    r->model->backbone = LD_RES2NET;
    r->model->width = stem->dim[0];
    r->model->groups = 1;
    r->model->base_width = base_width_of(split->dim[0], stem->dim[0]);
    return true;
}

/* The offsets of a stage's first deformable convolution, or NULL. */
static const struct ld_tensor *offsets_of(const struct reader *r, int stage)
{
    const char *conv = r->model->backbone == LD_RES2NET ? "convs.0" : "conv2";

    return find(r, "backbone.layer%d.0.%s.conv_offset.weight", stage, conv);
}

/* Two offsets for each of 9 taps, and in version 2 a mask. */
static bool read_dcn(struct reader *r)
{
    struct ld_model *m = r->model;
    const struct ld_tensor *t = NULL;

    m->dcn = LD_DCN_NONE;
    for (int stage = 1; !t && stage <= N_STAGES; stage++) {
        t = offsets_of(r, stage);
        if (t)
            m->dcn_from = stage;
    }
    if (!t)
        return true;
    m->dcn = t->n_dims > 0 && t->dim[0] == 18   ? LD_DCN_V1
             : t->n_dims > 0 && t->dim[0] == 27 ? LD_DCN_V2
                                                : LD_DCN_NONE;
    return m->dcn != LD_DCN_NONE ||
           fail(r, "'%s' has %d channels, expected 18 or 27", t->name,
                t->n_dims > 0 ? t->dim[0] : 0);
}

static bool read_backbone(struct reader *r)
{
    bool res2net = find(r, "backbone.stem.0.weight");
    const char *first = first_with(r, "backbone.");

    if (!res2net && !find(r, "backbone.conv1.weight"))
        return fail(r,
                    "its backbone has '%s', expected a ResNet, ResNeXt or "
                    "Res2Net",
                    first ? first : "nothing");
    return read_depth(r) && (res2net ? read_res2net(r) : read_resnet(r)) &&
           read_dcn(r);
}

/* Shapes do not tell where a bottleneck has its stride; the recipe does, or
 * else the head: FCOS is trained on style caffe. */
static void read_style(struct reader *r)
{
    const char *recipe = r->from->recipe;
    struct ld_model *m = r->model;
    bool caffe = m->head == LD_HEAD_FCOS;

    if (recipe && strstr(recipe, "style="))
        caffe = strstr(recipe, "style='caffe'") ||
                strstr(recipe, "style=\"caffe\"");
    m->style = caffe && m->backbone == LD_RESNET && m->depth >= 50
                   ? LD_STYLE_CAFFE
                   : LD_STYLE_PYTORCH;
}

bool ld_foreign_model(const struct ld_foreign *foreign, struct ld_model *model,
                      char why[LD_WHY_SIZE])
{
    struct reader r = {foreign, model, why};

    if (!check_head(&r) || !read_head(&r) || !read_neck(&r) ||
        !read_backbone(&r))
        return false;
    read_style(&r);
    return true;
}
