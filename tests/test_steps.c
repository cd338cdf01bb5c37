#include "formats/steps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/codec.h"
#include "formats/steps_ways.h"
#include "kernels/base/rng.h"
#include "tests/made_shard.h"
#include "tests/suite.h"

static struct ld_err err;
static struct ld_arena arena;

static void setup(void)
{
    err = (struct ld_err){0};
}

static void teardown(void)
{
    ld_arena_free(&arena);
}

/* A box of 4 sides and a row of classes, made up as the shards of tests are. */
static struct ld_record rows_of(int n_classes, int n_rows)
{
    struct ld_shard_facts facts = made_facts(n_classes, LD_STORAGE_FP32);

    facts.select = LD_SELECT_VLR_ALL;
    return made_record(&facts, 3, false, 800, 1088, n_rows, &arena);
}

/* The error late in training of what comes back. */
static double late_error(const struct ld_steps *s, const float *rows, size_t n,
                         float T)
{
    size_t row_items = (size_t)s->groups * (size_t)s->width;
    int16_t *kept =
        ld_arena_new(&arena, n * (size_t)s->n_columns, sizeof(*kept), &err);
    float *back = ld_arena_new(&arena, n * row_items, sizeof(*back), &err);
    struct ld_codec_error sum = {0};

    ld_steps_keep(s, kept, rows, n);
    ld_steps_restore(s, back, kept, n);
    ld_codec_measure(&sum, rows, back, n * (size_t)s->groups, s->width, T);
    return ld_codec_error_late(&sum);
}

START_TEST(the_step_is_as_long_as_the_error_allows)
{
    static const double asked[] = {4e-2, 1e-2, 1e-3};
    struct ld_record r = rows_of(80, 2000);
    struct ld_steps box, class_rows;

    for (int i = 0; i < 3; i++) {
        double off;

        ck_assert(
            ld_steps_make(&box, 4, 17, true, &arena, &err) &&
            ld_steps_fit(&box, r.box_logits, 2000, 10, asked[i], 256, &err) &&
            ld_steps_make(&class_rows, 1, 80, false, &arena, &err) &&
            ld_steps_fit(&class_rows, r.class_logits, 2000, 2, asked[i], 256,
                         &err));
        off = late_error(&box, r.box_logits, 2000, 10) / asked[i];
        ck_assert_double_gt(off, 0.85);
        ck_assert_double_le(off, 1);
        off = late_error(&class_rows, r.class_logits, 2000, 2) / asked[i];
        ck_assert_double_gt(off, 0.85);
        ck_assert_double_le(off, 1);
    }
}
END_TEST

/* Each comes back within half a step, relative to the first bin of its side. */
static void check_within_half_a_step(const struct ld_steps *s,
                                     const float *rows, size_t n_rows)
{
    size_t width = (size_t)s->width, n = n_rows * (size_t)s->groups * width;
    int16_t *kept = ld_arena_new(&arena, n_rows * (size_t)s->n_columns,
                                 sizeof(*kept), &err);
    float *back = ld_arena_new(&arena, n, sizeof(*back), &err);
    double worst = 0;

    ld_steps_keep(s, kept, rows, n_rows);
    ld_steps_restore(s, back, kept, n_rows);
    for (size_t i = 0; i < n; i++) {
        double first = s->relative ? (double)rows[i - i % width] : 0;

        worst = fmax(worst, fabs((double)rows[i] - first - (double)back[i]));
    }
    ck_assert_double_le(worst, s->step / 2 * (1 + 1e-4));
    ck_assert_double_gt(worst, s->step / 2 * 0.9);
}

START_TEST(logits_come_back_within_half_a_step)
{
    struct ld_record r = rows_of(80, 1000);
    struct ld_steps box, class_rows;

    ck_assert(
        ld_steps_make(&box, 4, 17, true, &arena, &err) &&
        ld_steps_fit(&box, r.box_logits, 1000, 10, 1e-2, 256, &err) &&
        ld_steps_make(&class_rows, 1, 80, false, &arena, &err) &&
        ld_steps_fit(&class_rows, r.class_logits, 1000, 2, 1e-2, 256, &err));
    check_within_half_a_step(&box, r.box_logits, 1000);
    check_within_half_a_step(&class_rows, r.class_logits, 1000);
}
END_TEST

