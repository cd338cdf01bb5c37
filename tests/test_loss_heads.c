#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/loss_cpu.h"
#include "kernels/cpu/loss_terms.h"
#include "tests/loss_batch.h"
#include "tests/suite.h"

/* The losses of the heads with a centerness: focal loss, its cross entropy, and
 * what it weighs. */

/* A hundred roundings of 6e-8. */
static const double FLOAT32 = 1e-5;

/* ---- terms ---- */

/* Lin et al. 2017, eq. 5, by the letter; the logs as softplus. */
static double focal_in_double(double z, bool is_label, double *g)
{
    double p = 1 / (1 + exp(-z)), rest = 1 / (1 + exp(z));
    double tail = log1p(exp(-fabs(z)));
    double log_p = fmin(z, 0) - tail, log_rest = fmin(-z, 0) - tail;

    if (is_label) {
        *g = 0.25 * rest * rest * (2 * p * log_p + p - 1);
        return -0.25 * rest * rest * log_p;
    }
    *g = 0.75 * p * p * (p - 2 * rest * log_rest);
    return -0.75 * p * p * log_rest;
}

START_TEST(focal_is_right_from_logit_minus_25_to_25)
{
    double worst = 0;

    for (int i = -2500; i <= 2500; i++) {
        float z = (float)i / 100, got_g;

        for (int label = 0; label < 2; label++) {
            double g, want = focal_in_double((double)z, label, &g);
            double got = ld_cpu_focal(&got_g, z, label);

            worst = fmax(worst, fabs(got - want) / want);
            worst = fmax(worst, fabs((double)got_g - g) / fabs(g));
        }
    }
    printf("# focal: worst relative error %.2g\n", worst);
    ck_assert_double_lt(worst, FLOAT32);
}
END_TEST

START_TEST(focal_of_a_run_is_the_sum_of_its_logits)
{
    struct ld_rng rng = ld_rng_seed(7, 0);
    float z[1000], g[1000], one;
    double sum = 0, worst = 0, got;

    for (int i = 0; i < 1000; i++)
        z[i] = 3 * ld_rng_normal(&rng);
    got = ld_cpu_focal_background(g, z, 1000, 0.5F);
    for (int i = 0; i < 1000; i++) {
        sum += ld_cpu_focal(&one, z[i], false);
        worst = fmax(worst, fabs((double)(g[i] - 0.5F * one)));
    }
    ck_assert_double_eq_tol(got, sum, FLOAT32 * sum);
    ck_assert_double_lt(worst, 1e-6); /* of gradients up to 1 */
}
END_TEST

START_TEST(cross_entropy_is_right_and_its_gradient_its_slope)
{
    double worst = 0, worst_slope = 0;

    for (int i = -300; i <= 300; i++) {
        float z = (float)i / 16, h = 0x1p-8F;
        double y = (double)(i + 300) / 600, p = 1 / (1 + exp(-(double)z));
        double want = -y * log(p) - (1 - y) * log1p(-p), g, unused;
        double slope =
            (ld_cpu_bce(&unused, z + h, y) - ld_cpu_bce(&unused, z - h, y)) /
            (2 * (double)h);

        worst = fmax(worst, fabs(ld_cpu_bce(&g, z, y) - want));
        worst_slope = fmax(worst_slope, fabs(g - slope));
    }
    /* 1 - p loses 1e-16 e^19; the slope h^2 / 6 of a third derivative < 0.1 */
    ck_assert_double_lt(worst, 1e-7);
    ck_assert_double_lt(worst_slope, 1e-6);
    ck_assert_double_eq_tol(ld_cpu_bce(&worst, 500, 0), 500, 1e-9);
    ck_assert_double_lt(ld_cpu_bce(&worst, -500, 0), 1e-200);
}
END_TEST

START_TEST(centerness_is_1_in_the_middle_and_falls_to_the_sides)
{
    ck_assert_double_eq(ld_cpu_centerness((double[4]){3, 5, 3, 5}), 1);
    ck_assert_double_eq_tol(ld_cpu_centerness((double[4]){1, 5, 4, 5}), 0.5,
                            1e-15);
    ck_assert_double_eq_tol(ld_cpu_centerness((double[4]){4, 9, 1, 1}),
                            sqrt(0.25 / 9), 1e-15);
}
END_TEST

START_TEST(a_nan_makes_these_terms_nan)
{
    double g;
    float f;

    ck_assert(isnan(ld_cpu_focal(&f, NAN, true)));
    ck_assert(isnan(ld_cpu_focal(&f, NAN, false)));
    ck_assert(isnan(ld_cpu_focal_background(&f, &(float){NAN}, 1, 1)));
    ck_assert(isnan(ld_cpu_bce(&g, NAN, 0.5)));
}
END_TEST

/* ---- a batch ---- */

