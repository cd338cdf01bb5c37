#include "formats/predict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/predict_ways.h"
#include "kernels/base/rng.h"
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

/* Rows whose columns hang together, as bins of a distribution do, or, with
 * `wild`, any numbers at all. */
static int16_t *make_rows(int n_columns, size_t n_rows, bool wild)
{
    size_t n = (size_t)n_columns;
    int16_t *rows = ld_arena_new(&arena, n * n_rows, sizeof(*rows), &err);
    struct ld_rng rng = ld_rng_seed(5, (uint64_t)n_columns);

    for (size_t r = 0; r < n_rows; r++) {
        float height = 300 * ld_rng_normal(&rng), slope = ld_rng_normal(&rng);

        for (size_t c = 0; c < n; c++) {
            float x = height + 40 * slope * (float)c + 8 * ld_rng_normal(&rng);

            rows[r * n + c] = wild ? (int16_t)ld_rng_u32(&rng)
                                   : (int16_t)fminf(fmaxf(x, -32767), 32767);
        }
    }
    return rows;
}

/* The definition in predict.h, word for word. */
static uint16_t missed_by_definition(const struct ld_predictor *p,
                                     const int16_t *row, int i)
{
    int first = i - 63 > 0 ? (i - 63) & ~1 : 0;
    uint32_t sum = (uint32_t)p->bias[i] + 2048;
    int32_t gap;

    for (int j = 0; j < i - first; j++)
        sum += (uint32_t)(p->weight[i * 64 + j] * row[first + j]);
    gap = (int16_t)(row[i] - ((int32_t)sum >> 12));
    return (uint16_t)(gap >= 0 ? 2 * gap : -2 * gap - 1);
}

static void check_round_trip(int n_columns, size_t n_rows, bool wild)
{
    size_t n = (size_t)n_columns, differ = 0, undefined = 0;
    int16_t *rows = make_rows(n_columns, n_rows, wild);
    uint8_t *missed = ld_arena_new(&arena, 2 * n * n_rows, 1, &err);
    void *scratch =
        ld_arena_new(&arena, ld_predict_scratch_bytes(n_columns), 1, &err);
    struct ld_predictor p;

    ck_assert(ld_predictor_make(&p, n_columns, &arena, &err) &&
              ld_predictor_fit(&p, rows, n_rows, &err));
    ld_predict_encode(&p, missed, rows, n_rows, scratch);
    memset(scratch, 0x55, ld_predict_scratch_bytes(n_columns));
    for (size_t first = 0; first < n_rows; first += LD_PREDICT_STRIP) {
        const int32_t *strip =
            ld_predict_decode(&p, missed, n_rows, first, scratch);

        for (size_t i = 0; i < LD_PREDICT_STRIP * n; i++) {
            size_t r = i / n, c = i % n, at = c * n_rows + first + r;
            int32_t pair = strip[c / 2 * LD_PREDICT_STRIP + r];
            int16_t value = (int16_t)(c % 2 == 0 ? pair : pair >> 16);
            uint16_t was =
                (uint16_t)(missed[at] | missed[n * n_rows + at] << 8);

            differ += value != rows[(first + r) * n + c];
            undefined +=
                was != missed_by_definition(&p, rows + (first + r) * n, (int)c);
        }
    }
    ck_assert_uint_eq(differ, 0);
    ck_assert_uint_eq(undefined, 0);
}

START_TEST(what_was_taken_away_is_given_back)
{
    static const int columns[] = {1, 2, 3, 16, 63, 64, 65, 66, 80, 131};

    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
        check_round_trip(columns[i], 512, false);
        check_round_trip(columns[i], 288, true);
        check_round_trip(columns[i], 32, true); /* too few to fit */
    }
}
END_TEST

START_TEST(every_way_to_add_gives_the_bits_of_the_plain_one)
{
    enum { PAIRS = 32 };
    struct ld_rng rng = ld_rng_seed(6, 6);
    int32_t pairs[PAIRS * LD_PREDICT_STRIP], weights[PAIRS];
    uint32_t plain[LD_PREDICT_STRIP], sum[LD_PREDICT_STRIP];

    for (int i = 0; i < PAIRS * LD_PREDICT_STRIP; i++)
        pairs[i] = (int32_t)ld_rng_u32(&rng);
    for (int n = 0; n < PAIRS; n++) {
        uint32_t start = ld_rng_u32(&rng);

        weights[n] = (int32_t)ld_rng_u32(&rng);
        for (int r = 0; r < LD_PREDICT_STRIP; r++)
            plain[r] = start + (uint32_t)r;
        ld_predict_plain.add(plain, pairs, weights, n);
        for (int i = 0; ld_predict_way(i); i++) {
            for (int r = 0; r < LD_PREDICT_STRIP; r++)
                sum[r] = start + (uint32_t)r;
            ld_predict_way(i)->add(sum, pairs, weights, n);
            ck_assert(memcmp(plain, sum, sizeof(sum)) == 0);
        }
    }
}
END_TEST

