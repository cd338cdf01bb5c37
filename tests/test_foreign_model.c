/* Which detector a checkpoint without a config holds. */
#include "formats/foreign_model.h"

#include <stdio.h>
#include <string.h>

#include "formats/foreign_names.h"
#include "formats/setup.h"
#include "kernels/net/gfl.h"
#include "tests/nets.h"
#include "tests/suite.h"

enum { ROOM = 2000 };

/* Names and shapes, without numbers. */
struct names {
    struct ld_foreign f;
    struct ld_tensor tensors[ROOM];
    char text[ROOM][80];
};

static void add(struct names *n, const char *name, int n_dims, const int *dim)
{
    struct ld_tensor *t = &n->tensors[n->f.n_tensors];

    snprintf(n->text[n->f.n_tensors], 80, "%s", name);
    *t = (struct ld_tensor){.name = n->text[n->f.n_tensors], .n_dims = n_dims};
    if (n_dims > 0)
        memcpy(t->dim, dim, (size_t)n_dims * sizeof(*dim));
    n->f.tensors = n->tensors;
    n->f.n_tensors++;
}

static void sort(struct names *n, struct ld_arena *arena)
{
    struct ld_err err = {0};

    check_ok(ld_foreign_rename(&n->f, "x.pth", arena, &err), &err);
}

/* Those of a model that we build. */
static void names_of(struct names *n, const struct ld_model *model,
                     struct ld_arena *arena)
{
    static struct ld_graph graph;

    n->f = (struct ld_foreign){0};
    graph = (struct ld_graph){0};
    ld_gfl_build(&graph, model, false);
    for (int i = 0; i < graph.n_params; i++)
        add(n, graph.param[i].name, graph.param[i].n_dims, graph.param[i].dim);
    sort(n, arena);
}

static struct ld_model published(void)
{
    return (struct ld_model){.depth = 101,
                             .width = 64,
                             .groups = 1,
                             .base_width = 64,
                             .dcn_from = 2,
                             .fpn_channels = 256,
                             .head_convs = 4,
                             .gn_groups = 32,
                             .n_classes = 80,
                             .reg_max = 16,
                             .frozen_stages = 1,
                             .norm_eval = true};
}

static void expect_same(const struct ld_model *got, const struct ld_model *want)
{
    char a[160], b[160];

    ld_setup_model_text(got, a);
    ld_setup_model_text(want, b);
    ck_assert_str_eq(a, b);
    ck_assert_int_eq(got->backbone, want->backbone);
    ck_assert_int_eq(got->groups, want->groups);
    ck_assert_int_eq(got->base_width, want->base_width);
    ck_assert_int_eq(got->dcn, want->dcn);
    ck_assert(got->dcn == LD_DCN_NONE || got->dcn_from == want->dcn_from);
    ck_assert_int_eq(got->head, want->head);
    ck_assert_int_eq(got->style, want->style);
    ck_assert_int_eq(got->background_logit, want->background_logit);
    ck_assert_int_eq(got->frozen_stages, want->frozen_stages);
    ck_assert_int_eq(got->norm_eval, want->norm_eval);
}

static void expect_found(struct ld_model want)
{
    static struct names n;
    struct ld_model got = {.frozen_stages = 1, .norm_eval = true};
    struct ld_arena arena = {0};
    char why[LD_WHY_SIZE];

    names_of(&n, &want, &arena);
    n.f.n_classes = want.n_classes;
    ck_assert_msg(ld_foreign_model(&n.f, &got, why), "%s", why);
    expect_same(&got, &want);
    ld_arena_free(&arena);
}

START_TEST(every_model_that_is_built_is_found_again_from_names_and_shapes)
{
    static const int depths[] = {18, 34, 50, 101};
    struct ld_model m;

    for (int i = 0; i < 4; i++) {
        m = published();
        m.depth = depths[i];
        expect_found(m);
        m.width = 16;
        m.fpn_channels = 48;
        m.gn_groups = 24; /* the largest up to 32 that divides 48 */
        m.head_convs = 1 + i;
        m.reg_max = 7;
        m.n_classes = 3;
        expect_found(m);
    }
}
END_TEST

START_TEST(resnext_is_found_by_the_channels_of_a_group)
{
    struct ld_model m = published();

    m.groups = 32;
    m.base_width = 4;
    expect_found(m);
    m.groups = 64;
    expect_found(m);
}
END_TEST

START_TEST(deformable_convolutions_are_found_by_their_offsets)
{
    for (int from = 2; from <= 3; from++)
        for (int dcn = LD_DCN_V1; dcn <= LD_DCN_V2; dcn++) {
            struct ld_model m = published();

            m.dcn = (enum ld_dcn)dcn;
            m.dcn_from = from;
            expect_found(m);
        }
}
END_TEST

START_TEST(a_quality_branch_and_a_background_channel_are_found)
{
    struct ld_model m = published();

    m.head = LD_HEAD_GFLV2;
    expect_found(m);
    m.background_logit = true;
    expect_found(m);
    m.n_classes = 5;
    expect_found(m);
}
END_TEST

