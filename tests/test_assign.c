#include "kernels/net/assign.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "tests/golden.h"
#include "tests/golden_grid.h"
#include "tests/suite.h"

static const struct ld_assign_rules RULES = {
    .topk = 9, .vlr_mode = LD_VLR_CODE, .vlr_gamma = 0.25F};

enum { MAX_A = 25000, MAX_BOXES = 64 };

static struct ld_assignment assign(const struct ld_grid *grid,
                                   const struct ld_box *boxes, int n_boxes,
                                   const struct ld_assign_rules *rules,
                                   struct ld_arena *arena)
{
    struct ld_assignment out;
    struct ld_err err = {0};

    ck_assert_msg(ld_assign(&out, grid, boxes, n_boxes, rules, arena, &err),
                  "%s", err.text);
    return out;
}

/* ---- golden values ---- */

static struct ld_assignment golden_assign(struct golden *g,
                                          struct ld_grid *grid)
{
    struct golden_array boxes = golden_array(g, "gt_bboxes");
    struct ld_assign_rules rules = RULES;

    *grid = golden_grid(g);
    rules.topk = (int)golden_number(g, "params.topk");
    return assign(grid, boxes.data, boxes.dim[0], &rules, &g->arena);
}

static bool comparable(const struct golden *g)
{
    if (strstr(g->name, "ties_integer"))
        golden_left_out(g, "which of equally near anchors torch.topk takes is "
                           "an accident");
    else if (strstr(g->name, "ignore_iof"))
        golden_left_out(g, "ignore_iof_thr is -1 in every recipe");
    else
        return true;
    return false;
}

/* Ours sums in double, torch in float: a few units in the last place. */
static void compare_thresholds(struct golden *g, const struct ld_assignment *a)
{
    struct golden_array want;
    const float *value;

    if (!golden_has(g, "iou_threshold_per_gt"))
        return; /* an image without boxes */
    want = golden_array(g, "iou_threshold_per_gt");
    value = want.data;
    for (size_t i = 0; i < want.count; i++)
        ck_assert_float_eq_tol(a->threshold[i], value[i], 5e-7F);
}

static void compare_main_row(struct golden *g, const struct ld_row *row,
                             const int64_t *owner)
{
    const int64_t *labels = golden_array(g, "gt_labels").data;
    const int64_t *assigned = golden_array(g, "assigned_labels").data;

    ck_assert_msg(owner[row->location] == row->object + 1,
                  "%s: location %d belongs to object %d, expected %d", g->name,
                  (int)row->location, (int)row->object + 1,
                  (int)owner[row->location]);
    ck_assert_int_eq(assigned[row->location], labels[row->object]);
}

static void compare_main(struct golden *g)
{
    struct ld_grid grid;
    struct ld_assignment a;
    struct golden_array positive = golden_array(g, "pos_inds");
    const int64_t *index = positive.data;
    const int64_t *owner = golden_array(g, "gt_inds").data;
    int n = 0;

    if (!comparable(g))
        return;
    a = golden_assign(g, &grid);
    ck_assert_int_eq(a.n_main, positive.count);
    for (int i = 0; i < a.n_rows; i++) {
        if (!(a.rows[i].kind & LD_ROW_MAIN))
            continue;
        ck_assert_int_eq(a.rows[i].location, index[n]);
        compare_main_row(g, &a.rows[i], owner);
        n++;
    }
    ck_assert_int_eq(n, positive.count);
    compare_thresholds(g, &a);
}

START_TEST(positives_are_those_of_the_reference)
{
    golden_each("02_atss", compare_main);
}
END_TEST

