#include "kernels/loss.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/loss_cpu.h"
#include "tests/loss_batch.h"
#include "tests/suite.h"

/* ---- finite differences ---- */

/* GFL V2's: qualities of any size. */
static void random_joint_batch(struct loss_batch *t, uint64_t seed)
{
    struct ld_rng rng = ld_rng_seed(seed, 1);

    loss_batch_random(t, seed);
    for (size_t i = 0; i < 2 * (size_t)t->b.A; i++)
        t->u[i] = 2 * ld_rng_normal(&rng);
    t->b.quality = t->u;
    ld_cpu_loss_weights(NULL, t->weight, &t->b);
}

START_TEST(gradients_of_the_joint_loss_are_slopes)
{
    const struct ld_loss_rules rules = {.qfl = 1, .kd = 10, .kd_T = 2};
    struct loss_batch t;
    size_t places;
    float *dz, *du;

    ld_parallel_set_threads(1);
    random_joint_batch(&t, 12);
    t.b.teacher_K = 2; /* of 3 */
    places = 2 * (size_t)t.b.A;
    ld_cpu_loss_run(NULL, &t.terms, t.dz, t.dr, t.du, t.weight, &t.b, &rules);
    dz = loss_batch_new(&t, places * 3, sizeof(float));
    du = loss_batch_new(&t, places, sizeof(float));
    memcpy(dz, t.dz, places * 3 * sizeof(float));
    memcpy(du, t.du, places * sizeof(float));
    loss_batch_slopes(&t, &rules, t.z, dz, 3, 1);
    loss_batch_slopes(&t, &rules, t.u, du, 1, 1);
    ld_arena_free(&t.arena);
}
END_TEST

START_TEST(weights_of_positives_are_their_largest_joint_probability)
{
    struct loss_batch t;

    random_joint_batch(&t, 5);
    for (int row = 0; row < t.b.n_rows; row++) {
        size_t at = (size_t)t.index[row];
        const float *z = t.z + at * 3;
        float top = fmaxf(z[0], fmaxf(z[1], z[2]));
        double p = 1 / (1 + exp(-(double)top)) / (1 + exp(-(double)t.u[at]));

        ck_assert_double_eq_tol((double)t.weight[row],
                                t.label[row] >= 0 ? p : 0, 1e-6);
    }
    ld_arena_free(&t.arena);
}
END_TEST

/* With one term alone; QFL's quality is a constant to it, so that its box
 * gradient is 0 and no slope. */
static void compare_term_slopes(const struct ld_loss_rules *rules, bool box)
{
    struct loss_batch t;
    size_t width;
    float *g;

    ld_parallel_set_threads(1); /* thousands of short runs */
    loss_batch_random(&t, 11);
    width = box ? 68 : 3;
    ld_cpu_loss_run(NULL, &t.terms, t.dz, t.dr, t.du, t.weight, &t.b, rules);
    ck_assert_double_gt(ld_loss_total(&t.terms), 0);
    g = loss_batch_new(&t, 2 * (size_t)t.b.A * width, sizeof(float));
    memcpy(g, box ? t.dr : t.dz, 2 * (size_t)t.b.A * width * sizeof(float));
    loss_batch_slopes(&t, rules, box ? t.r : t.z, g, width, box ? 9 : 1);
    ld_arena_free(&t.arena);
}

START_TEST(gradients_of_the_class_terms_are_slopes)
{
    compare_term_slopes(&(struct ld_loss_rules){.qfl = 1}, false);
    compare_term_slopes(&(struct ld_loss_rules){.kd = 10, .kd_T = 2}, false);
    compare_term_slopes(&(struct ld_loss_rules){.vlr_kd = 10, .kd_T = 2},
                        false);
}
END_TEST

START_TEST(gradients_of_the_box_terms_are_slopes)
{
    compare_term_slopes(&(struct ld_loss_rules){.box = 2}, true);
    compare_term_slopes(
        &(struct ld_loss_rules){.box = 2, .box_loss = LD_BOX_CIOU}, true);
    compare_term_slopes(&(struct ld_loss_rules){.dfl = 0.25F}, true);
}
END_TEST

START_TEST(gradients_of_the_localization_distillation_are_slopes)
{
    compare_term_slopes(&(struct ld_loss_rules){.ld = 0.25F, .ld_T = 10}, true);
    compare_term_slopes(&(struct ld_loss_rules){.ld = 0.25F, .ld_T = 1}, true);
    compare_term_slopes(&(struct ld_loss_rules){.vlr = 0.25F, .vlr_T = 10},
                        true);
}
END_TEST

