#include <math.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "tests/nets.h"
#include "tests/planes.h"
#include "tests/suite.h"
#include "trainer/step.h"

enum { N = 2, SIDE = 64, PIXELS = 3 * SIDE * SIDE };

/* A student with the head of GFL V2 and a batch of two images. */
struct scene {
    struct ld_device *dev;
    struct ld_net *student;
    struct ld_batch batch;
    struct ld_batch_image images[N];
    float pixels[N][PIXELS];
    struct ld_ops ops; /* the device's, with a draw of the tests */
    struct ld_arena arena;
    struct ld_err err;
};

static double total_of(struct scene *s, struct ld_step *step)
{
    struct ld_loss_terms terms;

    ld_net_changed(s->student);
    ck_assert_msg(ld_step_gradient(step, &s->batch, 1, &terms, &s->err), "%s",
                  s->err.text);
    return ld_loss_total(&terms);
}

/* How far the total's rate of change along a parameter's own gradient is from
 * the gradient's norm, as a part of it. The step moves the total by about
 * `change`. */
static double slope_error(struct scene *s, struct ld_step *step,
                          const struct ld_param *param, double change)
{
    size_t count = ld_tensor_count(&param->value);
    float *grad = ld_arena_new(&s->arena, count, sizeof(*grad), &s->err);
    float *at = ld_arena_new(&s->arena, count, sizeof(*at), &s->err);
    float *value = param->value.data; /* the CPU's: readable */
    double norm = 0, moved[2];

    total_of(s, step);
    for (size_t i = 0; i < count; i++) {
        grad[i] = param->grad[i];
        at[i] = value[i];
        norm += (double)grad[i] * (double)grad[i];
    }
    ck_assert_double_gt(norm, 0);
    for (int up = 0; up < 2; up++) {
        double by = (up ? change : -change) / norm;

        for (size_t i = 0; i < count; i++)
            value[i] = (float)((double)at[i] + by * (double)grad[i]);
        moved[up] = total_of(s, step);
    }
    memcpy(value, at, count * sizeof(*at));
    return fabs((moved[1] - moved[0]) / (2 * change) - 1);
}

/* Of every trained parameter whose name begins so. */
static void check_slopes(struct scene *s, const char *prefix)
{
    static const struct ld_loss_rules rules = {.qfl = 1};
    struct ld_step *step =
        ld_step_new(s->dev, s->student, NULL, &rules, &s->err);
    double total = total_of(s, step);
    int n, n_checked = 0;
    struct ld_param *params = ld_net_params(s->student, &n);

    for (int i = 0; i < n; i++) {
        const char *name = params[i].value.name;
        double error = 1;

        if (strncmp(name, prefix, strlen(prefix)) != 0)
            continue;
        /* Long steps bend, the total of a short one rounds at 1e-6. */
        for (double part = 1e-2; part > 1e-4 && error > 0.02; part /= 3)
            error = slope_error(s, step, &params[i], part * total);
        ck_assert_msg(error <= 0.02, "%s: off by %.1f %%", name, 100 * error);
        n_checked++;
    }
    ck_assert_int_gt(n_checked, 0);
    ld_step_free(step);
}

/* Scores of about a quarter, so that the loss is not small. */
static void even_scores(struct scene *s)
{
    struct ld_param *params;
    int n;

    ld_net_init(s->student, 1);
    params = ld_net_params(s->student, &n);
    for (int i = 0; i < n; i++) {
        const char *name = params[i].value.name;
        size_t count = ld_tensor_count(&params[i].value);

        if (strcmp(name, "bbox_head.gfl_cls.bias") == 0)
            memset(params[i].value.data, 0, count * sizeof(float));
        if (strncmp(name, "bbox_head.reg_conf", 18) == 0 ||
            strcmp(name, "bbox_head.gfl_reg.weight") == 0)
            for (size_t j = 0; j < count; j++)
                params[i].value.data[j] *= 60; /* of 0.01 */
    }
}

static void make_image(struct scene *s, int i)
{
    static const struct ld_assign_rules rules = {9, LD_VLR_CODE, 0.25F, false};
    static const struct ld_box boxes[2] = {{5, 8, 60, 50}, {30, 20, 64, 62}};
    static const int32_t labels[2] = {1, 2};
    struct ld_grid grid = ld_grid_of_canvas(SIDE, SIDE);
    struct ld_batch_image *image = &s->images[i];

    *image = (struct ld_batch_image){
        .view = {.H = SIDE, .W = SIDE, .canvas_H = SIDE, .canvas_W = SIDE},
        .boxes = boxes,
        .labels = labels,
        .n_boxes = 2};
    ck_assert(ld_assign(&image->assignment, &grid, boxes, 2, &rules, &s->arena,
                        &s->err));
    ck_assert_int_gt(image->assignment.n_main, 0);
}

static void open_scene(struct scene *s)
{
    struct ld_model model = tiny_model();
    struct ld_rng rng = ld_rng_seed(3, 1);

    *s = (struct scene){.dev = open_cpu()};
    planes_instead(&s->ops, s->dev);
    model.reg_max = 7;
    model.head = LD_HEAD_GFLV2;
    model.background_logit = true;
    s->student = ld_net_new(s->dev, &model, LD_NET_TRAIN, &s->err);
    check_ok(s->student != NULL, &s->err);
    even_scores(s);
    for (int i = 0; i < N; i++) {
        make_image(s, i);
        for (int k = 0; k < PIXELS; k++)
            s->pixels[i][k] = ld_rng_normal(&rng);
        planes_show(&s->images[i], s->pixels[i], SIDE, SIDE);
    }
    s->batch =
        (struct ld_batch){.N = N, .H = SIDE, .W = SIDE, .images = s->images};
}

static void close_scene(struct scene *s)
{
    ld_net_free(s->student);
    s->dev->ops->close(s->dev);
    ld_arena_free(&s->arena);
}

/* QFL's target is a constant to its gradient; no parameter of the quality
 * predictor moves it. */
START_TEST(gradients_of_the_quality_predictor_are_slopes_of_the_total)
{
    struct scene s;

    open_scene(&s);
    check_slopes(&s, "bbox_head.reg_conf");
    close_scene(&s);
}
END_TEST

/* Without an object there is no target, and the total sees the boxes through
 * their qualities alone. */
START_TEST(the_quality_passes_gradients_on_to_the_box_tower)
{
    struct scene s;

    open_scene(&s);
    for (int i = 0; i < N; i++)
        s.images[i].assignment = (struct ld_assignment){0};
    check_slopes(&s, "bbox_head.gfl_reg");
    check_slopes(&s, "bbox_head.scales.0");
    close_scene(&s);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("step_slopes");
    TCase *c = tcase_create("step_slopes");

    tcase_add_test(c,
                   gradients_of_the_quality_predictor_are_slopes_of_the_total);
    tcase_add_test(c, the_quality_passes_gradients_on_to_the_box_tower);
    suite_add_tcase(s, c);
    return s;
}
