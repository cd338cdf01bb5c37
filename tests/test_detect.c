#include "kernels/net/detect.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "tests/golden.h"
#include "tests/golden_grid.h"
#include "tests/suite.h"

static const struct ld_detect_rules RULES = {.score_limit = 0.05F,
                                             .iou_limit = 0.6F,
                                             .per_level = 1000,
                                             .per_image = 100};

static struct ld_detections detect(const struct ld_detect_input *in,
                                   const struct ld_detect_rules *rules,
                                   struct ld_arena *arena)
{
    struct ld_detections out;
    struct ld_err err = {0};

    ck_assert_msg(ld_detect(&out, in, rules, arena, &err), "%s", err.text);
    return out;
}

/* ---- golden values ---- */

/* One image of the maps stem_0 .. stem_4, (N, C, h, w), as rows (A, C). */
static float *rows_of(struct golden *g, const char *stem, int image,
                      const struct ld_grid *grid, size_t C)
{
    float *rows =
        ld_arena_new(&g->arena, (size_t)grid->start[grid->n_levels] * C,
                     sizeof(*rows), &(struct ld_err){0});

    for (int level = 0; level < grid->n_levels; level++) {
        int start = grid->start[level];
        size_t places = (size_t)(grid->start[level + 1] - start);
        char name[32];
        const float *map;

        snprintf(name, sizeof(name), "%s_%d", stem, level);
        map = golden_array(g, name).data;
        map += (size_t)image * C * places;
        for (size_t i = 0; i < places * C; i++)
            rows[(start + i % places) * C + i / places] = map[i];
    }
    return rows;
}

/* Box and score of the reference's detection: x0 y0 x1 y1 score. Tolerance:
 * boxes of some hundred pixels, a hundred roundings of 6e-8 each. */
static bool alike(const struct ld_detection *d, const float want[5],
                  int64_t label)
{
    return d->class_index == label && fabsf(d->score - want[4]) < 1e-6F &&
           fabsf(d->box.x0 - want[0]) < 2e-3F &&
           fabsf(d->box.y0 - want[1]) < 2e-3F &&
           fabsf(d->box.x1 - want[2]) < 2e-3F &&
           fabsf(d->box.y1 - want[3]) < 2e-3F;
}

/* Equal scores (within the tolerance) may stand in any order. */
static bool found(const struct ld_detections *d, int at, const float *want,
                  int64_t label)
{
    for (int i = at > 4 ? at - 4 : 0; i < d->n && i <= at + 4; i++) {
        if (alike(&d->items[i], want, label))
            return true;
    }
    return false;
}

static void compare_detections(struct golden *g, const char *kind, int image,
                               const struct ld_detections *got)
{
    char name[64];
    struct golden_array dets;
    const float *want;
    const int64_t *label;

    snprintf(name, sizeof(name), "dets_%s_%d", kind, image);
    dets = golden_array(g, name);
    want = dets.data;
    snprintf(name, sizeof(name), "labels_%s_%d", kind, image);
    label = golden_array(g, name).data;
    ck_assert_int_eq(got->n, dets.dim[0]);
    for (int i = 0; i < got->n; i++)
        ck_assert_msg(found(got, i, want + 5 * i, label[i]),
                      "%s: %s %d: the reference's detection %d (class %d, "
                      "score %.7f) is missing",
                      g->name, kind, image, i, (int)label[i],
                      (double)want[5 * i + 4]);
}

static float meta(struct golden *g, int image, const char *key)
{
    char path[80];

    snprintf(path, sizeof(path), "params.img_metas.%d.%s", image, key);
    return (float)golden_number(g, path);
}

/* Scores of GFL V2 as logits of classes and of a quality, a little over the
 * best of its place. The reference detects the background as a class. */
static float *split_scores(struct golden *g, float *score,
                           const struct ld_grid *grid, size_t K)
{
    size_t A = (size_t)grid->start[grid->n_levels];
    float *quality =
        ld_arena_new(&g->arena, A, sizeof(*quality), &(struct ld_err){0});

    for (size_t a = 0; a < A; a++) {
        double q = 0;

        for (size_t k = 0; k < K; k++)
            q = fmax(q, (double)score[a * K + k]);
        q = sqrt(q);
        quality[a] = (float)log(q / (1 - q));
        for (size_t k = 0; k < K; k++) {
            double s = (double)score[a * K + k] / q;

            score[a * K + k] = (float)log(s / (1 - s));
        }
    }
    return quality;
}

/* An instance of very many candidates has no votes: n squared floats were too
 * much for the reference. */
