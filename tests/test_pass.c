#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "tests/nets.h"
#include "tests/suite.h"

enum { N_ROWS = 3 };
enum { N = 2, H = 64, W = 64, PIXELS = N * 3 * H * W };

/* L = the rows times fixed random numbers. */
struct problem {
    struct ld_device *dev;
    struct ld_net *net;
    struct golden g; /* for its arena */
    float *pixels, *upstream[N_ROWS];
    size_t n_rows[N_ROWS]; /* numbers in class, box and quality rows */
};

static float *draws(struct problem *p, size_t n, struct ld_rng *rng)
{
    struct ld_err err = {0};
    float *values = ld_arena_new(&p->g.arena, n, sizeof(*values), &err);

    check_ok(values != NULL, &err);
    for (size_t i = 0; i < n; i++)
        values[i] = ld_rng_normal(rng);
    return values;
}

/* Values that keep signals of every layer at one size, no norm at zero, and
 * offsets in the middle between two pixels, away from their kinks. */
static void set_params(struct problem *p, struct ld_rng *rng)
{
    struct ld_param *params;
    int n;

    ld_net_init(p->net, 3);
    params = ld_net_params(p->net, &n);
    for (int i = 0; i < n; i++) {
        struct ld_tensor *t = &params[i].value;
        size_t count = ld_tensor_count(t);
        bool head = strncmp(t->name, "bbox_head", 9) == 0;
        float *values = fetched(&p->g, p->dev, t->data, count);

        for (size_t j = 0; j < count; j++)
            if (strstr(t->name, "conv_offset.weight"))
                values[j] = 0.003F * ld_rng_normal(rng);
            else if (strstr(t->name, "conv_offset.bias"))
                values[j] = 0.4F + 0.2F * ld_rng_uniform(rng);
            else if (strstr(t->name, "bias") || strstr(t->name, "mean"))
                values[j] = 0.2F * ld_rng_normal(rng);
            else if (t->n_dims <= 1)
                values[j] = 0.7F + 0.6F * ld_rng_uniform(rng);
            else if (head)
                values[j] *= 8; /* of 0.01 */
        p->dev->ops->upload(p->dev, t->data, values, count * sizeof(float));
    }
    ld_net_changed(p->net);
}

static void set_up(struct problem *p, struct ld_model model, uint64_t seed)
{
    struct ld_rng rng = ld_rng_seed(seed, 0);
    struct ld_err err = {0};
    size_t A;

    *p = (struct problem){.dev = open_cpu()};
    p->net = ld_net_new(p->dev, &model, LD_NET_TRAIN, &err);
    check_ok(p->net && ld_net_resize(p->net, N, H, W, &err), &err);
    poison(p->net);
    set_params(p, &rng);
    A = (size_t)ld_net_grid(p->net).start[LD_MAX_LEVELS];
    p->n_rows[0] = N * A * (size_t)ld_model_class_logits(&model);
    p->n_rows[1] = N * A * 4 * (size_t)(model.reg_max + 1);
    p->n_rows[2] = ld_net_quality_rows(p->net) ? N * A : 0;
    p->pixels = draws(p, PIXELS, &rng);
    for (int i = 0; i < N_ROWS; i++)
        p->upstream[i] = draws(p, p->n_rows[i], &rng);
}

static void tear_down(struct problem *p)
{
    ld_arena_free(&p->g.arena);
    ld_net_free(p->net);
    p->dev->ops->close(p->dev);
}

static double loss(struct problem *p)
{
    float *rows[N_ROWS];
    double sum = 0;

    p->dev->ops->upload(p->dev, ld_net_input(p->net), p->pixels,
                        PIXELS * sizeof(float));
    ld_net_forward(p->net);
    rows[0] = ld_net_class_rows(p->net);
    rows[1] = ld_net_box_rows(p->net);
    rows[2] = ld_net_quality_rows(p->net);
    for (int i = 0; i < N_ROWS; i++)
        for (size_t j = 0; j < p->n_rows[i]; j++) /* the CPU's: readable */
            sum += (double)rows[i][j] * (double)p->upstream[i][j];
    return sum;
}

static void upload_upstream(struct problem *p)
{
    float *to[N_ROWS];

    to[0] = ld_net_class_rows_grad(p->net);
    to[1] = ld_net_box_rows_grad(p->net);
    to[2] = ld_net_quality_rows_grad(p->net);
    for (int i = 0; i < N_ROWS; i++)
        p->dev->ops->upload(p->dev, to[i], p->upstream[i],
                            p->n_rows[i] * sizeof(float));
}

