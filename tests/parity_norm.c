#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/parity.h"
#include "tests/suite.h"

/* Both devices sum in pieces of some tens or hundreds in fp32, and the pieces
 * in double: statistics and sums agree to a few of fp32's last places, 1e-5 of
 * the largest with room to spare. */
static const double CLOSE = 1e-5;

static const struct {
    struct ld_shape shape;
    int groups;
} cases[] = {
    {{2, 256, 5, 7}, 32}, {{3, 64, 9, 9}, 32},   {{2, 20, 3, 5}, 4},
    {{1, 48, 4, 3}, 2},   {{1, 68, 1, 3}, 1},    {{2, 64, 17, 33}, 2},
    {{2, 36, 3, 3}, 36},  {{3, 72, 2, 2}, 3},    {{1, 520, 2, 3}, 65},
    {{1, 8, 1, 1}, 1},    {{1, 16, 40, 40}, 16}, {{2, 256, 23, 12}, 32},
    {{1, 16, 32, 32}, 2}, {{2, 16, 33, 32}, 2},
};
enum { N_CASES = sizeof(cases) / sizeof(cases[0]) };

/* One normalisation on both devices: of groups, or of the batch. */
struct normed {
    struct ld_shape shape;
    int groups; /* 0: of the batch */
    bool relu;
    size_t n_stats;
    struct twin gamma, beta, stats, dgamma, dbeta, mean, var;
    struct twin x, y, dy, dx;
};

static struct twin normal(struct parity *p, size_t count)
{
    return parity_floats(p, parity_normal(p, count), count);
}

static struct normed normed_of(struct parity *p, struct ld_shape shape,
                               int groups, float far)
{
    size_t C = (size_t)shape.C, count = parity_count(shape);
    struct normed t = {.shape = shape, .groups = groups};
    float *x = parity_normal(p, count);

    for (size_t i = 0; i < count; i++)
        x[i] += far;
    t.n_stats = groups ? 2 * (size_t)shape.N * (size_t)groups : 2 * C;
    t.relu = groups > 0 || parity_below(p, 2);
    t.gamma = normal(p, C);
    t.beta = normal(p, C);
    t.dgamma = normal(p, C);
    t.dbeta = normal(p, C);
    t.mean = normal(p, C);
    t.var = normal(p, C);
    t.stats = parity_floats(p, NULL, t.n_stats);
    t.x = parity_map(p, x, shape);
    t.y = parity_map(p, NULL, shape);
    t.dx = parity_map(p, NULL, shape);
    return t;
}

static struct ld_group_norm group_norm_at(const struct normed *t, int i)
{
    return (struct ld_group_norm){.shape = t->shape,
                                  .groups = t->groups,
                                  .eps = 1e-5F,
                                  .gamma = t->gamma.at[i],
                                  .beta = t->beta.at[i],
                                  .stats = t->stats.at[i],
                                  .dgamma = t->dgamma.at[i],
                                  .dbeta = t->dbeta.at[i]};
}

static struct ld_bn_train batch_norm_at(const struct normed *t, int i)
{
    return (struct ld_bn_train){.shape = t->shape,
                                .relu = t->relu,
                                .eps = 1e-5F,
                                .gamma = t->gamma.at[i],
                                .beta = t->beta.at[i],
                                .running_mean = t->mean.at[i],
                                .running_var = t->var.at[i],
                                .stats = t->stats.at[i],
                                .dgamma = t->dgamma.at[i],
                                .dbeta = t->dbeta.at[i]};
}

static void forward(struct parity *p, const struct normed *t)
{
    for (int i = 0; i < PARITY_DEVICES; i++) {
        const struct ld_ops *ops = p->dev[i]->ops;
        struct ld_group_norm gn = group_norm_at(t, i);
        struct ld_bn_train bn = batch_norm_at(t, i);

        if (t->groups)
            ops->gn_relu_forward(p->dev[i], t->y.at[i], t->x.at[i], &gn);
        else
            ops->bn_train_forward(p->dev[i], t->y.at[i], t->x.at[i], &bn);
    }
}