/* Through strips, cut anywhere, as through rows. */
static void check_strips(const struct ld_steps *s, const float *rows)
{
    enum { N_ROWS = 96, STRIP = LD_PREDICT_STRIP };
    size_t row_items = (size_t)s->groups * (size_t)s->width;
    size_t n = (size_t)s->n_columns;
    int16_t *kept = ld_arena_new(&arena, N_ROWS * n, sizeof(*kept), &err);
    uint8_t *missed = ld_arena_new(&arena, 2 * N_ROWS * n, 1, &err);
    void *scratch =
        ld_arena_new(&arena, ld_predict_scratch_bytes((int)n), 1, &err);
    float *expected =
        ld_arena_new(&arena, N_ROWS * row_items, sizeof(float), &err);
    float *got = ld_arena_new(&arena, STRIP * row_items, sizeof(float), &err);

    ld_steps_keep(s, kept, rows, N_ROWS);
    ld_steps_restore(s, expected, kept, N_ROWS);
    ld_predict_encode(&s->predictor, missed, kept, N_ROWS, scratch);
    for (size_t first = 0; first < STRIP; first++)
        for (size_t k = 1; k <= STRIP - first; k++) {
            const int32_t *strip = ld_predict_decode(&s->predictor, missed,
                                                     N_ROWS, STRIP, scratch);
            const float *rows_there = expected + (STRIP + first) * row_items;
            size_t bytes = k * row_items * sizeof(float);

            ld_steps_restore_strip(s, got, strip, first, k);
            ck_assert(memcmp(got, rows_there, bytes) == 0);
            memset(got, 0x55, bytes);
            ld_restore_plain(s, got, strip, first, k);
            ck_assert(memcmp(got, rows_there, bytes) == 0);
        }
}

/* Sides of so many bins. */
static void check_bins(int B)
{
    size_t n = 64 * 4 * (size_t)B;
    struct ld_rng rng = ld_rng_seed(8, (uint64_t)B);
    float *rows = ld_arena_new(&arena, 2 * n, sizeof(*rows), &err);
    struct ld_steps s;

    for (size_t i = 0; i < 2 * n; i++)
        rows[i] = 3 * ld_rng_normal(&rng);
    ck_assert(ld_steps_make(&s, 4, B, true, &arena, &err) &&
              ld_steps_fit(&s, rows, 128, 10, 1e-2, 256, &err));
    check_strips(&s, rows);
}

START_TEST(strips_give_what_rows_give)
{
    static const int classes[] = {1, 2, 3, 5, 80};
    struct ld_steps s;

    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        struct ld_record r = rows_of(classes[i], 600);

        ck_assert(ld_steps_make(&s, 1, classes[i], false, &arena, &err) &&
                  ld_steps_fit(&s, r.class_logits, 600, 2, 1e-2, 256, &err));
        check_strips(&s, r.class_logits);
        ck_assert(ld_steps_make(&s, 4, 17, true, &arena, &err) &&
                  ld_steps_fit(&s, r.box_logits, 600, 10, 1e-2, 256, &err));
        check_strips(&s, r.box_logits);
    }
    check_bins(9);
    check_bins(33);
    check_bins(34);
}
END_TEST

START_TEST(logits_of_any_size_find_a_step)
{
    float rows[2 * 68];
    struct ld_steps s;

    for (int i = 0; i < 2 * 68; i++)
        rows[i] = i % 17 == 3 ? 3e4F : -3e4F; /* far beyond a detector's */
    ck_assert(ld_steps_make(&s, 4, 17, true, &arena, &err) &&
              ld_steps_fit(&s, rows, 2, 10, 1e-3, 256, &err));
    ck_assert_double_le(late_error(&s, rows, 2, 10), 1e-3);
    memset(rows, 0, sizeof(rows));
    ck_assert(ld_steps_fit(&s, rows, 2, 10, 1e-3, 256, &err));
    ck_assert_double_gt(s.step, 0);
    ck_assert(ld_steps_fit(&s, rows, 0, 10, 1e-3, 256, &err));
    ck_assert_double_gt(s.step, 0);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("steps");
    TCase *c = tcase_create("steps");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, the_step_is_as_long_as_the_error_allows);
    tcase_add_test(c, logits_come_back_within_half_a_step);
    tcase_add_test(c, strips_give_what_rows_give);
    tcase_add_test(c, logits_of_any_size_find_a_step);
    suite_add_tcase(s, c);
    return s;
}
