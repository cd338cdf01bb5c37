#include <stdio.h>
#include <string.h>

#include "tests/parity.h"
#include "tests/suite.h"

enum { CASES = 30 };

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

/* A convolution of both devices, and all that its passes read and write. */
struct pair {
    struct ld_conv_desc desc;
    struct ld_conv *conv[PARITY_DEVICES];
    void *packed[PARITY_DEVICES], *scratch[PARITY_DEVICES];
    struct twin weight, scale, bias, x, y, identity, mask, dx, dy, dweight,
        dbias;
    size_t n_weights;
};

static void prepare(struct parity *p, struct pair *c, int i)
{
    struct ld_device *dev = p->dev[i];
    const struct ld_ops *ops = dev->ops;
    struct ld_err err = {0};

    c->conv[i] = ops->conv_new(dev, &c->desc, &err);
    ck_assert_msg(c->conv[i] != NULL, "%s", err.text);
    c->packed[i] = parity_junk(p, i, ops->conv_weight_bytes(c->conv[i]));
    c->scratch[i] = parity_junk(p, i, ops->conv_scratch_bytes(c->conv[i]));
    ops->conv_pack(dev, c->conv[i], c->packed[i], c->weight.at[i],
                   c->scale.at[i]);
}

/* Scales that change no mantissa: packed weights are the same numbers in bf16.
 */
static float *powers_of_two(struct parity *p, int n)
{
    float *scale = parity_host(p, (size_t)n, sizeof(float));

    for (int i = 0; i < n; i++)
        scale[i] = (float[]){0.5F, 1, -1, 2}[parity_below(p, 4)];
    return scale;
}

static struct pair pair_new(struct parity *p, struct ld_conv_desc desc)
{
    struct ld_shape out = ld_conv_out(&desc);
    int groups = desc.groups ? desc.groups : 1;
    size_t O = (size_t)desc.O;
    struct pair c = {.desc = desc};

    c.n_weights = O * (desc.in.C / groups) * desc.kernel * desc.kernel;
    c.weight = parity_floats(p, parity_factors(p, c.n_weights), c.n_weights);
    c.dweight = parity_floats(p, parity_normal(p, c.n_weights), c.n_weights);
    c.dbias = parity_floats(p, parity_normal(p, O), O);
    if (parity_below(p, 2))
        c.bias = parity_floats(p, parity_normal(p, O), O);
    if (parity_below(p, 2))
        c.scale = parity_floats(p, powers_of_two(p, desc.O), O);
    c.x = desc.image
              ? parity_floats(p, parity_factors(p, parity_count(desc.in)),
                              parity_count(desc.in))
              : parity_map(p, parity_normal(p, parity_count(desc.in)), desc.in);
    c.y = parity_map(p, NULL, out);
    if (desc.residual)
        c.identity = parity_map(p, parity_normal(p, parity_count(out)), out);
    if (parity_below(p, 2) && desc.residual)
        c.y = c.identity;
    c.dx = parity_map(
        p, desc.adds ? parity_normal(p, parity_count(desc.in)) : NULL, desc.in);
    c.dy = parity_map(p, parity_normal(p, parity_count(out)), out);
    if (desc.relu) /* their own y's differ about 0 */
        c.mask = parity_map(p, parity_normal(p, parity_count(out)), out);
    for (int i = 0; i < PARITY_DEVICES; i++)
        prepare(p, &c, i);
    return c;
}

static void pair_free(struct parity *p, struct pair *c)
{
    for (int i = 0; i < PARITY_DEVICES; i++) {
        p->dev[i]->ops->release(p->dev[i], c->packed[i]);
        p->dev[i]->ops->release(p->dev[i], c->scratch[i]);
        p->dev[i]->ops->conv_free(p->dev[i], c->conv[i]);
    }
}

