#include "formats/predict.h"

#include <math.h>
#include <string.h>

#include "formats/predict_ways.h"

enum {
    TAPS = LD_PREDICT_TAPS,
    STRIP = LD_PREDICT_STRIP,
    SHIFT = 12,
    MOST_FITTED = 16384, /* rows are plenty for 64 weights */
    LEAST_FITTED = 256,
};

bool ld_predictor_make(struct ld_predictor *out, int n_columns,
                       struct ld_arena *arena, struct ld_err *err)
{
    size_t n = (size_t)n_columns;

    out->n_columns = n_columns;
    out->weight = ld_arena_new(arena, n * TAPS, sizeof(*out->weight), err);
    out->bias = ld_arena_new(arena, n, sizeof(*out->bias), err);
    out->place = ld_arena_new(arena, n, sizeof(*out->place), err);
    out->ends_block = ld_arena_new(arena, n, sizeof(*out->ends_block), err);
    if (!out->weight || !out->bias || !out->place || !out->ends_block)
        return false;
    for (int c = 0; c < n_columns; c++)
        out->place[c] = c;
    out->ends_block[n - 1] = true;
    return true;
}

/* ---- the fit ---- */

/* Moments of the columns [first, last] of the rows, and of 1, the last of
 * `size`: a (size, size), in double: sums of whole numbers below 2^53. */
static void moments(double *a, int size, const int16_t *x, size_t n_rows,
                    size_t row_step)
{
    memset(a, 0, (size_t)size * (size_t)size * sizeof(*a));
    for (size_t r = 0; r < n_rows; r++, x += row_step)
        for (int i = 0; i < size; i++) {
            double xi = i + 1 < size ? x[i] : 1;

            for (int j = 0; j + 1 < size; j++)
                a[i * size + j] += xi * x[j];
            a[i * size + size - 1] += xi;
        }
}

/* Solves a x = b for the leading n by Cholesky; a (n, n) and b are lost. The
 * ridge keeps columns that tell the same from being told apart. */
static void solve(double *a, double *b, int n)
{
    for (int j = 0; j < n; j++) {
        a[j * n + j] = a[j * n + j] * (1 + 1e-9) + 1e-3;
        for (int k = 0; k < j; k++)
            a[j * n + j] -= a[j * n + k] * a[j * n + k];
        a[j * n + j] = sqrt(fmax(a[j * n + j], 1e-6));
        for (int i = j + 1; i < n; i++) {
            double sum = a[i * n + j];

            for (int k = 0; k < j; k++)
                sum -= a[i * n + k] * a[j * n + k];
            a[i * n + j] = sum / a[j * n + j];
        }
    }
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < i; k++)
            b[i] -= a[i * n + k] * b[k];
        b[i] /= a[i * n + i];
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int k = i + 1; k < n; k++)
            b[i] -= a[k * n + i] * b[k];
        b[i] /= a[i * n + i];
    }
}

static double bounded(double x, double most)
{
    return fmin(fmax(nearbyint(x), -most), most);
}

/* Column `c` from those before it: `all` are the moments of the columns from
 * `first` on, `size` of them and 1. */
static void fit_column(struct ld_predictor *p, int c, const double *all,
                       int size, int first, double *a, double *b)
{
    int start = ld_predict_first_tap(c) - first, target = c - first,
        n = target - start;
    double rest;

    /* 1 comes first: it is never redundant. */
    for (int i = 0; i <= n; i++) {
        int row = i == 0 ? size - 1 : start + i - 1;

        for (int j = 0; j <= n; j++)
            a[i * (n + 1) + j] =
                all[row * size + (j == 0 ? size - 1 : start + j - 1)];
        b[i] = all[row * size + target];
    }
    solve(a, b, n + 1);
    for (int j = 0; j < n; j++)
        p->weight[c * TAPS + j] = (int16_t)bounded(b[j + 1] * 4096, 32767);
    rest = b[0] * 4096;
    p->bias[c] = (int32_t)bounded(rest, 1 << 28);
}

bool ld_predictor_fit(struct ld_predictor *p, const int16_t *rows,
                      size_t n_rows, struct ld_err *err)
{
    enum { WINDOW = 2 * TAPS }; /* columns whose moments are taken at once */
    const size_t room = (WINDOW + 1) * (WINDOW + 1);
    double *all = ld_new(2 * room + WINDOW + 1, sizeof(*all), err);
    size_t step = n_rows / MOST_FITTED + 1;

    if (!all)
        return false;
    if (n_rows < LEAST_FITTED)
        goto done;
    for (int c = 0; c < p->n_columns;) {
        int first = ld_predict_first_tap(c);
        int last =
            first + WINDOW < p->n_columns ? first + WINDOW : p->n_columns;
        int size = last - first + 1;

        moments(all, size, rows + first, n_rows / step,
                step * (size_t)p->n_columns);
        for (; c < last; c++)
            fit_column(p, c, all, size, first, all + room, all + 2 * room);
    }

done:
    ld_delete(all);
    return true;
}