static void gradients(struct problem *p)
{
    loss(p);
    upload_upstream(p);
    ld_net_zero_grad(p->net);
    ld_net_backward(p->net);
}

static double loss_moved(struct problem *p, const struct ld_tensor *t,
                         const float *at, const float *along, double step)
{
    size_t count = ld_tensor_count(t);
    double moved;

    for (size_t i = 0; i < count; i++)
        t->data[i] = at[i] + (float)step * along[i];
    ld_net_changed(p->net);
    moved = loss(p);
    memcpy(t->data, at, count * sizeof(float));
    ld_net_changed(p->net);
    return moved;
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* The rate at which L changes along a parameter's own gradient. */
static double rate_along(struct problem *p, const struct ld_tensor *t,
                         const float *at, const float *grad, double step)
{
    double norm = sqrt(dot(grad, grad, ld_tensor_count(t)));

    return (loss_moved(p, t, at, grad, step) -
            loss_moved(p, t, at, grad, -step)) /
           (2 * step * norm);
}

/* That rate is the gradient's norm. Steps are as long as changes L by 0.5 but
 * no more than a hundredth of the parameter, and then a third of it, a ninth
 * and so on: some of the many ReLUs and maxima bend within a long step, and L
 * itself, a sum in fp32, rounds at about 1e-3, too much for a short one. One of
 * them agrees to 2 %; a wrong term is wrong by far more. */
static void check_param(struct problem *p, const struct ld_param *param)
{
    const struct ld_tensor *t = &param->value;
    size_t count = ld_tensor_count(t);
    float *at = fetched(&p->g, p->dev, t->data, count);
    float *grad = fetched(&p->g, p->dev, param->grad, count);
    double norm = sqrt(dot(grad, grad, count));
    double size = sqrt(dot(at, at, count));
    double step = fmin(1e-2 * size / norm, 0.25 / (norm * norm));
    double rate = NAN;

    ck_assert_msg(norm > 0, "%s: the gradient has norm %g", t->name, norm);
    for (int i = 0; i < 5; i++, step /= 3) {
        rate = rate_along(p, t, at, grad, step);
        if (fabs(rate - norm) <= 0.02 * norm)
            return;
    }
    ck_abort_msg("%s: L changes by %g along the gradient, which has norm %g",
                 t->name, rate, norm);
}

static void check_gradients(struct ld_model model)
{
    const char *wanted = getenv("LD_SEED");
    uint64_t seed = wanted ? strtoull(wanted, NULL, 10) : 1;
    struct ld_param *params;
    struct problem p;
    int n;

    printf("seed %llu\n", (unsigned long long)seed);
    set_up(&p, model, seed);
    gradients(&p);
    params = ld_net_params(p.net, &n);
    for (int i = 0; i < n; i++)
        if (params[i].trained)
            check_param(&p, &params[i]);
    tear_down(&p);
}

START_TEST(gradients_on_stored_statistics_agree_with_finite_differences)
{
    struct ld_model model = tiny_model();

    model.frozen_stages = -1;
    check_gradients(model);
}
END_TEST

START_TEST(gradients_on_batch_statistics_agree_with_finite_differences)
{
    struct ld_model model = tiny_model();

    model.frozen_stages = -1;
    model.norm_eval = false;
    check_gradients(model);
}
END_TEST

START_TEST(gradients_of_bottlenecks_agree_with_finite_differences)
{
    struct ld_model model = tiny_model();

    model.depth = 50;
    check_gradients(model);
}
END_TEST

START_TEST(gradients_of_a_head_with_qualities_agree_with_finite_differences)
{
    struct ld_model model = tiny_model();

    model.head = LD_HEAD_GFLV2;
    model.background_logit = true;
    model.reg_max = 7;
    check_gradients(model);
}
END_TEST

START_TEST(gradients_of_heads_with_a_centerness_agree_with_finite_differences)
{
    struct ld_model model = tiny_model();

    model.head = _i ? LD_HEAD_FCOS : LD_HEAD_ATSS;
    check_gradients(model);
}
END_TEST

START_TEST(gradients_of_nine_anchors_a_place_agree_with_finite_differences)
{
    struct ld_model model = tiny_model();

    model.head = LD_HEAD_RETINA;
    check_gradients(model);
}
END_TEST

START_TEST(gradients_of_a_caffe_backbone_agree_with_finite_differences)
{
    struct ld_model model = tiny_model();

    model.depth = 50;
    model.style = LD_STYLE_CAFFE;
    model.head = LD_HEAD_FCOS;
    check_gradients(model);
}
END_TEST

START_TEST(gradients_of_grouped_bottlenecks_agree_with_finite_differences)
{
    struct ld_model model = tiny_model();

    model.depth = 50;
    model.groups = 4;
    model.base_width = 16; /* 4, 8, 16 and 32 channels a group */
    check_gradients(model);
}
END_TEST

START_TEST(gradients_of_deformable_bottlenecks_agree_with_finite_differences)
{
    struct ld_model model = tiny_model();

    model.depth = 50;
    model.dcn = LD_DCN_V1;
    model.dcn_from = 3;
    check_gradients(model);
}
END_TEST

START_TEST(gradients_of_grouped_modulated_ones_agree_with_finite_differences)
{
    struct ld_model model = tiny_model();

    model.depth = 50;
    model.groups = 8;
    model.base_width = 16;
    model.dcn = LD_DCN_V2;
    model.dcn_from = 4;
    model.norm_eval = false;
    check_gradients(model);
}
END_TEST

START_TEST(a_second_pass_gives_the_same_bits_and_adds_to_the_gradients)
{
    struct problem p;
    struct ld_param *params;
    float *first;
    size_t count;
    int n;

    set_up(&p, tiny_model(), 1);
    params = ld_net_params(p.net, &n);
    gradients(&p);
    count = p.net->n_trained;
    first = fetched(&p.g, p.dev, p.net->grads, count);
    gradients(&p);
    ck_assert_mem_eq(first, p.net->grads, count * sizeof(float));
    loss(&p);
    upload_upstream(&p);
    ld_net_backward(p.net);
    for (int i = 0; i < n; i++)
        if (params[i].trained)
            ck_assert_double_eq_tol(
                (double)params[i].grad[0],
                2 * (double)first[params[i].grad - p.net->grads],
                1e-4 * fabs((double)params[i].grad[0]) + 1e-3);
    tear_down(&p);
}
END_TEST

START_TEST(frozen_parameters_and_stored_statistics_never_move)
{
    struct problem p;
    float *before;
    size_t count;

    set_up(&p, tiny_model(), 1);
    count = (size_t)(p.net->grads - p.net->params) - p.net->n_trained;
    before = fetched(&p.g, p.dev, p.net->params + p.net->n_trained, count);
    for (int i = 0; i < 2; i++) {
        gradients(&p);
        ld_net_sgd(p.net, (struct ld_sgd){1e-3F, 0.9F, 1e-4F, 1},
                   (struct ld_sgd){1e-3F, 0.9F, 1e-4F, 1});
    }
    ck_assert_mem_eq(before, p.net->params + p.net->n_trained,
                     count * sizeof(float));
    tear_down(&p);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("pass");
    TCase *c = tcase_create("pass");

    tcase_add_test(
        c, gradients_on_stored_statistics_agree_with_finite_differences);
    tcase_add_test(c,
                   gradients_on_batch_statistics_agree_with_finite_differences);
    tcase_add_test(c, gradients_of_bottlenecks_agree_with_finite_differences);
    tcase_add_test(
        c, gradients_of_a_head_with_qualities_agree_with_finite_differences);
    tcase_add_loop_test(
        c, gradients_of_heads_with_a_centerness_agree_with_finite_differences,
        0, 2);
    tcase_add_test(
        c, gradients_of_nine_anchors_a_place_agree_with_finite_differences);
    tcase_add_test(c,
                   gradients_of_a_caffe_backbone_agree_with_finite_differences);
    tcase_add_test(
        c, gradients_of_grouped_bottlenecks_agree_with_finite_differences);
    tcase_add_test(
        c, gradients_of_deformable_bottlenecks_agree_with_finite_differences);
    tcase_add_test(
        c, gradients_of_grouped_modulated_ones_agree_with_finite_differences);
    tcase_add_test(c,
                   a_second_pass_gives_the_same_bits_and_adds_to_the_gradients);
    tcase_add_test(c, frozen_parameters_and_stored_statistics_never_move);
    suite_add_tcase(s, c);
    return s;
}