static void compare_both_ways(struct golden *g, int image,
                              const struct ld_detect_input *in,
                              struct ld_detect_rules rules, const char *suffix)
{
    struct ld_detections got = detect(in, &rules, &g->arena);
    char kind[32], name[64];

    snprintf(kind, sizeof(kind), "nms%s", suffix);
    compare_detections(g, kind, image, &got);
    snprintf(kind, sizeof(kind), "vote%s", suffix);
    snprintf(name, sizeof(name), "dets_%s_%d", kind, image);
    if (!golden_has(g, name)) {
        golden_left_out(g, "no votes are stored");
        return;
    }
    rules.nms = LD_NMS_VOTING;
    got = detect(in, &rules, &g->arena);
    compare_detections(g, kind, image, &got);
}

static void compare_image(struct golden *g, int image)
{
    struct ld_grid grid = golden_grid(g);
    bool joint = golden_has_value(g, "params.cls_out_channels");
    size_t K = (size_t)golden_number(g, joint ? "params.cls_out_channels"
                                              : "params.num_classes");
    struct ld_detect_rules rules = {
        .score_limit = (float)golden_number(g, "params.score_thr"),
        .iou_limit = (float)golden_number(g, "params.iou_threshold"),
        .per_level = (int)golden_number(g, "params.nms_pre"),
        .per_image = (int)golden_number(g, "params.max_per_img"),
    };
    struct ld_detect_input in = {
        .grid = &grid,
        .class_logits = rows_of(g, "cls", image, &grid, K),
        .box_logits = rows_of(g, "reg", image, &grid, 68),
        .K = (int)K,
        .B = 17,
        .H = (int)meta(g, image, "img_shape.0"),
        .W = (int)meta(g, image, "img_shape.1"),
        .scale_x = 1,
        .scale_y = 1,
        .n_logits = (int)K,
    };

    if (joint)
        in.quality = split_scores(g, (float *)in.class_logits, &grid, K);
    compare_both_ways(g, image, &in, rules, "");
    in.scale_x = meta(g, image, "scale_factor.0");
    in.scale_y = meta(g, image, "scale_factor.1");
    compare_both_ways(g, image, &in, rules, "_rescaled");
}

static void compare_instance(struct golden *g)
{
    int n_images = (int)golden_number(g, "params.num_imgs");

    for (int image = 0; image < n_images; image++)
        compare_image(g, image);
}

START_TEST(detections_are_those_of_the_reference)
{
    golden_each("06_postproc", compare_instance);
}
END_TEST

/* ---- against sorting everything ---- */

struct scene {
    struct ld_arena arena;
    struct ld_grid grid;
    struct ld_detect_input in;
    float *z, *r;
};

static void scene_start(struct scene *s, int H, int W, int K)
{
    size_t A;

    *s = (struct scene){.grid = ld_grid_of_canvas(H, W)};
    A = (size_t)s->grid.start[5];
    s->z = ld_arena_new(&s->arena, A * K, sizeof(float), &(struct ld_err){0});
    s->r = ld_arena_new(&s->arena, A * 68, sizeof(float), &(struct ld_err){0});
    for (size_t i = 0; i < A * K; i++)
        s->z[i] = -20;
    s->in = (struct ld_detect_input){&s->grid, s->z, s->r, K, 17,   H,
                                     W,        1,    1,    K, NULL, false};
}

/* Makes a location's box reach `distance` strides to each side. */
static void scene_object(struct scene *s, int location, int class_index,
                         float logit, int distance)
{
    s->z[location * s->in.K + class_index] = logit;
    for (int side = 0; side < 4; side++)
        s->r[(location * 4 + side) * 17 + distance] = 60;
}

static void scene_random(struct scene *s, uint64_t seed)
{
    struct ld_rng rng = ld_rng_seed(seed, 0);
    size_t A = (size_t)s->grid.start[5];

    for (size_t i = 0; i < A * s->in.K; i++)
        s->z[i] = roundf(ld_rng_normal(&rng) * 8) / 8 - 3; /* scores tie */
    for (size_t i = 0; i < A * 68; i++)
        s->r[i] = 3 * ld_rng_normal(&rng);
}

static int by_score(const void *a, const void *b)
{
    const struct ld_detection *x = a, *y = b;

    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return 0;
}

/* Every class of every location, by rules that suppress and limit nothing. */
static struct ld_detections everything(struct scene *s)
{
    struct ld_detect_rules all = {.score_limit = 0.05F,
                                  .iou_limit = 2,
                                  .per_level = 1 << 20,
                                  .per_image = 1 << 20};

