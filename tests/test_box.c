#include "kernels/box.h"

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
        struct ld_box q = ld_grid_anchor(&large, ld_grid_move(&small, a, &large));

        ck_assert(p.x0 == q.x0 && p.y0 == q.y0 && p.x1 == q.x1);
    }
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
    suite_add_tcase(s, c);
    return s;
}
