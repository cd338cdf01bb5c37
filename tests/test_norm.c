#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/layer.h"
#include "tests/suite.h"

static const double eps = 1e-5;

/* Which statistic value i of a map counts to. */
static size_t set_of(const struct layer *l, size_t i)
{
    size_t plane = i / ((size_t)l->in.H * l->in.W);

    if (l->groups == 0)
        return plane % l->in.C;
    return plane / ((size_t)l->in.C / l->groups);
}

static void norm_forward(const struct layer *l, double *y)
{
    double sum[512] = {0}, square[512] = {0}, count[512] = {0};
    size_t n = shape_count(l->in), map = (size_t)l->in.H * l->in.W;

    for (size_t i = 0; i < n; i++) {
        sum[set_of(l, i)] += l->x[i];
        count[set_of(l, i)] += 1;
    }
    for (size_t i = 0; i < n; i++) {
        size_t s = set_of(l, i);

        square[s] += pow(l->x[i] - sum[s] / count[s], 2);
    }
    for (size_t i = 0; i < n; i++) {
        size_t s = set_of(l, i), c = i / map % l->in.C;
        double r = 1 / sqrt(square[s] / count[s] + eps);

        y[i] = (l->x[i] - sum[s] / count[s]) * r * l->gamma[c] + l->beta[c];
        if (l->relu || l->groups > 0)
            y[i] = fmax(y[i], 0);
    }
}

/* ---- normalisations ---- */

static const struct {
    struct ld_shape shape;
    int groups;
} norms[] = {
    {{2, 256, 5, 7}, 32}, {{1, 64, 9, 9}, 32}, {{2, 20, 3, 5}, 4},
    {{2, 48, 4, 3}, 2},   {{1, 68, 1, 3}, 1},  {{3, 64, 17, 33}, 2},
    {{2, 36, 3, 3}, 36},  {{1, 72, 2, 2}, 3},
};

static struct ld_group_norm group_norm_of(struct maps *m, const struct layer *l)
{
    size_t C = (size_t)l->in.C;

    return (struct ld_group_norm){
        .shape = l->in,
        .groups = l->groups,
        .eps = (float)eps,
        .gamma = layer_vector(m, l->gamma, C),
        .beta = layer_vector(m, l->beta, C),
        .stats = maps_memory(m, (size_t)l->in.N * l->groups * 2 * 4),
        .dgamma = maps_memory(m, C * 4),
        .dbeta = maps_memory(m, C * 4),
    };
}

static void check_group_norm(struct maps *m, struct layer *l)
{
    size_t C = (size_t)l->in.C;
    struct ld_group_norm gn = group_norm_of(m, l);
    float *x = layer_map(m, l->x, l->in), *y = maps_map(m, NULL, l->in);
    float *dy = layer_map(m, l->dy, l->in), *dx = maps_map(m, NULL, l->in);
    size_t bytes = m->dev->ops->map_bytes(m->dev, l->in);

    m->dev->ops->gn_relu_forward(m->dev, y, x, &gn);
    layer_check(m, l, "GN", y);
    m->dev->ops->gn_relu_backward(m->dev, dx, dy, x, &gn);
    layer_check_gradient(m, l, "dx", l->x, shape_count(l->in),
                         maps_plain(m, dx, l->in));
    layer_check_gradient(m, l, "dgamma", l->gamma, C, gn.dgamma);
    layer_check_gradient(m, l, "dbeta", l->beta, C, gn.dbeta);

    m->dev->ops->gn_relu_backward(m->dev, dy, dy, x, &gn); /* in place */
    ck_assert_mem_eq(dx, dy, bytes);
}

START_TEST(group_norm_and_its_gradients_agree_with_plain_loops)
{
    for (size_t i = 0; i < sizeof(norms) / sizeof(norms[0]); i++) {
        struct maps m;
        struct layer l;

        maps_open(&m, 0, i);
        l = layer_of(&m, norms[i].shape, norms[i].shape, norm_forward);
        l.groups = norms[i].groups;
        check_group_norm(&m, &l);
        maps_close(&m);
    }
}
END_TEST

