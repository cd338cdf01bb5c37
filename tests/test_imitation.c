#include "trainer/imitation.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/net/net_parts.h"
#include "tests/lesson.h"
#include "tests/nets.h"
#include "tests/suite.h"

static void open_lesson(struct lesson *l, enum ld_imitation imitation)
{
    lesson_open(l, &lesson_model, &lesson_model);
    lesson_imitate(l, imitation);
}

/* ---- two ways to a teacher ---- */

static void compare_ways(const struct ld_model *model,
                         enum ld_imitation imitation)
{
    struct ld_loss_terms resident_terms, cached_terms;
    float *resident, *cached;
    struct lesson l;
    size_t count;

    lesson_open(&l, model, model);
    lesson_imitate(&l, imitation);
    resident = lesson_gradient(&l, true, &count, &resident_terms);
    ck_assert_double_gt(ld_loss_term(&resident_terms, LD_TERM_IM), 0);
    lesson_cache(&l, LD_STORAGE_FP32);
    cached = lesson_gradient(&l, false, &count, &cached_terms);
    ck_assert_int_eq(
        memcmp(&resident_terms, &cached_terms, sizeof(cached_terms)), 0);
    ck_assert_int_eq(memcmp(resident, cached, count * sizeof(float)), 0);
    lesson_close(&l);
}

START_TEST(features_of_an_exact_cache_and_of_a_resident_teacher_are_the_same)
{
    struct ld_model v2 = lesson_model;

    v2.head = LD_HEAD_GFLV2;
    v2.background_logit = true;
    compare_ways(&lesson_model, LD_IMITATE_FINEGRAINED);
    compare_ways(&lesson_model, LD_IMITATE_FITNET);
    compare_ways(&lesson_model, LD_IMITATE_MAIN);
    compare_ways(&lesson_model, LD_IMITATE_GI_TEACHER);
    compare_ways(&v2, LD_IMITATE_GI_TEACHER);
}
END_TEST

START_TEST(without_a_teacher_imitation_changes_no_bit)
{
    struct ld_loss_terms plain_terms, terms;
    float *plain, *idle;
    struct lesson l;
    size_t count;

    lesson_open(&l, &lesson_model, &lesson_model);
    plain = lesson_gradient(&l, false, &count, &plain_terms);
    ld_net_free(l.student);
    l.student = ld_net_new(l.dev, &lesson_model, LD_NET_TRAIN, &l.err);
    ld_net_init(l.student, 1);
    lesson_imitate(&l, LD_IMITATE_FINEGRAINED);
    idle = lesson_gradient(&l, false, &count, &terms);
    ck_assert_int_eq(memcmp(&plain_terms, &terms, sizeof(terms)), 0);
    ck_assert_double_eq(ld_loss_term(&terms, LD_TERM_IM), 0);
    ck_assert_int_eq(memcmp(plain, idle, count * sizeof(float)), 0);
    lesson_close(&l);
}
END_TEST

/* ---- what only a resident teacher can do ---- */

/* One image's part of a level, as the test reads it: plain (C, H, W) features
 * of both networks, what both say. */
struct side {
    struct ld_outputs student, teacher;
    const float *features; /* (n, C) the teacher's, of every location */
    struct ld_grid own;
};

/* P3's loss by the test's own way from places to images and back. */
static double gibox_of_p3(struct lesson *l, const struct side *sides)
{
    struct ld_grid grid = ld_net_grid(l->student);
    int places = grid.H[0] * grid.W[0], A = grid.start[LD_MAX_LEVELS], n = 0;
    int C = lesson_model.fpn_channels, at[LESSON_N * 400][2];
    struct ld_candidate all[LESSON_N * 400];
    int32_t chosen[LD_INSTANCES];
    struct ld_shape shape;
    const float *map = ld_net_feature(l->student, 0, &shape);
    float *plain = ld_arena_new(&l->arena, (size_t)(LESSON_N * C * places),
                                sizeof(*plain), &l->err);
    double sum = 0;

    l->dev->ops->map_unpack(l->dev, plain, map, shape);
    for (int i = 0; i < LESSON_N; i++) {
        const struct side *s = &sides[i];

        for (int y = 0; y < s->own.H[0]; y++) {
            for (int x = 0; x < s->own.W[0]; x++, n++) {
                int a = y * s->own.W[0] + x, b = i * A + y * grid.W[0] + x;

                all[n] = ld_candidate_of(
                    &(struct ld_opinion){s->teacher.scores + a * LESSON_K,
                                         s->teacher.bins + a * 68},
                    &(struct ld_opinion){s->student.scores + b * LESSON_K,
                                         s->student.bins + b * 68},
                    LESSON_K, 17, (float)x, (float)y);
                at[n][0] = i;
                at[n][1] = a;
            }
        }
    }
    n = ld_candidates_choose(chosen, all, n);
    ck_assert_int_gt(n, 1);
    for (int c = 0; c < n; c++) {
        int image = at[chosen[c]][0], a = at[chosen[c]][1];
        int W = sides[image].own.W[0], place = a / W * grid.W[0] + a % W;

        for (int k = 0; k < C; k++)
            sum += pow((double)plain[(image * C + k) * places + place] -
                           (double)sides[image].features[a * C + k],
                       2);
    }
    return l->rules.im * sum / (n * C);
}