START_TEST(heads_with_a_centerness_are_found)
{
    struct ld_model m = published();

    m.head = LD_HEAD_ATSS;
    expect_found(m);
    m.head = LD_HEAD_FCOS;
    m.style = LD_STYLE_CAFFE;
    expect_found(m);
}
END_TEST

START_TEST(nine_anchors_a_place_are_found)
{
    struct ld_model m = published();

    m.head = LD_HEAD_RETINA;
    expect_found(m);
    m.depth = 18;
    m.n_classes = 3;
    m.reg_max = 7;
    expect_found(m);
}
END_TEST

START_TEST(the_style_is_what_the_recipe_says)
{
    static struct names n;
    struct ld_model m = published(), got = {0};
    struct ld_arena arena = {0};
    char why[LD_WHY_SIZE];

    names_of(&n, &m, &arena);
    n.f.recipe = "backbone=dict(depth=101, style='caffe')";
    ck_assert_msg(ld_foreign_model(&n.f, &got, why), "%s", why);
    ck_assert_int_eq(got.style, LD_STYLE_CAFFE);
    m.head = LD_HEAD_FCOS;
    names_of(&n, &m, &arena);
    n.f.recipe = "backbone=dict(depth=101, style='pytorch')";
    ck_assert_msg(ld_foreign_model(&n.f, &got, why), "%s", why);
    ck_assert_int_eq(got.style, LD_STYLE_PYTORCH);
    ld_arena_free(&arena);
}
END_TEST

START_TEST(without_class_names_81_channels_of_gfl_v2_are_coco_and_background)
{
    static struct names n;
    struct ld_model want = published(), got = {0};
    struct ld_arena arena = {0};
    char why[LD_WHY_SIZE];

    want.head = LD_HEAD_GFLV2;
    want.background_logit = true;
    names_of(&n, &want, &arena);
    ck_assert_msg(ld_foreign_model(&n.f, &got, why), "%s", why);
    ck_assert_int_eq(got.n_classes, 80);
    ck_assert(got.background_logit);
    want.head = LD_HEAD_GFL;
    want.background_logit = false;
    want.n_classes = 81;
    names_of(&n, &want, &arena);
    ck_assert_msg(ld_foreign_model(&n.f, &got, why), "%s", why);
    ck_assert_int_eq(got.n_classes, 81);
    ck_assert(!got.background_logit);
    ld_arena_free(&arena);
}
END_TEST

/* The names of spec model.md, section 5, on the rest of R-101. */
static void make_res2net(struct names *n, struct ld_arena *arena)
{
    static const int blocks[] = {3, 4, 23, 3};
    struct ld_model rest = published();
    char name[80];
    int kept = 0;

    names_of(n, &rest, arena);
    for (int i = 0; i < n->f.n_tensors; i++)
        if (strncmp(n->tensors[i].name, "backbone.", 9) != 0)
            n->tensors[kept++] = n->tensors[i];
    n->f.n_tensors = kept;
    for (int i = 0; i < kept; i++) { /* add overwrites the texts */
        const char *text = n->tensors[i].name;
        struct ld_err err = {0};

        n->tensors[i].name = ld_arena_text(arena, text, strlen(text), &err);
    }
    add(n, "backbone.stem.0.weight", 4, (int[]){32, 3, 3, 3});
    add(n, "backbone.stem.6.weight", 4, (int[]){64, 32, 3, 3});
    for (int l = 0; l < 4; l++)
        for (int b = 0; b < blocks[l]; b++) {
            int w = 26 << l;

            snprintf(name, sizeof(name), "backbone.layer%d.%d.conv1.weight",
                     l + 1, b);
            add(n, name, 4, (int[]){4 * w, 64, 1, 1});
            snprintf(name, sizeof(name), "backbone.layer%d.%d.conv3.weight",
                     l + 1, b);
            add(n, name, 4, (int[]){256 << l, 4 * w, 1, 1});
            snprintf(name, sizeof(name), "backbone.layer%d.%d.convs.0.weight",
                     l + 1, b);
            add(n, name, 4, (int[]){w, w, 3, 3});
            if (l < 2)
                continue;
            snprintf(name, sizeof(name),
                     "backbone.layer%d.%d.convs.0.conv_offset.weight", l + 1,
                     b);
            add(n, name, 4, (int[]){18, w, 3, 3});
        }
    sort(n, arena);
}

START_TEST(res2net_is_found_by_its_deep_stem)
{
    static struct names n;
    struct ld_model want = published(),
                    got = {.frozen_stages = 1, .norm_eval = true};
    struct ld_arena arena = {0};
    char why[LD_WHY_SIZE];

    make_res2net(&n, &arena);
    want.backbone = LD_RES2NET;
    want.base_width = 26;
    want.dcn = LD_DCN_V1;
    want.dcn_from = 3;
    ck_assert_msg(ld_foreign_model(&n.f, &got, why), "%s", why);
    expect_same(&got, &want);
    ld_arena_free(&arena);
}
END_TEST