START_TEST(group_norm_keeps_its_digits_far_from_zero)
{
    struct ld_shape shape = {1, 32, 40, 40};
    struct ld_group_norm gn;
    struct layer l;
    struct maps m;
    double *want;
    float *y;

    maps_open(&m, 0, 50);
    want = maps_doubles(&m, shape_count(shape));
    l = layer_of(&m, shape, shape, norm_forward);
    l.groups = 32;
    for (size_t i = 0; i < shape_count(shape); i++)
        l.x[i] = (double)(float)(l.x[i] + 1024);
    gn = group_norm_of(&m, &l);
    y = maps_map(&m, NULL, shape);
    m.dev->ops->gn_relu_forward(m.dev, y, layer_map(&m, l.x, shape), &gn);
    for (int g = 0; g < 32; g++) /* deviation 1; a variance by E[x^2] - E[x]^2
                                    in fp32 would be off by 0.1 */
        ck_assert_double_eq_tol((double)gn.stats[2 * g + 1], 1, 0.1);
    l.forward(&l, want);
    /* The mean, kept in fp32, is off by up to 3e-5 of a deviation. */
    maps_close_to("GN", maps_plain(&m, y, shape), want, shape_count(shape),
                  1e-4);
    maps_close(&m);
}
END_TEST

START_TEST(group_norm_clamps_no_nan_away)
{
    struct ld_shape shape = {1, 16, 3, 3};
    struct ld_group_norm gn;
    struct layer l;
    struct maps m;
    float *y;

    maps_open(&m, 0, 60);
    l = layer_of(&m, shape, shape, norm_forward);
    l.groups = 16;
    l.x[4] = NAN;
    gn = group_norm_of(&m, &l);
    y = maps_map(&m, NULL, shape);
    m.dev->ops->gn_relu_forward(m.dev, y, layer_map(&m, l.x, shape), &gn);
    ck_assert(isnan(maps_plain(&m, y, shape)[4]));
    maps_close(&m);
}
END_TEST

static struct ld_bn_train batch_norm_of(struct maps *m, const struct layer *l)
{
    size_t C = (size_t)l->in.C;

    return (struct ld_bn_train){
        .shape = l->in,
        .relu = l->relu,
        .eps = (float)eps,
        .gamma = layer_vector(m, l->gamma, C),
        .beta = layer_vector(m, l->beta, C),
        .running_mean = maps_memory(m, C * 4),
        .running_var = maps_memory(m, C * 4),
        .stats = maps_memory(m, C * 2 * 4),
        .dgamma = maps_memory(m, C * 4),
        .dbeta = maps_memory(m, C * 4),
    };
}

static void check_running(const struct layer *l, const struct ld_bn_train *bn)
{
    double count = (double)l->in.N * l->in.H * l->in.W;

    for (int c = 0; c < l->in.C; c++) {
        double r = (double)bn->stats[2 * c + 1];
        double unbiased = (1 / (r * r) - eps) * count / (count - 1);

        ck_assert_double_eq_tol((double)bn->running_mean[c],
                                0.1 * (double)bn->stats[2 * c], 1e-6);
        ck_assert_double_eq_tol((double)bn->running_var[c], 0.1 * unbiased,
                                1e-6);
    }
}

static void check_batch_norm(struct maps *m, struct layer *l)
{
    size_t C = (size_t)l->in.C;
    struct ld_bn_train bn = batch_norm_of(m, l);
    float *x = layer_map(m, l->x, l->in), *y = maps_map(m, NULL, l->in);
    float *dy = layer_map(m, l->dy, l->in);

    m->dev->ops->bn_train_forward(m->dev, y, x, &bn);
    layer_check(m, l, "BN", y);
    check_running(l, &bn);
    m->dev->ops->bn_train_backward(m->dev, dy, dy, x, &bn);
    layer_check_gradient(m, l, "dx", l->x, shape_count(l->in),
                         maps_plain(m, dy, l->in));
    layer_check_gradient(m, l, "dgamma", l->gamma, C, bn.dgamma);
    layer_check_gradient(m, l, "dbeta", l->beta, C, bn.dbeta);
}

