#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/nets.h"
#include "tests/planes.h"
#include "tests/suite.h"
#include "trainer/step.h"

/* 09_train_step: two images on equal canvases. The teacher's GroupNorm counts
 * one image at a time, so running it image by image is what the reference did
 * with the batch. */

enum { N = 2, N_STEPS = 20, MAX_COMPONENTS = 8 };

/* Ten times the reference's own rounding, or this part of the largest value. */
static const double CLOSE = 1e-4;

struct training {
    struct golden *g;
    struct ld_device *dev;
    struct ld_ops ops; /* the device's, with a draw of our own */
    struct ld_net *student;
    struct ld_teacher *teacher;
    struct ld_step *step;
    struct ld_loss_rules rules;
    struct ld_batch batch;
    struct ld_batch_image images[N];
    struct ld_sgd sgd;
    int n_components;
};

static struct ld_model model_of(struct golden *g, int depth)
{
    return (struct ld_model){
        .groups = 1,
        .base_width = 64,
        .depth = depth,
        .width = 64,
        .fpn_channels = 256,
        .head_convs = 4,
        .gn_groups = 32,
        .n_classes = (int)golden_number(g, "params.num_classes"),
        .reg_max = 16,
        .frozen_stages = (int)golden_number(g, "params.frozen_stages"),
        .norm_eval = golden_number(g, "params.norm_eval") != 0};
}

static void *room(struct golden *g, size_t count, size_t size)
{
    struct ld_err err = {0};
    void *memory = ld_arena_new(&g->arena, count, size, &err);

    check_ok(memory != NULL, &err);
    return memory;
}

static void make_image(struct training *t, int i)
{
    static const struct ld_assign_rules rules = {9, LD_VLR_CODE, 0.25F, false};
    struct ld_batch_image *image = &t->images[i];
    struct ld_grid grid = ld_grid_of_canvas(t->batch.H, t->batch.W);
    struct golden_array boxes, labels;
    struct ld_err err = {0};
    int32_t *own;
    char name[32];

    snprintf(name, sizeof(name), "gt_bboxes_%d", i);
    boxes = golden_array(t->g, name);
    snprintf(name, sizeof(name), "gt_labels_%d", i);
    labels = golden_array(t->g, name);
    own = room(t->g, labels.count, sizeof(*own));
    for (size_t j = 0; j < labels.count; j++)
        own[j] = (int32_t)((const int64_t *)labels.data)[j];
    image->view = (struct ld_view){.H = t->batch.H,
                                   .W = t->batch.W,
                                   .canvas_H = t->batch.H,
                                   .canvas_W = t->batch.W};
    image->n_boxes = boxes.dim[0];
    image->boxes = boxes.data;
    image->labels = own;
    check_ok(ld_assign(&image->assignment, &grid, image->boxes, image->n_boxes,
                       &rules, &t->g->arena, &err),
             &err);
    if (t->rules.im > 0)
        check_ok(ld_region_of(&image->region, t->rules.imitation, &grid,
                              image->boxes, image->n_boxes, &image->assignment,
                              &t->g->arena, &err),
                 &err);
}

static void make_batch(struct training *t)
{
    struct golden_array img = golden_array(t->g, "img");

    ck_assert_int_eq(img.dim[0], N);
    planes_instead(&t->ops, t->dev);
    t->batch = (struct ld_batch){
        .N = N, .H = img.dim[2], .W = img.dim[3], .images = t->images};
    for (int i = 0; i < N; i++) {
        make_image(t, i);
        planes_show(&t->images[i],
                    (const float *)img.data +
                        (size_t)i * 3 * t->batch.H * t->batch.W,
                    t->batch.H, t->batch.W);
    }
}

static void make_teacher(struct training *t)
{
    const struct ld_tensor *tensors;
    struct ld_err err = {0};
    struct ld_model model;
    int n;

    if (!golden_has_value(t->g, "params.teacher_depth"))
        return;
    model = model_of(t->g, (int)golden_number(t->g, "params.teacher_depth"));
    tensors = golden_tensors(t->g, true, &n);
    t->teacher = ld_teacher_new(t->dev, &model, tensors, n, &err);
    check_ok(t->teacher != NULL, &err);
}

static bool imitates(struct golden *g)
{
    return golden_has_value(g, "params.teacher_depth") &&
           golden_number(g, "params.loss_im_weight") > 0;
}