static void pair_run(struct parity *p, const struct pair *c)
{
    for (int i = 0; i < PARITY_DEVICES; i++) {
        struct ld_device *dev = p->dev[i];
        const struct ld_ops *ops = dev->ops;

        ops->conv_forward(dev, c->conv[i], c->y.at[i], c->x.at[i], c->packed[i],
                          c->bias.at[i], c->identity.at[i], c->scratch[i]);
        if (!c->desc.train)
            continue;
        if (!c->desc.image)
            ops->conv_backward_data(dev, c->conv[i], c->dx.at[i], c->dy.at[i],
                                    c->packed[i], c->scratch[i]);
        ops->conv_backward_weights(dev, c->conv[i], c->dweight.at[i],
                                   c->bias.at[i] ? c->dbias.at[i] : NULL,
                                   c->dy.at[i], c->mask.at[i], c->x.at[i],
                                   c->scratch[i]);
    }
}

/* What the plug-in may do on the way, beside sums in fp32. In bf16, before bias
 * and identity are added outside of a product, the sums are rounded; in a
 * product, bias is. dx may be summed up from columns that are rounded, and
 * cuDNN's dweight comes rounded. */
struct errors {
    double y, dx, dweight, dbias;
};

static struct errors predict(struct parity *p, const struct pair *c)
{
    const struct ld_conv_desc *d = &c->desc;
    int groups = d->groups ? d->groups : 1;
    struct ld_shape out = ld_conv_out(d);
    size_t taps = (size_t)d->kernel * (size_t)d->kernel;
    size_t pixels = (size_t)out.N * (size_t)out.H * (size_t)out.W;
    bool bf16 = p->precision == LD_PRECISION_BF16;
    bool direct = d->kernel == 1 && d->stride == 1 && d->pad == 0;
    bool ends = c->bias.at[0] != NULL || d->residual;
    double once = parity_roundings(p, 1);

    return (struct errors){
        parity_both(parity_sums(p, taps * (size_t)(d->in.C / groups)),
                    bf16 && ends ? once : 0),
        parity_both(parity_sums(p, taps * (size_t)(d->O / groups)),
                    bf16 && !direct ? once : 0),
        parity_both(parity_sums(p, pixels),
                    bf16 && !direct && !d->image ? once : 0),
        parity_sums(p, pixels)};
}

static void check(struct parity *p, struct ld_conv_desc desc)
{
    struct ld_shape out = ld_conv_out(&desc);
    struct pair c = pair_new(p, desc);
    struct errors e = predict(p, &c);
    char text[200], what[256];

    describe(text, &desc);
    pair_run(p, &c);
    snprintf(what, sizeof(what), "y of (%s)", text);
    parity_near_map(p, what, c.y, out, e.y);
    if (desc.train && !desc.image) {
        snprintf(what, sizeof(what), "dx of (%s)", text);
        parity_near_map(p, what, c.dx, desc.in, e.dx);
    }
    if (desc.train) {
        snprintf(what, sizeof(what), "dy of (%s)", text);
        parity_same_map(p, what, c.dy, out, 0);
        snprintf(what, sizeof(what), "dweight of (%s)", text);
        parity_near(p, what, c.dweight, c.n_weights, e.dweight);
        snprintf(what, sizeof(what), "dbias of (%s)", text);
        parity_near(p, what, c.dbias, (size_t)desc.O, e.dbias);
    }
    pair_free(p, &c);
}

static struct ld_conv_desc random_desc(struct parity *p)
{
    static const int channels[] = {1, 4, 8, 20, 64, 68, 80};
    static const int kernels[] = {1, 3, 7}, groups[] = {1, 1, 1, 4};
    bool image = parity_below(p, 8) == 0;
    struct ld_conv_desc d = {
        .in = {1 + parity_below(p, 3), channels[parity_below(p, 7)],
               1 + parity_below(p, 14), 1 + parity_below(p, 14)},
        .O = channels[parity_below(p, 7)],
        .kernel = kernels[parity_below(p, 3)],
        .stride = 1 + parity_below(p, 2),
        .dilation = 1 + parity_below(p, 2),
        .image = image,
        .relu = parity_below(p, 2),
        .residual = parity_below(p, 2),
        .train = parity_below(p, 4) > 0,
        .groups = groups[parity_below(p, 4)],
        .adds = parity_below(p, 2),
    };

