#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/parity.h"
#include "tests/suite.h"

enum { CASES = 20 };

/* Of a position's last places, of some tens, by its distance to a neighbour. */
static const double PLACES = 1e-6;

struct pair {
    struct ld_deform_desc desc;
    struct ld_deform *deform[PARITY_DEVICES];
    void *packed[PARITY_DEVICES], *scratch[PARITY_DEVICES];
    struct twin weight, bias, x, offset, y, dx, doffset, dy, dweight, dbias;
    size_t n_weights;
};

/* Some samples leave small maps. */
static float *offsets(struct parity *p, size_t n)
{
    float *offset = parity_normal(p, n);

    for (size_t i = 0; i < n; i++)
        offset[i] = parity_rounded(p, 1.5F * offset[i]);
    return offset;
}

static void prepare(struct parity *p, struct pair *c, int i)
{
    struct ld_device *dev = p->dev[i];
    const struct ld_ops *ops = dev->ops;
    struct ld_err err = {0};

    c->deform[i] = ops->deform_new(dev, &c->desc, &err);
    ck_assert_msg(c->deform[i] != NULL, "%s", err.text);
    c->packed[i] = parity_junk(p, i, ops->deform_weight_bytes(c->deform[i]));
    c->scratch[i] = parity_junk(p, i, ops->deform_scratch_bytes(c->deform[i]));
    ops->deform_pack(dev, c->deform[i], c->packed[i], c->weight.at[i], NULL);
}

static struct pair pair_new(struct parity *p, struct ld_deform_desc desc,
                            const float *offset)
{
    const struct ld_conv_desc *d = &desc.conv;
    struct ld_shape out = ld_conv_out(d), offset_shape;
    struct pair c = {.desc = desc};

    offset_shape = ld_deform_offsets(&desc);
    c.n_weights = (size_t)d->O * (d->in.C / d->groups) * d->kernel * d->kernel;
    c.weight = parity_floats(p, parity_factors(p, c.n_weights), c.n_weights);
    c.dweight = parity_floats(p, parity_normal(p, c.n_weights), c.n_weights);
    c.dbias = parity_floats(p, parity_normal(p, (size_t)d->O), (size_t)d->O);
    if (parity_below(p, 2))
        c.bias = parity_floats(p, parity_normal(p, (size_t)d->O), (size_t)d->O);
    c.x = parity_map(p, parity_normal(p, parity_count(d->in)), d->in);
    c.offset = parity_map(p, offset, offset_shape);
    c.y = parity_map(p, NULL, out);
    c.dx = parity_map(p, NULL, d->in);
    c.doffset = parity_map(p, NULL, offset_shape);
    c.dy = parity_map(p, parity_normal(p, parity_count(out)), out);
    for (int i = 0; i < PARITY_DEVICES; i++)
        prepare(p, &c, i);
    return c;
}

static void pair_run(struct parity *p, const struct pair *c, bool with_dx)
{
    for (int i = 0; i < PARITY_DEVICES; i++) {
        struct ld_device *dev = p->dev[i];
        struct ld_deform_gradients to = {with_dx ? c->dx.at[i] : NULL,
                                         c->doffset.at[i], c->dweight.at[i],
                                         c->dbias.at[i]};

        dev->ops->deform_forward(dev, c->deform[i], c->y.at[i], c->x.at[i],
                                 c->offset.at[i], c->packed[i], c->bias.at[i],
                                 c->scratch[i]);
        if (c->desc.conv.train)
            dev->ops->deform_backward(dev, c->deform[i], &to, c->dy.at[i],
                                      c->x.at[i], c->offset.at[i], c->packed[i],
                                      c->scratch[i]);
    }
}

static void pair_free(struct parity *p, struct pair *c)
{
    for (int i = 0; i < PARITY_DEVICES; i++) {
        p->dev[i]->ops->release(p->dev[i], c->packed[i]);
        p->dev[i]->ops->release(p->dev[i], c->scratch[i]);
        p->dev[i]->ops->deform_free(p->dev[i], c->deform[i]);
    }
}

/* Columns are rounded to what products take, and in bf16 their gradients to
 * what memory does, and what bias is added to. Bilinear weights are differences
 * of positions, with the last places of these. */