START_TEST(batch_norm_and_its_gradients_agree_with_plain_loops)
{
    for (size_t i = 0; i < sizeof(norms) / sizeof(norms[0]); i++) {
        struct maps m;
        struct layer l;

        maps_open(&m, 0, 100 + i);
        l = layer_of(&m, norms[i].shape, norms[i].shape, norm_forward);
        l.relu = i % 2 == 0;
        check_batch_norm(&m, &l);
        maps_close(&m);
    }
}
END_TEST

START_TEST(a_folded_batch_norm_has_the_gradients_of_a_convolution_and_a_norm)
{
    enum { O = 5, N_WEIGHTS = 12 };
    float dweight[O * N_WEIGHTS] = {0}, dgamma[O] = {0}, dbeta[O] = {0};
    float scale[O], shift[O];
    struct ld_bn bn;
    struct maps m;
    const float *weight, *dfolded, *dshift;

    maps_open(&m, 0, 150);
    weight = maps_normal(&m, O * N_WEIGHTS);
    dfolded = maps_normal(&m, O * N_WEIGHTS);
    dshift = maps_normal(&m, O);
    bn = (struct ld_bn){.gamma = maps_normal(&m, O),
                        .beta = maps_normal(&m, O),
                        .mean = maps_normal(&m, O),
                        .var = (float[O]){0.5F, 1, 2, 0.1F, 3},
                        .dgamma = dgamma,
                        .dbeta = dbeta,
                        .eps = 1e-5F};
    m.dev->ops->bn_fold(m.dev, scale, shift, &bn, O);
    m.dev->ops->bn_unfold(m.dev, dweight, dfolded, dshift, weight, &bn, O,
                          N_WEIGHTS);
    for (int o = 0; o < O; o++) {
        /* W' = W g / s and b' = beta - mean g / s, differentiated by hand */
        double s = sqrt((double)bn.var[o] + 1e-5), by_g = 0;

        ck_assert_double_eq_tol((double)scale[o], (double)bn.gamma[o] / s,
                                1e-6);
        ck_assert_double_eq_tol(
            (double)shift[o],
            (double)bn.beta[o] - (double)bn.mean[o] * (double)bn.gamma[o] / s,
            1e-5);
        for (int i = 0; i < N_WEIGHTS; i++) {
            size_t at = (size_t)o * N_WEIGHTS + i;

            by_g += (double)dfolded[at] * (double)weight[at] / s;
            ck_assert_double_eq_tol(
                (double)dweight[at],
                (double)dfolded[at] * (double)bn.gamma[o] / s, 1e-5);
        }
        by_g -= (double)dshift[o] * (double)bn.mean[o] / s;
        ck_assert_double_eq_tol((double)dgamma[o], by_g, 1e-5);
        ck_assert(dbeta[o] == dshift[o]);
    }
    maps_close(&m);
}
END_TEST

/* ---- any number of threads ---- */

struct bits {
    float y[2 * 64 * 33 * 31], dx[2 * 64 * 33 * 31], dgamma[64], dscale;
};

static void run_with(int n_threads, struct bits *bits)
{
    struct ld_shape shape = {2, 64, 33, 31};
    struct ld_rows r = {.shape = shape, .A = 33 * 31};
    struct maps m;
    struct layer l;
    struct ld_group_norm gn;
    float *x, *y, *dy;

    maps_open(&m, n_threads, 900);
    l = layer_of(&m, shape, shape, norm_forward);
    l.groups = 32;
    gn = group_norm_of(&m, &l);
    x = layer_map(&m, l.x, shape);
    y = maps_map(&m, NULL, shape);
    dy = layer_map(&m, l.dy, shape);
    m.dev->ops->gn_relu_forward(m.dev, y, x, &gn);
    m.dev->ops->gn_relu_backward(m.dev, dy, dy, x, &gn);
    r.dscale = &bits->dscale;
    bits->dscale = 0;
    m.dev->ops->rows_backward(m.dev, maps_map(&m, NULL, shape),
                              maps_normal(&m, shape_count(shape)), x, &r);
    memcpy(bits->y, maps_plain(&m, y, shape), sizeof(bits->y));
    memcpy(bits->dx, maps_plain(&m, dy, shape), sizeof(bits->dx));
    memcpy(bits->dgamma, gn.dgamma, sizeof(bits->dgamma));
    maps_close(&m);
}

