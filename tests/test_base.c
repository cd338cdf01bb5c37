#include "kernels/base/error.h"
#include "kernels/base/mem.h"
#include "kernels/base/parallel.h"
#include "kernels/base/progress.h"
#include "kernels/base/rng.h"

#include <stdlib.h>
#include <string.h>

#include "tests/suite.h"

START_TEST(first_failure_stands)
{
    struct ld_err err = {0};

    ck_assert(!ld_fail(&err, LD_ERR_IO, "a.json: %s", "no such file"));
    ck_assert(!ld_fail(&err, LD_ERR_FORMAT, "later"));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_str_eq(err.text, "a.json: no such file");
}
END_TEST

START_TEST(place_goes_before_the_text_and_control_characters_do_not)
{
    struct ld_err err = {0};

    ld_fail(&err, LD_ERR_FORMAT, "byte 12: bad\nmarker");
    ck_assert(!ld_fail_in(&err, "cat.jpg"));
    ck_assert_str_eq(err.text, "cat.jpg: byte 12: bad?marker");
}
END_TEST

START_TEST(arena_keeps_its_memory_after_the_first_round)
{
    struct ld_err err = {0};
    struct ld_arena arena = {0};

    for (int i = 0; i < 40; i++)
        ck_assert_ptr_nonnull(ld_arena_new(&arena, 100 * i, 7, &err));
    ld_arena_clear(&arena);
    ld_mem_fail_after(0);
    for (int i = 0; i < 40; i++) {
        unsigned char *p = ld_arena_new(&arena, 100 * i, 7, &err);

        ck_assert_ptr_nonnull(p);
        ck_assert(i == 0 || p[700 * i - 1] == 0);
        memset(p, 0xff, 700 * i);
    }
    ld_mem_fail_after(-1);
    ld_arena_free(&arena);
}
END_TEST

START_TEST(sizes_that_wrap_are_out_of_memory)
{
    struct ld_err err = {0};
    struct ld_arena arena = {0};

    ck_assert_ptr_null(ld_new(SIZE_MAX / 2, 3, &err));
    ck_assert_int_eq(err.code, LD_ERR_MEMORY);
    ck_assert_ptr_null(ld_arena_new(&arena, SIZE_MAX / 2, 3, &err));
    ck_assert_ptr_null(ld_arena_new(&arena, SIZE_MAX - 3, 1, &err));
}
END_TEST

START_TEST(a_full_buffer_fails_once_and_for_all)
{
    struct ld_err err = {0};
    struct ld_buf buf = {.max = 10};

    ld_buf_put(&buf, "12345678", 8);
    ck_assert(ld_buf_ok(&buf, &err));
    ld_buf_put(&buf, "901", 3);
    ld_buf_put(&buf, "9", 1);
    ck_assert(!ld_buf_ok(&buf, &err));
    ck_assert_uint_eq(buf.len, 8);
    ld_buf_free(&buf);
}
END_TEST

START_TEST(pcg32_gives_the_published_sequence)
{
    /* pcg32_srandom(42, 54), from the author's demo program. */
    struct ld_rng rng = ld_rng_seed(42, 54);

    ck_assert_uint_eq(ld_rng_u32(&rng), 0xa15c02b7);
    ck_assert_uint_eq(ld_rng_u32(&rng), 0x7b47f409);
    ck_assert_uint_eq(ld_rng_u32(&rng), 0xba1d3330);
}
END_TEST

START_TEST(a_permutation_holds_each_number_once_and_depends_on_the_epoch)
{
    int32_t a[257], b[257];
    int seen[257] = {0}, same = 0;

    ld_rng_permutation(7, 1, a, 257);
    ld_rng_permutation(7, 2, b, 257);
    for (int i = 0; i < 257; i++) {
        seen[a[i]]++;
        same += a[i] == b[i];
    }
    for (int i = 0; i < 257; i++)
        ck_assert_int_eq(seen[i], 1);
    ck_assert_int_lt(same, 20);
}
END_TEST

static void add_range(size_t begin, size_t end, void *task)
{
    for (size_t i = begin; i < end; i++)
        ((int *)task)[i]++;
}

START_TEST(a_parallel_loop_visits_each_item_once)
{
    int visits[1003] = {0};

    ld_parallel(1003, 10, add_range, visits);
    for (int i = 0; i < 1003; i++)
        ck_assert_int_eq(visits[i], 1);
    ld_parallel(0, 10, add_range, NULL);
}
END_TEST

START_TEST(durations_and_sizes_read_well)
{
    char text[16];

    ld_duration_text(text, 3723);
    ck_assert_str_eq(text, "1h02m");
    ld_duration_text(text, 61);
    ck_assert_str_eq(text, "1m01s");
    ld_bytes_text(text, 12.3e9);
    ck_assert_str_eq(text, "12.3 GB");
    ld_bytes_text(text, 512);
    ck_assert_str_eq(text, "512 B");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("base");
    TCase *c = tcase_create("base");

    tcase_add_test(c, first_failure_stands);
    tcase_add_test(c, place_goes_before_the_text_and_control_characters_do_not);
    tcase_add_test(c, arena_keeps_its_memory_after_the_first_round);
    tcase_add_test(c, sizes_that_wrap_are_out_of_memory);
    tcase_add_test(c, a_full_buffer_fails_once_and_for_all);
    tcase_add_test(c, pcg32_gives_the_published_sequence);
    tcase_add_test(
        c, a_permutation_holds_each_number_once_and_depends_on_the_epoch);
    tcase_add_test(c, a_parallel_loop_visits_each_item_once);
    tcase_add_test(c, durations_and_sizes_read_well);
    suite_add_tcase(s, c);
    return s;
}
