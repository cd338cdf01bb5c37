#include "kernels/canvas.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* OpenCV's bilinear scaling of 8-bit images (imgproc/resize.cpp, INTER_LINEAR):
 * weights are integers of 11 bits, the sums along a row lose 4 bits to fit in
 * 16, and each product down a column loses 16 before the two are added. Other
 * orders of rounding differ from it in some pixels by one. */
enum { ONE = 1 << 11, ROW_SHIFT = 4, COLUMN_SHIFT = 16 };

/* Columns that are drawn together, so that all they need is on the stack. */
enum { STRIP = 2048 };

/* Where a scaled row or column lies between two of the picture's. */
struct blend {
    int32_t first, second;
    int16_t first_weight, second_weight; /* of ONE */
};

/* Some columns on their way: rows of the picture, stretched to the scaled
 * width, are made when the first scaled row asks for them. */
struct strip {
    const struct ld_draw *d;
    const uint8_t *rgb;
    int at, n;                   /* columns at to at + n - 1 */
    struct blend columns[STRIP]; /* byte offsets in a row of the picture */
    int16_t rows[2][3 * STRIP];  /* (3, n) each; picture row i is in i % 2 */
    int held[2]; /* which row of the picture that is; -1: none */
};

/* Scaled row or column i of n_to, centres half a pixel in. Beyond the border's
 * centre both neighbours are the border's: a column then has one weight, a row
 * keeps two, which rounds otherwise. OpenCV does so. */
static struct blend blend_of(int i, int n_from, int n_to, bool is_column)
{
    double scale = 1.0 / ((double)n_to / n_from);
    float place = (float)((i + 0.5) * scale - 0.5);
    int first = (int)floorf(place);
    float part = place - (float)first;

    if (is_column && (first < 0 || first >= n_from - 1))
        part = 0;
    return (struct blend){
        .first = first < 0 ? 0 : first,
        .second = first + 1 < n_from ? first + 1 : n_from - 1,
        .first_weight = (int16_t)lrintf((1 - part) * ONE),
        .second_weight = (int16_t)lrintf(part * ONE),
    };
}

static void start_strip(struct strip *s, int at)
{
    const struct ld_draw *d = s->d;

    s->at = at;
    s->n = d->W - at < STRIP ? d->W - at : STRIP;
    s->held[0] = s->held[1] = -1;
    for (int x = 0; x < s->n; x++) {
        int scaled = d->flipped ? d->W - 1 - (at + x) : at + x;
        struct blend b = blend_of(scaled, d->from_W, d->W, true);

        b.first *= 3;
        b.second *= 3;
        s->columns[x] = b;
    }
}

static const int16_t *stretched_row(struct strip *s, int row)
{
    const uint8_t *from = s->rgb + (size_t)row * (size_t)s->d->from_W * 3;
    int16_t *to = s->rows[row % 2];
    int n = s->n;

    if (s->held[row % 2] == row)
        return to;
    for (int x = 0; x < n; x++) {
        struct blend b = s->columns[x];
        const uint8_t *p = from + b.first, *q = from + b.second;
        int wp = b.first_weight, wq = b.second_weight;

        to[x] = (int16_t)((p[0] * wp + q[0] * wq) >> ROW_SHIFT);
        to[n + x] = (int16_t)((p[1] * wp + q[1] * wq) >> ROW_SHIFT);
        to[2 * n + x] = (int16_t)((p[2] * wp + q[2] * wq) >> ROW_SHIFT);
    }
    s->held[row % 2] = row;
    return to;
}

static void normalised_row(float *restrict to, const int16_t *restrict top,
                           const int16_t *restrict bottom, int n,
                           struct blend b, float mean, float std)
{
    for (int x = 0; x < n; x++) {
        int value = ((top[x] * b.first_weight >> COLUMN_SHIFT) +
                     (bottom[x] * b.second_weight >> COLUMN_SHIFT) + 2) >>
                    2;

        to[x] = ((float)value - mean) / std;
    }
}

static void draw_row(struct strip *s, float *planes, int y)
{
    const struct ld_draw *d = s->d;
    struct blend b = blend_of(y, d->from_H, d->H, false);
    const int16_t *top = stretched_row(s, b.first);
    const int16_t *bottom = stretched_row(s, b.second);
    size_t plane = (size_t)d->canvas_H * (size_t)d->canvas_W;
    float *to = planes + (size_t)y * (size_t)d->canvas_W + (size_t)s->at;

    for (size_t c = 0; c < 3; c++) {
        size_t from = (d->bgr ? 2 - c : c) * (size_t)s->n;

        normalised_row(to + c * plane, top + from, bottom + from, s->n, b,
                       d->mean[c], d->std[c]);
    }
}

static void pad_row(float *planes, const struct ld_draw *d, int y)
{
    int used = y < d->H ? d->W : 0;

    for (int c = 0; c < 3; c++)
        memset(planes +
                   ((size_t)c * (size_t)d->canvas_H + (size_t)y) *
                       (size_t)d->canvas_W +
                   used,
               0, (size_t)(d->canvas_W - used) * sizeof(*planes));
}

void ld_draw_rows(float *planes, const uint8_t *rgb, const struct ld_draw *d,
                  int begin, int end)
{
    struct strip s = {.d = d, .rgb = rgb};

    for (int at = 0; at < d->W; at += STRIP) {
        start_strip(&s, at);
        for (int y = begin; y < end && y < d->H; y++)
            draw_row(&s, planes, y);
    }
    for (int y = begin; y < end; y++)
        pad_row(planes, d, y);
}