/* ---- what is none ---- */

static struct ld_tensor *named(struct names *n, const char *name)
{
    for (int i = 0; i < n->f.n_tensors; i++)
        if (strcmp(n->tensors[i].name, name) == 0)
            return &n->tensors[i];
    ck_abort_msg("no '%s'", name);
}

static void expect_none(const struct names *n, const char *text)
{
    struct ld_model model = {0};
    char why[LD_WHY_SIZE];

    ck_assert(!ld_foreign_model(&n->f, &model, why));
    ck_assert_str_eq(why, text);
}

START_TEST(what_is_no_such_detector_is_said)
{
    static struct names n;
    struct ld_model m = published();
    struct ld_arena arena = {0};

    names_of(&n, &m, &arena);
    named(&n, "bbox_head.gfl_cls.weight")->name = "bbox_head.gfl_cls.x";
    expect_none(&n, "its head has 'bbox_head.cls_convs.0.conv.weight' and no "
                    "bbox_head.gfl_cls");
    names_of(&n, &m, &arena);
    named(&n, "bbox_head.gfl_reg.weight")->dim[0] = 66;
    expect_none(&n, "its bbox_head.gfl_reg has 66 channels, expected a "
                    "distribution for each of 4 sides");
    names_of(&n, &m, &arena);
    n.f.n_classes = 20;
    expect_none(&n, "it names 20 classes and its head has 80");
    names_of(&n, &m, &arena);
    named(&n, "backbone.layer3.7.conv1.weight")->name =
        "backbone.layer3.7.conv1.w";
    expect_none(&n, "its layers have 3, 4, 7, 3 bottleneck blocks, expected a "
                    "ResNet of depth 18, 34, 50 or 101");
    names_of(&n, &m, &arena);
    named(&n, "backbone.conv1.weight")->name = "backbone.conv1.w";
    expect_none(&n, "its backbone has 'backbone.bn1.bias', expected a ResNet, "
                    "ResNeXt or Res2Net");
    m.head = LD_HEAD_ATSS;
    names_of(&n, &m, &arena);
    named(&n, "bbox_head.atss_reg.weight")->dim[0] = 4;
    expect_none(&n, "its bbox_head.atss_reg has 4 channels, expected a "
                    "distribution for each of 4 sides");
    ld_arena_free(&arena);
}
END_TEST

/* ---- names ---- */

START_TEST(old_and_bare_names_become_ours)
{
    static const char *const given[] = {
        "module.layer1.0.conv1.weight", "module.layer2.0.conv2_offset.bias",
        "module.fc.weight", "module.bn1.num_batches_tracked"};
    static struct names n;
    struct ld_arena arena = {0};

    n.f = (struct ld_foreign){0};
    for (int i = 0; i < 4; i++)
        add(&n, given[i], 0, NULL);
    sort(&n, &arena);
    ck_assert_int_eq(n.f.n_tensors, 2);
    ck_assert_str_eq(n.tensors[0].name, "backbone.layer1.0.conv1.weight");
    ck_assert_str_eq(n.tensors[1].name,
                     "backbone.layer2.0.conv2.conv_offset.bias");
    ld_arena_free(&arena);
}
END_TEST

START_TEST(a_name_used_twice_is_refused)
{
    static struct names n;
    struct ld_arena arena = {0};
    struct ld_err err = {0};

    n.f = (struct ld_foreign){0};
    add(&n, "backbone.layer2.0.conv2_offset.bias", 0, NULL);
    add(&n, "backbone.layer2.0.conv2.conv_offset.bias", 0, NULL);
    ck_assert(!ld_foreign_rename(&n.f, "x.pth", &arena, &err));
    ck_assert_str_eq(err.text, "x.pth: 'backbone.layer2.0.conv2.conv_offset."
                               "bias' stands in it twice");
    ld_arena_free(&arena);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("foreign_model");
    TCase *c = tcase_create("model");

    tcase_add_test(
        c, every_model_that_is_built_is_found_again_from_names_and_shapes);
    tcase_add_test(c, resnext_is_found_by_the_channels_of_a_group);
    tcase_add_test(c, deformable_convolutions_are_found_by_their_offsets);
    tcase_add_test(c, a_quality_branch_and_a_background_channel_are_found);
    tcase_add_test(c, heads_with_a_centerness_are_found);
    tcase_add_test(c, nine_anchors_a_place_are_found);
    tcase_add_test(c, the_style_is_what_the_recipe_says);
    tcase_add_test(
        c, without_class_names_81_channels_of_gfl_v2_are_coco_and_background);
    tcase_add_test(c, res2net_is_found_by_its_deep_stem);
    tcase_add_test(c, what_is_no_such_detector_is_said);
    tcase_add_test(c, old_and_bare_names_become_ours);
    tcase_add_test(c, a_name_used_twice_is_refused);
    suite_add_tcase(s, c);
    return s;
}