    return detect(&s->in, &all, &s->arena);
}

START_TEST(the_first_detections_are_those_of_suppressing_the_whole_sorted_list)
{
    struct scene s;
    struct ld_detect_rules few = RULES;
    struct ld_detections all, got;
    int n = 0;

    scene_start(&s, 96, 128, 5);
    scene_random(&s, 3);
    all = everything(&s);
    ck_assert_int_gt(all.n, 500);
    for (int i = 1; i < all.n; i++)
        ck_assert_int_le(by_score(&all.items[i - 1], &all.items[i]), 0);
    for (int i = 0; i < all.n; i++) {
        bool kept = true;

        for (int j = 0; j < n && kept; j++)
            kept = all.items[j].class_index != all.items[i].class_index ||
                   ld_box_iou(all.items[j].box, all.items[i].box) <= 0.6F;
        if (kept)
            all.items[n++] = all.items[i];
    }
    ck_assert_int_gt(n, 50);
    got = detect(&s.in, &RULES, &s.arena);
    ck_assert_int_eq(got.n, n);
    ck_assert_int_eq(
        memcmp(got.items, all.items, (size_t)n * sizeof(*got.items)), 0);
    few.per_image = 50;
    got = detect(&s.in, &few, &s.arena);
    ck_assert_int_eq(got.n, 50);
    ck_assert_int_eq(memcmp(got.items, all.items, 50 * sizeof(*got.items)), 0);
    ld_arena_free(&s.arena);
}
END_TEST

START_TEST(of_a_level_only_the_best_locations_go_on)
{
    struct scene s;
    struct ld_detect_rules rules = RULES;
    struct ld_detections got;

    scene_start(&s, 64, 64, 2);
    rules.per_level = 2;
    scene_object(&s, 3, 0, 1, 1);
    scene_object(&s, 30, 1, 3, 1);
    scene_object(&s, 50, 0, 2, 1);
    got = detect(&s.in, &rules, &s.arena);
    ck_assert_int_eq(got.n, 2);
    ck_assert_int_eq(got.items[0].class_index, 1);
    ck_assert_float_eq_tol(got.items[1].score, 1 / (1 + expf(-2)), 1e-6F);
    ld_arena_free(&s.arena);
}
END_TEST

START_TEST(a_score_is_the_product_with_its_quality)
{
    float quality[86] = {0}; /* of the five levels */
    struct scene s;
    struct ld_detect_rules rules = RULES;
    struct ld_detections got;

    scene_start(&s, 64, 64, 2);
    s.in.quality = quality;
    quality[3] = 2;
    quality[30] = -1;
    scene_object(&s, 3, 0, 1, 1);
    scene_object(&s, 30, 1, 3, 1);
    scene_object(&s, 50, 0, 2, 1);
    rules.per_level = 2;
    got = detect(&s.in, &rules, &s.arena);
    ck_assert_int_eq(got.n, 2); /* 0.64, 0.44; not 0.26, the best class */
    ck_assert_float_eq_tol(got.items[0].score,
                           1 / (1 + expf(-1)) / (1 + expf(-2)), 1e-6F);
    ck_assert_float_eq_tol(got.items[1].score, 0.5F / (1 + expf(-2)), 1e-6F);
    ld_arena_free(&s.arena);
}
END_TEST

START_TEST(centerness_moves_a_score_that_is_limited_without_it)
{
    float centerness[86] = {0}; /* of the five levels */
    struct scene s;
    struct ld_detect_rules rules = RULES;
    struct ld_detections got;

    scene_start(&s, 64, 64, 2);
    s.in.quality = centerness;
    s.in.centerness = true;
    centerness[3] = -3;
    scene_object(&s, 3, 0, -2, 1);  /* 0.119, times 0.047 */
    scene_object(&s, 30, 1, -3, 1); /* 0.047: below the limit of 0.05 */
    centerness[30] = 9;
    got = detect(&s.in, &rules, &s.arena);
    ck_assert_int_eq(got.n, 1);
    ck_assert_int_eq(got.items[0].class_index, 0);
    ck_assert_float_eq_tol(got.items[0].score,
                           1 / (1 + expf(2)) / (1 + expf(3)), 1e-7F);
    s.in.centerness = false;
    got = detect(&s.in, &rules, &s.arena);
    ck_assert_int_eq(got.n, 0);
    ld_arena_free(&s.arena);
}
END_TEST

