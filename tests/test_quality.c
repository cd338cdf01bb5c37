#include <math.h>
#include <string.h>

#include "kernels/base/parallel.h"
#include "tests/maps.h"
#include "tests/suite.h"

enum {
    TOP = LD_QUALITY_TOP,
    STATS = LD_QUALITY_STATS,
    HIDDEN = LD_QUALITY_HIDDEN,
    MAX_BINS = 32,
};

/* ---- the plain way, in double ---- */

struct plain {
    int n, B;
    double *rows, *weight0, *bias0, *weight2, *bias2; /* host */
    double *dlogit;
};

/* A side's largest probabilities, falling, and their mean. */
static void side_stats(double stat[TOP + 1], const double *z, int B)
{
    double sum = 0, most = z[0], p[MAX_BINS];

    for (int k = 0; k < B; k++)
        most = fmax(most, z[k]);
    for (int k = 0; k < B; k++)
        sum += exp(z[k] - most);
    for (int k = 0; k < B; k++)
        p[k] = exp(z[k] - most) / sum;
    stat[TOP] = 0;
    for (int j = 0; j < TOP; j++) {
        int best = 0;

        for (int k = 1; k < B; k++)
            best = p[k] > p[best] ? k : best;
        stat[j] = p[best];
        stat[TOP] += p[best] / TOP;
        p[best] = -1;
    }
}

static double logit_of(const struct plain *p, int i)
{
    double stat[STATS], logit = p->bias2[0];

    for (int s = 0; s < 4; s++)
        side_stats(stat + s * (TOP + 1), p->rows + (4 * i + s) * p->B, p->B);
    for (int o = 0; o < HIDDEN; o++) {
        double h = p->bias0[o];

        for (int s = 0; s < STATS; s++)
            h += p->weight0[o * STATS + s] * stat[s];
        logit += p->weight2[o] * fmax(h, 0);
    }
    return logit;
}

static double loss_of(const struct plain *p)
{
    double sum = 0;

    for (int i = 0; i < p->n; i++)
        sum += p->dlogit[i] * logit_of(p, i);
    return sum;
}

/* ---- both ---- */

struct both {
    struct maps m;
    struct plain plain;
    struct ld_quality q;
    float *rows, *logit, *dlogit, *drows; /* device */
};

static float *drawn(struct maps *m, double **plain, size_t count, double scale)
{
    float *x = maps_normal(m, count);

    *plain = maps_doubles(m, count);
    for (size_t i = 0; i < count; i++)
        (*plain)[i] = (double)(x[i] *= (float)scale);
    return maps_vector(m, x, count);
}

static void both_open(struct both *b, int n, int B, int n_threads)
{
    struct maps *m = &b->m;
    size_t count = (size_t)n * 4 * (size_t)B;

    *b = (struct both){.plain = {.n = n, .B = B}};
    maps_open(m, n_threads, 77);
    b->rows = drawn(m, &b->plain.rows, count, 2);
    b->dlogit = drawn(m, &b->plain.dlogit, (size_t)n, 1);
    b->q = (struct ld_quality){
        .n = (size_t)n,
        .B = B,
        .weight0 = drawn(m, &b->plain.weight0, HIDDEN * STATS, 0.5),
        .bias0 = drawn(m, &b->plain.bias0, HIDDEN, 0.2),
        .weight2 = drawn(m, &b->plain.weight2, HIDDEN, 0.3),
        .bias2 = drawn(m, &b->plain.bias2, 1, 1),
        .dweight0 = maps_memory(m, HIDDEN * STATS * sizeof(float)),
        .dbias0 = maps_memory(m, HIDDEN * sizeof(float)),
        .dweight2 = maps_memory(m, HIDDEN * sizeof(float)),
        .dbias2 = maps_memory(m, sizeof(float)),
    };
    b->logit = maps_memory(m, (size_t)n * sizeof(float));
    b->drows = maps_memory(m, count * sizeof(float));
}

static void both_run(struct both *b)
{
    const struct ld_ops *ops = b->m.dev->ops;

    ops->quality_forward(b->m.dev, b->logit, b->rows, &b->q);
    ops->quality_backward(b->m.dev, b->drows, b->dlogit, b->rows, &b->q);
    maps_sync(&b->m);
}

/* Worst deviation of a gradient from central differences at every `step`-th
 * member of x, in parts of the largest. A difference over 2e-6 of a loss of
 * some tens is good to 1e-8; a side whose fourth and fifth bins are nearer than
 * that is none of a few thousand random ones. */
static double worst_slope(const struct both *b, double *x, const float *g,
                          size_t count, size_t step)
{
    const double h = 1e-6;
    double worst = 0, largest = 0;

    for (size_t i = 0; i < count; i += step) {
        double was = x[i], above, below;

        x[i] = was + h;
        above = loss_of(&b->plain);
        x[i] = was - h;
        below = loss_of(&b->plain);
        x[i] = was;
        worst = fmax(worst, fabs((above - below) / (2 * h) - (double)g[i]));
        largest = fmax(largest, fabs((double)g[i]));
    }
    ck_assert_double_gt(largest, 0);
    return worst / largest;
}

