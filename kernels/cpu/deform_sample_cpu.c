#include <math.h>

#include "kernels/cpu/deform_cpu.h"

/* ---- where a tap reads ---- */

/* A tap of an output pixel: its four neighbours among the input's pixels, upper
 * left first, their bilinear weights and the weights' derivatives. */
struct tap {
    int32_t at[4];
    float weight[4], by_y[4], by_x[4];
};

static float read_channel(const struct ld_deform *d, const float *map,
                          size_t pixel, int channel)
{
    int block = d->block;

    return map[((size_t)(channel / block) * d->area + pixel) * block +
               channel % block];
}

/* 1 in v1. */
static float factor_of(const struct ld_deform *d, const float *offset,
                       size_t pixel, int i)
{
    int logits = 2 * d->taps * d->desc.deform_groups;

    if (!d->desc.modulated)
        return 1;
    return 1 / (1 + expf(-read_channel(d, offset, pixel, logits + i)));
}

static int round_down(float value)
{
    int whole = (int)value;

    return whole - (value < (float)whole);
}

/* Position (y, x) on the input. A NaN there must not end as a plain zero. */
static void set_tap(const struct ld_deform *d, struct tap *t, float y, float x)
{
    int H = d->in.H, W = d->in.W;
    bool inside = y > -1 && x > -1 && y < (float)H && x < (float)W;
    float none = isnan(y + x) ? NAN : 0;
    int row = inside ? round_down(y) : 0, column = inside ? round_down(x) : 0;
    float part_y = y - (float)row, part_x = x - (float)column;

    for (int q = 0; q < 4; q++) {
        int h = row + q / 2, w = column + q % 2;
        bool real = inside && h >= 0 && h < H && w >= 0 && w < W;
        float by_h = q / 2 ? part_y : 1 - part_y;
        float by_w = q % 2 ? part_x : 1 - part_x;

        t->at[q] = real ? (h * W + w) * d->block : 0;
        t->weight[q] = real ? by_h * by_w : none;
        t->by_y[q] = real ? (q / 2 ? by_w : -by_w) : none;
        t->by_x[q] = real ? (q % 2 ? by_h : -by_h) : none;
    }
}

static void find_tap(const struct ld_deform *d, struct tap *t,
                     const float *offset, size_t pixel, int i)
{
    const struct ld_conv_desc *conv = &d->desc.conv;
    int k = i % d->taps;
    int row = (int)(pixel / d->out.W), column = (int)(pixel % d->out.W);
    int h = row * conv->stride - conv->pad + k / conv->kernel * conv->dilation;
    int w =
        column * conv->stride - conv->pad + k % conv->kernel * conv->dilation;

    set_tap(d, t, (float)h + read_channel(d, offset, pixel, 2 * i),
            (float)w + read_channel(d, offset, pixel, 2 * i + 1));
}

void ld_deform_sample(const struct ld_deform *d, struct ld_sample *samples,
                      const float *offset, size_t begin, size_t end)
{
    int n = d->taps * d->desc.deform_groups;

    for (size_t pixel = begin; pixel < end; pixel++)
        for (int i = 0; i < n; i++, samples++) {
            float factor = factor_of(d, offset, pixel, i);
            struct tap t;

            find_tap(d, &t, offset, pixel, i);
            for (int q = 0; q < 4; q++) {
                samples->at[q] = t.at[q];
                samples->weight[q] = t.weight[q] * factor;
            }
        }
}

void ld_deform_derivative(const struct ld_deform *d, float derivative[3],
                          const float *offset, size_t pixel, int i,
                          const float product[4])
{
    float factor = factor_of(d, offset, pixel, i), by_factor = 0;
    struct tap t;

    find_tap(d, &t, offset, pixel, i);
    derivative[0] = derivative[1] = 0;
    for (int q = 0; q < 4; q++) {
        derivative[0] += factor * t.by_y[q] * product[q];
        derivative[1] += factor * t.by_x[q] * product[q];
        by_factor += t.weight[q] * product[q];
    }
    derivative[2] = by_factor * factor * (1 - factor);
}

/* ---- reading there ---- */

/* The bounds are constants where this is called for whole planes: the compiler
 * then keeps the channels in vectors. */
static inline void gather(const struct ld_deform *d, float *columns, size_t row,
                          const float *plane, const struct ld_sample *samples,
                          size_t n_pixels, int first, int end)
{
    int taps = d->taps, more = d->desc.deform_groups * taps;
    int block = d->block;

    for (size_t p = 0; p < n_pixels; p++)
        for (int k = 0; k < taps; k++) {
            const struct ld_sample *s = &samples[p * more + k];
            float *restrict to = columns + p * row + k * block;
            const float *a = plane + s->at[0], *b = plane + s->at[1];
            const float *c = plane + s->at[2], *e = plane + s->at[3];

            for (int i = first; i < end; i++)
                to[i] = s->weight[0] * a[i] + s->weight[1] * b[i] +
                        s->weight[2] * c[i] + s->weight[3] * e[i];
        }
}

void ld_deform_gather(const struct ld_deform *d, const struct ld_piece *piece,
                      float *columns, size_t row, const float *plane,
                      const struct ld_sample *samples, size_t n_pixels)
{
    int first = piece->first, end = piece->end;

    if (first == 0 && end == 16)
        gather(d, columns, row, plane, samples, n_pixels, 0, 16);
    else if (first == 0 && end == 8)
        gather(d, columns, row, plane, samples, n_pixels, 0, 8);
    else
        gather(d, columns, row, plane, samples, n_pixels, first, end);
}

/* ---- and back ---- */

/* The sum of 16 numbers, as a tree. */
static inline float sum_of(float *v)
{
    for (int half = LD_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            v[i] += v[i + half];
    return v[0];
}

static inline void scatter(const struct ld_deform *d,
                           const struct ld_scatter *s, int first, int end)
{
    int taps = d->taps, more = d->desc.deform_groups * taps;

    for (size_t p = 0; p < s->n_pixels; p++)
        for (int k = 0; k < taps; k++) {
            const struct ld_sample *from = &s->samples[p * more + k];
            size_t at = (p * taps + k) * (size_t)d->block;
            const float *dcolumn = s->dcolumns + at;
            float *restrict column = s->columns + at;
            float product[4][LD_LANES] = {0};

            for (int i = first; i < end; i++)
                column[i] = 0;
            for (int q = 0; q < 4; q++) {
                const float *x = s->plane + from->at[q];

                for (int i = first; i < end; i++) {
                    column[i] += from->weight[q] * x[i];
                    product[q][i] = dcolumn[i] * x[i];
                }
                s->products[(p * taps + k) * 4 + q] = sum_of(product[q]);
            }
            if (!s->dplane)
                continue;
            for (int q = 0; q < 4; q++) {
                float *restrict dx = s->dplane + from->at[q];

                for (int i = first; i < end; i++)
                    dx[i] += from->weight[q] * dcolumn[i];
            }
        }
}

void ld_deform_scatter(const struct ld_deform *d, const struct ld_piece *piece,
                       const struct ld_scatter *s)
{
    int first = piece->first, end = piece->end;

    if (first == 0 && end == 16)
        scatter(d, s, 0, 16);
    else if (first == 0 && end == 8)
        scatter(d, s, 0, 8);
    else
        scatter(d, s, first, end);
}
