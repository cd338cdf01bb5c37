#include "kernels/cpu/loss_terms.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cpu/loss_math.h"
#include "tests/golden.h"
#include "tests/golden_grid.h"
#include "tests/suite.h"

/* Ours evaluates in float32 as the reference does, in another order: a hundred
 * roundings of 6e-8. */
static const double FLOAT32 = 1e-5;

/* ---- exp and log1p ---- */

/* Error in units of the last place of the float32 nearest to `want`. */
static double ulps(float got, double want)
{
    double unit =
        (double)nextafterf((float)want, INFINITY) - (double)(float)want;

    return fabs((double)got - want) / unit;
}

START_TEST(exp_is_within_one_and_a_half_ulp_from_0_down_to_minus_104)
{
    double worst = 0;

    for (uint32_t bits = 0x80000000U; bits < ld_cpu_bits(-104); bits += 211) {
        float x = ld_cpu_from_bits(bits);
        double error = ulps(ld_cpu_exp(x), exp((double)x));

        worst = error > worst ? error : worst;
    }
    printf("# exp: worst error %.3f ulp\n", worst);
    ck_assert_double_lt(worst, 1.5);
}
END_TEST

START_TEST(log1p_is_within_two_ulp_from_0_to_1)
{
    double worst = 0;

    for (uint32_t bits = 0; bits <= ld_cpu_bits(1); bits += 211) {
        float x = ld_cpu_from_bits(bits);
        double error = ulps(ld_cpu_log1p(x), log1p((double)x));

        worst = error > worst ? error : worst;
    }
    printf("# log1p: worst error %.3f ulp\n", worst);
    ck_assert_double_lt(worst, 2);
}
END_TEST

START_TEST(exp_and_log1p_keep_nan_and_go_on_to_0)
{
    ck_assert(isnan(ld_cpu_exp(NAN)));
    ck_assert(isnan(ld_cpu_log1p(NAN)));
    ck_assert_float_eq(ld_cpu_exp(0), 1);
    ck_assert_float_eq(ld_cpu_exp(-1000), 0);
    ck_assert_float_eq(ld_cpu_exp(-INFINITY), 0);
    ck_assert_float_eq(ld_cpu_log1p(0), 0);
}
END_TEST

/* ---- quality focal loss ---- */

static double qfl_in_double(double z, double y, double *g)
{
    double p = 1 / (1 + exp(-z)), rest = 1 / (1 + exp(z));
    double entropy = fmax(z, 0) - z * y + log1p(exp(-fabs(z)));

    *g = pow(p - y, 3) + 2 * (p - y) * p * rest * entropy;
    return (p - y) * (p - y) * entropy;
}

START_TEST(qfl_is_right_from_logit_minus_100_to_100)
{
    double worst = 0;

    for (int i = -1000; i <= 1000; i++) {
        for (int j = 0; j <= 4; j++) {
            float g, z = (float)i / 10, y = (float)j / 4;
            double want_g, want = qfl_in_double((double)z, (double)y, &want_g);
            double got = ld_cpu_qfl(&g, z, y);

            worst = fmax(worst, fabs(got - want) / fmax(1, want));
            worst = fmax(worst, fabs((double)g - want_g) / fmax(1, want_g));
        }
    }
    printf("# qfl: worst error %.2g\n", worst);
    ck_assert_double_lt(worst, 1e-6); /* some roundings of 6e-8 */
}
END_TEST

START_TEST(qfl_of_a_run_is_the_sum_of_its_logits)
{
    float z[600], g[600], one;
    double sum = 0;

    for (int i = 0; i < 600; i++) {
        z[i] = (float)((i * 37) % 200 - 100) / 7;
        sum += ld_cpu_qfl(&one, z[i], 0);
    }
    ck_assert_double_eq_tol(ld_cpu_qfl_background(g, z, 600, 2), sum,
                            1e-6 * sum);
    for (int i = 0; i < 600; i++) {
        ld_cpu_qfl(&one, z[i], 0);
        ck_assert_float_eq_tol(g[i], 2 * one, 2e-6F);
    }
}
END_TEST