struct errors {
    double y, dx, doffset, dweight;
};

static struct errors predict(struct parity *p, const struct pair *c)
{
    const struct ld_conv_desc *d = &c->desc.conv;
    struct ld_shape out = ld_conv_out(d);
    size_t taps = (size_t)d->kernel * (size_t)d->kernel;
    bool bf16 = p->precision == LD_PRECISION_BF16;
    double of_dcolumns = parity_both(parity_sums(p, (size_t)(d->O / d->groups)),
                                     parity_roundings(p, bf16));

    of_dcolumns = parity_both(of_dcolumns, PLACES);
    return (struct errors){
        parity_both(parity_sums(p, taps * (size_t)(d->in.C / d->groups)),
                    parity_both(PLACES, parity_roundings(
                                            p, 1 + (bf16 && c->bias.at[0])))),
        of_dcolumns, of_dcolumns,
        parity_both(
            parity_sums(p, (size_t)out.N * (size_t)out.H * (size_t)out.W),
            parity_both(PLACES, parity_roundings(p, 1)))};
}

static void check(struct parity *p, struct ld_deform_desc desc)
{
    struct ld_shape offset_shape = ld_deform_offsets(&desc);
    struct ld_shape out = ld_conv_out(&desc.conv);
    struct pair c = pair_new(p, desc, offsets(p, parity_count(offset_shape)));
    struct errors e = predict(p, &c);
    bool with_dx = parity_below(p, 4) > 0;

    pair_run(p, &c, with_dx);
    parity_near_map(p, "y", c.y, out, e.y);
    if (desc.conv.train) {
        if (with_dx)
            parity_near_map(p, "dx", c.dx, desc.conv.in, e.dx);
        parity_near_map(p, "doffset", c.doffset, offset_shape, e.doffset);
        parity_near(p, "dweight", c.dweight, c.n_weights, e.dweight);
        parity_near(
            p, "dbias", c.dbias, (size_t)desc.conv.O,
            parity_sums(p, (size_t)out.N * (size_t)out.H * (size_t)out.W));
    }
    pair_free(p, &c);
}

static struct ld_deform_desc random_desc(struct parity *p)
{
    static const int channels[] = {4, 8, 16, 20, 64, 68, 128};
    static const int kernels[] = {1, 3}, groups[] = {1, 1, 2, 4};
    struct ld_conv_desc d = {
        .in = {1 + parity_below(p, 2), channels[parity_below(p, 7)],
               1 + parity_below(p, 12), 1 + parity_below(p, 12)},
        .O = channels[parity_below(p, 7)],
        .kernel = kernels[parity_below(p, 2)],
        .stride = 1 + parity_below(p, 2),
        .dilation = 1 + parity_below(p, 2),
        .relu = parity_below(p, 2),
        .train = parity_below(p, 4) > 0,
        .groups = groups[parity_below(p, 4)],
    };

    d.pad = d.kernel / 2 * d.dilation;
    return (struct ld_deform_desc){.conv = d,
                                   .deform_groups = groups[parity_below(p, 4)],
                                   .modulated = parity_below(p, 2)};
}

static void check_random(struct parity *p)
{
    check(p, random_desc(p));
}

START_TEST(deformable_convolutions_of_random_shapes_agree)
{
    parity_cases(parity_precisions[_i], CASES, check_random);
}
END_TEST

/* 18 KB a pixel: whole images and a last one less, or parts of an image. */
static const struct ld_deform_desc in_parts[] = {
    {{{1, 512, 62, 61}, 4, 3, 1, 1, 1, false, true, false, true, 1, false},
     1,
     true},
    {{{3, 512, 43, 42}, 4, 3, 1, 1, 1, false, false, false, true, 1, false},
     2,
     false},
};

static void check_in_parts(struct parity *p)
{
    check(p, in_parts[p->number]);
}

START_TEST(samples_that_do_not_fit_are_made_in_parts)
{
    parity_cases(LD_PRECISION_FP32, 2, check_in_parts);
}
END_TEST

