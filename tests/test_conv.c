#include <stdio.h>
#include <string.h>

#include "tests/golden.h"
#include "tests/suite.h"
#include "tests/trial.h"

/* Relative L2 errors. A direct fp32 convolution is off by about 1e-6 (some
 * thousand terms, each rounded to 6e-8, errors adding up like their root);
 * Winograd's F(4x4, 3x3) by about 2e-6, its transforms multiply by up to 5. */
static const double tolerance = 5e-6;

static void describe(char text[200], const struct ld_conv_desc *d)
{
    snprintf(
        text, 200,
        "N %d, C %d -> %d, groups %d, %dx%d, kernel %d, stride %d, pad %d, "
        "dilation %d%s%s%s%s",
        d->in.N, d->in.C, d->O, d->groups, d->in.H, d->in.W, d->kernel,
        d->stride, d->pad, d->dilation, d->image ? ", image" : "",
        d->relu ? ", relu" : "", d->residual ? ", residual" : "",
        d->adds ? ", adds" : "");
}

static void compare(const char *what, const char *which, const float *got,
                    const double *want, size_t count)
{
    char text[256];

    snprintf(text, sizeof(text), "%s of (%s)", what, which);
    maps_close_to(text, got, want, count, tolerance);
}

static void check_trial(struct maps *m, const struct trial *t)
{
    struct outcome want = trial_plain(m, t);
    struct prepared s = prepared_new(m, t);
    char text[200];

    describe(text, &t->desc);
    prepared_run(m, t, &s);
    maps_sync(m);
    compare("y", text, maps_plain(m, s.y, t->out), want.y, shape_count(t->out));
    if (t->desc.train) {
        if (!t->desc.image)
            compare("dx", text, maps_plain(m, s.dx, t->desc.in), want.dx,
                    shape_count(t->desc.in));
        compare("dweight", text, s.dw, want.dw, trial_weights(&t->desc));
        if (t->bias)
            compare("dbias", text, s.dbias, want.dbias, (size_t)t->desc.O);
    }
    m->dev->ops->conv_free(m->dev, s.conv);
}

static struct ld_conv_desc random_desc(struct maps *m)
{
    static const int channels[] = {3, 16, 20, 64, 68}, kernels[] = {1, 3, 7};
    static const int sizes[] = {1, 2, 5, 8, 13, 17}, small[] = {1, 2};
    struct ld_conv_desc d = {
        .in = {.N = maps_pick(m, small, 2),
               .C = maps_pick(m, channels, 5),
               .H = maps_pick(m, sizes, 6),
               .W = maps_pick(m, sizes, 6)},
        .O = maps_pick(m, channels, 5),
        .kernel = maps_pick(m, kernels, 3),
        .stride = maps_pick(m, small, 2),
        .dilation = maps_pick(m, small, 2),
        .relu = maps_pick(m, small, 2) == 1,
        .residual = maps_pick(m, small, 2) == 1,
        .train = true,
        .adds = maps_pick(m, small, 2) == 1,
    };

    d.pad = d.kernel / 2 * d.dilation;
    return d;
}

START_TEST(convolutions_of_random_shapes_agree_with_plain_loops)
{
    struct maps m;

    for (int i = 0; i < 40; i++) {
        struct trial t;

        maps_open(&m, 0, 100 + (uint64_t)i);
        t = trial_of(&m, random_desc(&m), i % 3 != 0);
        check_trial(&m, &t);
        maps_close(&m);
    }
}
END_TEST

