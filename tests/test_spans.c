#include "kernels/net/spans.h"

#include <stdio.h>
#include <time.h>

#include "kernels/base/rng.h"
#include "tests/suite.h"

enum { MANY = 200 };

static bool overlap(const struct ld_span *a, const struct ld_span *b)
{
    bool in_time = a->first <= b->last && b->first <= a->last;
    bool in_space =
        a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;

    return in_time && in_space;
}

static void draw_lives(struct ld_span *spans, int n, struct ld_rng *rng)
{
    for (int i = 0; i < n; i++)
        spans[i].bytes = 1 + ld_rng_below(rng, 5000);
    for (int step = 0; step < 3 * n; step++)
        ld_spans_touch(spans, (int)ld_rng_below(rng, (uint32_t)n), step);
}

START_TEST(spans_that_live_at_one_time_never_overlap)
{
    uint64_t seed = (uint64_t)time(NULL);
    struct ld_rng rng = ld_rng_seed(seed, 0);
    struct ld_span spans[MANY];
    struct ld_err err = {0};
    size_t total;

    printf("seed %llu\n", (unsigned long long)seed);
    ld_spans_clear(spans, MANY);
    draw_lives(spans, MANY, &rng);
    ck_assert(ld_spans_place(spans, MANY, &total, &err));
    for (int i = 0; i < MANY; i++) {
        if (spans[i].first < 0)
            continue;
        ck_assert(spans[i].offset + spans[i].bytes <= total);
        ck_assert(spans[i].offset % 256 == 0);
        for (int j = 0; j < i; j++)
            ck_assert(spans[j].first < 0 || !overlap(&spans[i], &spans[j]));
    }
}
END_TEST

START_TEST(a_hole_left_by_a_dead_span_is_used_again)
{
    struct ld_span spans[3];
    struct ld_err err = {0};
    size_t total;

    ld_spans_clear(spans, 3);
    for (int i = 0; i < 3; i++) {
        spans[i].bytes = 1024;
        ld_spans_touch(spans, i, i);
        ld_spans_touch(spans, i, i + 1);
    }
    ck_assert(ld_spans_place(spans, 3, &total, &err));
    ck_assert_uint_eq(total, 2048);
    ck_assert_uint_eq(spans[0].offset, spans[2].offset);
}
END_TEST

START_TEST(joined_spans_share_one_place_for_both_lives)
{
    struct ld_span spans[3];
    struct ld_err err = {0};
    size_t total;

    ld_spans_clear(spans, 3);
    for (int i = 0; i < 3; i++)
        spans[i].bytes = 256;
    ld_spans_touch(spans, 0, 0);
    ld_spans_touch(spans, 1, 1);
    ld_spans_touch(spans, 2, 2);
    ld_spans_join(spans, 0, 2);
    ck_assert(ld_spans_place(spans, 3, &total, &err));
    ck_assert_uint_eq(spans[0].offset, spans[2].offset);
    ck_assert_uint_ne(spans[0].offset, spans[1].offset);
    ck_assert_uint_eq(total, 512);
}
END_TEST

START_TEST(a_span_never_touched_takes_no_room)
{
    struct ld_span spans[1];
    struct ld_err err = {0};
    size_t total;

    ld_spans_clear(spans, 1);
    spans[0].bytes = 4096;
    ck_assert(ld_spans_place(spans, 1, &total, &err));
    ck_assert_uint_eq(total, 0);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("spans");
    TCase *c = tcase_create("spans");

    tcase_add_test(c, spans_that_live_at_one_time_never_overlap);
    tcase_add_test(c, a_hole_left_by_a_dead_span_is_used_again);
    tcase_add_test(c, joined_spans_share_one_place_for_both_lives);
    tcase_add_test(c, a_span_never_touched_takes_no_room);
    suite_add_tcase(s, c);
    return s;
}