static void backward(struct parity *p, const struct normed *t, struct twin dx)
{
    for (int i = 0; i < PARITY_DEVICES; i++) {
        const struct ld_ops *ops = p->dev[i]->ops;
        struct ld_group_norm gn = group_norm_at(t, i);
        struct ld_bn_train bn = batch_norm_at(t, i);

        if (t->groups)
            ops->gn_relu_backward(p->dev[i], dx.at[i], t->dy.at[i], t->x.at[i],
                                  &gn);
        else
            ops->bn_train_backward(p->dev[i], dx.at[i], t->dy.at[i], t->x.at[i],
                                   &bn);
    }
}

/* Gradients at y: 0 where y is so near to 0 that rounding may choose another
 * side of the ReLU. */
static float *safe_slopes(struct parity *p, const struct normed *t)
{
    size_t count = parity_count(t->shape), C = (size_t)t->shape.C;
    size_t places = (size_t)t->shape.H * (size_t)t->shape.W;
    const float *x = parity_read_map(p, PARITY_CPU, t->x, t->shape);
    const float *stats = parity_read(p, PARITY_CPU, t->stats, t->n_stats * 4);
    const float *gamma = parity_read(p, PARITY_CPU, t->gamma, C * 4);
    const float *beta = parity_read(p, PARITY_CPU, t->beta, C * 4);
    float *dy = parity_normal(p, count);

    for (size_t i = 0; i < count; i++) {
        size_t c = i / places % C, n = i / places / C;
        size_t set = t->groups ? (n * C + c) / (C / (size_t)t->groups) : c;
        float y =
            (x[i] - stats[2 * set]) * stats[2 * set + 1] * gamma[c] + beta[c];

        if (fabsf(y) < 1e-4F)
            dy[i] = 0;
    }
    return dy;
}

static void check(struct parity *p, struct normed *t)
{
    size_t C = (size_t)t->shape.C;

    forward(p, t);
    parity_same(p, "stats", t->stats, t->n_stats, CLOSE);
    parity_same_map(p, "y", t->y, t->shape, CLOSE);
    parity_same(p, "running mean", t->mean, C, CLOSE);
    parity_same(p, "running variance", t->var, C, CLOSE);
    t->dy = parity_map(p, safe_slopes(p, t), t->shape);
    backward(p, t, t->dx);
    parity_same_map(p, "dx", t->dx, t->shape, CLOSE);
    parity_same(p, "dgamma", t->dgamma, C, CLOSE);
    parity_same(p, "dbeta", t->dbeta, C, CLOSE);
    backward(p, t, t->dy);
    parity_same_map(p, "dx in the place of dy", t->dy, t->shape, CLOSE);
}

static void check_group_norm(struct parity *p)
{
    struct normed t;

    t = normed_of(p, cases[p->number].shape, cases[p->number].groups, 0);
    check(p, &t);
}

START_TEST(group_norms_and_their_gradients_agree)
{
    parity_cases(parity_precisions[_i], N_CASES, check_group_norm);
}
END_TEST

static void check_batch_norm(struct parity *p)
{
    struct normed t;

    t = normed_of(p, cases[p->number].shape, 0, 0);
    check(p, &t);
}

START_TEST(batch_norms_and_their_gradients_agree)
{
    parity_cases(parity_precisions[_i], N_CASES, check_batch_norm);
}
END_TEST

/* The deviation is 1 at 1024. In fp32 E[x^2] - E[x]^2 would be off by 0.1; a
 * mean kept in fp32 is off by 3e-5 of a deviation, and y with it. */
START_TEST(no_digits_are_lost_far_from_zero)
{
    struct parity p;
    struct normed t;

    if (!parity_open(&p, LD_PRECISION_FP32, (uint64_t)_i))
        return;
    t = normed_of(&p, (struct ld_shape){2, 32, 40, 40}, _i ? 16 : 0, 1024);
    forward(&p, &t);
    parity_same(&p, "stats", t.stats, t.n_stats, 1e-6);
    parity_same_map(&p, "y", t.y, t.shape, 2e-4);
    parity_close(&p);
}
END_TEST