    d.in.C = image ? 3 : d.in.C;
    if (d.in.C % d.groups != 0 || d.O % d.groups != 0)
        d.groups = 0;
    d.pad = d.kernel / 2 * d.dilation;
    return d;
}

static void check_random(struct parity *p)
{
    check(p, random_desc(p));
}

START_TEST(convolutions_of_random_shapes_agree)
{
    parity_cases(parity_precisions[_i], CASES, check_random);
}
END_TEST

/* The stem, a residual block's last, heads, downsampling, ResNeXt; and a map
 * whose pixels all of the blocks share that sum them. */
static const struct ld_conv_desc of_detectors[] = {
    {{2, 3, 37, 50}, 64, 7, 2, 3, 1, true, true, false, true, 1, false},
    {{1, 256, 13, 12}, 64, 1, 1, 0, 1, false, true, true, true, 1, true},
    {{1, 64, 15, 14}, 64, 3, 1, 1, 1, false, true, true, true, 1, true},
    {{1, 64, 14, 16}, 64, 3, 1, 1, 1, false, true, true, true, 1, true},
    {{2, 256, 5, 7}, 68, 3, 1, 1, 1, false, false, false, true, 1, false},
    {{1, 128, 17, 16}, 256, 1, 2, 0, 1, false, false, false, true, 1, true},
    {{1, 128, 13, 11}, 128, 3, 1, 1, 1, false, true, false, true, 32, false},
    {{1, 256, 9, 10}, 256, 3, 2, 1, 1, false, true, false, true, 64, true},
    {{1, 1024, 4, 3}, 1024, 3, 1, 1, 1, false, true, false, true, 32, false},
    {{1, 36, 10, 11}, 24, 3, 1, 1, 1, false, true, false, true, 4, true},
    {{1, 8, 190, 190}, 40, 1, 1, 0, 1, false, true, false, true, 1, false},
};

enum { N_OF_DETECTORS = sizeof(of_detectors) / sizeof(of_detectors[0]) };

static void check_of_detector(struct parity *p)
{
    check(p, of_detectors[p->number]);
}

START_TEST(convolutions_of_detectors_agree)
{
    parity_cases(parity_precisions[_i], N_OF_DETECTORS, check_of_detector);
}
END_TEST

/* A pixel's column takes 98 KB in fp32, so that not one image's fit together:
 * tiles of pixels, bands of rows, a first, one between and a last. Then some
 * images' columns fit, not all: the last part has fewer. */
static const struct ld_conv_desc in_parts[] = {
    {{1, 512, 110, 14}, 4, 7, 1, 3, 1, false, true, false, true, 1, false},
    {{1, 512, 300, 20}, 4, 7, 2, 3, 1, false, false, false, true, 1, true},
    {{5, 512, 16, 15}, 4, 7, 1, 3, 1, false, true, false, true, 1, false},
};

static void check_in_parts(struct parity *p)
{
    check(p, in_parts[p->number]);
}

START_TEST(columns_that_do_not_fit_are_made_in_parts)
{
    parity_cases(LD_PRECISION_FP32, 3, check_in_parts);
}
END_TEST