static const struct ld_conv_desc of_detectors[] = {
    {{2, 3, 37, 50}, 64, 7, 2, 3, 1, true, true, false, true, 1, false},
    {{1, 3, 32, 32}, 20, 3, 2, 1, 1, true, false, false, true, 1, true},
    {{1, 256, 29, 28}, 128, 3, 1, 1, 1, false, true, true, true, 1, false},
    {{2, 20, 30, 29}, 68, 3, 1, 1, 1, false, false, true, true, 1, true},
    {{2, 256, 5, 7}, 80, 3, 1, 1, 1, false, false, false, true, 1, false},
    {{2, 64, 25, 24}, 68, 3, 1, 1, 1, false, false, false, true, 1, true},
    {{1, 128, 17, 16}, 256, 1, 2, 0, 1, false, false, false, true, 1, false},
    {{1, 256, 13, 17}, 64, 1, 1, 0, 1, false, true, true, false, 1, true},
    {{2, 128, 13, 11}, 128, 3, 1, 1, 1, false, true, false, true, 32, false},
    {{1, 256, 17, 10}, 256, 3, 2, 1, 1, false, true, false, true, 32, true},
    {{1, 512, 9, 8}, 512, 3, 2, 1, 1, false, false, true, true, 32, false},
    {{2, 256, 6, 5}, 256, 3, 1, 1, 1, false, true, false, true, 8, true},
    {{2, 64, 9, 6}, 128, 3, 1, 1, 1, false, true, false, true, 4, false},
    {{1, 36, 40, 41}, 24, 3, 1, 1, 1, false, true, false, true, 4, true},
    {{2, 4, 6, 9}, 4, 3, 2, 1, 1, false, true, false, true, 4, false},
};

START_TEST(convolutions_of_detectors_agree_with_plain_loops)
{
    for (size_t i = 0; i < sizeof(of_detectors) / sizeof(of_detectors[0]);
         i++) {
        struct maps m;
        struct trial t;

        maps_open(&m, 0, 200 + i);
        t = trial_of(&m, of_detectors[i], true);
        check_trial(&m, &t);
        maps_close(&m);
    }
}
END_TEST

START_TEST(levels_of_any_size_share_one_packed_copy)
{
    static const int sides[] = {33, 32, 16, 7, 4, 1};
    struct ld_conv_desc desc = {.in = {2, 64, 0, 0},
                                .O = 64,
                                .kernel = 3,
                                .stride = 1,
                                .pad = 1,
                                .dilation = 1,
                                .train = true};
    void *packed = NULL;
    size_t bytes = 0;
    struct maps m;

    maps_open(&m, 0, 300);
    for (size_t i = 0; i < sizeof(sides) / sizeof(sides[0]); i++) {
        struct trial t;
        struct prepared s;

        desc.in.H = desc.in.W = sides[i];
        t = trial_of(&m, desc, false);
        s = prepared_new(&m, &t);
        if (!packed) {
            bytes = m.dev->ops->conv_weight_bytes(s.conv);
            packed = maps_memory(&m, bytes);
            memcpy(packed, s.packed, bytes);
        } else {
            float *w = maps_vector(&m, t.w, trial_weights(&desc));

            ck_assert_uint_eq(bytes, m.dev->ops->conv_weight_bytes(s.conv));
            m.dev->ops->conv_pack(m.dev, s.conv, packed, w, NULL);
            ck_assert_mem_eq(packed, s.packed, bytes);
        }
        m.dev->ops->conv_free(m.dev, s.conv);
    }
    maps_close(&m);
}
END_TEST

START_TEST(packing_multiplies_each_output_row_by_its_scale)
{
    struct ld_conv_desc desc = {.in = {1, 20, 6, 5},
                                .O = 68,
                                .kernel = 3,
                                .stride = 1,
                                .pad = 1,
                                .dilation = 1};
    struct maps m;
    struct trial t;
    struct prepared s;
    float *scale, *w;

    maps_open(&m, 0, 400);
    t = trial_of(&m, desc, false);
    s = prepared_new(&m, &t);
    scale = maps_normal(&m, 68);
    w = maps_vector(&m, t.w, trial_weights(&desc));
    m.dev->ops->conv_pack(m.dev, s.conv, s.packed, w,
                          maps_vector(&m, scale, 68));
    prepared_run(&m, &t, &s);
    for (size_t i = 0; i < trial_weights(&desc); i++)
        t.w[i] *= scale[i / (20 * 9)];
    compare("y", "scaled", maps_plain(&m, s.y, t.out), trial_plain(&m, &t).y,
            shape_count(t.out));
    m.dev->ops->conv_free(m.dev, s.conv);
    maps_close(&m);
}
END_TEST

/* <y, dy>, the scalar whose gradient dx and dw are. */
static double projected(struct maps *m, const struct trial *t)
{
    struct prepared s = prepared_new(m, t);
    const float *y;
    double sum = 0;

    prepared_run(m, t, &s);
    y = maps_plain(m, s.y, t->out);
    for (size_t i = 0; i < shape_count(t->out); i++)
        sum += (double)y[i] * (double)t->dy[i];
    m->dev->ops->conv_free(m->dev, s.conv);
    return sum;
}