START_TEST(the_background_is_no_detection)
{
    struct scene s;
    struct ld_detect_rules rules = RULES;
    struct ld_detections got;

    scene_start(&s, 64, 64, 3);
    s.in.K = 2; /* of 3 logits */
    rules.per_level = 1;
    s.z[30 * 3 + 2] = 8;
    for (int side = 0; side < 4; side++)
        s.r[(3 * 4 + side) * 17 + 2] = 60;
    s.z[3 * 3 + 1] = 1;
    got = detect(&s.in, &rules, &s.arena);
    ck_assert_int_eq(got.n, 1);
    ck_assert_int_eq(got.items[0].class_index, 1);
    ck_assert_float_eq_tol(got.items[0].score, 1 / (1 + expf(-1)), 1e-6F);
    ld_arena_free(&s.arena);
}
END_TEST

START_TEST(boxes_are_clipped_to_the_image_and_scaled_back_to_its_file)
{
    struct scene s;
    struct ld_detections got;

    scene_start(&s, 64, 64, 1);
    s.in.W = 50;
    s.in.scale_x = 2;
    s.in.scale_y = 4;
    scene_object(&s, 2 * 8 + 5, 0, 5, 3); /* centre (40, 16), 24 each way */
    got = detect(&s.in, &RULES, &s.arena);
    ck_assert_int_eq(got.n, 1);
    ck_assert_float_eq_tol(got.items[0].box.x0, 8, 1e-4F);
    ck_assert_float_eq_tol(got.items[0].box.y0, 0, 1e-4F);
    ck_assert_float_eq_tol(got.items[0].box.x1, 25, 1e-4F);
    ck_assert_float_eq_tol(got.items[0].box.y1, 10, 1e-4F);
    ld_arena_free(&s.arena);
}
END_TEST

START_TEST(boxes_suppress_within_their_class_only)
{
    struct scene s;
    struct ld_detections got;

    scene_start(&s, 96, 96, 2);
    scene_object(&s, 5 * 12 + 5, 0, 5, 4);
    scene_object(&s, 5 * 12 + 6, 0, 4, 4); /* IoU 7/9 with the first */
    s.z[(5 * 12 + 6) * 2 + 1] = 3;
    got = detect(&s.in, &RULES, &s.arena);
    ck_assert_int_eq(got.n, 2);
    ck_assert_int_eq(got.items[0].class_index, 0);
    ck_assert_int_eq(got.items[1].class_index, 1);
    ld_arena_free(&s.arena);
}
END_TEST

START_TEST(a_picture_of_nothing_and_a_nan_score_give_no_detection)
{
    struct scene s;

    scene_start(&s, 64, 64, 3);
    ck_assert_int_eq(detect(&s.in, &RULES, &s.arena).n, 0);
    s.z[7] = NAN;
    ck_assert_int_eq(detect(&s.in, &RULES, &s.arena).n, 0);
    ld_arena_free(&s.arena);
}
END_TEST

START_TEST(every_allocation_may_fail_and_says_so)
{
    struct ld_detect_rules rules = RULES;
    struct scene s;
    bool ok = false;

    scene_start(&s, 160, 160, 20);
    scene_random(&s, 3);
    rules.per_level = 50;
    for (int n = 0; !ok; n++) {
        struct ld_arena arena = {0};
        struct ld_detections got;
        struct ld_err err = {0};

        ld_mem_fail_after(n);
        ok = ld_detect(&got, &s.in, &rules, &arena, &err);
        ld_mem_fail_after(-1);
        if (!ok)
            ck_assert_int_eq(err.code, LD_ERR_MEMORY);
        ld_arena_free(&arena);
    }
    ld_arena_free(&s.arena);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("detect");
    TCase *c = tcase_create("detect");

    tcase_add_test(c, detections_are_those_of_the_reference);
    tcase_add_test(
        c, the_first_detections_are_those_of_suppressing_the_whole_sorted_list);
    tcase_add_test(c, of_a_level_only_the_best_locations_go_on);
    tcase_add_test(c, a_score_is_the_product_with_its_quality);
    tcase_add_test(c, centerness_moves_a_score_that_is_limited_without_it);
    tcase_add_test(c, the_background_is_no_detection);
    tcase_add_test(c,
                   boxes_are_clipped_to_the_image_and_scaled_back_to_its_file);
    tcase_add_test(c, boxes_suppress_within_their_class_only);
    tcase_add_test(c, a_picture_of_nothing_and_a_nan_score_give_no_detection);
    tcase_add_test(c, every_allocation_may_fail_and_says_so);
    suite_add_tcase(s, c);
    return s;
}
