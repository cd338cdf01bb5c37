#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/deforming.h"
#include "tests/golden.h"
#include "tests/suite.h"
#include "tests/trial.h"

/* Ten times the reference's rounding, or this part of the largest value: both
 * sides sum some hundred fp32 products, in different orders. */
static const double CLOSE = 1e-5;

static struct ld_shape golden_shape(struct golden *g, const char *name)
{
    struct golden_array a = golden_array(g, name);

    return (struct ld_shape){a.dim[0], a.dim[1], a.dim[2], a.dim[3]};
}

static int param(struct golden *g, const char *name, int otherwise)
{
    char path[64];

    snprintf(path, sizeof(path), "params.%s", name);
    return golden_has_value(g, path) ? (int)golden_number(g, path) : otherwise;
}

static struct deforming golden_deforming(struct golden *g)
{
    struct ld_shape w = golden_shape(g, "w"), x = golden_shape(g, "x");
    struct deforming t = {
        .desc = {.conv = {.in = x,
                          .O = w.N,
                          .kernel = w.H,
                          .stride = param(g, "stride", 1),
                          .pad = param(g, "padding", 0),
                          .dilation = param(g, "dilation", 1),
                          .train = true,
                          .groups = param(g, "groups", 1)},
                 .deform_groups = param(g, "deform_groups", 1),
                 .modulated = strstr(g->name, "v2") != NULL}};

    t.out = ld_conv_out(&t.desc.conv);
    t.offsets = ld_deform_offsets(&t.desc);
    t.x = (float *)golden_floats(g, "x", shape_count(x));
    t.w = (float *)golden_floats(g, "w", deforming_weights(&t));
    t.dy = (float *)golden_floats(g, "upstream", shape_count(t.out));
    return t;
}

/* Channels first to first + count of each image, times a number each where
 * `times` is not NULL. */
static float *channels_of(struct maps *m, const float *from,
                          struct ld_shape shape, int first, int count,
                          const float *times)
{
    size_t area = (size_t)shape.H * shape.W, n = (size_t)count * area;
    float *to = maps_normal(m, shape.N * n);

    for (int i = 0; i < shape.N; i++)
        for (size_t j = 0; j < n; j++) {
            float value = from[((size_t)i * shape.C + first) * area + j];

            to[i * n + j] = times ? value * times[i * n + j] : value;
        }
    return to;
}

/* The reference's layer takes factors, ours their logits z: f = sigmoid(z), so
 * dz = df f (1 - f); here 1 / (f (1 - f)), and the logits into the offsets. */
static float *put_logits(struct maps *m, struct golden *g, struct deforming *t)
{
    int third = t->offsets.C / 3;
    size_t area = (size_t)t->offsets.H * t->offsets.W, n = third * area;
    const float *mask = golden_floats(g, "mask", t->offsets.N * n);
    float *slope = maps_normal(m, t->offsets.N * n);

    for (size_t i = 0; i < t->offsets.N * n; i++) {
        double f = (double)mask[i];

        t->offset[(i / n * 3 + 2) * n + i % n] = (float)log(f / (1 - f));
        slope[i] = (float)(1 / (f * (1 - f)));
    }
    return slope;
}

static void put_offsets(struct maps *m, struct golden *g, struct deforming *t)
{
    struct ld_shape shape = golden_shape(g, "offset");
    size_t n = shape_count(shape) / shape.N;
    const float *offset = golden_floats(g, "offset", shape_count(shape));

    t->offset = maps_normal(m, shape_count(t->offsets));
    for (int i = 0; i < shape.N; i++)
        memcpy(t->offset + i * shape_count(t->offsets) / shape.N,
               offset + i * n, n * sizeof(float));
}

static void run_layer(struct golden *g)
{
    struct deforming t = golden_deforming(g);
    const float *slope = NULL, *doffset;
    int pairs =
        2 * t.desc.conv.kernel * t.desc.conv.kernel * t.desc.deform_groups;
    size_t area = (size_t)t.out.H * t.out.W;
    struct got got;
    struct maps m;

    maps_open(&m, 0, 0);
    put_offsets(&m, g, &t);
    if (t.desc.modulated)
        slope = put_logits(&m, g, &t);
    if (golden_has(g, "b"))
        t.bias = (float *)golden_floats(g, "b", t.out.C);
    got = deforming_run(&m, &t);
    doffset = channels_of(&m, got.doffset, t.offsets, 0, pairs, NULL);
    golden_compare(g, "out", got.y, shape_count(t.out), CLOSE);
    golden_compare(g, "grad_x", got.dx, shape_count(t.desc.conv.in), CLOSE);
    golden_compare(g, "grad_w", got.dw, deforming_weights(&t), CLOSE);
    golden_compare(g, "grad_offset", doffset, t.out.N * pairs * area, CLOSE);
    if (t.bias)
        golden_compare(g, "grad_b", got.dbias, t.out.C, CLOSE);
    if (t.desc.modulated)
        golden_compare(
            g, "grad_mask",
            channels_of(&m, got.doffset, t.offsets, pairs, pairs / 2, slope),
            t.out.N * pairs / 2 * area, CLOSE);
    maps_close(&m);
}

/* The layer with the convolution that makes its offsets. */
static void run_pack(struct golden *g)
{
    struct deforming t = golden_deforming(g);
    struct trial offsets = {.desc = t.desc.conv, .out = t.offsets, .x = t.x};
    size_t in = shape_count(t.desc.conv.in);
    struct prepared p;
    struct got got;
    struct maps m;
    float *dx;

    offsets.desc.O = t.offsets.C;
    offsets.w =
        (float *)golden_floats(g, "offset_w", trial_weights(&offsets.desc));
    offsets.bias = (float *)golden_floats(g, "offset_b", t.offsets.C);
    maps_open(&m, 0, 0);
    offsets.dy = maps_normal(&m, shape_count(t.offsets));
    p = prepared_new(&m, &offsets);
    prepared_run(&m, &offsets, &p);
    t.offset = (float *)maps_plain(&m, p.y, t.offsets);
    m.dev->ops->conv_free(m.dev, p.conv);
    got = deforming_run(&m, &t);
    offsets.dy = (float *)got.doffset;
    p = prepared_new(&m, &offsets);
    prepared_run(&m, &offsets, &p);
    m.dev->ops->conv_free(m.dev, p.conv);
    dx = (float *)maps_plain(&m, p.dx, t.desc.conv.in);
    for (size_t i = 0; i < in; i++)
        dx[i] += got.dx[i];
    golden_compare(g, "offset_out", t.offset, shape_count(t.offsets), CLOSE);
    golden_compare(g, "out", got.y, shape_count(t.out), CLOSE);
    golden_compare(g, "grad_x", dx, in, CLOSE);
    golden_compare(g, "grad_w", got.dw, deforming_weights(&t), CLOSE);
    golden_compare(g, "grad_offset_w", p.dw, trial_weights(&offsets.desc),
                   CLOSE);
    golden_compare(g, "grad_offset_b", p.dbias, (size_t)t.offsets.C, CLOSE);
    maps_close(&m);
}

static void run_golden(struct golden *g)
{
    if (strstr(g->name, "/pack"))
        run_pack(g);
    else
        run_layer(g);
}

START_TEST(deformable_convolutions_agree_with_the_reference)
{
    golden_each("08_dcn", run_golden);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("deform_golden");
    TCase *c = tcase_create("deform_golden");

    tcase_add_test(c, deformable_convolutions_agree_with_the_reference);
    suite_add_tcase(s, c);
    return s;
}