static const struct ld_deform_desc small = {
    {{1, 16, 4, 4}, 16, 1, 1, 0, 1, false, false, false, true, 1, false},
    1,
    false};

static void check_odd_offsets(struct parity *p)
{
    float offset[2 * 16] = {0}; /* (dy and dx, pixel) */
    struct ld_shape offset_shape = ld_deform_offsets(&small);
    struct errors e;
    struct pair c;

    offset[3] = NAN;
    offset[5] = 1e30F;
    offset[6] = -INFINITY;
    c = pair_new(p, small, offset);
    e = predict(p, &c);
    pair_run(p, &c, true);
    parity_near_map(p, "y", c.y, small.conv.in, e.y);
    parity_near_map(p, "doffset", c.doffset, offset_shape, e.doffset);
    ck_assert(
        isnan(parity_read_map(p, PARITY_CUDA, c.doffset, offset_shape)[3]));
    ck_assert(isnan(parity_read_map(p, PARITY_CUDA, c.dx, small.conv.in)[0]));
    pair_free(p, &c);
}

START_TEST(an_offset_that_is_not_a_number_is_seen_and_a_far_one_reads_zero)
{
    parity_cases(parity_precisions[_i], 1, check_odd_offsets);
}
END_TEST

/* Sums of x's gradient are whole numbers of a scale: one that is not finite
 * must be seen in them too. */
static void check_nan_gradient(struct parity *p)
{
    float offset[2 * 16] = {0};
    struct pair c = pair_new(p, small, offset);
    float *dy = parity_normal(p, parity_count(small.conv.in));

    dy[7] = NAN;
    c.dy = parity_map(p, dy, small.conv.in);
    pair_run(p, &c, true);
    ck_assert(isnan(parity_read_map(p, PARITY_CUDA, c.dx, small.conv.in)[7]));
    pair_free(p, &c);
}

START_TEST(a_gradient_that_is_not_a_number_reaches_x)
{
    parity_cases(parity_precisions[_i], 1, check_nan_gradient);
}
END_TEST

/* Order of the emulated threads is another each time. */
static void check_bits(struct parity *p)
{
    static const struct ld_deform_desc desc = {
        {{1, 64, 12, 11}, 32, 3, 1, 1, 1, false, true, false, true, 1, false},
        1,
        true};
    size_t n_offsets = parity_count(ld_deform_offsets(&desc));
    struct ld_device *dev = p->dev[PARITY_CUDA];
    size_t bytes = dev->ops->map_bytes(dev, desc.conv.in), w_bytes;
    struct pair c = pair_new(p, desc, offsets(p, n_offsets));
    const void *dx, *dw;

    w_bytes = c.n_weights * sizeof(float);
    c.dweight = parity_bytes(p, NULL, w_bytes);
    pair_run(p, &c, true);
    dx = parity_read(p, PARITY_CUDA, c.dx, bytes);
    dw = parity_read(p, PARITY_CUDA, c.dweight, w_bytes);
    c.dweight = parity_bytes(p, NULL, w_bytes);
    pair_run(p, &c, true);
    ck_assert_mem_eq(dx, parity_read(p, PARITY_CUDA, c.dx, bytes), bytes);
    ck_assert_mem_eq(dw, parity_read(p, PARITY_CUDA, c.dweight, w_bytes),
                     w_bytes);
    pair_free(p, &c);
}

START_TEST(a_deformable_convolution_gives_the_same_bits_each_time)
{
    parity_cases(parity_precisions[_i], 1, check_bits);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("parity of deformable convolutions");
    TCase *c = tcase_create("deformable convolutions");

    tcase_add_loop_test(c, deformable_convolutions_of_random_shapes_agree, 0,
                        3);
    tcase_add_test(c, samples_that_do_not_fit_are_made_in_parts);
    tcase_add_loop_test(
        c, an_offset_that_is_not_a_number_is_seen_and_a_far_one_reads_zero, 0,
        3);
    tcase_add_loop_test(c, a_gradient_that_is_not_a_number_reaches_x, 0, 3);
    tcase_add_loop_test(
        c, a_deformable_convolution_gives_the_same_bits_each_time, 0, 3);
    suite_add_tcase(s, c);
    return s;
}
