#include "tests/deforming.h"

#include <math.h>
#include <string.h>

#include "tests/suite.h"

size_t deforming_weights(const struct deforming *t)
{
    const struct ld_conv_desc *c = &t->desc.conv;

    return (size_t)c->O * (c->in.C / c->groups) * c->kernel * c->kernel;
}

struct deforming deforming_of(struct maps *m, struct ld_deform_desc desc)
{
    struct deforming t = {.desc = desc,
                          .out = ld_conv_out(&desc.conv),
                          .offsets = ld_deform_offsets(&desc)};

    t.x = maps_normal(m, shape_count(desc.conv.in));
    t.offset = maps_normal(m, shape_count(t.offsets));
    t.w = maps_normal(m, deforming_weights(&t));
    t.bias = maps_normal(m, (size_t)desc.conv.O);
    t.dy = maps_normal(m, shape_count(t.out));
    for (size_t i = 0; i < shape_count(t.offsets); i++)
        t.offset[i] *= 1.5F; /* some samples leave small maps */
    return t;
}

/* A sample: the neighbours it reads (-1: none), their weights and those's
 * derivatives, its factor. */
struct reading {
    ptrdiff_t at[4];
    double weight[4], by_y[4], by_x[4], factor;
};

static double offset_at(const struct deforming *t, size_t n, int channel,
                        size_t pixel)
{
    size_t area = (size_t)t->offsets.H * t->offsets.W;

    return (double)t->offset[(n * t->offsets.C + channel) * area + pixel];
}

static struct reading reading_of(const struct deforming *t, size_t n, int i,
                                 size_t pixel)
{
    const struct ld_conv_desc *c = &t->desc.conv;
    int taps = c->kernel * c->kernel, k = i % taps;
    double y = (int)(pixel / t->out.W) * c->stride - c->pad +
               k / c->kernel * c->dilation + offset_at(t, n, 2 * i, pixel);
    double x = (int)(pixel % t->out.W) * c->stride - c->pad +
               k % c->kernel * c->dilation + offset_at(t, n, 2 * i + 1, pixel);
    int logits = 2 * taps * t->desc.deform_groups;
    struct reading r = {.factor = 1};

    if (t->desc.modulated)
        r.factor = 1 / (1 + exp(-offset_at(t, n, logits + i, pixel)));
    for (int q = 0; q < 4; q++) {
        double h = floor(y) + q / 2, w = floor(x) + q % 2;
        double near_y = 1 - fabs(y - h), near_x = 1 - fabs(x - w);
        bool real = h >= 0 && h < c->in.H && w >= 0 && w < c->in.W;

        r.at[q] = real ? (ptrdiff_t)(h * c->in.W + w) : -1;
        r.weight[q] = near_y * near_x;
        r.by_y[q] = q / 2 ? near_x : -near_x;
        r.by_x[q] = q % 2 ? near_y : -near_y;
    }
    return r;
}

/* What one channel's sample does to the outputs of its group, and what their
 * gradients do to it. */
static void plain_channel(const struct deforming *t, const struct wanted *to,
                          const struct reading *r, size_t n, int i, int c,
                          size_t pixel)
{
    const struct ld_conv_desc *d = &t->desc.conv;
    int taps = d->kernel * d->kernel, C = d->in.C / d->groups,
        O = d->O / d->groups;
    size_t in = (n * d->in.C + c) * d->in.H * d->in.W;
    size_t area = (size_t)t->out.H * t->out.W;
    size_t off = (n * t->offsets.C + 2 * i) * area + pixel;
    size_t logit = (n * t->offsets.C + t->offsets.C / 3 * 2 + i) * area + pixel;
    double v[4], read = 0, g = 0;

    for (int q = 0; q < 4; q++) {
        v[q] = r->at[q] < 0 ? 0 : (double)t->x[in + r->at[q]];
        read += r->weight[q] * v[q];
    }
    for (int o = c / C * O; o < (c / C + 1) * O; o++) {
        size_t w = ((size_t)o * C + c % C) * taps + i % taps;
        size_t y = (n * d->O + o) * area + pixel;

        to->y[y] += (double)t->w[w] * read * r->factor;
        to->dw[w] += (double)t->dy[y] * read * r->factor;
        g += (double)t->dy[y] * (double)t->w[w];
    }
    for (int q = 0; q < 4; q++) {
        if (r->at[q] >= 0)
            to->dx[in + r->at[q]] += g * r->factor * r->weight[q];
        to->doffset[off] += g * r->factor * r->by_y[q] * v[q];
        to->doffset[off + area] += g * r->factor * r->by_x[q] * v[q];
    }
    if (t->desc.modulated)
        to->doffset[logit] += g * read * r->factor * (1 - r->factor);
}

