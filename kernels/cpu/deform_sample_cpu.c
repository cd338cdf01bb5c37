#include <math.h>

#include "kernels/cpu/deform_cpu.h"
#include "kernels/cpu/quads.h"

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

/* ---- reading there, and back ---- */

enum { QUADS = LD_LANES / 4 };

/* Which channels of a plane belong to the piece. */
struct lanes {
    int n_quads;
    bool whole; /* all */
    quad_mask mask[QUADS];
};

static struct lanes lanes_of(const struct ld_deform *d,
                             const struct ld_piece *piece)
{
    struct lanes l = {.n_quads = d->block / 4,
                      .whole = piece->first == 0 && piece->end == d->block};

    for (int i = piece->first; i < piece->end; i++)
        l.mask[i / 4][i % 4] = -1;
    return l;
}

/* `whole` is the plane's quads if all its channels are of the piece, else 0: a
 * constant, so that the loops over quads are unrolled and the masks left out.
 */
static inline void gather(const struct ld_deform *d, float *columns, size_t row,
                          const float *plane, const struct ld_sample *samples,
                          size_t n_pixels, const struct lanes *l, int whole)
{
    int taps = d->taps, more = d->desc.deform_groups * taps;
    int n_quads = whole ? whole : l->n_quads;

    for (size_t p = 0; p < n_pixels; p++)
        for (int k = 0; k < taps; k++) {
            const struct ld_sample *s = &samples[p * more + k];
            float *to = columns + p * row + k * d->block;

            for (int v = 0; v < n_quads; v++) {
                quad value = s->weight[0] * quad_load(plane + s->at[0], v) +
                             s->weight[1] * quad_load(plane + s->at[1], v) +
                             s->weight[2] * quad_load(plane + s->at[2], v) +
                             s->weight[3] * quad_load(plane + s->at[3], v);

                quad_store(
                    to, v,
                    whole ? value
                          : quad_choose(l->mask[v], value, quad_load(to, v)));
            }
        }
}

void ld_deform_gather(const struct ld_deform *d, const struct ld_piece *piece,
                      float *columns, size_t row, const float *plane,
                      const struct ld_sample *samples, size_t n_pixels)
{
    struct lanes l = lanes_of(d, piece);

    if (l.whole && l.n_quads == 4)
        gather(d, columns, row, plane, samples, n_pixels, &l, 4);
    else if (l.whole && l.n_quads == 2)
        gather(d, columns, row, plane, samples, n_pixels, &l, 2);
    else
        gather(d, columns, row, plane, samples, n_pixels, &l, 0);
}

/* One sample: its column, its products, and what it adds to dplane. */
static inline void scatter_one(const struct ld_scatter *s,
                               const struct ld_sample *from, size_t i,
                               const struct lanes *l, int n_quads, bool whole)
{
    float *column = s->columns + i * n_quads * 4;
    quad value[QUADS] = {0}, d[QUADS];

    for (int v = 0; v < n_quads; v++) {
        d[v] = quad_load(s->dcolumns + i * n_quads * 4, v);
        if (!whole)
            d[v] = quad_choose(l->mask[v], d[v], (quad){0});
    }
    for (int q = 0; q < 4; q++) {
        const float *x = s->plane + from->at[q];
        quad sum = {0};

        for (int v = 0; v < n_quads; v++) {
            quad neighbour = quad_load(x, v);

            value[v] += from->weight[q] * neighbour;
            sum += d[v] * neighbour;
        }
        s->products[4 * i + q] = (sum[0] + sum[2]) + (sum[1] + sum[3]);
    }
    for (int v = 0; v < n_quads; v++)
        quad_store(
            column, v,
            whole ? value[v]
                  : quad_choose(l->mask[v], value[v], quad_load(column, v)));
    for (int q = 0; s->dplane && q < 4; q++) {
        float *dx = s->dplane + from->at[q];

        for (int v = 0; v < n_quads; v++)
            quad_store(dx, v, quad_load(dx, v) + from->weight[q] * d[v]);
    }
}

static inline void scatter(const struct ld_deform *d,
                           const struct ld_scatter *s, const struct lanes *l,
                           int n_quads, bool whole)
{
    size_t taps = (size_t)d->taps, more = d->desc.deform_groups * taps;

    for (size_t p = 0; p < s->n_pixels; p++)
        for (size_t k = 0; k < taps; k++)
            scatter_one(s, &s->samples[p * more + k], p * taps + k, l, n_quads,
                        whole);
}

void ld_deform_scatter(const struct ld_deform *d, const struct ld_piece *piece,
                       const struct ld_scatter *s)
{
    struct lanes l = lanes_of(d, piece);

    if (l.whole && l.n_quads == 4)
        scatter(d, s, &l, 4, true);
    else if (l.whole && l.n_quads == 2)
        scatter(d, s, &l, 2, true);
    else
        scatter(d, s, &l, l.n_quads, false);
}
