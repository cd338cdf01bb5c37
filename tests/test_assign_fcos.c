#include "kernels/net/assign_fcos.h"

#include "tests/suite.h"

/* The whole of it is compared by test_loss_heads (golden 13_heads). */

static struct ld_assignment assigned(const struct ld_box *boxes, int n,
                                     struct ld_arena *arena)
{
    struct ld_grid grid =
        ld_grid_with_head(ld_grid_of_canvas(512, 512), LD_HEAD_FCOS);
    struct ld_assignment out;
    struct ld_err err = {0};

    ck_assert(ld_assign(&out, &grid, boxes, n, &(struct ld_assign_rules){0},
                        arena, &err));
    return out;
}

/* The object that the location at column x, row y of a level answers for; -1:
 * none, but inside a box; -2: no row. */
static int object_at(const struct ld_assignment *a, int level, int x, int y)
{
    struct ld_grid grid = ld_grid_of_canvas(512, 512);
    int location = grid.start[level] + y * grid.W[level] + x;

    for (int i = 0; i < a->n_rows; i++)
        if (a->rows[i].location == location) {
            ck_assert_int_eq(a->rows[i].kind,
                             a->rows[i].object >= 0 ? LD_ROW_MAIN : LD_ROW_VLR);
            ck_assert((a->rows[i].vlr == 1) == (a->rows[i].object < 0));
            return a->rows[i].object;
        }
    return -2;
}

START_TEST(centres_lie_half_a_stride_in)
{
    struct ld_grid grid =
        ld_grid_with_head(ld_grid_of_canvas(512, 512), LD_HEAD_FCOS);
    float x, y;

    ld_grid_centre(&grid, grid.start[1] + 2 * grid.W[1] + 3, &x, &y);
    ck_assert_float_eq(x, 3 * 16 + 8);
    ck_assert_float_eq(y, 2 * 16 + 8);
    grid.head = LD_HEAD_GFL;
    ld_grid_centre(&grid, grid.start[1] + 2 * grid.W[1] + 3, &x, &y);
    ck_assert_float_eq(x, 3 * 16);
}
END_TEST

START_TEST(positives_are_within_one_and_a_half_strides_of_the_middle)
{
    const struct ld_box box = {20, 20, 100, 100}; /* middle 60 */
    struct ld_arena arena = {0};
    struct ld_assignment a = assigned(&box, 1, &arena);

    /* P3 reaches 64: centres from 48 to 72, both excluded, are 52, 60, 68 */
    ck_assert_int_eq(object_at(&a, 0, 6, 6), 0);
    ck_assert_int_eq(object_at(&a, 0, 8, 8), 0);
    ck_assert_int_eq(object_at(&a, 0, 5, 6), -1);
    ck_assert_int_eq(object_at(&a, 0, 9, 8), -1);
    ck_assert_int_eq(object_at(&a, 0, 2, 2), -2); /* on the edge, at 20 */
    ck_assert_int_eq(object_at(&a, 0, 3, 3), -1);
    ck_assert_int_eq(a.n_main, 9);
    ld_arena_free(&arena);
}
END_TEST

START_TEST(both_ends_of_a_levels_reach_belong_to_it)
{
    /* At (60, 60) the farthest side is 64 away, which P3 and P4 both take. */
    const struct ld_box box = {0, 0, 124, 124}, wide = {0, 0, 124.5F, 124.5F};
    struct ld_arena arena = {0};
    struct ld_assignment a = assigned(&box, 1, &arena);

    ck_assert_int_eq(object_at(&a, 0, 7, 7), 0);
    ck_assert_int_eq(object_at(&a, 1, 3, 3), 0); /* at 56: 68 */
    a = assigned(&wide, 1, &arena);
    ck_assert_int_eq(object_at(&a, 0, 7, 7), -1); /* 64.5 */
    /* P4 has no centre 64 from both ends; a box around (56, 56) of 128 */
    a = assigned(&(struct ld_box){-8, -8, 120, 120}, 1, &arena);
    ck_assert_int_eq(object_at(&a, 1, 3, 3), 0); /* exactly 64: from below */
    ld_arena_free(&arena);
}
END_TEST

START_TEST(the_smallest_box_wins_and_of_equals_the_first)
{
    const struct ld_box boxes[] = {
        {20, 20, 100, 100}, {40, 40, 80, 80}, {40, 40, 80, 80}};
    struct ld_arena arena = {0};
    struct ld_assignment a = assigned(boxes, 3, &arena);

    ck_assert_int_eq(object_at(&a, 0, 7, 7), 1);
    a = assigned(boxes, 1, &arena);
    ck_assert_int_eq(object_at(&a, 0, 7, 7), 0);
    ld_arena_free(&arena);
}
END_TEST

START_TEST(no_box_gives_no_row_and_no_memory_an_error)
{
    const struct ld_box outside = {600, 600, 700, 700};
    struct ld_grid grid = ld_grid_of_canvas(512, 512);
    struct ld_arena arena = {0};
    struct ld_assignment a;
    struct ld_err err = {0};

    ld_mem_fail_after(0);
    ck_assert(!ld_assign_fcos(&a, &grid, &outside, 1, &arena, &err));
    ld_mem_fail_after(-1);
    ck_assert_int_eq(err.code, LD_ERR_MEMORY);
    a = assigned(&outside, 1, &arena);
    ck_assert_int_eq(a.n_rows, 0);
    a = assigned(NULL, 0, &arena);
    ck_assert_int_eq(a.n_rows, 0);
    ld_arena_free(&arena);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("assign_fcos");
    TCase *c = tcase_create("assign_fcos");

    tcase_add_test(c, centres_lie_half_a_stride_in);
    tcase_add_test(c,
                   positives_are_within_one_and_a_half_strides_of_the_middle);
    tcase_add_test(c, both_ends_of_a_levels_reach_belong_to_it);
    tcase_add_test(c, the_smallest_box_wins_and_of_equals_the_first);
    tcase_add_test(c, no_box_gives_no_row_and_no_memory_an_error);
    suite_add_tcase(s, c);
    return s;
}