/* ---- rules ---- */

static void ck_bits_equal(const float *a, const float *b, size_t count)
{
    ck_assert_int_eq(memcmp(a, b, count * sizeof(float)), 0);
}

static void compare_threads(void make(struct loss_batch *, uint64_t))
{
    struct loss_batch one, many;

    make(&one, 5);
    ld_parallel_set_threads(1);
    loss_batch_run(&one, &reference_rules);
    for (int n = 2; n <= 5; n++) {
        make(&many, 5);
        ld_parallel_set_threads(n);
        loss_batch_run(&many, &reference_rules);
        ck_assert_int_eq(memcmp(&one.terms, &many.terms, sizeof(one.terms)), 0);
        ck_bits_equal(one.dz, many.dz, 2 * (size_t)one.b.A * 3);
        ck_bits_equal(one.dr, many.dr, 2 * (size_t)one.b.A * 68);
        ck_bits_equal(one.du, many.du, 2 * (size_t)one.b.A);
        ld_arena_free(&many.arena);
    }
    ld_arena_free(&one.arena);
}

START_TEST(the_number_of_threads_changes_no_bit)
{
    compare_threads(loss_batch_random);
    compare_threads(random_joint_batch);
}
END_TEST

START_TEST(every_gradient_is_written_and_0_where_no_loss_reads)
{
    struct loss_batch t;
    bool has_row[400] = {false};

    random_joint_batch(&t, 5);
    memset(t.du, 0xff, 2 * (size_t)t.b.A * sizeof(float)); /* NaN */
    for (int i = 0; i < t.b.n_rows; i++)
        has_row[t.index[i]] = true;
    memset(t.dz, 0xff, 2 * (size_t)t.b.A * 3 * sizeof(float)); /* NaN */
    memset(t.dr, 0xff, 2 * (size_t)t.b.A * 68 * sizeof(float));
    loss_batch_run(&t, &reference_rules);
    for (int a = 0; a < 2 * t.b.A; a++) {
        ck_assert(t.valid[a] ? t.du[a] != 0 : t.du[a] == 0);
        for (int k = 0; k < 3; k++)
            ck_assert(t.valid[a] ? t.dz[a * 3 + k] != 0 : t.dz[a * 3 + k] == 0);
        for (int k = 0; k < 68; k++)
            ck_assert(has_row[a] ? isfinite(t.dr[a * 68 + k])
                                 : t.dr[a * 68 + k] == 0);
    }
    ld_arena_free(&t.arena);
}
END_TEST

START_TEST(a_location_outside_its_image_counts_for_nothing)
{
    struct loss_batch with, without;

    loss_batch_random(&with, 5);
    loss_batch_random(&without, 5);
    for (int row = 3; row < with.b.n_rows; row += 7)
        with.valid[with.index[row]] = without.valid[without.index[row]] = 0;
    for (int a = 0; a < 2 * with.b.A; a++) {
        if (!with.valid[a])
            with.z[a * 3] = with.r[a * 68] = NAN;
    }
    loss_batch_run(&with, &reference_rules);
    loss_batch_run(&without, &reference_rules);
    ck_assert(isfinite(ld_loss_total(&with.terms)));
    ck_assert_int_eq(memcmp(&with.terms, &without.terms, sizeof(with.terms)),
                     0);
    ck_bits_equal(with.weight, without.weight, (size_t)with.b.n_rows);
    ld_arena_free(&with.arena);
    ld_arena_free(&without.arena);
}
END_TEST

START_TEST(a_batch_without_rows_has_only_the_class_loss)
{
    struct loss_batch t;

    loss_batch_random(&t, 5);
    t.b.n_rows = 0;
    t.sums[LD_SUM_POSITIVES] = 2;
    loss_batch_run(&t, &reference_rules);
    ck_assert_double_gt(ld_loss_term(&t.terms, LD_TERM_QFL), 0);
    ck_assert_double_eq(ld_loss_term(&t.terms, LD_TERM_QFL),
                        ld_loss_total(&t.terms));
    ld_arena_free(&t.arena);
}
END_TEST

START_TEST(without_a_teacher_the_distillation_terms_are_0)
{
    struct loss_batch t;

    loss_batch_random(&t, 5);
    t.b.teacher_box = t.b.teacher_class = NULL;
    loss_batch_run(&t, &reference_rules);
    for (int term = LD_TERM_LD; term < LD_N_TERMS; term++)
        ck_assert_double_eq(ld_loss_term(&t.terms, (enum ld_term)term), 0);
    ck_assert_double_gt(ld_loss_term(&t.terms, LD_TERM_DFL), 0);
    ld_arena_free(&t.arena);
}
END_TEST