static void set_up(struct training *t, struct golden *g)
{
    struct ld_model model =
        model_of(g, (int)golden_number(g, "params.student_depth"));
    struct ld_err err = {0};

    *t = (struct training){.g = g, .dev = open_cpu()};
    t->rules = (struct ld_loss_rules){.qfl = 1,
                                      .box = 2,
                                      .dfl = 0.25F,
                                      .ld = 0.25F,
                                      .ld_T = 10,
                                      .vlr = 0.25F,
                                      .vlr_T = 10,
                                      .kd = 10,
                                      .kd_T = 2,
                                      .norm_images = 2};
    if (imitates(g)) {
        ck_assert_str_eq(golden_string(g, "params.imitation_method"),
                         "finegrained");
        t->rules.im = (float)golden_number(g, "params.loss_im_weight");
        t->rules.imitation = LD_IMITATE_FINEGRAINED;
    }
    t->sgd = (struct ld_sgd){(float)golden_number(g, "params.lr"),
                             (float)golden_number(g, "params.momentum"),
                             (float)golden_number(g, "params.weight_decay"), 1};
    t->n_components = golden_array(g, "losses_step1").dim[0];
    t->student = golden_net(g, t->dev, &model, LD_NET_TRAIN);
    make_teacher(t);
    make_batch(t);
    t->step = ld_step_new(t->dev, t->student, t->teacher, &t->rules, &err);
    check_ok(t->step != NULL, &err);
}

static void tear_down(struct training *t)
{
    ld_step_free(t->step);
    ld_teacher_free(t->teacher);
    ld_net_free(t->student);
    t->dev->ops->close(t->dev);
}

static struct ld_loss_terms gradients(struct training *t)
{
    struct ld_loss_terms terms;
    struct ld_err err = {0};

    check_ok(ld_step_gradient(t->step, &t->batch, 1, &terms, &err), &err);
    return terms;
}

/* ---- comparisons ---- */

/* The term of a component of the reference. */
static int term_of(struct golden *g, int component)
{
    static const char *const names[] = {
        "loss_cls",    "loss_bbox", "loss_dfl",    "loss_ld",
        "loss_ld_vlr", "loss_kd",   "loss_kd_neg", "loss_im"};
    char path[64];
    const char *name;
    int term = 0;

    snprintf(path, sizeof(path), "params.components.%d", component);
    name = golden_string(g, path);
    while (term < LD_TERM_IM && strcmp(names[term], name) != 0)
        term++;
    ck_assert_str_eq(names[term], name);
    return term;
}

static void compare_losses(struct training *t,
                           const struct ld_loss_terms *terms)
{
    struct golden_array want = golden_array(t->g, "losses_step1");
    float got[MAX_COMPONENTS * LD_MAX_LEVELS];

    ck_assert_uint_le(want.count, sizeof(got) / sizeof(got[0]));
    for (int i = 0; i < t->n_components; i++) {
        int term = term_of(t->g, i);

        for (int level = 0; level < LD_MAX_LEVELS; level++)
            got[i * LD_MAX_LEVELS + level] = (float)terms->value[term][level];
    }
    golden_compare(t->g, "losses_step1", got, want.count, CLOSE);
}

/* Every stored array "<when>__<parameter>". */
static void compare_arrays(struct training *t, const char *when)
{
    struct ld_param *params;
    int n, n_compared = 0;

    params = ld_net_params(t->student, &n);
    for (int i = 0; i < n; i++) {
        const struct ld_tensor *value = &params[i].value;
        const float *from = value->data;
        size_t count = ld_tensor_count(value);
        char name[160];

        snprintf(name, sizeof(name), "%s__%s", when, value->name);
        if (!golden_has(t->g, name))
            continue;
        if (strcmp(when, "grad1") == 0)
            from = params[i].grad;
        ck_assert_msg(from != NULL, "%s: %s", t->g->name, name);
        golden_compare(t->g, name, fetched(t->g, t->dev, from, count), count,
                       CLOSE);
        n_compared++;
    }
    ck_assert_int_gt(n_compared, 10);
}

static double sum_of_squares(struct training *t, const float *from,
                             size_t count)
{
    const float *values = fetched(t->g, t->dev, from, count);
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += (double)values[i] * (double)values[i];
    return sum;
}

static void compare_number(struct training *t, const char *path, double got,
                           double rounding)
{
    double want = golden_number(t->g, path);

    ck_assert_msg(fabs(got - want) <= fmax(10 * rounding, CLOSE * fabs(want)),
                  "%s: %s: %.9g, expected %.9g", t->g->name, path, got, want);
}