struct wanted deforming_plain(struct maps *m, const struct deforming *t)
{
    struct wanted to = {maps_doubles(m, shape_count(t->out)),
                        maps_doubles(m, shape_count(t->desc.conv.in)),
                        maps_doubles(m, shape_count(t->offsets)),
                        maps_doubles(m, deforming_weights(t)),
                        maps_doubles(m, (size_t)t->out.C)};
    int taps = t->desc.conv.kernel * t->desc.conv.kernel;
    int C = t->desc.conv.in.C, share = C / t->desc.deform_groups;
    size_t area = (size_t)t->out.H * t->out.W;

    for (size_t p = 0; p < t->out.N * area; p++)
        for (int i = 0; i < taps * t->desc.deform_groups; i++) {
            struct reading r = reading_of(t, p / area, i, p % area);

            for (int c = i / taps * share; c < (i / taps + 1) * share; c++)
                plain_channel(t, &to, &r, p / area, i, c, p % area);
        }
    for (size_t i = 0; i < shape_count(t->out); i++) {
        int o = (int)(i / area % t->out.C);

        to.y[i] += t->bias ? (double)t->bias[o] : 0;
        if (t->desc.conv.relu)
            to.y[i] = fmax(to.y[i], 0);
        to.dbias[o] += (double)t->dy[i];
    }
    return to;
}

/* ---- by the device ---- */

static struct ld_deform *deform_of(struct maps *m,
                                   const struct ld_deform_desc *desc)
{
    struct ld_err err = {0};
    struct ld_deform *deform = m->dev->ops->deform_new(m->dev, desc, &err);

    ck_assert_msg(deform != NULL, "%s", err.text);
    return deform;
}

struct got deforming_run(struct maps *m, const struct deforming *t)
{
    const struct ld_ops *ops = m->dev->ops;
    struct ld_deform *deform = deform_of(m, &t->desc);
    size_t scratch_bytes = ops->deform_scratch_bytes(deform);
    void *scratch = maps_memory(m, scratch_bytes);
    void *packed = maps_memory(m, ops->deform_weight_bytes(deform));
    float *x = maps_map(m, t->x, t->desc.conv.in);
    float *offset = maps_map(m, t->offset, t->offsets);
    float *y = maps_map(m, NULL, t->out), *dy = maps_map(m, t->dy, t->out);
    float *bias = t->bias ? maps_vector(m, t->bias, t->out.C) : NULL;
    struct ld_deform_gradients to = {
        .dx = maps_map(m, NULL, t->desc.conv.in),
        .doffset = maps_map(m, NULL, t->offsets),
        .dweight = maps_memory(m, deforming_weights(t) * sizeof(float)),
        .dbias = maps_memory(m, (size_t)t->out.C * sizeof(float))};

    memset(scratch, 0xff, scratch_bytes); /* NaN */
    ops->deform_pack(m->dev, deform, packed,
                     maps_vector(m, t->w, deforming_weights(t)), NULL);
    ops->deform_forward(m->dev, deform, y, x, offset, packed, bias, scratch);
    memset(scratch, 0xff, scratch_bytes);
    ops->deform_backward(m->dev, deform, &to, dy, x, offset, packed, scratch);
    maps_sync(m);
    ops->deform_free(m->dev, deform);
    return (struct got){
        maps_plain(m, y, t->out), maps_plain(m, to.dx, t->desc.conv.in),
        maps_plain(m, to.doffset, t->offsets), to.dweight, to.dbias};
}