/* Of a product of probabilities, by long double. */
static double joint_in_double(double z, double u, double y, double g[2])
{
    long double s = 1 / (1 + expl(-(long double)z)), s_rest = 1 / (1 + expl(z));
    long double q = 1 / (1 + expl(-(long double)u)), q_rest = 1 / (1 + expl(u));
    long double p = s * q, rest = s_rest + s * q_rest, gap = p - y;
    long double entropy =
        -y * fmaxl(logl(p), -100) -
        (1 - y) * fmaxl(p < 0.5L ? log1pl(-p) : logl(rest), -100);
    long double dp =
        gap * gap * gap / fmaxl(p * rest, 1e-12L) + 2 * gap * entropy;

    g[0] = (double)(dp * p * s_rest);
    g[1] = (double)(dp * p * q_rest);
    return (double)(gap * gap * entropy);
}

/* Errors in parts of a loss or of 1; of the gradients likewise. */
static double joint_error(float z, float u, float y)
{
    double want_g[2], g[2];
    double want = joint_in_double((double)z, (double)u, (double)y, want_g);
    double worst =
        fabs(ld_cpu_joint_qfl(&g[0], &g[1], z, u, y) - want) / fmax(1, want);
    float run_z, run_u;

    for (int i = 0; i < 2; i++)
        worst = fmax(worst, fabs(g[i] - want_g[i]) / fmax(1, fabs(want_g[i])));
    if (y > 0)
        return worst;
    want -= ld_cpu_joint_background(&run_z, &run_u, &z, 1, u, 1);
    worst = fmax(worst, fabs(want));
    worst = fmax(worst, fabs((double)run_z - want_g[0]));
    return fmax(worst, fabs((double)run_u - want_g[1]));
}

START_TEST(joint_qfl_is_right_from_logit_minus_30_to_30)
{
    double worst = 0;

    for (int i = -300; i <= 300; i++)
        for (int j = -30; j <= 30; j++)
            for (int k = 0; k <= 2; k++)
                worst = fmax(
                    worst, joint_error((float)i / 10, (float)j, (float)k / 2));
    printf("# joint qfl: worst error %.2g\n", worst);
    ck_assert_double_lt(worst, 1e-5); /* values up to 60, in float32 */
}
END_TEST

/* A small p loses nothing to 1 - p: the value is p^3. */
START_TEST(joint_qfl_of_a_small_probability_is_exact_to_float32)
{
    for (float z = -1; z > -12; z -= 0.37F) {
        double g[2];
        float run_z, run_u;
        double want = joint_in_double((double)z, (double)z, 0, g);

        ck_assert_double_eq_tol(
            ld_cpu_joint_background(&run_z, &run_u, &z, 1, z, 1), want,
            2e-6 * want);
        ck_assert_double_eq_tol((double)run_z, g[0], 2e-6 * g[0]);
        ck_assert_double_eq_tol((double)run_u, g[1], 2e-6 * g[1]);
    }
}
END_TEST

START_TEST(joint_qfl_of_a_run_is_the_sum_of_its_logits)
{
    const float u = 0.4F;
    float z[600], g[600], g_u;
    double sum = 0, sum_u = 0, worst = 0;

    for (int i = 0; i < 600; i++)
        z[i] = (float)((i * 37) % 200 - 100) / 7;
    ck_assert(!isnan(ld_cpu_joint_background(g, &g_u, z, 600, u, 2)));
    for (int i = 0; i < 600; i++) {
        double one, one_u;

        sum += ld_cpu_joint_qfl(&one, &one_u, z[i], u, 0);
        sum_u += one_u;
        worst = fmax(worst, fabs((double)g[i] - 2 * one));
    }
    ck_assert_double_lt(worst, 2e-6);
    ck_assert_double_eq_tol((double)g_u, 2 * sum_u, 1e-6 * sum_u);
    ck_assert_double_eq_tol(ld_cpu_joint_background(g, &g_u, z, 600, u, 2), sum,
                            1e-6 * sum);
}
END_TEST