static void look(struct lesson *l, struct side *sides)
{
    struct ld_outputs student;

    lesson_show(l);
    ck_assert(ld_outputs_of(&student, l->dev, l->student, LESSON_N, &l->arena,
                            &l->err));
    for (int i = 0; i < LESSON_N; i++) {
        const struct ld_view *view = &l->images[i].view;
        struct ld_region all;

        sides[i].student = student;
        sides[i].own = ld_grid_of_canvas(view->canvas_H, view->canvas_W);
        lesson_run_teacher(l, i);
        ck_assert(ld_teacher_outputs(l->teacher, &sides[i].teacher, &l->arena,
                                     &l->err));
        ck_assert(ld_region_all(&all, &sides[i].own, &l->arena, &l->err));
        ck_assert(ld_teacher_features(l->teacher, LD_IMITATE_GIBOX, &all,
                                      &sides[i].features, &l->arena, &l->err));
        ck_assert(l->dev->ops->sync(l->dev, &l->err));
    }
}

START_TEST(gibox_chooses_over_all_images_at_once)
{
    struct side sides[LESSON_N];
    struct ld_loss_terms terms;
    struct lesson l;
    size_t count;
    double want;

    open_lesson(&l, LD_IMITATE_GIBOX);
    lesson_gradient(&l, true, &count, &terms);
    look(&l, sides);
    want = gibox_of_p3(&l, sides);
    ck_assert_double_gt(want, 0);
    /* float32 squares, summed in another order */
    ck_assert_double_eq_tol(terms.value[LD_TERM_IM][0], want, 1e-5 * want);
    lesson_close(&l);
}
END_TEST

/* Twice the mean over the rest comes on top of what fitnet has. */
START_TEST(decouple_adds_the_rest_of_the_canvas_to_fitnet)
{
    struct ld_loss_terms fitnet, decouple;
    struct lesson l;
    size_t count;

    open_lesson(&l, LD_IMITATE_FITNET);
    lesson_gradient(&l, true, &count, &fitnet);
    lesson_imitate(&l, LD_IMITATE_DECOUPLE);
    lesson_gradient(&l, true, &count, &decouple);
    for (int level = 0; level < LD_MAX_LEVELS; level++) {
        double inside = fitnet.value[LD_TERM_IM][level];
        double all = decouple.value[LD_TERM_IM][level];

        ck_assert(inside == 0 ? all >= 0 : all > inside);
    }
    ck_assert_double_gt(ld_loss_term(&decouple, LD_TERM_IM),
                        2 * ld_loss_term(&fitnet, LD_TERM_IM));
    lesson_close(&l);
}
END_TEST

/* ---- the gradient ---- */

static struct ld_param *param_named(struct ld_net *net, const char *name)
{
    int n;
    struct ld_param *params = ld_net_params(net, &n);

    for (int i = 0; i < n; i++)
        if (strcmp(params[i].value.name, name) == 0)
            return &params[i];
    ck_abort_msg("no parameter %s", name);
}

static double loss_at(struct lesson *l, struct ld_step *step, float *x,
                      float value)
{
    struct ld_loss_terms terms;
    float kept = *x;

    *x = value;
    ld_net_changed(l->student);
    ck_assert_msg(ld_step_gradient(step, &l->batch, 1, &terms, &l->err), "%s",
                  l->err.text);
    *x = kept;
    ld_net_changed(l->student);
    return ld_loss_term(&terms, LD_TERM_IM);
}

/* Some weights of a parameter: the slope of the loss against its gradient. The
 * loss is a square in the neck's weights: what is left is the rounding of
 * float32 sums, 1e-6 of the loss, over 2 h. */
static double worst_slope(struct lesson *l, struct ld_step *step,
                          const char *name)
{
    struct ld_param *param = param_named(l->student, name);
    size_t count = ld_tensor_count(&param->value), step_of = count / 4 + 1;
    const float h = 0x1p-5F;
    double worst = 0, largest = 0;

    for (size_t i = 0; i < count; i += step_of) {
        float *x = param->value.data + i;
        double here = loss_at(l, step, x, *x), gradient, slope;

        gradient = (double)param->grad[i];
        slope = (loss_at(l, step, x, *x + h) - loss_at(l, step, x, *x - h)) /
                (2 * (double)h);
        worst = fmax(worst, fabs(slope - gradient));
        largest = fmax(largest, fabs(gradient));
        ck_assert(here > 0);
    }
    printf("# %s: largest gradient %.3g, worst error of a slope %.2g\n", name,
           largest, worst);
    return worst / largest;
}

