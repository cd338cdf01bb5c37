#include "kernels/box.h"

#include <string.h>

#include "tests/golden.h"
#include "tests/golden_grid.h"
#include "tests/suite.h"

START_TEST(iou_of_a_box_with_itself_is_one)
{
    struct ld_box a = {0, 0, 4, 2};

    ck_assert_float_eq(ld_box_iou(a, a), 1);
    ck_assert_float_eq(ld_box_centre_gap(a, a), 0);
}
END_TEST

START_TEST(iof_counts_the_anchors_area_only)
{
    struct ld_box anchor = {0, 0, 2, 2}, object = {0, 0, 8, 8};

    ck_assert_float_eq(ld_box_iof(anchor, object), 1);
    ck_assert_float_eq(ld_box_iou(anchor, object), 4.0F / 64);
}
END_TEST

START_TEST(boxes_apart_have_iou_zero_and_an_empty_box_is_no_division_by_zero)
{
    struct ld_box a = {0, 0, 2, 2}, b = {5, 5, 9, 9}, empty = {1, 1, 1, 1};

    ck_assert_float_eq(ld_box_iou(a, b), 0);
    ck_assert_float_eq(ld_box_iou(empty, empty), 0);
}
END_TEST

START_TEST(grid_of_800x1344_has_22400_locations)
{
    struct ld_grid grid = ld_grid_of_canvas(800, 1344);

    ck_assert_int_eq(grid.start[5], 22400);
    ck_assert_int_eq(grid.H[4], 7);
    ck_assert_int_eq(grid.W[3], 21);
}
END_TEST

START_TEST(a_location_keeps_its_place_on_a_larger_canvas)
{
    struct ld_grid small = ld_grid_of_canvas(96, 96);
    struct ld_grid large = ld_grid_of_canvas(96, 128);

    for (int a = 0; a < small.start[5]; a++) {
        struct ld_box p = ld_grid_anchor(&small, a);
        struct ld_box q =
            ld_grid_anchor(&large, ld_grid_move(&small, a, &large));

        ck_assert(p.x0 == q.x0 && p.y0 == q.y0 && p.x1 == q.x1);
    }
}
END_TEST

/* ---- golden values ---- */

static void compare_level(struct golden *g, const struct ld_grid *grid,
                          int level)
{
    int n = grid->start[level + 1] - grid->start[level];
    char name[32];
    const float *anchors, *centres;

    snprintf(name, sizeof(name), "anchors_%d", level);
    anchors = golden_floats(g, name, 4 * (size_t)n);
    snprintf(name, sizeof(name), "centers_%d", level);
    centres = golden_floats(g, name, 2 * (size_t)n);
    for (int i = 0; i < n; i++) {
        int a = grid->start[level] + i;
        struct ld_box box = ld_grid_anchor(grid, a);
        float x, y;

        ld_grid_centre(grid, a, &x, &y);
        ck_assert_int_eq(memcmp(&box, anchors + 4 * i, sizeof(box)), 0);
        ck_assert(x == centres[2 * i] && y == centres[2 * i + 1]);
        ck_assert_int_eq(ld_grid_level(grid, a), level);
    }
}

/* Valid locations of the canvas are those of the image's own grid. */
static void compare_valid(struct golden *g, const struct ld_grid *grid, int H,
                          int W)
{
    struct ld_grid own = ld_grid_of_canvas(H, W);
    int next = 0;
    char name[32];

    for (int level = 0; level < grid->n_levels; level++) {
        int n = grid->start[level + 1] - grid->start[level];
        const int32_t *valid;

        snprintf(name, sizeof(name), "valid_%d", level);
        valid = golden_array(g, name).data;
        for (int i = 0; i < n; i++) {
            if (!valid[i])
                continue;
            ck_assert_int_eq(ld_grid_move(&own, next, grid),
                             grid->start[level] + i);
            next++;
        }
    }
    ck_assert_int_eq(next, own.start[own.n_levels]);
}

static void compare_grid(struct golden *g)
{
    struct ld_grid grid = golden_grid(g), canvas;
    int H = (int)golden_number(g, "params.batch_h");
    int W = (int)golden_number(g, "params.batch_w");
    int own_H = (int)golden_number(g, "params.pad_shape.0");
    int own_W = (int)golden_number(g, "params.pad_shape.1");

    for (int level = 0; level < grid.n_levels; level++)
        compare_level(g, &grid, level);
    if (H % 32 || W % 32 || own_H % 32 || own_W % 32) {
        golden_left_out(g, "only the valid flags: the canvas is no multiple "
                           "of 32");
        return;
    }
    canvas = ld_grid_of_canvas(H, W);
    ck_assert_int_eq(memcmp(&canvas, &grid, sizeof(grid)), 0);
    compare_valid(g, &grid, own_H, own_W);
}

START_TEST(anchors_and_centres_are_those_of_the_reference)
{
    golden_each("01_anchors", compare_grid);
}
END_TEST

static void compare_overlaps(struct golden *g)
{
    enum { N = 13, M = 7 };
    const float *a, *b;
    float iou[N * M], iof[N * M], diou[N * M];

    if (!strstr(g->name, "/boxes"))
        return;
    a = golden_floats(g, "a", 4 * N);
    b = golden_floats(g, "b", 4 * M);
    for (int i = 0; i < N * M; i++) {
        struct ld_box p, q;

        memcpy(&p, a + 4 * (i / M), sizeof(p));
        memcpy(&q, b + 4 * (i % M), sizeof(q));
        iou[i] = ld_box_iou(p, q);
        iof[i] = ld_box_iof(p, q);
        diou[i] = ld_box_iof(p, q) - ld_box_centre_gap(p, q);
    }
    /* the same steps in float32: some roundings of 6e-8 */
    golden_compare(g, "iou", iou, N * M, 5e-7);
    golden_compare(g, "iof", iof, N * M, 5e-7);
    golden_compare(g, "diou", diou, N * M, 5e-7);
}

START_TEST(overlaps_are_those_of_the_reference)
{
    golden_each("04_losses", compare_overlaps);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("box");
    TCase *c = tcase_create("box");

    tcase_add_test(c, iou_of_a_box_with_itself_is_one);
    tcase_add_test(c, iof_counts_the_anchors_area_only);
    tcase_add_test(
        c, boxes_apart_have_iou_zero_and_an_empty_box_is_no_division_by_zero);
    tcase_add_test(c, grid_of_800x1344_has_22400_locations);
    tcase_add_test(c, a_location_keeps_its_place_on_a_larger_canvas);
    tcase_add_test(c, anchors_and_centres_are_those_of_the_reference);
    tcase_add_test(c, overlaps_are_those_of_the_reference);
    suite_add_tcase(s, c);
    return s;
}