START_TEST(a_nan_logit_or_quality_makes_a_joint_term_nan)
{
    float z[9] = {0}, g[9], g_u;
    double d[2];

    for (int i = 0; i < 9; i++) {
        z[i] = NAN;
        ck_assert(isnan(ld_cpu_joint_background(g, &g_u, z, 9, 0, 1)));
        ck_assert(isnan(g[i]) && isnan(g_u));
        z[i] = 0;
    }
    ck_assert(isnan(ld_cpu_joint_background(g, &g_u, z, 9, NAN, 1)));
    ck_assert(isnan(g[3]) && isnan(g_u));
    ck_assert(isnan(ld_cpu_joint_qfl(&d[0], &d[1], NAN, 0, 0.5F)));
    ck_assert(isnan(ld_cpu_joint_qfl(&d[0], &d[1], 0, NAN, 0.5F)));
}
END_TEST

START_TEST(a_nan_logit_makes_every_term_nan)
{
    float x[17] = {0}, teacher[17] = {0}, g[17] = {0};
    struct ld_cpu_side side;
    const double target[4] = {0, 0, 4, 4};
    double d[4];

    for (int k = 0; k < 17; k++) {
        memset(x, 0, sizeof(x));
        x[k] = NAN;
        side = ld_cpu_side_of(x, 17);
        ck_assert(isnan(side.distance));
        ck_assert(isnan(ld_cpu_dfl(x, &side, 3.5F)));
        ck_assert(isnan(ld_cpu_kl(g, x, teacher, 17, 10, 1)));
        ck_assert(isnan(ld_cpu_kl(g, teacher, x, 17, 10, 1)));
        ck_assert(isnan(ld_cpu_qfl_background(g, x, 17, 1)));
        ck_assert(isnan(g[k]));
    }
    for (int i = 0; i < 4; i++) {
        double box[4] = {1, 1, 3, 3};

        box[i] = NAN;
        ck_assert(isnan(ld_cpu_giou(d, box, target)));
        ck_assert(isnan(ld_cpu_ciou(d, box, target)));
    }
}
END_TEST

/* ---- golden values ---- */

static float *zeros(struct golden *g, size_t count)
{
    return ld_arena_new(&g->arena, count, sizeof(float), &(struct ld_err){0});
}

static void compare_loss(struct golden *g, double got)
{
    float value = (float)got;

    golden_compare(g, "loss", &value, 1, FLOAT32);
}

static void golden_qfl(struct golden *g)
{
    struct golden_array pred = golden_array(g, "pred");
    size_t K = (size_t)pred.dim[1], n = (size_t)pred.dim[0];
    const float *z = pred.data, *score = golden_floats(g, "score", n);
    const float *weight = golden_floats(g, "weight", n);
    const int64_t *label = golden_array(g, "label").data;
    double factor = golden_number(g, "params.loss_weight") /
                    golden_number(g, "params.avg_factor");
    float *grad = zeros(g, n * K), background, d;
    double sum = 0;

    for (size_t i = 0; i < n; i++, z += K) {
        float w = (float)(weight[i] * factor);
        double row = ld_cpu_qfl_background(grad + i * K, z, K, w);

        if (label[i] < (int64_t)K) {
            row += ld_cpu_qfl(&d, z[label[i]], score[i]) -
                   ld_cpu_qfl(&background, z[label[i]], 0);
            grad[i * K + (size_t)label[i]] = w * d;
        }
        sum += (double)w * row;
    }
    compare_loss(g, sum);
    golden_compare(g, "grad_pred", grad, n * K, FLOAT32);
}

/* The case gives probabilities and the gradients with respect to them: as
 * logits of quality 1 they have p (1 - p) times these. */
