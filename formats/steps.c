#include "formats/steps.h"

#include <math.h>
#include <string.h>

#include "formats/codec.h"
#include "formats/steps_ways.h"
#include "kernels/base/parallel.h"

/* Rows that the step is chosen by: its error settles long before. */
enum { MOST_MEASURED = 4096, ROUNDS = 3 };

enum { GRAIN = 64 }; /* rows that are worth a thread's while */

/* Below the error that is asked for, as the rows to come are not those that
 * the step was chosen by. */
static const double MARGIN = 0.95;

static const double MOST_STEPS = 32767;

bool ld_steps_make(struct ld_steps *out, int groups, int width, bool relative,
                   struct ld_arena *arena, struct ld_err *err)
{
    *out = (struct ld_steps){.groups = groups,
                             .width = width,
                             .relative = relative,
                             .n_columns = groups * (width - relative),
                             .step = 1};
    return ld_predictor_make(&out->predictor, out->n_columns, arena, err);
}

/* ---- keep, restore ---- */

struct keeping {
    const struct ld_steps *s;
    int16_t *kept;
    const float *rows;
};

/* To the nearest, of two the even one. */
static int16_t to_steps(double x)
{
    x = x > MOST_STEPS ? MOST_STEPS : x;
    x = x < -MOST_STEPS ? -MOST_STEPS : x;
    return (int16_t)lrint(x);
}

static void keep_rows(size_t begin, size_t end, void *task)
{
    const struct keeping *keeping = task;
    const struct ld_steps *s = keeping->s;
    size_t row_items = (size_t)s->groups * (size_t)s->width;
    int16_t *kept = keeping->kept + begin * (size_t)s->n_columns;
    const float *rows = keeping->rows + begin * row_items;

    for (size_t r = begin; r < end; r++, rows += row_items)
        for (int k = s->relative; k < s->width; k++)
            for (int g = 0; g < s->groups; g++) {
                const float *run = rows + g * s->width;
                double first = s->relative ? (double)run[0] : 0;

                *kept++ = to_steps(((double)run[k] - first) / s->step);
            }
}

void ld_steps_keep(const struct ld_steps *s, int16_t *kept, const float *rows,
                   size_t n_rows)
{
    struct keeping keeping = {s, kept, rows};

    ld_parallel(n_rows, GRAIN, keep_rows, &keeping);
}

void ld_steps_restore(const struct ld_steps *s, float *rows,
                      const int16_t *kept, size_t n_rows)
{
    size_t row_items = (size_t)s->groups * (size_t)s->width;
    float step = (float)s->step;

    for (size_t r = 0; r < n_rows; r++, rows += row_items) {
        for (int g = 0; s->relative && g < s->groups; g++)
            rows[g * s->width] = 0;
        for (int k = s->relative; k < s->width; k++)
            for (int g = 0; g < s->groups; g++)
                rows[g * s->width + k] = step * *kept++;
    }
}

/* A pair of columns is one number of a strip. */
void ld_steps_strip_kept(const struct ld_steps *s, int16_t *kept,
                         const int32_t *strip, size_t first, size_t n_rows)
{
    size_t n = (size_t)s->n_columns;

    for (size_t r = 0; r < n_rows; r++, kept += n) {
        const int32_t *pair = strip + first + r;

        for (size_t i = 0; i + 1 < n; i += 2, pair += LD_PREDICT_STRIP) {
            kept[i] = (int16_t)*pair;
            kept[i + 1] = (int16_t)(*pair >> 16);
        }
        if (n % 2)
            kept[n - 1] = (int16_t)*pair;
    }
}

/* A column of a strip as floats. */
static void column_floats(float out[LD_PREDICT_STRIP], const int32_t *strip,
                          int column, float step)
{
    const int32_t *pair = strip + column / 2 * LD_PREDICT_STRIP;

    if (column % 2 == 0)
        for (int r = 0; r < LD_PREDICT_STRIP; r++)
            out[r] = step * (float)(int16_t)pair[r];
    else
        for (int r = 0; r < LD_PREDICT_STRIP; r++)
            out[r] = step * (float)(pair[r] >> 16);
}

typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));
typedef int quad_mask __attribute__((vector_size(16)));

/* Four columns of a strip to four neighbouring numbers of each row. */
static void put_four(float *rows, size_t row_items,
                     float columns[4][LD_PREDICT_STRIP], size_t first,
                     size_t n_rows)
{
    size_t r = 0;

    for (; r + 4 <= n_rows; r += 4) {
        quad a = *(const quad *)&columns[0][first + r];
        quad b = *(const quad *)&columns[1][first + r];
        quad c = *(const quad *)&columns[2][first + r];
        quad d = *(const quad *)&columns[3][first + r];
        quad ab = __builtin_shuffle(a, b, (quad_mask){0, 4, 1, 5});
        quad AB = __builtin_shuffle(a, b, (quad_mask){2, 6, 3, 7});
        quad cd = __builtin_shuffle(c, d, (quad_mask){0, 4, 1, 5});
        quad CD = __builtin_shuffle(c, d, (quad_mask){2, 6, 3, 7});
        float *to = rows + r * row_items;

        *(quad *)to = __builtin_shuffle(ab, cd, (quad_mask){0, 1, 4, 5});
        *(quad *)(to + row_items) =
            __builtin_shuffle(ab, cd, (quad_mask){2, 3, 6, 7});
        *(quad *)(to + 2 * row_items) =
            __builtin_shuffle(AB, CD, (quad_mask){0, 1, 4, 5});
        *(quad *)(to + 3 * row_items) =
            __builtin_shuffle(AB, CD, (quad_mask){2, 3, 6, 7});
    }
    for (; r < n_rows; r++)
        for (int i = 0; i < 4; i++)
            rows[r * row_items + (size_t)i] = columns[i][first + r];
}

