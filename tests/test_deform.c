#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/deforming.h"
#include "tests/suite.h"
#include "tests/trial.h"

/* Relative L2 errors: some hundred to thousand fp32 products a value, each
 * rounded to 6e-8, and bilinear weights that are differences of positions. */
static const double tolerance = 5e-6;

static void check(struct maps *m, const struct deforming *t)
{
    struct wanted want = deforming_plain(m, t);
    struct got got = deforming_run(m, t);

    maps_close_to("y", got.y, want.y, shape_count(t->out), tolerance);
    maps_close_to("dx", got.dx, want.dx, shape_count(t->desc.conv.in),
                  tolerance);
    maps_close_to("doffset", got.doffset, want.doffset, shape_count(t->offsets),
                  tolerance);
    maps_close_to("dweight", got.dw, want.dw, deforming_weights(t), tolerance);
    maps_close_to("dbias", got.dbias, want.dbias, (size_t)t->out.C, tolerance);
}

static struct ld_deform_desc random_desc(struct maps *m)
{
    static const int sizes[] = {1, 2, 5, 9, 20}, small[] = {1, 2};
    static const int kernels[] = {1, 3}, groups[] = {1, 2, 4};
    static const int channels[] = {4, 8, 16, 20, 32, 68};
    struct ld_conv_desc c = {.in = {.N = maps_pick(m, small, 2),
                                    .C = maps_pick(m, channels, 6),
                                    .H = maps_pick(m, sizes, 5),
                                    .W = maps_pick(m, sizes, 5)},
                             .O = maps_pick(m, channels, 6),
                             .kernel = maps_pick(m, kernels, 2),
                             .stride = maps_pick(m, small, 2),
                             .dilation = maps_pick(m, small, 2),
                             .relu = maps_pick(m, small, 2) == 1,
                             .train = true,
                             .groups = maps_pick(m, groups, 3)};

    c.pad = c.kernel / 2 * c.dilation;
    return (struct ld_deform_desc){.conv = c,
                                   .deform_groups = maps_pick(m, groups, 3),
                                   .modulated = maps_pick(m, small, 2) == 1};
}

START_TEST(random_shapes_agree_with_plain_loops)
{
    for (int i = 0; i < 60; i++) {
        struct deforming t;
        struct maps m;

        maps_open(&m, 0, 100 + (uint64_t)i);
        t = deforming_of(&m, random_desc(&m));
        check(&m, &t);
        maps_close(&m);
    }
}
END_TEST

