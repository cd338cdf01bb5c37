#include "kernels/net/imitate.h"

#include <math.h>
#include <stdio.h>

#include "tests/maps.h"
#include "tests/suite.h"

static const struct ld_assign_rules ASSIGN = {9, LD_VLR_CODE, 0.25F, false};

/* ---- the loss ---- */

/* Rows of random places of a map with padding channels, weights of 1 to 2. */
static void random_rows(struct maps *m, struct ld_feature_rows *rows)
{
    int places = rows->shape.N * rows->shape.H * rows->shape.W;
    int32_t *place = maps_memory(m, (size_t)places * sizeof(*place));
    float *weight = maps_normal(m, (size_t)places);

    for (int i = 0; i < places; i++) {
        weight[i] = 1 + ld_rng_uniform(&m->rng);
        if (ld_rng_below(&m->rng, 3))
            place[rows->n++] = i;
    }
    rows->place = place;
    rows->weight = weight;
    rows->teacher = maps_normal(m, (size_t)rows->n * (size_t)rows->shape.C);
}

START_TEST(the_gradient_of_the_loss_is_its_slope)
{
    const float h = 0x1p-6F;
    struct ld_feature_rows rows = {.shape = {2, 21, 3, 5}};
    size_t count = shape_count(rows.shape);
    double worst = 0;
    struct maps m;
    float *plain, *dmap, *unused;
    const float *g;
    double *sum;

    maps_open(&m, 1, 3);
    random_rows(&m, &rows);
    plain = maps_normal(&m, count);
    dmap = maps_map(&m, NULL, rows.shape);
    unused = maps_map(&m, NULL, rows.shape);
    sum = maps_memory(&m, sizeof(*sum));
    m.dev->ops->feature_loss(m.dev, sum, dmap, maps_map(&m, plain, rows.shape),
                             &rows);
    g = maps_plain(&m, dmap, rows.shape);
    for (size_t i = 0; i < count; i += 7) {
        double value[2];
        float kept = plain[i];

        for (int up = 0; up < 2; up++) {
            plain[i] = kept + (up ? h : -h);
            m.dev->ops->feature_loss(m.dev, sum, unused,
                                     maps_map(&m, plain, rows.shape), &rows);
            m.dev->ops->download(m.dev, &value[up], sum, sizeof(*sum));
            maps_sync(&m);
        }
        plain[i] = kept;
        worst = fmax(worst, fabs((value[1] - value[0]) / (2 * (double)h) -
                                 (double)g[i]));
    }
    printf("# worst error of a slope %.2g\n", worst);
    /* A square has no third derivative: what is left is the rounding of a sum
     * of 21 float32 squares, 1e-6 each, over 2 h. */
    ck_assert_double_lt(worst, 1e-3);
    maps_close(&m);
}
END_TEST

START_TEST(the_number_of_threads_changes_no_bit_of_the_loss)
{
    struct ld_shape shape = {2, 32, 40, 50};
    double one = 0;

    for (int n = 1; n <= 4; n++) {
        struct ld_feature_rows rows = {.shape = shape};
        struct maps m;
        float *map;
        double got, *sum;

        maps_open(&m, n, 3);
        random_rows(&m, &rows);
        map = maps_map(&m, maps_normal(&m, shape_count(shape)), shape);
        sum = maps_memory(&m, sizeof(*sum));
        m.dev->ops->feature_loss(m.dev, sum, maps_map(&m, NULL, shape), map,
                                 &rows);
        m.dev->ops->download(m.dev, &got, sum, sizeof(got));
        maps_sync(&m);
        one = n == 1 ? got : one;
        ck_assert_double_eq(got, one);
        maps_close(&m);
    }
}
END_TEST

/* ---- what no golden case shows ---- */

START_TEST(the_main_region_is_the_positives)
{
    static const struct ld_box boxes[] = {{3, 5, 41, 47}, {20.5F, 30, 61, 55}};
    struct ld_grid grid = ld_grid_of_canvas(64, 96);
    struct ld_arena arena = {0};
    struct ld_err err = {0};
    struct ld_assignment a;
    struct ld_region region;
    int at = 0;

    ck_assert(ld_assign(&a, &grid, boxes, 2, &ASSIGN, &arena, &err));
    ck_assert(ld_region_of(&region, LD_IMITATE_MAIN, &grid, boxes, 2, &a,
                           &arena, &err));
    ck_assert_int_gt(region.n, 0);
    ck_assert_int_eq(region.n, a.n_main);
    for (int i = 0; i < a.n_rows; i++)
        if (a.rows[i].kind & LD_ROW_MAIN)
            ck_assert_int_eq(region.location[at++], a.rows[i].location);
    ld_arena_free(&arena);
}
END_TEST