static void head_batch(struct loss_batch *t, enum ld_head head)
{
    struct ld_rng rng = ld_rng_seed(3, 1);

    loss_batch_random(t, 11);
    for (size_t i = 0; i < 2 * (size_t)t->b.A; i++)
        t->u[i] = 2 * ld_rng_normal(&rng);
    t->b.quality = t->u;
    t->b.head = head;
    t->b.weight_sum = ld_cpu_loss_weights(NULL, t->weight, &t->b) + 1e-6;
}

static float *copied(struct loss_batch *t, const float *from, size_t width)
{
    size_t count = 2 * (size_t)t->b.A * width;
    float *to = loss_batch_new(t, count, sizeof(*to));

    memcpy(to, from, count * sizeof(*to));
    return to;
}

/* Class and centerness logits under all their terms at once. */
START_TEST(gradients_of_classes_and_centerness_are_slopes)
{
    const struct ld_loss_rules rules = {
        .qfl = 1.5F, .centerness = 0.5F, .kd = 1, .kd_T = 2};
    enum ld_head head = _i ? LD_HEAD_FCOS : LD_HEAD_ATSS;
    struct loss_batch t;
    float *dz, *du;

    ld_parallel_set_threads(1);
    head_batch(&t, head);
    ld_cpu_loss_run(NULL, &t.terms, t.dz, t.dr, t.du, t.weight, &t.b, &rules);
    ck_assert_double_gt(ld_loss_term(&t.terms, LD_TERM_CENTERNESS), 0);
    dz = copied(&t, t.dz, 3);
    du = copied(&t, t.du, 1);
    loss_batch_slopes(&t, &rules, t.z, dz, 3, 1);
    loss_batch_slopes(&t, &rules, t.u, du, 1, 1);
    ld_arena_free(&t.arena);
}
END_TEST

START_TEST(gradients_of_the_boxes_are_slopes)
{
    const struct ld_loss_rules rules = {.box = 2,
                                        .dfl = 0.25F,
                                        .ld = 0.25F,
                                        .ld_T = 10,
                                        .vlr = 0.15F,
                                        .vlr_T = 10};
    enum ld_head head = _i ? LD_HEAD_FCOS : LD_HEAD_ATSS;
    struct loss_batch t;
    float *dr;

    ld_parallel_set_threads(1);
    head_batch(&t, head);
    ld_cpu_loss_run(NULL, &t.terms, t.dz, t.dr, t.du, t.weight, &t.b, &rules);
    dr = copied(&t, t.dr, 68);
    loss_batch_slopes(&t, &rules, t.r, dr, 68, 9);
    ld_arena_free(&t.arena);
}
END_TEST

START_TEST(weights_are_best_scores_and_their_sum_is_of_centerness)
{
    enum ld_head head = _i ? LD_HEAD_FCOS : LD_HEAD_ATSS;
    struct loss_batch t;
    double sum = 0, worst = 0;
    int n_vlr = 0;

    head_batch(&t, head);
    for (int row = 0; row < t.b.n_rows; row++) {
        const float *z = t.z + (size_t)t.index[row] * 3;
        double top = (double)fmaxf(z[0], fmaxf(z[1], z[2]));
        bool scored = t.label[row] >= 0 || (_i && t.vlr[row] > 0);
        struct ld_box b = t.box[row];
        float x, y;

        worst = fmax(worst, fabs((double)t.weight[row] -
                                 (scored ? 1 / (1 + exp(-top)) : 0)));
        n_vlr += t.label[row] < 0;
        if (t.label[row] < 0)
            continue;
        ld_grid_centre(&t.b.grid, t.index[row] % t.b.A, &x, &y);
        sum += ld_cpu_centerness(
            (double[4]){(double)(x - b.x0), (double)(y - b.y0),
                        (double)(b.x1 - x), (double)(b.y1 - y)});
    }
    ck_assert_int_gt(n_vlr, 0);
    ck_assert_double_lt(worst, 1e-6);
    ck_assert_double_eq_tol(t.b.weight_sum, sum, 1e-5);
    ld_arena_free(&t.arena);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("loss_heads");
    TCase *c = tcase_create("loss_heads");

    tcase_add_test(c, focal_is_right_from_logit_minus_25_to_25);
    tcase_add_test(c, focal_of_a_run_is_the_sum_of_its_logits);
    tcase_add_test(c, cross_entropy_is_right_and_its_gradient_its_slope);
    tcase_add_test(c, centerness_is_1_in_the_middle_and_falls_to_the_sides);
    tcase_add_test(c, a_nan_makes_these_terms_nan);
    tcase_add_loop_test(c, gradients_of_classes_and_centerness_are_slopes, 0,
                        2);
    tcase_add_loop_test(c, gradients_of_the_boxes_are_slopes, 0, 2);
    tcase_add_loop_test(
        c, weights_are_best_scores_and_their_sum_is_of_centerness, 0, 2);
    suite_add_tcase(s, c);
    return s;
}
