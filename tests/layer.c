#include "tests/layer.h"

#include <math.h>

#include "tests/suite.h"

double *layer_double(struct maps *m, const float *from, size_t count)
{
    double *to = maps_doubles(m, count);

    for (size_t i = 0; i < count; i++)
        to[i] = (double)from[i];
    return to;
}

float *layer_float(struct maps *m, const double *from, size_t count)
{
    float *to = maps_normal(m, count);

    for (size_t i = 0; i < count; i++)
        to[i] = (float)from[i];
    return to;
}

/* <y, dy> */
static double loss_of(struct maps *m, const struct layer *l)
{
    size_t count = shape_count(l->out);
    double *y = maps_doubles(m, count), sum = 0;

    l->forward(l, y);
    for (size_t i = 0; i < count; i++)
        sum += y[i] * l->dy[i];
    return sum;
}

/* Eight random members of `at`. In double a central difference over 2e-6 of a
 * loss of some tens is good to about 1e-8; fp32's rounding is what is left. */
void layer_check_gradient(struct maps *m, const struct layer *l,
                          const char *what, double *at, size_t count,
                          const float *gradient)
{
    const double step = 1e-6;
    double size = 0;

    for (size_t i = 0; i < count; i++)
        size = fmax(size, fabs((double)gradient[i]));
    for (int k = 0; k < 8; k++) {
        size_t i = ld_rng_below(&m->rng, (uint32_t)count);
        double was = at[i], above, below;

        at[i] = was + step;
        above = loss_of(m, l);
        at[i] = was - step;
        below = loss_of(m, l);
        at[i] = was;
        ck_assert_msg(fabs((above - below) / (2 * step) -
                           (double)gradient[i]) <= 1e-5 * size + 1e-6,
                      "%s[%zu]: difference %g, gradient %g", what, i,
                      (above - below) / (2 * step), (double)gradient[i]);
    }
}

struct layer layer_of(struct maps *m, struct ld_shape in, struct ld_shape out,
                      void (*forward)(const struct layer *l, double *y))
{
    struct layer l = {.in = in, .out = out, .forward = forward};
    size_t C = (size_t)in.C;

    l.x = layer_double(m, maps_normal(m, shape_count(in)), shape_count(in));
    l.dy = layer_double(m, maps_normal(m, shape_count(out)), shape_count(out));
    l.gamma = layer_double(m, maps_normal(m, C), C);
    l.beta = layer_double(m, maps_normal(m, C), C);
    return l;
}

float *layer_map(struct maps *m, const double *plain, struct ld_shape shape)
{
    return maps_map(m, layer_float(m, plain, shape_count(shape)), shape);
}

float *layer_vector(struct maps *m, const double *plain, size_t count)
{
    return maps_vector(m, layer_float(m, plain, count), count);
}

void layer_check(struct maps *m, const struct layer *l, const char *what,
                 const float *y)
{
    double *want = maps_doubles(m, shape_count(l->out));

    l->forward(l, want);
    maps_close_to(what, maps_plain(m, y, l->out), want, shape_count(l->out),
                  2e-6);
}

static struct ld_shape shape_of(const struct golden_array *a)
{
    return (struct ld_shape){a->dim[0], a->dim[1], a->dim[2], a->dim[3]};
}

struct layer layer_golden(struct maps *m, struct golden *g)
{
    struct golden_array x = golden_array(g, "x"), y = golden_array(g, "out");
    struct layer l = {.in = shape_of(&x), .out = shape_of(&y)};

    l.x = layer_double(m, x.data, x.count);
    l.dy = layer_double(m, golden_floats(g, "upstream", y.count), y.count);
    if (golden_has(g, "w")) {
        l.gamma = layer_double(m, golden_floats(g, "w", l.in.C), l.in.C);
        l.beta = layer_double(m, golden_floats(g, "b", l.in.C), l.in.C);
    }
    return l;
}