static void compare_vlr(struct golden *g)
{
    struct ld_grid grid;
    struct ld_assignment a;
    float *got;
    const float *want;
    size_t A;

    if (!comparable(g))
        return;
    if (!golden_has(g, "vlr_region")) {
        a = golden_assign(g, &grid); /* where the reference crashes */
        ck_assert_int_eq(a.n_rows, 0);
        return;
    }
    a = golden_assign(g, &grid);
    A = (size_t)grid.start[grid.n_levels];
    got = ld_arena_new(&g->arena, A, sizeof(*got), &(struct ld_err){0});
    want = golden_floats(g, "vlr_region", A);
    for (int i = 0; i < a.n_rows; i++)
        got[a.rows[i].location] = a.rows[i].vlr;
    for (size_t i = 0; i < A; i++)
        ck_assert_msg((got[i] > 0) == (want[i] > 0),
                      "%s: location %zu has VLR value %g, expected %g", g->name,
                      i, (double)got[i], (double)want[i]);
    /* one IoU: a rounding of float */
    golden_compare(g, "vlr_region", got, A, 1e-6);
    compare_thresholds(g, &a);
}

START_TEST(the_valuable_region_is_that_of_the_reference)
{
    golden_each("03_vlr", compare_vlr);
}
END_TEST

/* ---- against the plain scan of everything ---- */

struct plain {
    float distance;
    int location;
};

static int by_distance(const void *a, const void *b)
{
    const struct plain *x = a, *y = b;

    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return x->location - y->location;
}

/* The candidates of one object by sorting every level whole. */
static int plain_candidates(struct plain *near, const struct ld_grid *grid,
                            struct ld_box box, int topk)
{
    static struct plain all[MAX_A];
    float cx = (box.x0 + box.x1) / 2, cy = (box.y0 + box.y1) / 2, x, y;
    int n = 0;

    for (int level = 0; level < grid->n_levels; level++) {
        int count = grid->start[level + 1] - grid->start[level];

        for (int i = 0; i < count; i++) {
            int a = grid->start[level] + i;

            ld_grid_centre(grid, a, &x, &y);
            all[i] = (struct plain){
                sqrtf((x - cx) * (x - cx) + (y - cy) * (y - cy)), a};
        }
        qsort(all, (size_t)count, sizeof(*all), by_distance);
        for (int i = 0; i < count && i < topk; i++)
            near[n++] = all[i];
    }
    return n;
}

static float plain_threshold(const struct ld_grid *grid, struct ld_box box,
                             const struct plain *near, int n)
{
    double sum = 0, square = 0;

    for (int i = 0; i < n; i++)
        sum += (double)ld_box_iou(ld_grid_anchor(grid, near[i].location), box);
    for (int i = 0; i < n; i++)
        square += pow(
            (double)ld_box_iou(ld_grid_anchor(grid, near[i].location), box) -
                sum / n,
            2);
    return (float)(sum / n) + (float)sqrt(square / (n - 1));
}

static float plain_vlr(const struct ld_grid *grid, int a, struct ld_box box,
                       float threshold, const struct ld_assign_rules *rules)
{
    struct ld_box anchor = ld_grid_anchor(grid, a);
    float iou = ld_box_iou(anchor, box);
    float share =
        rules->vlr_mode == LD_VLR_CODE ? ld_box_iof(anchor, box) : iou;
    float near = share - ld_box_centre_gap(anchor, box);

    return near >= rules->vlr_gamma * threshold && near < threshold ? iou : 0;
}

static bool plain_positive(const struct ld_grid *grid, int a, struct ld_box box)
{
    float x, y;

    ld_grid_centre(grid, a, &x, &y);
    return x - box.x0 > 0.01F && y - box.y0 > 0.01F && box.x1 - x > 0.01F &&
           box.y1 - y > 0.01F;
}