static void check_nan(struct parity *p)
{
    struct ld_shape shape = {1, 16, 3, 3};
    struct normed t;
    float *x;

    t = normed_of(p, shape, 16, 0);
    x = parity_normal(p, parity_count(shape));
    x[4] = NAN;
    t.x = parity_map(p, x, shape);
    forward(p, &t);
    parity_same_map(p, "y", t.y, shape, CLOSE);
    ck_assert(isnan(parity_read_map(p, PARITY_CUDA, t.y, shape)[4]));
}

START_TEST(a_nan_is_never_clamped_away)
{
    parity_cases(parity_precisions[_i], 1, check_nan);
}
END_TEST

START_TEST(more_images_than_there_is_room_for_are_a_fault)
{
    struct ld_shape shape = {1 << 13, 72, 1, 1}; /* 2^19 numbers have room */
    struct ld_err err = {0};
    struct parity p;
    struct normed t;

    if (!parity_open(&p, LD_PRECISION_FP32, 0))
        return;
    t = normed_of(&p, shape, 0, 0);
    forward(&p, &t);
    ck_assert(!p.dev[PARITY_CUDA]->ops->sync(p.dev[PARITY_CUDA], &err));
    ck_assert_int_eq(err.code, LD_ERR_DEVICE);
    ck_assert_msg(strstr(err.text, "at most 7281 images"), "%s", err.text);
    parity_close(&p);
}
END_TEST

/* ---- batch norms on stored statistics ---- */

START_TEST(folding_and_unfolding_agree)
{
    int O = 1 + 37 * _i, n = 1 + 211 * _i;
    size_t C = (size_t)O, count = C * (size_t)n;
    struct parity p;
    struct twin gamma, beta, mean, var, dgamma, dbeta, scale, shift;
    struct twin weight, dweight, dfolded, dshift;
    float *positive;

    if (!parity_open(&p, LD_PRECISION_FP32, (uint64_t)_i))
        return;
    positive = parity_normal(&p, C);
    for (size_t i = 0; i < C; i++)
        positive[i] = fabsf(positive[i]) + 0.1F;
    gamma = normal(&p, C);
    beta = normal(&p, C);
    mean = normal(&p, C);
    var = parity_floats(&p, positive, C);
    dgamma = normal(&p, C);
    dbeta = normal(&p, C);
    scale = parity_floats(&p, NULL, C);
    shift = parity_floats(&p, NULL, C);
    weight = normal(&p, count);
    dweight = normal(&p, count);
    dfolded = normal(&p, count);
    dshift = normal(&p, C);
    for (int i = 0; i < PARITY_DEVICES; i++) {
        const struct ld_ops *ops = p.dev[i]->ops;
        struct ld_bn bn = {gamma.at[i],  beta.at[i],  mean.at[i], var.at[i],
                           dgamma.at[i], dbeta.at[i], 1e-5F};

        ops->bn_fold(p.dev[i], scale.at[i], shift.at[i], &bn, O);
        ops->bn_unfold(p.dev[i], dweight.at[i], dfolded.at[i], dshift.at[i],
                       weight.at[i], &bn, O, n);
        bn.dgamma = bn.dbeta = NULL; /* frozen */
        ops->bn_unfold(p.dev[i], dweight.at[i], dfolded.at[i], dshift.at[i],
                       weight.at[i], &bn, O, n);
    }
    parity_same(&p, "scale", scale, C, 1e-6);
    parity_same(&p, "shift", shift, C, 1e-6);
    parity_same(&p, "dweight", dweight, count, 1e-6);
    parity_same(&p, "dgamma", dgamma, C, 1e-6); /* sums in double */
    parity_same(&p, "dbeta", dbeta, C, 0);
    parity_close(&p);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("parity of norms");
    TCase *c = tcase_create("norms");

    tcase_add_loop_test(c, group_norms_and_their_gradients_agree, 0, 2);
    tcase_add_loop_test(c, batch_norms_and_their_gradients_agree, 0, 2);
    tcase_add_loop_test(c, no_digits_are_lost_far_from_zero, 0, 2);
    tcase_add_loop_test(c, a_nan_is_never_clamped_away, 0, 2);
    tcase_add_test(c, more_images_than_there_is_room_for_are_a_fault);
    tcase_add_loop_test(c, folding_and_unfolding_agree, 0, 4);
    suite_add_tcase(s, c);
    return s;
}