/* Any bytes, any weights: sums that wrap around too. */
static void check_ways(int n_columns)
{
    const size_t n_rows = 96, first = 32;
    size_t n = (size_t)n_columns, bytes = ld_predict_scratch_bytes(n_columns);
    struct ld_rng rng = ld_rng_seed(7, (uint64_t)n_columns);
    uint8_t *missed = ld_arena_new(&arena, 2 * n * n_rows, 1, &err);
    int32_t *plain = ld_arena_new(&arena, bytes, 1, &err);
    int32_t *strip = ld_arena_new(&arena, bytes, 1, &err);
    struct ld_predictor p;

    ck_assert(ld_predictor_make(&p, n_columns, &arena, &err));
    for (size_t i = 0; i < 2 * n * n_rows; i++)
        missed[i] = (uint8_t)ld_rng_u32(&rng);
    for (int c = 0; c < n_columns; c++) {
        p.bias[c] = (int32_t)ld_rng_u32(&rng);
        p.place[c] = n_columns - 1 - c;
        for (int j = 0; j < c && j < LD_PREDICT_TAPS - c % 2; j++)
            p.weight[c * LD_PREDICT_TAPS + j] = (int16_t)ld_rng_u32(&rng);
    }
    ld_predict_plain.decode(&p, plain, missed + first, n_rows);
    for (int i = 0; ld_predict_way(i); i++) {
        memset(strip, 0x55, bytes);
        ld_predict_way(i)->decode(&p, strip, missed + first, n_rows);
        ck_assert(memcmp(plain, strip, bytes) == 0);
    }
}

START_TEST(every_way_to_decode_gives_the_bits_of_the_plain_one)
{
    for (int n_columns = 1; n_columns <= 140; n_columns++)
        check_ways(n_columns);
}
END_TEST

/* Of 64 columns that two numbers and noise of deviation 8 make up, the noise
 * is left: 2 * 8 * sqrt(2 / pi) = 12.8 is its mean zigzag. */
START_TEST(what_hangs_together_is_foretold)
{
    const size_t n_rows = 4096;
    int16_t *rows = make_rows(64, n_rows, false);
    uint8_t *missed = ld_arena_new(&arena, 128 * n_rows, 1, &err);
    void *scratch = ld_arena_new(&arena, ld_predict_scratch_bytes(64), 1, &err);
    struct ld_predictor p;
    double sum = 0;

    ck_assert(ld_predictor_make(&p, 64, &arena, &err) &&
              ld_predictor_fit(&p, rows, n_rows, &err));
    ld_predict_encode(&p, missed, rows, n_rows, scratch);
    for (size_t i = 8 * n_rows; i < 64 * n_rows; i++)
        sum += missed[i] + 256.0 * missed[64 * n_rows + i];
    ck_assert_double_lt(sum / (56.0 * (double)n_rows), 15);
}
END_TEST

START_TEST(columns_that_say_the_same_do_not_upset_the_fit)
{
    const size_t n_rows = 512;
    int16_t *rows = make_rows(8, n_rows, false);
    struct ld_predictor p;

    for (size_t r = 0; r < n_rows; r++) {
        rows[8 * r + 3] = rows[8 * r + 2];
        rows[8 * r + 4] = 7;
        rows[8 * r + 5] = 0;
    }
    ck_assert(ld_predictor_make(&p, 8, &arena, &err) &&
              ld_predictor_fit(&p, rows, n_rows, &err));
    for (size_t r = 0; r < n_rows; r++)
        for (int c = 3; c < 6; c++)
            ck_assert_uint_le(missed_by_definition(&p, rows + 8 * r, c), 2);
}
END_TEST

/* Columns that do not hang together, every third of them wide. */
START_TEST(columns_that_are_missed_by_as_much_stand_together)
{
    enum { N = 13, WIDE = 5, ROWS = 2048 };
    struct ld_rng rng = ld_rng_seed(9, 9);
    int16_t *rows = ld_arena_new(&arena, N * ROWS, sizeof(*rows), &err);
    bool taken[N] = {false};
    struct ld_predictor p;

    for (int i = 0; i < N * ROWS; i++)
        rows[i] =
            (int16_t)((i % N % 3 == 0 ? 60 : 4) * (double)ld_rng_normal(&rng));
    ck_assert(ld_predictor_make(&p, N, &arena, &err) &&
              ld_predictor_fit(&p, rows, ROWS, &err) &&
              ld_predictor_order(&p, rows, ROWS, 256, &err));
    for (int c = 0; c < N; c++) {
        ck_assert_int_lt(p.place[c], N);
        ck_assert(!taken[p.place[c]]);
        taken[p.place[c]] = true;
        ck_assert((p.place[c] >= N - WIDE) == (c % 3 == 0));
        ck_assert(p.ends_block[c] == (c == N - 1 || c == N - 1 - WIDE));
    }
    ck_assert(ld_predictor_order(&p, rows, 0, 256, &err)); /* stays */
    ck_assert(p.ends_block[N - 1]);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("predict");
    TCase *c = tcase_create("predict");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, what_was_taken_away_is_given_back);
    tcase_add_test(c, every_way_to_add_gives_the_bits_of_the_plain_one);
    tcase_add_test(c, every_way_to_decode_gives_the_bits_of_the_plain_one);
    tcase_add_test(c, what_hangs_together_is_foretold);
    tcase_add_test(c, columns_that_say_the_same_do_not_upset_the_fit);
    tcase_add_test(c, columns_that_are_missed_by_as_much_stand_together);
    suite_add_tcase(s, c);
    return s;
}