static void compare_with_scan(const struct ld_grid *grid,
                              const struct ld_box *boxes, int n_boxes,
                              const struct ld_assign_rules *rules)
{
    static int owner[MAX_A];
    static float iou[MAX_A], vlr[MAX_A];
    struct plain near[5 * 16];
    struct ld_arena arena = {0};
    struct ld_assignment got = assign(grid, boxes, n_boxes, rules, &arena);
    int A = grid->start[grid->n_levels], row = 0;

    memset(owner, 0, sizeof(owner));
    memset(vlr, 0, sizeof(vlr));
    for (int b = 0; b < n_boxes; b++) {
        int n = plain_candidates(near, grid, boxes[b], rules->topk);
        float limit = plain_threshold(grid, boxes[b], near, n);

        ck_assert_float_eq(got.threshold[b], limit);
        for (int i = 0; i < n; i++) {
            int a = near[i].location;
            float value = ld_box_iou(ld_grid_anchor(grid, a), boxes[b]);

            if (value >= limit && plain_positive(grid, a, boxes[b]) &&
                (owner[a] == 0 || value > iou[a])) {
                owner[a] = b + 1;
                iou[a] = value;
            }
        }
        for (int a = 0; a < A; a++)
            vlr[a] = fmaxf(vlr[a], plain_vlr(grid, a, boxes[b], limit, rules));
    }
    for (int a = 0; a < A; a++) {
        if (rules->vlr_exclude_main && owner[a])
            vlr[a] = 0;
        if (!owner[a] && !(vlr[a] > 0))
            continue;
        ck_assert_int_lt(row, got.n_rows);
        ck_assert_int_eq(got.rows[row].location, a);
        ck_assert_int_eq(got.rows[row].object, owner[a] - 1);
        ck_assert_float_eq(got.rows[row].vlr, vlr[a]);
        ck_assert_int_eq(got.rows[row].kind, (owner[a] ? LD_ROW_MAIN : 0) |
                                                 (vlr[a] > 0 ? LD_ROW_VLR : 0));
        row++;
    }
    ck_assert_int_eq(row, got.n_rows);
    ld_arena_free(&arena);
}

/* Sizes from a few pixels to larger than the canvas, centres in and beside it;
 * every third box has whole numbers, whose distances tie. */
static struct ld_box random_box(struct ld_rng *rng, int H, int W, int i)
{
    float side = 4 * expf(ld_rng_uniform(rng) * 5.5F);
    float ratio = expf(ld_rng_uniform(rng) * 2 - 1);
    float cx = (ld_rng_uniform(rng) * 1.2F - 0.1F) * (float)W;
    float cy = (ld_rng_uniform(rng) * 1.2F - 0.1F) * (float)H;
    struct ld_box box = {cx - side * ratio, cy - side / ratio,
                         cx + side * ratio, cy + side / ratio};

    if (i % 3 == 0)
        box = (struct ld_box){roundf(box.x0), roundf(box.y0), roundf(box.x1),
                              roundf(box.y1)};
    return box;
}

START_TEST(the_window_and_the_band_give_what_a_scan_of_all_anchors_gives)
{
    const uint64_t seed = 7;
    struct ld_rng rng = ld_rng_seed(seed, 0);
    struct ld_box boxes[MAX_BOXES];

    printf("# seed %d\n", (int)seed);
    for (int round = 0; round < 40; round++) {
        int H = 32 * (1 + (int)ld_rng_below(&rng, 16));
        int W = 32 * (1 + (int)ld_rng_below(&rng, 16));
        struct ld_grid grid = ld_grid_of_canvas(H, W);
        struct ld_assign_rules rules = {
            .topk = 1 + (int)ld_rng_below(&rng, 16),
            .vlr_mode = round % 2 ? LD_VLR_CODE : LD_VLR_DIOU,
            .vlr_gamma = round % 5 == 0 ? 0 : 0.25F,
            .vlr_exclude_main = round % 3 == 0,
        };

        for (int i = 0; i < 12; i++)
            boxes[i] = random_box(&rng, H, W, i);
        compare_with_scan(&grid, boxes, 12, &rules);
    }
}
END_TEST

START_TEST(boxes_far_outside_or_empty_or_alike_are_treated_as_in_the_scan)
{
    const struct ld_box boxes[] = {
        {-900, 40, -880, 60},       {5000, 5000, 5010, 5020},
        {1e6F, 10, 1e6F + 9, 30},   {50, 50, 50, 50},
        {60, 20, 60, 90},           {0, 0, 160, 96},
        {-1000, -1000, 2000, 2000}, {20, 20, 60, 60},
        {20, 20, 60, 60},           {32, 32, 64, 64},
    };
    struct ld_grid grid = ld_grid_of_canvas(96, 160);

    compare_with_scan(&grid, boxes, sizeof(boxes) / sizeof(*boxes), &RULES);
}
END_TEST