START_TEST(layers_give_the_same_bits_on_any_number_of_threads)
{
    static struct bits one, three;

    run_with(1, &one);
    run_with(3, &three);
    ck_assert_mem_eq(&one, &three, sizeof(one));
}
END_TEST

/* ---- the reference ---- */

/* Ours has a ReLU behind it, the reference's layer has none: beta is raised
 * until nothing is clamped, and y brought down again. No gradient depends on
 * beta. */
enum { RAISE = 16 };

static void golden_group_norm(struct maps *m, struct golden *g, struct layer *l)
{
    size_t C = (size_t)l->in.C, count = shape_count(l->in);
    struct ld_group_norm gn;
    float *x = layer_map(m, l->x, l->in), *y = maps_map(m, NULL, l->in);
    float *dy = layer_map(m, l->dy, l->in), *plain;

    for (size_t c = 0; c < C; c++)
        l->beta[c] += RAISE;
    l->groups = (int)golden_number(g, "params.groups");
    gn = group_norm_of(m, l);
    m->dev->ops->gn_relu_forward(m->dev, y, x, &gn);
    m->dev->ops->gn_relu_backward(m->dev, dy, dy, x, &gn);
    plain = (float *)maps_plain(m, y, l->in);
    for (size_t i = 0; i < count; i++)
        plain[i] -= RAISE;
    /* 2e-5: rounding at 16 instead of 1; gradients 1e-5 as elsewhere */
    golden_compare(g, "out", plain, count, 2e-5);
    golden_compare(g, "grad_x", maps_plain(m, dy, l->in), count, 1e-5);
    golden_compare(g, "grad_w", gn.dgamma, C, 1e-5);
    golden_compare(g, "grad_b", gn.dbeta, C, 1e-5);
}

static void golden_batch_norm(struct maps *m, struct golden *g, struct layer *l)
{
    size_t C = (size_t)l->in.C, count = shape_count(l->in);
    struct ld_bn_train bn = batch_norm_of(m, l);
    float *x = layer_map(m, l->x, l->in), *y = maps_map(m, NULL, l->in);
    float *dy = layer_map(m, l->dy, l->in);

    m->dev->ops->bn_train_forward(m->dev, y, x, &bn);
    m->dev->ops->bn_train_backward(m->dev, dy, dy, x, &bn);
    golden_compare(g, "out", maps_plain(m, y, l->in), count, 1e-5);
    golden_compare(g, "grad_x", maps_plain(m, dy, l->in), count, 1e-5);
    golden_compare(g, "grad_w", bn.dgamma, C, 1e-5);
    golden_compare(g, "grad_b", bn.dbeta, C, 1e-5);
}

static void run_golden(struct golden *g)
{
    bool group = strstr(g->name, "/groupnorm");
    struct layer l;
    struct maps m;

    if (!group && !strstr(g->name, "/batchnorm_train"))
        return;
    maps_open(&m, 0, 0);
    l = layer_golden(&m, g);
    (group ? golden_group_norm : golden_batch_norm)(&m, g, &l);
    maps_close(&m);
}

START_TEST(norms_agree_with_the_reference)
{
    golden_each("07_layers", run_golden);
}
END_TEST

/* A 1x1 convolution that copies its channels, with the norm folded in, is the
 * reference's batch norm on stored statistics. */
struct folded {
    struct ld_conv *conv;
    struct ld_bn bn;
    float *w, *dw, *dfolded, *scale, *shift, *dshift;
    float *x, *y, *dx, *dy;
    void *packed, *scratch;
};