/* More pixels than a strip has, and ResNeXt's groups of one block. */
START_TEST(shapes_of_detectors_agree_with_plain_loops)
{
    static const struct ld_deform_desc cases[] = {
        {{{1, 128, 20, 33}, 64, 3, 1, 1, 1, false, true, false, true, 1, false},
         1,
         false},
        {{{2, 96, 13, 22}, 96, 3, 2, 1, 1, false, true, false, true, 6, false},
         1,
         true},
        {{{1, 104, 11, 9}, 104, 3, 1, 1, 1, false, true, false, true, 1, false},
         1,
         false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct deforming t;
        struct maps m;

        maps_open(&m, 0, 200 + i);
        t = deforming_of(&m, cases[i]);
        check(&m, &t);
        maps_close(&m);
    }
}
END_TEST

/* ---- finite differences ---- */

static double loss_of(struct maps *m, const struct deforming *t)
{
    struct wanted to = deforming_plain(m, t);
    double sum = 0;

    for (size_t i = 0; i < shape_count(t->out); i++)
        sum += to.y[i] * (double)t->dy[i];
    return sum;
}

/* Steps of 2^-10, exact in fp32, of a loss that is linear in x and w, and
 * piecewise linear in an offset: there a step over a whole-numbered position
 * meets the kink, and is left out. The logit's curve bends by 1e-7 of its slope
 * times the loss. */
static void check_difference(struct maps *m, struct deforming *t, float *at,
                             float gradient, double size, const char *what)
{
    const float step = 0x1p-10F;
    float was = *at;
    double above, below;

    if (floorf(was - step) != floorf(was + step))
        return;
    *at = was + step;
    above = loss_of(m, t);
    *at = was - step;
    below = loss_of(m, t);
    *at = was;
    ck_assert_msg(fabs((above - below) / (2 * (double)step) -
                       (double)gradient) <= 1e-5 * size,
                  "%s: difference %g, gradient %g", what,
                  (above - below) / (2 * (double)step), (double)gradient);
}

static double largest(const float *values, size_t count)
{
    double most = 0;

    for (size_t i = 0; i < count; i++)
        most = fmax(most, fabs((double)values[i]));
    return most;
}

static void check_differences(struct maps *m, struct deforming *t, float *at,
                              const float *gradient, size_t count,
                              const char *what)
{
    double size = largest(gradient, count);

    for (int k = 0; k < 12; k++) {
        size_t i = ld_rng_below(&m->rng, (uint32_t)count);

        check_difference(m, t, &at[i], gradient[i], size, what);
    }
}

START_TEST(gradients_agree_with_finite_differences)
{
    for (int i = 0; i < 4; i++) {
        struct ld_deform_desc desc = {.conv = {.in = {2, 6, 7, 5},
                                               .O = 4,
                                               .kernel = 3,
                                               .stride = 1 + i / 2,
                                               .pad = 1,
                                               .dilation = 1,
                                               .train = true,
                                               .groups = 2},
                                      .deform_groups = 3,
                                      .modulated = i % 2 == 1};
        struct deforming t;
        struct got got;
        struct maps m;

        maps_open(&m, 1, 300 + (uint64_t)i);
        t = deforming_of(&m, desc);
        got = deforming_run(&m, &t);
        check_differences(&m, &t, t.x, got.dx, shape_count(desc.conv.in), "x");
        check_differences(&m, &t, t.offset, got.doffset, shape_count(t.offsets),
                          "offset");
        check_differences(&m, &t, t.w, got.dw, deforming_weights(&t), "weight");
        check_differences(&m, &t, t.bias, got.dbias, (size_t)t.out.C, "bias");
        maps_close(&m);
    }
}
END_TEST

/* ---- special cases ---- */

START_TEST(any_number_of_threads_gives_the_same_bits)
{
    struct ld_deform_desc desc = {.conv = {.in = {2, 64, 30, 31},
                                           .O = 48,
                                           .kernel = 3,
                                           .stride = 1,
                                           .pad = 1,
                                           .dilation = 1,
                                           .train = true,
                                           .groups = 1},
                                  .deform_groups = 1,
                                  .modulated = true};
    struct maps m[3];
    struct deforming t[3];
    struct got got[3];

    for (int i = 0; i < 3; i++) {
        maps_open(&m[i], i + 1, 400);
        t[i] = deforming_of(&m[i], desc);
        got[i] = deforming_run(&m[i], &t[i]);
    }
    for (int i = 1; i < 3; i++) {
        size_t in = shape_count(desc.conv.in), out = shape_count(t[0].out);
        size_t offsets = shape_count(t[0].offsets),
               w = deforming_weights(&t[0]);

        ck_assert_mem_eq(got[0].y, got[i].y, out * sizeof(float));
        ck_assert_mem_eq(got[0].dx, got[i].dx, in * sizeof(float));
        ck_assert_mem_eq(got[0].doffset, got[i].doffset,
                         offsets * sizeof(float));
        ck_assert_mem_eq(got[0].dw, got[i].dw, w * sizeof(float));
        ck_assert_mem_eq(got[0].dbias, got[i].dbias, 48 * sizeof(float));
    }
    for (int i = 0; i < 3; i++)
        maps_close(&m[i]);
}
END_TEST

START_TEST(offsets_of_zero_make_a_plain_convolution)
{
    struct ld_deform_desc desc = {.conv = {.in = {2, 20, 9, 14},
                                           .O = 36,
                                           .kernel = 3,
                                           .stride = 2,
                                           .pad = 1,
                                           .dilation = 1,
                                           .train = true,
                                           .groups = 1},
                                  .deform_groups = 1};
    struct trial trial = {.desc = desc.conv};
    struct outcome want;
    struct deforming t;
    struct got got;
    struct maps m;

    maps_open(&m, 0, 500);
    t = deforming_of(&m, desc);
    memset(t.offset, 0, shape_count(t.offsets) * sizeof(float));
    trial.out = t.out;
    trial.x = t.x;
    trial.w = t.w;
    trial.bias = t.bias;
    trial.dy = t.dy;
    want = trial_plain(&m, &trial);
    got = deforming_run(&m, &t);
    maps_close_to("y", got.y, want.y, shape_count(t.out), tolerance);
    maps_close_to("dx", got.dx, want.dx, shape_count(desc.conv.in), tolerance);
    maps_close_to("dw", got.dw, want.dw, deforming_weights(&t), tolerance);
    maps_close(&m);
}
END_TEST

START_TEST(an_offset_that_is_not_a_number_is_seen_and_a_far_one_reads_zero)
{
    struct ld_deform_desc desc = {.conv = {.in = {1, 16, 4, 4},
                                           .O = 16,
                                           .kernel = 1,
                                           .stride = 1,
                                           .dilation = 1,
                                           .train = true,
                                           .groups = 1},
                                  .deform_groups = 1};
    struct deforming t;
    struct got got;
    struct maps m;

    maps_open(&m, 0, 600);
    t = deforming_of(&m, desc);
    t.bias = NULL;
    t.offset[3] = NAN;
    t.offset[5] = 1e30F;
    t.offset[6] = -INFINITY;
    got = deforming_run(&m, &t);
    ck_assert(isnan(got.y[3]) && isnan(got.doffset[3]));
    ck_assert(got.y[5] == 0 && got.doffset[5] == 0);
    ck_assert(got.y[6] == 0 && got.doffset[6] == 0);
    maps_close(&m);
}
END_TEST

START_TEST(without_memory_it_is_an_error_and_leaks_nothing)
{
    struct ld_deform_desc desc = {.conv = {.in = {1, 16, 4, 4},
                                           .O = 16,
                                           .kernel = 3,
                                           .stride = 1,
                                           .pad = 1,
                                           .dilation = 1},
                                  .deform_groups = 1};
    struct ld_deform *deform = NULL;
    struct maps m;

    maps_open(&m, 0, 700);
    for (int i = 0; !deform; i++) {
        struct ld_err err = {0};

        ld_mem_fail_after(i);
        deform = m.dev->ops->deform_new(m.dev, &desc, &err);
        ck_assert_int_eq(err.code, deform ? LD_OK : LD_ERR_MEMORY);
    }
    ld_mem_fail_after(-1);
    m.dev->ops->deform_free(m.dev, deform);
    maps_close(&m);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("deform");
    TCase *c = tcase_create("deform");

    tcase_add_test(c, random_shapes_agree_with_plain_loops);
    tcase_add_test(c, shapes_of_detectors_agree_with_plain_loops);
    tcase_add_test(c, gradients_agree_with_finite_differences);
    tcase_add_test(c, any_number_of_threads_gives_the_same_bits);
    tcase_add_test(c, offsets_of_zero_make_a_plain_convolution);
    tcase_add_test(
        c, an_offset_that_is_not_a_number_is_seen_and_a_far_one_reads_zero);
    tcase_add_test(c, without_memory_it_is_an_error_and_leaks_nothing);
    suite_add_tcase(s, c);
    return s;
}