START_TEST(an_image_without_boxes_has_an_empty_region)
{
    struct ld_grid grid = ld_grid_of_canvas(64, 96);
    struct ld_assignment none = {0};
    struct ld_arena arena = {0};
    struct ld_err err = {0};
    struct ld_region region;

    for (int i = LD_IMITATE_FINEGRAINED; i <= LD_IMITATE_FITNET; i++) {
        ck_assert(ld_region_of(&region, (enum ld_imitation)i, &grid, NULL, 0,
                               &none, &arena, &err));
        ck_assert_int_eq(region.n, 0);
    }
    ld_arena_free(&arena);
}
END_TEST

/* A row of candidates of falling score; each box overlaps its neighbours'. */
START_TEST(of_overlapping_candidates_the_better_is_chosen)
{
    struct ld_candidate all[30];
    int32_t chosen[LD_INSTANCES];

    for (int i = 0; i < 30; i++)
        all[i] = (struct ld_candidate){
            1 - (float)i / 30,
            {(float)i, 0, (float)i + 1.9F, 1}}; /* IoU 0.9 / 2.9 */
    ck_assert_int_eq(ld_candidates_choose(chosen, all, 30), LD_INSTANCES);
    for (int i = 0; i < LD_INSTANCES; i++)
        ck_assert_int_eq(chosen[i], 2 * i);
}
END_TEST

START_TEST(a_score_that_is_no_number_is_never_chosen)
{
    struct ld_candidate all[3] = {
        {NAN, {0, 0, 1, 1}}, {0.5F, {5, 0, 5, 0}}, {0.25F, {5, 0, 5, 0}}};
    int32_t chosen[LD_INSTANCES];

    ck_assert_int_eq(ld_candidates_choose(chosen, all, 3), 2);
    ck_assert_int_eq(chosen[0], 1);
    ck_assert_int_eq(chosen[1], 2); /* empty boxes do not overlap */
}
END_TEST

START_TEST(the_teachers_best_boxes_are_chosen_level_by_level)
{
    struct ld_grid grid = ld_grid_of_canvas(64, 64);
    int A = grid.start[grid.n_levels];
    struct ld_arena arena = {0};
    struct ld_err err = {0};
    float *scores = ld_arena_new(&arena, (size_t)A * 2, sizeof(float), &err);
    float *bins = ld_arena_new(&arena, (size_t)A * 8, sizeof(float), &err);
    struct ld_region region;

    /* Two bins a side, far apart: a side is 0 or 1 stride, here 0, so that no
     * boxes overlap. */
    for (int i = 0; i < 4 * A; i++)
        bins[2 * i] = 50;
    for (int a = 0; a < A; a++)
        scores[2 * a + 1] = (float)(a % 12) / 12;
    ck_assert(
        ld_region_choose(&region, &grid, scores, bins, 2, 2, &arena, &err));
    ck_assert_int_eq(region.n, 10 + 10 + 4 + 1 + 1);
    for (int i = 1; i < region.n; i++)
        ck_assert_int_lt(region.location[i - 1], region.location[i]);
    for (int i = 0; i < 5; i++) /* 64 places: five have the best score */
        ck_assert(scores[2 * region.location[2 * i] + 1] > 0.8F);
    ld_arena_free(&arena);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("imitate");
    TCase *c = tcase_create("imitate");

    tcase_add_test(c, the_gradient_of_the_loss_is_its_slope);
    tcase_add_test(c, the_number_of_threads_changes_no_bit_of_the_loss);
    tcase_add_test(c, the_main_region_is_the_positives);
    tcase_add_test(c, an_image_without_boxes_has_an_empty_region);
    tcase_add_test(c, of_overlapping_candidates_the_better_is_chosen);
    tcase_add_test(c, a_score_that_is_no_number_is_never_chosen);
    tcase_add_test(c, the_teachers_best_boxes_are_chosen_level_by_level);
    suite_add_tcase(s, c);
    return s;
}