static void check_bits(struct parity *p)
{
    struct ld_conv_desc desc = of_detectors[2];
    size_t y_bytes, w_bytes;
    const void *y, *dx, *dw;
    struct pair c;

    /* Each makes a pass change what it reads. */
    desc.residual = desc.adds = desc.relu = false;
    desc.in.W += p->number; /* the emulated cuDNN's, and not */
    c = pair_new(p, desc);
    y_bytes = p->dev[PARITY_CUDA]->ops->map_bytes(p->dev[PARITY_CUDA], desc.in);
    w_bytes = c.n_weights * sizeof(float);
    c.dweight = parity_bytes(p, NULL, w_bytes);
    pair_run(p, &c);
    y = parity_read(p, PARITY_CUDA, c.y, y_bytes);
    dx = parity_read(p, PARITY_CUDA, c.dx, y_bytes);
    dw = parity_read(p, PARITY_CUDA, c.dweight, w_bytes);
    c.dweight = parity_bytes(p, NULL, w_bytes);
    pair_run(p, &c);
    ck_assert_mem_eq(y, parity_read(p, PARITY_CUDA, c.y, y_bytes), y_bytes);
    ck_assert_mem_eq(dx, parity_read(p, PARITY_CUDA, c.dx, y_bytes), y_bytes);
    ck_assert_mem_eq(dw, parity_read(p, PARITY_CUDA, c.dweight, w_bytes),
                     w_bytes);
    pair_free(p, &c);
}

START_TEST(a_convolution_gives_the_same_bits_each_time)
{
    parity_cases(parity_precisions[_i], 2, check_bits);
}
END_TEST

/* What a training step of 16 images takes of memory. */
static const struct ld_conv_desc large[] = {
    {{16, 3, 800, 1344}, 64, 7, 2, 3, 1, true, true, false, true, 1, false},
    {{16, 64, 200, 336}, 64, 3, 1, 1, 1, false, true, true, true, 1, true},
    {{16, 256, 200, 336}, 256, 3, 1, 1, 1, false, true, false, true, 64, true},
    {{16, 256, 100, 168}, 256, 3, 1, 1, 1, false, false, false, true, 1, true},
    {{16, 1024, 50, 84}, 2048, 1, 2, 0, 1, false, false, false, true, 1, true},
};

START_TEST(scratch_of_large_maps_stays_small)
{
    struct parity p;

    if (!parity_open(&p, parity_precisions[_i], 0))
        return;
    for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
        struct ld_device *dev = p.dev[PARITY_CUDA];
        struct ld_err err = {0};
        struct ld_conv *conv = dev->ops->conv_new(dev, &large[i], &err);

        ck_assert_msg(conv != NULL, "%s", err.text);
        ck_assert_uint_le(dev->ops->conv_scratch_bytes(conv), 400u << 20);
        dev->ops->conv_free(dev, conv);
    }
    parity_close(&p);
}
END_TEST

START_TEST(a_convolution_that_cannot_be_is_an_error_of_the_device)
{
    struct ld_conv_desc desc = {{1, 16, 2, 2}, 16,    7,     1,     0, 1,
                                false,         false, false, false, 1, false};
    struct ld_err err = {0};
    struct parity p;

    if (!parity_open(&p, LD_PRECISION_FP32, 0))
        return;
    ck_assert_ptr_null(
        p.dev[PARITY_CUDA]->ops->conv_new(p.dev[PARITY_CUDA], &desc, &err));
    ck_assert_int_eq(err.code, LD_ERR_DEVICE);
    parity_close(&p);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("parity of convolutions");
    TCase *c = tcase_create("convolutions");

    tcase_add_loop_test(c, convolutions_of_random_shapes_agree, 0, 3);
    tcase_add_loop_test(c, convolutions_of_detectors_agree, 0, 3);
    tcase_add_test(c, columns_that_do_not_fit_are_made_in_parts);
    tcase_add_loop_test(c, a_convolution_gives_the_same_bits_each_time, 0, 3);
    tcase_add_loop_test(c, scratch_of_large_maps_stays_small, 0, 3);
    tcase_add_test(c, a_convolution_that_cannot_be_is_an_error_of_the_device);
    suite_add_tcase(s, c);
    return s;
}