static void compare(int n, int B)
{
    struct both b;
    double worst = 0;

    both_open(&b, n, B, 1);
    both_run(&b);
    for (int i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)b.logit[i] - logit_of(&b.plain, i)));
    ck_assert_double_lt(worst, 5e-6); /* 64 sums of 20, of size 1, in fp32 */

    worst =
        worst_slope(&b, b.plain.rows, b.drows, (size_t)n * 4 * (size_t)B, 11);
    worst = fmax(worst, worst_slope(&b, b.plain.weight0, b.q.dweight0,
                                    HIDDEN * STATS, 7));
    worst = fmax(worst, worst_slope(&b, b.plain.bias0, b.q.dbias0, HIDDEN, 1));
    worst =
        fmax(worst, worst_slope(&b, b.plain.weight2, b.q.dweight2, HIDDEN, 1));
    worst = fmax(worst, worst_slope(&b, b.plain.bias2, b.q.dbias2, 1, 1));
    ck_assert_double_lt(worst, 1e-5); /* fp32's rounding of sums of 64 */
    maps_close(&b.m);
}

START_TEST(qualities_and_gradients_are_those_of_plain_loops)
{
    compare(1, 17);
    compare(16, 4);
    compare(37, 17);
    compare(19, 32);
}
END_TEST

START_TEST(gradients_are_added_to_what_is_there)
{
    struct both b;
    size_t count = 37 * 4 * 17;
    float *once;
    double worst = 0;

    both_open(&b, 37, 17, 1);
    both_run(&b);
    once = maps_vector(&b.m, b.drows, count);
    both_run(&b);
    for (size_t i = 0; i < count; i++)
        worst = fmax(worst, fabs((double)(b.drows[i] - 2 * once[i])));
    ck_assert_double_eq(worst, 0);
    maps_close(&b.m);
}
END_TEST

START_TEST(the_number_of_threads_changes_no_bit_of_a_quality)
{
    enum { ROWS = 1500, BINS = 17 };
    struct both one, three;

    both_open(&one, ROWS, BINS, 1);
    both_run(&one);
    both_open(&three, ROWS, BINS, 3);
    both_run(&three);
    ck_assert_mem_eq(one.logit, three.logit, ROWS * sizeof(float));
    ck_assert_mem_eq(one.drows, three.drows, ROWS * 4 * BINS * sizeof(float));
    ck_assert_mem_eq(one.q.dweight0, three.q.dweight0,
                     HIDDEN * STATS * sizeof(float));
    ck_assert_mem_eq(one.q.dbias0, three.q.dbias0, HIDDEN * sizeof(float));
    ck_assert_mem_eq(one.q.dweight2, three.q.dweight2, HIDDEN * sizeof(float));
    ck_assert_mem_eq(one.q.dbias2, three.q.dbias2, sizeof(float));
    maps_close(&one.m);
    maps_close(&three.m);
}
END_TEST

/* Five bins alike: the gradient says which four were taken. With weights of the
 * first statistic alone it is g p (delta - p) of the bin that stands first. */
START_TEST(of_equal_bins_the_lower_comes_first)
{
    struct both b;
    float stat_weight[HIDDEN * STATS] = {0};
    float *weight0;

    both_open(&b, 1, 17, 1);
    for (int k = 0; k < 4 * 17; k++)
        b.rows[k] = k % 17 >= 3 && k % 17 < 8 ? 2 : -30;
    for (int o = 0; o < HIDDEN; o++)
        stat_weight[o * STATS] = 1;
    weight0 = maps_vector(&b.m, stat_weight, HIDDEN * STATS);
    b.q.weight0 = weight0;
    both_run(&b);
    for (int k = 3; k < 8; k++) /* of side 0; p = 1/5 */
        ck_assert_float_eq_tol(b.drows[k] / b.drows[3], k == 3 ? 1 : -0.25F,
                               1e-5F);
    stat_weight[0] = 0;
    for (int o = 0; o < HIDDEN; o++) {
        stat_weight[o * STATS] = 0;
        stat_weight[o * STATS + 3] = 1; /* the fourth */
    }
    b.q.weight0 = maps_vector(&b.m, stat_weight, HIDDEN * STATS);
    memset(b.drows, 0, 4 * 17 * sizeof(float));
    both_run(&b);
    for (int k = 3; k < 8; k++)
        ck_assert_float_eq_tol(b.drows[k] / b.drows[6], k == 6 ? 1 : -0.25F,
                               1e-5F);
    maps_close(&b.m);
}
END_TEST

START_TEST(a_nan_bin_makes_its_quality_nan_and_no_other)
{
    struct both b;

    both_open(&b, 37, 17, 1);
    for (int bin = 0; bin < 17; bin++) {
        float was = b.rows[(4 * 20 + 2) * 17 + bin];

        b.rows[(4 * 20 + 2) * 17 + bin] = NAN;
        b.m.dev->ops->quality_forward(b.m.dev, b.logit, b.rows, &b.q);
        b.rows[(4 * 20 + 2) * 17 + bin] = was;
        for (int i = 0; i < 37; i++)
            ck_assert_int_eq(isnan(b.logit[i]) != 0, i == 20);
    }
    maps_close(&b.m);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("quality");
    TCase *c = tcase_create("quality");

    tcase_add_test(c, qualities_and_gradients_are_those_of_plain_loops);
    tcase_add_test(c, gradients_are_added_to_what_is_there);
    tcase_add_test(c, the_number_of_threads_changes_no_bit_of_a_quality);
    tcase_add_test(c, of_equal_bins_the_lower_comes_first);
    tcase_add_test(c, a_nan_bin_makes_its_quality_nan_and_no_other);
    suite_add_tcase(s, c);
    return s;
}