/* ---- there and back ---- */

/* A strip in scratch: of each pair of columns the STRIP rows, a row's two
 * numbers in one of 32 bits, the first in the low half. */

size_t ld_predict_scratch_bytes(int n_columns)
{
    return ((size_t)n_columns + 1) / 2 * STRIP * sizeof(int32_t);
}

static int32_t low_half(int32_t pair)
{
    return (int16_t)pair;
}

static void add_plain(uint32_t sum[STRIP], const int32_t *pairs,
                      const int32_t *weights, int n)
{
    for (int t = 0; t < n; t++, pairs += STRIP)
        for (int r = 0; r < STRIP; r++)
            sum[r] += (uint32_t)(low_half(pairs[r]) * low_half(weights[t])) +
                      (uint32_t)((pairs[r] >> 16) * (weights[t] >> 16));
}

static void decode_plain(const struct ld_predictor *p, int32_t *strip,
                         const uint8_t *low, size_t n_rows)
{
    ld_strip_decode_by(add_plain, p, strip, low, n_rows);
}

const struct ld_predict_way ld_predict_plain = {add_plain, decode_plain};

/* The guesses of a column for the rows of a strip, in units of 1/4096. */
static void guess(const struct ld_predictor *p, size_t c, const int32_t *strip,
                  ld_pairs_fn *add, uint32_t sum[STRIP])
{
    int start = ld_predict_first_tap((int)c);
    const int32_t *weights =
        (const int32_t *)(const void *)(p->weight) + c * (TAPS / 2);

    for (int r = 0; r < STRIP; r++)
        sum[r] = (uint32_t)p->bias[c] + (1 << (SHIFT - 1));
    add(sum, strip + start / 2 * STRIP, weights, ((int)c - start + 1) / 2);
}

static void load_strip(int32_t *strip, const int16_t *rows, size_t n_columns)
{
    for (size_t c = 0; c < n_columns; c += 2)
        for (size_t r = 0; r < STRIP; r++) {
            const int16_t *at = rows + r * n_columns + c;
            int32_t second = c + 1 < n_columns ? at[1] : 0;

            strip[c / 2 * STRIP + r] =
                (int32_t)((uint32_t)second << 16 | (uint16_t)at[0]);
        }
}

void ld_predict_encode(const struct ld_predictor *p, uint8_t *missed,
                       const int16_t *rows, size_t n_rows, void *scratch)
{
    ld_pairs_fn *add = ld_predict_way(0)->add;
    size_t n_columns = (size_t)p->n_columns;
    uint8_t *high = missed + n_columns * n_rows;
    uint32_t sum[STRIP];

    for (size_t first = 0; first < n_rows; first += STRIP) {
        load_strip(scratch, rows + first * n_columns, n_columns);
        for (size_t c = 0; c < n_columns; c++) {
            size_t at = (size_t)p->place[c] * n_rows + first;

            guess(p, c, scratch, add, sum);
            for (size_t r = 0; r < STRIP; r++) {
                int16_t gap = (int16_t)(rows[(first + r) * n_columns + c] -
                                        ((int32_t)sum[r] >> SHIFT));
                uint16_t zigzag = (uint16_t)((uint16_t)gap << 1 ^ gap >> 15);

                missed[at + r] = (uint8_t)zigzag;
                high[at + r] = (uint8_t)(zigzag >> 8);
            }
        }
    }
}

void ld_strip_decode_by(ld_pairs_fn *add, const struct ld_predictor *p,
                        int32_t *strip, const uint8_t *missed, size_t n_rows)
{
    size_t n_columns = (size_t)p->n_columns;
    uint32_t sum[STRIP];

    for (size_t c = 0; c < n_columns; c++) {
        const uint8_t *restrict low = missed + (size_t)p->place[c] * n_rows;
        const uint8_t *restrict high = low + n_columns * n_rows;
        uint32_t *restrict pair = (uint32_t *)strip + c / 2 * STRIP;
        uint32_t mask = c % 2 == 0 ? 0 : 0xffff, shift = c % 2 == 0 ? 0 : 16;

        guess(p, c, strip, add, sum);
        for (int r = 0; r < STRIP; r++) {
            uint32_t zigzag = (uint32_t)low[r] | (uint32_t)high[r] << 8;
            uint32_t gap = zigzag >> 1 ^ -(zigzag & 1);
            uint32_t value = (uint32_t)((int32_t)sum[r] >> SHIFT) + gap;

            pair[r] = (pair[r] & mask) | (value & 0xffff) << shift;
        }
    }
}

const int32_t *ld_predict_decode(const struct ld_predictor *p,
                                 const uint8_t *missed, size_t n_rows,
                                 size_t first, void *scratch)
{
    ld_predict_way(0)->decode(p, scratch, missed + first, n_rows);
    return scratch;
}
