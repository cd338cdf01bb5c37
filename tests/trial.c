#include "tests/trial.h"

#include <math.h>
#include <string.h>

#include "tests/suite.h"

size_t trial_weights(const struct ld_conv_desc *d)
{
    int groups = d->groups ? d->groups : 1;

    return (size_t)d->O * (d->in.C / groups) * d->kernel * d->kernel;
}

struct trial trial_of(struct maps *m, struct ld_conv_desc desc, bool with_bias)
{
    struct trial t = {.desc = desc, .out = ld_conv_out(&desc)};

    t.x = maps_normal(m, shape_count(desc.in));
    t.w = maps_normal(m, trial_weights(&desc));
    t.dy = maps_normal(m, shape_count(t.out));
    t.bias = with_bias ? maps_normal(m, (size_t)desc.O) : NULL;
    t.identity = desc.residual ? maps_normal(m, shape_count(t.out)) : NULL;
    t.before = desc.adds ? maps_normal(m, shape_count(desc.in)) : NULL;
    return t;
}

/* Where tap `tap` of output value i_y reads channel 0 of x; false: in the
 * padding. */
static bool source_of(const struct trial *t, size_t i_y, int tap, size_t *i_x)
{
    const struct ld_conv_desc *d = &t->desc;
    int column = (int)(i_y % t->out.W), row = (int)(i_y / t->out.W % t->out.H);
    size_t n = i_y / t->out.W / t->out.H / t->out.C;
    int h = row * d->stride - d->pad + tap / d->kernel * d->dilation;
    int w = column * d->stride - d->pad + tap % d->kernel * d->dilation;

    *i_x = (n * d->in.C * d->in.H + h) * d->in.W + w;
    return h >= 0 && h < d->in.H && w >= 0 && w < d->in.W;
}

/* One output value; adds to the gradients what its dy does. */
static double plain_value(const struct trial *t, struct outcome *out,
                          size_t i_y)
{
    size_t taps = (size_t)t->desc.kernel * t->desc.kernel, x = 0;
    size_t map = (size_t)t->desc.in.H * t->desc.in.W;
    int groups = t->desc.groups ? t->desc.groups : 1;
    int C = t->desc.in.C / groups; /* that the output reads */
    size_t o = i_y / t->out.W / t->out.H % t->out.C;
    size_t first = o / (t->out.C / groups) * C * map; /* of its group */
    double dy = (double)t->dy[i_y], sum = 0;

    for (size_t k = 0; k < taps; k++) {
        size_t w = o * C * taps + k;

        if (!source_of(t, i_y, (int)k, &x))
            continue;
        x += first;
        for (int c = 0; c < C; c++, x += map, w += taps) {
            sum += (double)t->x[x] * (double)t->w[w];
            out->dx[x] += dy * (double)t->w[w];
            out->dw[w] += dy * (double)t->x[x];
        }
    }
    return sum;
}

struct outcome trial_plain(struct maps *m, const struct trial *t)
{
    size_t count = shape_count(t->out), map = (size_t)t->out.H * t->out.W;
    struct outcome out = {
        .y = maps_doubles(m, count),
        .dx = maps_doubles(m, shape_count(t->desc.in)),
        .dw = maps_doubles(m, trial_weights(&t->desc)),
        .dbias = maps_doubles(m, (size_t)t->desc.O),
    };

    for (size_t i = 0; t->before && i < shape_count(t->desc.in); i++)
        out.dx[i] = (double)t->before[i];
    for (size_t i = 0; i < count; i++) {
        size_t o = i / map % t->out.C;
        double y = plain_value(t, &out, i);

        y += t->bias ? (double)t->bias[o] : 0;
        y += t->identity ? (double)t->identity[i] : 0;
        out.y[i] = t->desc.relu ? fmax(y, 0) : y;
        out.dbias[o] += (double)t->dy[i];
    }
    return out;
}

static struct ld_conv *conv_of(struct maps *m, const struct ld_conv_desc *desc)
{
    struct ld_err err = {0};
    struct ld_conv *conv = m->dev->ops->conv_new(m->dev, desc, &err);

    ck_assert_msg(conv != NULL, "%s", err.text);
    return conv;
}

struct prepared prepared_new(struct maps *m, const struct trial *t)
{
    const struct ld_ops *ops = m->dev->ops;
    struct prepared s = {.conv = conv_of(m, &t->desc)};
    float *w = maps_vector(m, t->w, trial_weights(&t->desc));

    s.scratch = maps_memory(m, ops->conv_scratch_bytes(s.conv));
    s.packed = maps_memory(m, ops->conv_weight_bytes(s.conv));
    memset(s.packed, 0xff, ops->conv_weight_bytes(s.conv)); /* NaN */
    ops->conv_pack(m->dev, s.conv, s.packed, w, NULL);
    s.x = t->desc.image ? maps_vector(m, t->x, shape_count(t->desc.in))
                        : maps_map(m, t->x, t->desc.in);
    s.y = maps_map(m, NULL, t->out);
    if (t->identity)
        s.identity = maps_map(m, t->identity, t->out);
    s.dx = maps_map(m, t->before, t->desc.in);
    s.dy = maps_map(m, t->dy, t->out);
    s.dw = maps_memory(m, trial_weights(&t->desc) * sizeof(float));
    s.dbias = maps_memory(m, t->desc.O * sizeof(float));
    return s;
}

void prepared_run(struct maps *m, const struct trial *t,
                  const struct prepared *s)
{
    const struct ld_ops *ops = m->dev->ops;
    float *bias = t->bias ? maps_vector(m, t->bias, (size_t)t->desc.O) : NULL;

    ops->conv_forward(m->dev, s->conv, s->y, s->x, s->packed, bias, s->identity,
                      s->scratch);
    if (!t->desc.train)
        return;
    if (!t->desc.image)
        ops->conv_backward_data(m->dev, s->conv, s->dx, s->dy, s->packed,
                                s->scratch);
    ops->conv_backward_weights(m->dev, s->conv, s->dw, bias ? s->dbias : NULL,
                               s->dy, NULL, s->x, s->scratch);
}