/* A convolution is linear in either operand: a difference over a step of 1 has
 * no error but rounding, of sums of about 1e3 terms of size 1. */
static void check_difference(struct maps *m, const struct trial *t, float *at,
                             float gradient)
{
    float was = *at;
    double above, below;

    *at = was + 1;
    above = projected(m, t);
    *at = was - 1;
    below = projected(m, t);
    *at = was;
    ck_assert_double_eq_tol((above - below) / 2, (double)gradient, 2e-3);
}

static void check_differences(struct ld_conv_desc desc)
{
    struct maps m;
    struct trial t;
    struct prepared s;
    const float *dx;

    maps_open(&m, 0, 500);
    t = trial_of(&m, desc, false);
    s = prepared_new(&m, &t);
    prepared_run(&m, &t, &s);
    dx = maps_plain(&m, s.dx, desc.in);
    for (int i = 0; i < 5; i++) {
        size_t x = ld_rng_below(&m.rng, (uint32_t)shape_count(desc.in));
        size_t w = ld_rng_below(&m.rng, (uint32_t)trial_weights(&desc));

        check_difference(&m, &t, &t.x[x], dx[x]);
        check_difference(&m, &t, &t.w[w], s.dw[w]);
    }
    m.dev->ops->conv_free(m.dev, s.conv);
    maps_close(&m);
}

START_TEST(gradients_of_a_convolution_agree_with_finite_differences)
{
    struct ld_conv_desc desc = {.in = {2, 6, 7, 6},
                                .O = 9,
                                .kernel = 3,
                                .stride = 2,
                                .pad = 1,
                                .dilation = 1,
                                .train = true};

    check_differences(desc);
    desc.groups = 3;
    check_differences(desc);
    desc.in.C = desc.O = 64;
    desc.groups = 16;
    check_differences(desc);
}
END_TEST

START_TEST(backward_weights_adds_to_what_is_there)
{
    struct ld_conv_desc desc = {.in = {1, 16, 8, 8},
                                .O = 16,
                                .kernel = 3,
                                .stride = 1,
                                .pad = 1,
                                .dilation = 1,
                                .train = true};
    struct maps m;
    struct trial t;
    struct prepared s;
    float first_w, first_bias;

    maps_open(&m, 0, 600);
    t = trial_of(&m, desc, true);
    s = prepared_new(&m, &t);
    prepared_run(&m, &t, &s);
    first_w = s.dw[7];
    first_bias = s.dbias[7];
    prepared_run(&m, &t, &s);
    ck_assert(s.dw[7] == first_w + first_w);
    ck_assert(s.dbias[7] == first_bias + first_bias);
    m.dev->ops->conv_free(m.dev, s.conv);
    maps_close(&m);
}
END_TEST

static void check_same_bits(struct ld_conv_desc desc)
{
    size_t bytes = trial_weights(&desc) * sizeof(float);
    struct maps m;
    struct trial t;
    struct prepared s[2];

    maps_open(&m, 2, 700);
    t = trial_of(&m, desc, true);
    for (int i = 0; i < 2; i++) {
        s[i] = prepared_new(&m, &t);
        prepared_run(&m, &t, &s[i]);
    }
    ck_assert_mem_eq(s[0].dw, s[1].dw, bytes);
    ck_assert_mem_eq(s[0].dbias, s[1].dbias, 64 * sizeof(float));
    ck_assert_mem_eq(s[0].y, s[1].y, m.dev->ops->map_bytes(m.dev, t.out));
    ck_assert_mem_eq(s[0].dx, s[1].dx, m.dev->ops->map_bytes(m.dev, desc.in));
    for (int i = 0; i < 2; i++)
        m.dev->ops->conv_free(m.dev, s[i].conv);
    maps_close(&m);
}

START_TEST(a_convolution_gives_the_same_bits_each_time)
{
    struct ld_conv_desc desc = {.in = {2, 64, 40, 40},
                                .O = 64,
                                .kernel = 3,
                                .stride = 1,
                                .pad = 1,
                                .dilation = 1,
                                .train = true};

    check_same_bits(desc);
    desc.groups = 16;
    check_same_bits(desc);
}
END_TEST

