#include "trainer/step.h"

#include <math.h>
#include <string.h>

#include "tests/lesson.h"
#include "tests/suite.h"

/* lesson_model with the head of GFL V2, and a background logit or none. */
static struct ld_model small_v2(bool background)
{
    struct ld_model model = lesson_model;

    model.head = LD_HEAD_GFLV2;
    model.background_logit = background;
    return model;
}

static void compare_ways(const struct ld_model *student,
                         const struct ld_model *teacher)
{
    struct ld_loss_terms resident_terms, cached_terms;
    struct lesson s;
    size_t count;
    float *resident, *cached;

    lesson_open(&s, student, teacher);
    resident = lesson_gradient(&s, true, &count, &resident_terms);
    ck_assert(ld_loss_term(&resident_terms, LD_TERM_LD) > 0);
    ck_assert(ld_loss_term(&resident_terms, LD_TERM_VLR) > 0);
    ck_assert(ld_loss_term(&resident_terms, LD_TERM_KD) > 0);

    lesson_cache(&s, LD_STORAGE_FP32);
    cached = lesson_gradient(&s, false, &count, &cached_terms);
    ck_assert_int_eq(
        memcmp(&resident_terms, &cached_terms, sizeof(cached_terms)), 0);
    ck_assert_int_eq(memcmp(resident, cached, count * sizeof(float)), 0);
    lesson_close(&s);
}

START_TEST(a_resident_and_an_exactly_cached_teacher_give_the_same_bits)
{
    compare_ways(&lesson_model, &lesson_model);
}
END_TEST

START_TEST(every_pair_of_heads_and_class_rows_distils)
{
    struct ld_model plain = small_v2(false), background = small_v2(true);

    compare_ways(&background, &background);
    compare_ways(&lesson_model, &background);
    compare_ways(&background, &lesson_model);
    compare_ways(&plain, &background);
}
END_TEST

START_TEST(heads_with_a_centerness_distil_among_themselves)
{
    struct ld_model atss = lesson_model, fcos = lesson_model;

    atss.head = LD_HEAD_ATSS;
    fcos.head = LD_HEAD_FCOS;
    compare_ways(&atss, &atss);
    compare_ways(&atss, &lesson_model);
    compare_ways(&fcos, &fcos);
}
END_TEST

START_TEST(nine_anchors_a_place_distil)
{
    struct ld_model retina = lesson_model;

    retina.head = LD_HEAD_RETINA;
    compare_ways(&retina, &retina);
}
END_TEST

/* KD is over the classes alone where one of the two has no background: then
 * that logit gets the gradient of QFL only. */
START_TEST(kd_leaves_a_background_logit_that_only_one_has_alone)
{
    static const struct ld_loss_rules rules = {.kd = 10, .kd_T = 2};
    struct ld_model student = small_v2(true);
    const struct ld_model *teacher[2] = {&lesson_model, &student};
    struct ld_loss_terms terms;

    for (int both = 0; both < 2; both++) {
        struct lesson s;
        struct ld_step *step;
        struct ld_param *params;
        float grad[LESSON_K + 1] = {0};
        int n;

        lesson_open(&s, &student, teacher[both]);
        step = ld_step_new(s.dev, s.student, s.teacher, &rules, &s.err);
        ck_assert(ld_step_gradient(step, &s.batch, 1, &terms, &s.err));
        params = ld_net_params(s.student, &n);
        for (int i = 0; i < n; i++)
            if (strcmp(params[i].value.name, "bbox_head.gfl_cls.bias") == 0)
                s.dev->ops->download(s.dev, grad, params[i].grad, sizeof(grad));
        ck_assert(s.dev->ops->sync(s.dev, &s.err));
        ck_assert(grad[0] != 0);
        ck_assert((grad[LESSON_K] != 0) == both);
        ld_step_free(step);
        lesson_close(&s);
    }
}
END_TEST

START_TEST(fp16_storage_moves_the_gradient_by_less_than_half_a_percent)
{
    struct ld_loss_terms terms;
    double difference = 0, norm = 0;
    struct lesson s;
    size_t count;
    float *resident, *cached;

    lesson_open(&s, &lesson_model, &lesson_model);
    resident = lesson_gradient(&s, true, &count, &terms);
    lesson_cache(&s, LD_STORAGE_FP16);
    cached = lesson_gradient(&s, false, &count, &terms);
    for (size_t i = 0; i < count; i++) {
        double d = (double)cached[i] - (double)resident[i];

        difference += d * d;
        norm += (double)resident[i] * (double)resident[i];
    }
    /* fp16 rounds a logit by 2.4e-4 of itself on average; the gradient, a
     * difference of distributions, feels it a few times over */
    ck_assert_double_le(difference, 2.5e-5 * norm);
    ck_assert_double_gt(difference, 0);
    lesson_close(&s);
}
END_TEST