static struct folded folded_of(struct maps *m, struct golden *g,
                               const struct layer *l)
{
    size_t C = (size_t)l->in.C, square = C * C * sizeof(float);
    struct ld_conv_desc desc = {.in = l->in,
                                .O = l->in.C,
                                .kernel = 1,
                                .stride = 1,
                                .dilation = 1,
                                .train = true};
    struct ld_err err = {0};
    struct folded f = {
        .conv = m->dev->ops->conv_new(m->dev, &desc, &err),
        .bn = {layer_vector(m, l->gamma, C), layer_vector(m, l->beta, C),
               golden_floats(g, "mean", C), golden_floats(g, "var", C),
               maps_memory(m, square), maps_memory(m, square),
               (float)golden_number(g, "params.eps")},
        .w = maps_memory(m, square),
        .dw = maps_memory(m, square),
        .dfolded = maps_memory(m, square),
        .scale = maps_memory(m, square),
        .shift = maps_memory(m, square),
        .dshift = maps_memory(m, square),
        .x = layer_map(m, l->x, l->in),
        .y = maps_map(m, NULL, l->in),
        .dx = maps_map(m, NULL, l->in),
        .dy = layer_map(m, l->dy, l->in),
    };

    ck_assert_msg(f.conv != NULL, "%s", err.text);
    f.packed = maps_memory(m, m->dev->ops->conv_weight_bytes(f.conv));
    f.scratch = maps_memory(m, m->dev->ops->conv_scratch_bytes(f.conv));
    for (size_t c = 0; c < C; c++)
        f.w[c * C + c] = 1;
    return f;
}

static void folded_run(struct ld_device *dev, const struct folded *f, int C)
{
    const struct ld_ops *ops = dev->ops;

    ops->bn_fold(dev, f->scale, f->shift, &f->bn, C);
    ops->conv_pack(dev, f->conv, f->packed, f->w, f->scale);
    ops->conv_forward(dev, f->conv, f->y, f->x, f->packed, f->shift, NULL,
                      f->scratch);
    ops->conv_backward_data(dev, f->conv, f->dx, f->dy, f->packed, f->scratch);
    ops->conv_backward_weights(dev, f->conv, f->dfolded, f->dshift, f->dy, NULL,
                               f->x, f->scratch);
    ops->bn_unfold(dev, f->dw, f->dfolded, f->dshift, f->w, &f->bn, C, C);
}

static void run_folded(struct golden *g)
{
    struct folded f;
    struct layer l;
    struct maps m;

    if (!strstr(g->name, "/batchnorm_eval"))
        return;
    maps_open(&m, 0, 0);
    l = layer_golden(&m, g);
    f = folded_of(&m, g, &l);
    folded_run(m.dev, &f, l.in.C);
    golden_compare(g, "out", maps_plain(&m, f.y, l.in), shape_count(l.in),
                   1e-5);
    golden_compare(g, "grad_x", maps_plain(&m, f.dx, l.in), shape_count(l.in),
                   1e-5);
    golden_compare(g, "grad_w", f.bn.dgamma, (size_t)l.in.C, 1e-5);
    golden_compare(g, "grad_b", f.bn.dbeta, (size_t)l.in.C, 1e-5);
    m.dev->ops->conv_free(m.dev, f.conv);
    maps_close(&m);
}

START_TEST(a_folded_batch_norm_agrees_with_the_reference)
{
    golden_each("07_layers", run_folded);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("norm");
    TCase *c = tcase_create("norm"), *folded = tcase_create("folded");

    tcase_add_test(c, group_norm_and_its_gradients_agree_with_plain_loops);
    tcase_add_test(c, group_norm_keeps_its_digits_far_from_zero);
    tcase_add_test(c, group_norm_clamps_no_nan_away);
    tcase_add_test(c, batch_norm_and_its_gradients_agree_with_plain_loops);
    tcase_add_test(
        c, a_folded_batch_norm_has_the_gradients_of_a_convolution_and_a_norm);
    tcase_add_test(c, layers_give_the_same_bits_on_any_number_of_threads);
    tcase_add_test(folded, a_folded_batch_norm_agrees_with_the_reference);
    tcase_add_test(c, norms_agree_with_the_reference);
    suite_add_tcase(s, c);
    suite_add_tcase(s, folded);
    return s;
}