void ld_restore_plain(const struct ld_steps *s, float *rows,
                      const int32_t *strip, size_t first, size_t n_rows)
{
    size_t row_items = (size_t)s->groups * (size_t)s->width;
    int n = s->width - s->relative; /* columns of a run */
    float columns[4][LD_PREDICT_STRIP];

    for (int g = 0; g < s->groups; g++) {
        float *run = rows + g * s->width + s->relative;
        int k = 0;

        for (size_t r = 0; s->relative && r < n_rows; r++)
            run[r * row_items - 1] = 0;
        for (; k + 4 <= n; k += 4) {
            for (int i = 0; i < 4; i++)
                column_floats(columns[i], strip, (k + i) * s->groups + g,
                              (float)s->step);
            put_four(run + k, row_items, columns, first, n_rows);
        }
        for (; k < n; k++) {
            column_floats(columns[0], strip, k * s->groups + g, (float)s->step);
            for (size_t r = 0; r < n_rows; r++)
                run[r * row_items + (size_t)k] = columns[0][first + r];
        }
    }
}

void ld_steps_restore_strip(const struct ld_steps *s, float *rows,
                            const int32_t *strip, size_t first, size_t n_rows)
{
    ld_restore_best(s)(s, rows, strip, first, n_rows);
}

/* ---- the step ---- */

/* The largest |logit - first|, which must fit into 16 bits. */
static double reach(const struct ld_steps *s, const float *rows, size_t n_runs)
{
    double most = 0;

    for (size_t r = 0; r < n_runs; r++, rows += s->width)
        for (int k = 0; k < s->width; k++) {
            double first = s->relative ? (double)rows[0] : 0;

            most = fmax(most, fabs((double)rows[k] - first));
        }
    return most;
}

/* Scales the step by what was asked over what was measured: the error is in
 * proportion to it. */
static bool choose_step(struct ld_steps *s, const float *rows, size_t n_rows,
                        double T, double grad_error, struct ld_err *err)
{
    size_t row_items = (size_t)s->groups * (size_t)s->width;
    int16_t *kept = ld_new(n_rows * (size_t)s->n_columns, sizeof(*kept), err);
    float *back = ld_new(n_rows * row_items, sizeof(*back), err);
    size_t n_runs = n_rows * (size_t)s->groups;
    double shortest = reach(s, rows, n_runs) / (MOST_STEPS / 2);
    bool ok = kept && back;

    s->step = fmax(0.01, shortest);
    for (int round = 0; ok && round < ROUNDS; round++) {
        struct ld_codec_error sum = {0};
        double late;

        ld_steps_keep(s, kept, rows, n_rows);
        ld_steps_restore(s, back, kept, n_rows);
        ld_codec_measure(&sum, rows, back, n_runs, s->width, (float)T);
        late = ld_codec_error_late(&sum);
        if (!(late > 0))
            break; /* nothing to tell apart: any step will do */
        s->step = fmax(fmin(s->step * MARGIN * grad_error / late, 4), shortest);
    }
    /* Kept in the file as it is used: a float. */
    s->step = (double)(float)s->step;
    ld_delete(kept);
    ld_delete(back);
    return ok;
}

bool ld_steps_fit(struct ld_steps *s, const float *rows, size_t n_rows,
                  double T, double grad_error, size_t chunk_rows,
                  struct ld_err *err)
{
    size_t row_items = (size_t)s->groups * (size_t)s->width;
    size_t every = n_rows / MOST_MEASURED + 1, n_some = n_rows / every;
    int16_t *kept = ld_new(n_rows * (size_t)s->n_columns, sizeof(*kept), err);
    float *some = ld_new(n_some * row_items, sizeof(*some), err);
    bool ok = kept && some;

    for (size_t i = 0; ok && i < n_some; i++)
        memcpy(some + i * row_items, rows + i * every * row_items,
               row_items * sizeof(*some));
    ok = ok && choose_step(s, some, n_some, T, grad_error, err);

    if (ok) {
        ld_steps_keep(s, kept, rows, n_rows);
        ok = ld_predictor_fit(&s->predictor, kept, n_rows, err) &&
             ld_predictor_order(&s->predictor, kept, n_rows, chunk_rows, err);
    }
    ld_delete(some);
    ld_delete(kept);
    return ok;
}