static void terms_under(double *ld, double *vlr, enum ld_ld_norm norm,
                        double *weight_sum)
{
    struct ld_loss_rules rules = reference_rules;
    struct loss_batch t;

    rules.ld_norm = norm;
    rules.norm_images = 3;
    loss_batch_random(&t, 5);
    loss_batch_run(&t, &rules);
    *ld = ld_loss_term(&t.terms, LD_TERM_LD);
    *vlr = ld_loss_term(&t.terms, LD_TERM_VLR);
    *weight_sum = t.sums[LD_SUM_WEIGHT] + 1e-6;
    ld_arena_free(&t.arena);
}

START_TEST(the_norm_scales_both_distillation_terms_of_the_box_alike)
{
    double ld, vlr, ld_image, vlr_image, ld_avg, vlr_avg, F;

    terms_under(&ld, &vlr, LD_NORM_SUM, &F);
    terms_under(&ld_image, &vlr_image, LD_NORM_PER_IMAGE, &F);
    terms_under(&ld_avg, &vlr_avg, LD_NORM_AVG_FACTOR, &F);
    ck_assert_double_eq_tol(ld_image, ld * 3 / 2, 1e-12);
    ck_assert_double_eq_tol(vlr_image, vlr * 3 / 2, 1e-12);
    ck_assert_double_eq_tol(ld_avg, ld / F, 1e-12);
    ck_assert_double_eq_tol(vlr_avg, vlr / F, 1e-12);
}
END_TEST

START_TEST(a_nan_logit_of_a_positive_makes_its_terms_nan)
{
    static const enum ld_term of_box[] = {LD_TERM_BOX, LD_TERM_DFL, LD_TERM_LD};
    static const enum ld_term of_class[] = {LD_TERM_QFL, LD_TERM_KD};
    struct loss_batch t;
    int row = 0;

    loss_batch_random(&t, 5);
    while (t.label[row] < 0)
        row++;
    t.r[(size_t)t.index[row] * 68 + 30] = NAN;
    loss_batch_run(&t, &reference_rules);
    for (int i = 0; i < 3; i++)
        ck_assert(isnan(ld_loss_term(&t.terms, of_box[i])));
    t.z[(size_t)t.index[row] * 3 + 1] = NAN;
    loss_batch_run(&t, &reference_rules);
    ck_assert(isnan(t.sums[LD_SUM_WEIGHT]));
    for (int i = 0; i < 2; i++)
        ck_assert(isnan(ld_loss_term(&t.terms, of_class[i])));
    ld_arena_free(&t.arena);
}
END_TEST

START_TEST(a_nan_logit_anywhere_makes_the_class_loss_nan)
{
    struct loss_batch t;

    loss_batch_random(&t, 5);
    t.z[1] = NAN;
    loss_batch_run(&t, &reference_rules);
    ck_assert(isnan(ld_loss_term(&t.terms, LD_TERM_QFL)));
    ld_arena_free(&t.arena);
}
END_TEST

static TCase *rules_case(void)
{
    TCase *c = tcase_create("rules");

    tcase_add_test(c, the_number_of_threads_changes_no_bit);
    tcase_add_test(c, every_gradient_is_written_and_0_where_no_loss_reads);
    tcase_add_test(c, a_location_outside_its_image_counts_for_nothing);
    tcase_add_test(c, a_batch_without_rows_has_only_the_class_loss);
    tcase_add_test(c, without_a_teacher_the_distillation_terms_are_0);
    tcase_add_test(c, the_norm_scales_both_distillation_terms_of_the_box_alike);
    tcase_add_test(c, a_nan_logit_of_a_positive_makes_its_terms_nan);
    tcase_add_test(c, a_nan_logit_anywhere_makes_the_class_loss_nan);
    return c;
}

Suite *suite(void)
{
    Suite *s = suite_create("loss");
    TCase *c = tcase_create("slopes");

    tcase_add_test(c, gradients_of_the_class_terms_are_slopes);
    tcase_add_test(c, gradients_of_the_joint_loss_are_slopes);
    tcase_add_test(c, weights_of_positives_are_their_largest_joint_probability);
    tcase_add_test(c, gradients_of_the_box_terms_are_slopes);
    tcase_add_test(c, gradients_of_the_localization_distillation_are_slopes);
    suite_add_tcase(s, c);
    suite_add_tcase(s, rules_case());
    return s;
}