START_TEST(a_convolution_that_cannot_be_is_an_error_of_the_device)
{
    struct ld_conv_desc desc = {
        .in = {1, 16, 2, 2}, .O = 16, .kernel = 7, .stride = 1, .dilation = 1};
    struct ld_err err = {0};
    struct maps m;

    maps_open(&m, 0, 800);
    ck_assert_ptr_null(m.dev->ops->conv_new(m.dev, &desc, &err));
    ck_assert_int_eq(err.code, LD_ERR_DEVICE);
    maps_close(&m);
}
END_TEST

START_TEST(a_convolution_without_memory_is_an_error_and_leaks_nothing)
{
    struct ld_conv_desc desc = {.in = {1, 16, 8, 8},
                                .O = 16,
                                .kernel = 3,
                                .stride = 1,
                                .pad = 1,
                                .dilation = 1,
                                .train = true};
    struct ld_conv *conv = NULL;
    struct maps m;

    maps_open(&m, 0, 900);
    for (int i = 0; !conv; i++) {
        struct ld_err err = {0};

        ld_mem_fail_after(i);
        conv = m.dev->ops->conv_new(m.dev, &desc, &err);
        ck_assert_int_eq(err.code, conv ? LD_OK : LD_ERR_MEMORY);
    }
    ld_mem_fail_after(-1);
    m.dev->ops->conv_free(m.dev, conv);
    maps_close(&m);
}
END_TEST

static void run_golden(struct golden *g)
{
    struct golden_array x, w;
    struct trial t = {0};
    struct prepared s;
    struct maps m;

    if (!strstr(g->name, "/conv_"))
        return;
    x = golden_array(g, "x");
    w = golden_array(g, "w");
    t.desc = (struct ld_conv_desc){
        .in = {x.dim[0], x.dim[1], x.dim[2], x.dim[3]},
        .O = w.dim[0],
        .kernel = w.dim[2],
        .stride = (int)golden_number(g, "params.stride"),
        .pad = (int)golden_number(g, "params.padding"),
        .dilation = (int)golden_number(g, "params.dilation"),
        .train = true};
    t.out = ld_conv_out(&t.desc);
    t.x = (float *)golden_floats(g, "x", x.count);
    t.w = (float *)golden_floats(g, "w", w.count);
    t.bias = (float *)golden_floats(g, "b", (size_t)t.desc.O);
    t.dy = (float *)golden_floats(g, "upstream", shape_count(t.out));
    maps_open(&m, 0, 0);
    s = prepared_new(&m, &t);
    prepared_run(&m, &t, &s);
    /* 1e-5: both sides sum some hundred fp32 products, in different orders. */
    golden_compare(g, "out", maps_plain(&m, s.y, t.out), shape_count(t.out),
                   1e-5);
    golden_compare(g, "grad_x", maps_plain(&m, s.dx, t.desc.in), x.count, 1e-5);
    golden_compare(g, "grad_w", s.dw, w.count, 1e-5);
    golden_compare(g, "grad_b", s.dbias, (size_t)t.desc.O, 1e-5);
    m.dev->ops->conv_free(m.dev, s.conv);
    maps_close(&m);
}

START_TEST(convolutions_agree_with_the_reference)
{
    golden_each("07_layers", run_golden);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("conv");
    TCase *c = tcase_create("conv");

    tcase_add_test(c, convolutions_of_random_shapes_agree_with_plain_loops);
    tcase_add_test(c, convolutions_of_detectors_agree_with_plain_loops);
    tcase_add_test(c, levels_of_any_size_share_one_packed_copy);
    tcase_add_test(c, packing_multiplies_each_output_row_by_its_scale);
    tcase_add_test(c, gradients_of_a_convolution_agree_with_finite_differences);
    tcase_add_test(c, backward_weights_adds_to_what_is_there);
    tcase_add_test(c, a_convolution_gives_the_same_bits_each_time);
    tcase_add_test(c, a_convolution_that_cannot_be_is_an_error_of_the_device);
    tcase_add_test(c,
                   a_convolution_without_memory_is_an_error_and_leaks_nothing);
    tcase_add_test(c, convolutions_agree_with_the_reference);
    suite_add_tcase(s, c);
    return s;
}