/* ---- rules ---- */

START_TEST(an_image_without_boxes_has_no_rows)
{
    struct ld_grid grid = ld_grid_of_canvas(64, 64);
    struct ld_arena arena = {0};
    struct ld_assignment a = assign(&grid, NULL, 0, &RULES, &arena);

    ck_assert_int_eq(a.n_rows, 0);
    ck_assert_int_eq(a.n_main, 0);
    ld_arena_free(&arena);
}
END_TEST

START_TEST(of_two_equal_boxes_the_first_owns_the_positives)
{
    const struct ld_box boxes[] = {{10, 12, 70, 61}, {10, 12, 70, 61}};
    struct ld_grid grid = ld_grid_of_canvas(96, 96);
    struct ld_arena arena = {0};
    struct ld_assignment a = assign(&grid, boxes, 2, &RULES, &arena);

    ck_assert_int_gt(a.n_main, 0);
    for (int i = 0; i < a.n_rows; i++)
        ck_assert_int_le(a.rows[i].object, 0);
    ld_arena_free(&arena);
}
END_TEST

START_TEST(a_location_may_be_main_and_valuable_unless_main_is_excluded)
{
    struct ld_rng rng = ld_rng_seed(3, 0);
    struct ld_box boxes[8];
    struct ld_grid grid = ld_grid_of_canvas(256, 256);
    struct ld_assign_rules apart = RULES;
    struct ld_arena arena = {0};
    struct ld_assignment both, a;
    int n_both = 0;

    for (int i = 0; i < 8; i++)
        boxes[i] = random_box(&rng, 256, 256, i);
    both = assign(&grid, boxes, 8, &RULES, &arena);
    apart.vlr_exclude_main = true;
    a = assign(&grid, boxes, 8, &apart, &arena);
    for (int i = 0; i < both.n_rows; i++)
        n_both += both.rows[i].kind == (LD_ROW_MAIN | LD_ROW_VLR);
    ck_assert_int_gt(n_both, 0);
    ck_assert_int_eq(a.n_rows, both.n_rows);
    for (int i = 0; i < a.n_rows; i++)
        ck_assert_int_ne(a.rows[i].kind, LD_ROW_MAIN | LD_ROW_VLR);
    ld_arena_free(&arena);
}
END_TEST

START_TEST(every_allocation_may_fail_and_says_so)
{
    const struct ld_box box = {10, 12, 70, 61};
    struct ld_grid grid = ld_grid_of_canvas(256, 256);
    bool ok = false;

    for (int n = 0; !ok; n++) {
        struct ld_arena arena = {0};
        struct ld_assignment a;
        struct ld_err err = {0};

        ld_mem_fail_after(n);
        ok = ld_assign(&a, &grid, &box, 1, &RULES, &arena, &err);
        ld_mem_fail_after(-1);
        if (!ok)
            ck_assert_int_eq(err.code, LD_ERR_MEMORY);
        ld_arena_free(&arena);
    }
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("assign");
    TCase *c = tcase_create("assign");

    tcase_add_test(c, positives_are_those_of_the_reference);
    tcase_add_test(c, the_valuable_region_is_that_of_the_reference);
    tcase_add_test(
        c, the_window_and_the_band_give_what_a_scan_of_all_anchors_gives);
    tcase_add_test(
        c, boxes_far_outside_or_empty_or_alike_are_treated_as_in_the_scan);
    tcase_add_test(c, an_image_without_boxes_has_no_rows);
    tcase_add_test(c, of_two_equal_boxes_the_first_owns_the_positives);
    tcase_add_test(c,
                   a_location_may_be_main_and_valuable_unless_main_is_excluded);
    tcase_add_test(c, every_allocation_may_fail_and_says_so);
    suite_add_tcase(s, c);
    return s;
}