/* Gradients of every parameter, also of those without a stored array. */
static void compare_norms(struct training *t)
{
    struct ld_param *params;
    int n;

    params = ld_net_params(t->student, &n);
    for (int i = 0; i < n; i++) {
        const char *name = params[i].value.name;
        size_t count = ld_tensor_count(&params[i].value);
        char path[160], exact[160];

        snprintf(path, sizeof(path), "values.grad_norm_step1.%s", name);
        snprintf(exact, sizeof(exact), "values.grad_norm_step1_fp64.%s", name);
        ck_assert_int_eq(params[i].trained, golden_has_value(t->g, path));
        if (params[i].trained)
            compare_number(
                t, exact, sqrt(sum_of_squares(t, params[i].grad, count)),
                fabs(golden_number(t->g, path) - golden_number(t->g, exact)));
    }
}

/* Every parameter, the frozen ones too. */
static void compare_squares(struct training *t)
{
    struct ld_param *params;
    int n;

    params = ld_net_params(t->student, &n);
    for (int i = 0; i < n; i++) {
        const struct ld_tensor *value = &params[i].value;
        char path[160];

        snprintf(path, sizeof(path), "values.sum_sumsq_after3.%s.1",
                 value->name);
        if (golden_has_value(t->g, path))
            compare_number(
                t, path, sum_of_squares(t, value->data, ld_tensor_count(value)),
                0);
    }
}

/* How far the total of a step may be off, as a part of it. Steps amplify
 * rounding: the reference's own fp32 and fp64 runs are 4e-3 apart after six. So
 * ten times the most that they have been apart so far; after the eighth step,
 * where that was not recorded, 5 %, while the loss falls by half. From the
 * fourth step on, 4e-3 at least: a rounding may decide on which side of a kink
 * a ReLU falls. (Of ld_r18_r50, whose two runs happen to agree to 1e-7, ours is
 * 4e-5 apart at the fourth step and 1e-3 at the seventh; with every third pixel
 * 3e-7 brighter, as many darker, it is 1e-8 and 5e-6.) */
static double curve_tolerance(struct golden *g, int step)
{
    double worst = step < 3 ? 1e-5 : 4e-4;
    char path[80];

    for (int i = 0; i <= step && i < 8; i++) {
        snprintf(path, sizeof(path),
                 "values.curve_rel_err_fp32_vs_fp64_first_8.%d", i);
        worst = fmax(worst, golden_number(g, path));
    }
    return step < 8 ? 10 * worst : 0.05;
}

static void compare_total(struct training *t, const struct ld_loss_terms *terms,
                          int step)
{
    const float *curve = golden_floats(t->g, "total_curve", N_STEPS);
    double got = ld_loss_total(terms), want = (double)curve[step];

    ck_assert_msg(fabs(got - want) <= curve_tolerance(t->g, step) * want,
                  "%s: loss of step %d is %.7g, expected %.7g", t->g->name,
                  step + 1, got, want);
}

/* ---- tests ---- */

static void first_step_case(struct golden *g)
{
    struct ld_loss_terms terms;
    struct training t;

    set_up(&t, g);
    terms = gradients(&t);
    compare_losses(&t, &terms);
    compare_arrays(&t, "grad1");
    compare_norms(&t);
    tear_down(&t);
}

START_TEST(losses_and_gradients_of_a_step_are_those_of_the_reference)
{
    golden_each("09_train_step", first_step_case);
}
END_TEST

static void training_case(struct golden *g)
{
    struct training t;

    set_up(&t, g);
    for (int step = 0; step < N_STEPS; step++) {
        struct ld_loss_terms terms = gradients(&t);

        compare_total(&t, &terms, step);
        ld_net_sgd(t.student, t.sgd, t.sgd);
        if (step == 0)
            compare_arrays(&t, "after1");
        if (step == 2) {
            compare_arrays(&t, "after3");
            compare_squares(&t);
        }
    }
    tear_down(&t);
}

START_TEST(twenty_steps_follow_the_curve_of_the_reference)
{
    golden_each("09_train_step", training_case);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("train_step");
    TCase *c = tcase_create("train_step");

    tcase_add_test(c,
                   losses_and_gradients_of_a_step_are_those_of_the_reference);
    tcase_add_test(c, twenty_steps_follow_the_curve_of_the_reference);
    suite_add_tcase(s, c);
    return s;
}