static void golden_joint(struct golden *g)
{
    struct golden_array pred = golden_array(g, "pred");
    size_t K = (size_t)pred.dim[1], n = (size_t)pred.dim[0];
    const float *p = pred.data, *score = golden_floats(g, "score", n);
    const float *weight = golden_floats(g, "weight", n);
    const float *want = golden_floats(g, "grad_pred", n * K);
    const int64_t *label = golden_array(g, "label").data;
    double factor = golden_number(g, "params.loss_weight") /
                    golden_number(g, "params.avg_factor");
    double sum = 0, worst = 0, largest = 0;

    for (size_t i = 0; i < n * K; i++) {
        bool own = label[i / K] == (int64_t)(i % K);
        float z = (float)log((double)p[i] / (1 - (double)p[i]));
        double d, d_u, w = (double)weight[i / K] * factor;
        double slope = (double)(want[i] * p[i] * (1 - p[i]));

        sum += w * ld_cpu_joint_qfl(&d, &d_u, z, 40, own ? score[i / K] : 0);
        worst = fmax(worst, fabs(w * d - slope));
        largest = fmax(largest, fabs(slope));
    }
    compare_loss(g, sum);
    ck_assert_msg(worst <= 1e-5 * largest, "%s: a gradient is %g off", g->name,
                  worst); /* p and its logit are float32 */
}

static void golden_dfl(struct golden *g)
{
    struct golden_array pred = golden_array(g, "pred");
    size_t n = (size_t)pred.dim[0];
    int B = pred.dim[1];
    const float *x = pred.data, *label = golden_floats(g, "label", n);
    const float *weight = golden_floats(g, "weight", n);
    double factor = golden_number(g, "params.loss_weight") /
                    golden_number(g, "params.avg_factor");
    float *grad = zeros(g, pred.count);
    double sum = 0;

    for (size_t i = 0; i < n; i++, x += B) {
        struct ld_cpu_side side = ld_cpu_side_of(x, B);
        double w = (double)weight[i] * factor;

        sum += w * ld_cpu_dfl(x, &side, label[i]);
        ld_cpu_side_backward(grad + i * (size_t)B, x, B, &side, 0, w, label[i]);
    }
    compare_loss(g, sum);
    golden_compare(g, "grad_pred", grad, pred.count, FLOAT32);
}

static void golden_integral(struct golden *g)
{
    struct golden_array pred = golden_array(g, "pred");
    int B = (int)golden_number(g, "params.reg_max") + 1;
    size_t n = pred.count / (size_t)B;
    const float *x = pred.data, *upstream = golden_floats(g, "upstream", n);
    float *grad = zeros(g, pred.count);
    double sum = 0;

    for (size_t i = 0; i < n; i++, x += B) {
        struct ld_cpu_side side = ld_cpu_side_of(x, B);

        sum += side.distance * (double)upstream[i];
        ld_cpu_side_backward(grad + i * (size_t)B, x, B, &side,
                             (double)upstream[i], 0, 0);
    }
    compare_loss(g, sum);
    golden_compare(g, "grad_pred", grad, pred.count, FLOAT32);
}

static void golden_box(struct golden *g,
                       double (*loss)(double *, const double *, const double *))
{
    struct golden_array pred = golden_array(g, "pred");
    size_t n = (size_t)pred.dim[0];
    const float *a = pred.data, *b = golden_floats(g, "target", 4 * n);
    const float *weight = golden_floats(g, "weight", n);
    double factor = golden_number(g, "params.loss_weight"), sum = 0;
    float *grad = zeros(g, 4 * n), *each = zeros(g, n);

    for (size_t i = 0; i < n; i++) {
        double box[4], target[4], d[4], value;

        for (int k = 0; k < 4; k++) {
            box[k] = (double)a[4 * i + k];
            target[k] = (double)b[4 * i + k];
        }
        value = factor * loss(d, box, target);
        each[i] = (float)value;
        sum += weight[i] * value;
        for (int k = 0; k < 4; k++)
            grad[4 * i + k] = (float)(weight[i] * factor * d[k]);
    }
    compare_loss(g, sum);
    golden_compare(g, "elementwise", each, n, FLOAT32);
    golden_compare(g, "grad_pred", grad, 4 * n, FLOAT32);
}