START_TEST(the_gradient_through_the_student_is_the_slope_of_the_loss)
{
    struct ld_step *step;
    struct lesson l;

    open_lesson(&l, LD_IMITATE_FITNET);
    l.rules = (struct ld_loss_rules){
        .im = 2, .imitation = LD_IMITATE_FITNET, .norm_images = 2};
    lesson_cache(&l, LD_STORAGE_FP32);
    step = ld_step_new(l.dev, l.student, NULL, &l.rules, &l.err);
    ck_assert_double_lt(worst_slope(&l, step, "neck.fpn_convs.0.conv.weight"),
                        1e-4);
    ck_assert_double_lt(worst_slope(&l, step, "neck.fpn_convs.0.conv.bias"),
                        1e-4);
    ck_assert_double_lt(
        worst_slope(&l, step, "neck.lateral_convs.1.conv.weight"), 1e-4);
    ld_step_free(step);
    lesson_close(&l);
}
END_TEST

/* ---- memory ---- */

START_TEST(features_outlive_the_loss_and_nothing_reads_them_later)
{
    struct ld_loss_terms terms, poisoned;
    struct lesson l;
    size_t count;
    float *a, *b;

    open_lesson(&l, LD_IMITATE_FINEGRAINED);
    a = lesson_gradient(&l, true, &count, &terms);
    poison(l.student);
    b = lesson_gradient(&l, true, &count, &poisoned);
    ck_assert_int_eq(memcmp(&terms, &poisoned, sizeof(terms)), 0);
    ck_assert_int_eq(memcmp(a, b, count * sizeof(float)), 0);
    lesson_close(&l);
}
END_TEST

START_TEST(only_who_imitates_pays_for_the_features_gradients)
{
    struct ld_device *dev = open_cpu();
    struct ld_err err = {0};
    size_t bytes[2], gradients = 0;

    for (int keep = 0; keep < 2; keep++) {
        struct ld_net *net = ld_net_new(dev, &lesson_model, LD_NET_TRAIN, &err);
        struct ld_shape shape;

        if (keep)
            ld_net_keep_features(net);
        check_ok(ld_net_resize(net, 2, 256, 256, &err), &err);
        bytes[keep] = net->plan->bytes;
        for (int level = 0; keep && level < LD_MAX_LEVELS; level++) {
            ld_net_feature(net, level, &shape);
            gradients += dev->ops->map_bytes(dev, shape);
        }
        ld_net_free(net);
    }
    printf("# %zu bytes without, %zu with features' gradients, %zu\n", bytes[0],
           bytes[1], gradients);
    ck_assert_uint_ge(bytes[1], bytes[0]);
    ck_assert_uint_le(bytes[1], bytes[0] + gradients + gradients / 8);
    dev->ops->close(dev);
}
END_TEST

static void step_without_memory(enum ld_imitation imitation)
{
    struct ld_loss_terms terms;
    struct ld_step *step;
    struct lesson l;

    open_lesson(&l, imitation);
    step = ld_step_new(l.dev, l.student, l.teacher, &l.rules, &l.err);
    for (int i = 0; i < 2; i++)
        ck_assert_msg(ld_step_gradient(step, &l.batch, 1, &terms, &l.err), "%s",
                      l.err.text);
    ld_mem_fail_after(0); /* the next allocation would fail */
    ck_assert_msg(ld_step_gradient(step, &l.batch, 1, &terms, &l.err), "%s",
                  l.err.text);
    ld_mem_fail_after(-1);
    ld_step_free(step);
    lesson_close(&l);
}

START_TEST(the_third_step_allocates_nothing)
{
    step_without_memory(LD_IMITATE_DECOUPLE);
    step_without_memory(LD_IMITATE_GIBOX);
    step_without_memory(LD_IMITATE_GI_TEACHER);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("imitation");
    TCase *c = tcase_create("imitation");

    tcase_add_test(
        c, features_of_an_exact_cache_and_of_a_resident_teacher_are_the_same);
    tcase_add_test(c, without_a_teacher_imitation_changes_no_bit);
    tcase_add_test(c, gibox_chooses_over_all_images_at_once);
    tcase_add_test(c, decouple_adds_the_rest_of_the_canvas_to_fitnet);
    tcase_add_test(c,
                   the_gradient_through_the_student_is_the_slope_of_the_loss);
    tcase_add_test(c, features_outlive_the_loss_and_nothing_reads_them_later);
    tcase_add_test(c, only_who_imitates_pays_for_the_features_gradients);
    tcase_add_test(c, the_third_step_allocates_nothing);
    suite_add_tcase(s, c);
    return s;
}