/* The step's multiplication is the same wherever it is done. */
START_TEST(rows_as_they_are_kept_give_the_bits_of_their_logits)
{
    struct ld_model v2 = small_v2(true), retina = lesson_model;
    const struct ld_model *models[] = {&lesson_model, &v2, &retina};
    struct ld_loss_terms terms[2];
    float *gradient[2];
    struct lesson s;
    size_t count;

    retina.head = LD_HEAD_RETINA;
    lesson_open(&s, models[_i], models[_i]);
    for (int i = 0; i < 2; i++) {
        s.restored = i == 1;
        lesson_cache(&s, LD_STORAGE_PREDICTED);
        ck_assert((s.images[0].record.box_kept != NULL) == (i == 0));
        gradient[i] = lesson_gradient(&s, false, &count, &terms[i]);
    }
    ck_assert(ld_loss_term(&terms[0], LD_TERM_LD) > 0);
    ck_assert(ld_loss_term(&terms[0], LD_TERM_KD) > 0);
    ck_assert_mem_eq(&terms[0], &terms[1], sizeof(terms[0]));
    ck_assert_mem_eq(gradient[0], gradient[1], count * sizeof(float));
    lesson_close(&s);
}
END_TEST

START_TEST(without_a_teacher_the_ld_terms_are_zero)
{
    struct ld_loss_terms terms;
    struct lesson s;
    size_t count;

    lesson_open(&s, &lesson_model, &lesson_model);
    lesson_gradient(&s, false, &count, &terms);
    ck_assert(ld_loss_term(&terms, LD_TERM_QFL) > 0);
    ck_assert(ld_loss_term(&terms, LD_TERM_LD) == 0);
    ck_assert(ld_loss_term(&terms, LD_TERM_KD) == 0);
    lesson_close(&s);
}
END_TEST

START_TEST(a_nan_names_the_step_and_the_term)
{
    static const struct ld_loss_rules rules = {.qfl = 1, .box = 2, .dfl = 1};
    const float nan = NAN;
    struct ld_loss_terms terms;
    struct ld_param *params;
    struct ld_step *step;
    struct lesson s;
    int n;

    lesson_open(&s, &lesson_model, &lesson_model);
    params = ld_net_params(s.student, &n);
    for (int i = 0; i < n; i++)
        if (strcmp(params[i].value.name, "bbox_head.gfl_cls.bias") == 0)
            s.dev->ops->upload(s.dev, params[i].value.data, &nan, sizeof(nan));
    ld_net_changed(s.student);
    step = ld_step_new(s.dev, s.student, NULL, &rules, &s.err);
    ck_assert(ld_step_gradient(step, &s.batch, 12, &terms, &s.err));
    ck_assert(!s.dev->ops->sync(s.dev, &s.err));
    ck_assert_int_eq(s.err.code, LD_ERR_NUMBER);
    ck_assert_ptr_nonnull(
        strstr(s.err.text, "step 12: loss_cls is not finite"));
    ld_step_free(step);
    lesson_close(&s);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("step");
    TCase *c = tcase_create("step");

    tcase_add_test(c,
                   a_resident_and_an_exactly_cached_teacher_give_the_same_bits);
    tcase_add_test(c, every_pair_of_heads_and_class_rows_distils);
    tcase_add_test(c, heads_with_a_centerness_distil_among_themselves);
    tcase_add_test(c, nine_anchors_a_place_distil);
    tcase_add_test(c, kd_leaves_a_background_logit_that_only_one_has_alone);
    tcase_add_test(c,
                   fp16_storage_moves_the_gradient_by_less_than_half_a_percent);
    tcase_add_loop_test(c, rows_as_they_are_kept_give_the_bits_of_their_logits,
                        0, 3);
    tcase_add_test(c, without_a_teacher_the_ld_terms_are_zero);
    tcase_add_test(c, a_nan_names_the_step_and_the_term);
    suite_add_tcase(s, c);
    return s;
}