static void golden_kl(struct golden *g)
{
    struct golden_array pred = golden_array(g, "pred");
    size_t n = (size_t)pred.dim[0], width = (size_t)pred.dim[1];
    const float *x = pred.data;
    const float *teacher = golden_floats(g, "soft_label", pred.count);
    const float *weight = golden_floats(g, "weight", n);
    float T = (float)golden_number(g, "params.T"), *each = zeros(g, n);
    double factor = golden_number(g, "params.loss_weight");
    double average = golden_number(g, "params.avg_factor"), sum = 0;
    float *grad = zeros(g, pred.count);

    for (size_t i = 0; i < n; i++) {
        double w = (double)weight[i] * factor / average;
        double value = ld_cpu_kl(grad + i * width, x + i * width,
                                 teacher + i * width, (int)width, T, w);

        each[i] = (float)(factor * value);
        sum += w * value;
    }
    compare_loss(g, sum);
    golden_compare(g, "elementwise", each, n, FLOAT32);
    golden_compare(g, "grad_pred", grad, pred.count, FLOAT32);
}

static bool is(const struct golden *g, const char *kind)
{
    return strncmp(g->name + strlen("04_losses/"), kind, strlen(kind)) == 0;
}

static void compare_term(struct golden *g)
{
    if (is(g, "qfl_prob"))
        golden_joint(g);
    else if (is(g, "iouloss") || is(g, "diouloss"))
        golden_left_out(g, "no recipe uses this box loss");
    else if (is(g, "im_"))
        golden_left_out(g, "compared in test_imitate_golden");
    else if (is(g, "boxes"))
        golden_left_out(g, "compared in test_box");
    else if (is(g, "qfl"))
        golden_qfl(g);
    else if (is(g, "dfl"))
        golden_dfl(g);
    else if (is(g, "integral"))
        golden_integral(g);
    else if (is(g, "giou"))
        golden_box(g, ld_cpu_giou);
    else if (is(g, "ciou"))
        golden_box(g, ld_cpu_ciou);
    else
        golden_kl(g);
}

START_TEST(terms_and_gradients_are_those_of_the_reference)
{
    golden_each("04_losses", compare_term);
}
END_TEST

START_TEST(a_distribution_over_more_entries_than_a_chunk_is_one_distribution)
{
    enum { N = 700 };
    float x[N], teacher[N], g[N] = {0}, moved[N];
    double value, sum = 0;

    for (int k = 0; k < N; k++) {
        x[k] = (float)((k * 29) % 83) / 20;
        teacher[k] = (float)((k * 31) % 97) / 20;
        moved[k] = x[k] + 3; /* a softmax does not see a common shift */
    }
    value = ld_cpu_kl(g, x, teacher, N, 2, 1);
    ck_assert_double_gt(value, 0);
    for (int k = 0; k < N; k++)
        sum += (double)g[k];
    ck_assert_double_eq_tol(sum, 0, 1e-6);
    ck_assert_double_eq_tol(ld_cpu_kl(g, moved, teacher, N, 2, 1), value,
                            1e-6 * value);
    ck_assert_double_eq_tol(ld_cpu_kl(g, x, x, N, 2, 1), 0, 1e-9);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("loss_terms");
    TCase *c = tcase_create("loss_terms");

    tcase_add_test(c,
                   exp_is_within_one_and_a_half_ulp_from_0_down_to_minus_104);
    tcase_add_test(c, log1p_is_within_two_ulp_from_0_to_1);
    tcase_add_test(c, exp_and_log1p_keep_nan_and_go_on_to_0);
    tcase_add_test(c, qfl_is_right_from_logit_minus_100_to_100);
    tcase_add_test(c, qfl_of_a_run_is_the_sum_of_its_logits);
    tcase_add_test(c, joint_qfl_is_right_from_logit_minus_30_to_30);
    tcase_add_test(c, joint_qfl_of_a_small_probability_is_exact_to_float32);
    tcase_add_test(c, joint_qfl_of_a_run_is_the_sum_of_its_logits);
    tcase_add_test(c, a_nan_logit_or_quality_makes_a_joint_term_nan);
    tcase_add_test(c, a_nan_logit_makes_every_term_nan);
    tcase_add_test(c, terms_and_gradients_are_those_of_the_reference);
    tcase_add_test(
        c, a_distribution_over_more_entries_than_a_chunk_is_one_distribution);
    suite_add_tcase(s, c);
    return s;
}
