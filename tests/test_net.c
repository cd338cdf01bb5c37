#include "kernels/net/net.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "tests/nets.h"
#include "tests/suite.h"

/* Ten times the reference's own rounding, or this part of the largest value:
 * a network's sums are long, and Winograd's convolutions round about twice as
 * much as plain ones (1.5e-6 a layer). */
static const double CLOSE = 1e-4;

/* ---- golden networks ---- */

static struct ld_model golden_model(struct golden *g)
{
    return (struct ld_model){
        .groups = 1,
        .base_width = 64,
        .depth = (int)golden_number(g, "params.depth"),
        .width = 64,
        .fpn_channels = (int)golden_number(g, "params.fpn.out_channels"),
        .head_convs = (int)golden_number(g, "params.head.stacked_convs"),
        .gn_groups = (int)golden_number(g, "params.head.gn_groups"),
        .n_classes = (int)golden_number(g, "params.num_classes"),
        .reg_max = (int)golden_number(g, "params.head.reg_max"),
        .frozen_stages = (int)golden_number(g, "params.frozen_stages"),
        .norm_eval = golden_number(g, "params.norm_eval") != 0,
        .dcn = golden_number(g, "params.dcn") != 0 ? LD_DCN_V1 : LD_DCN_NONE,
        .dcn_from = 2};
}

static void compare_map(struct golden *g, struct ld_net *net, const char *name,
                        const char *golden_name)
{
    struct ld_shape shape;
    float *got = plain_map(g, net, name, &shape);
    struct golden_array want = golden_array(g, golden_name);

    ck_assert_int_eq(want.dim[2], shape.H);
    ck_assert_int_eq(want.dim[3], shape.W);
    golden_compare(g, golden_name, got, want.count, CLOSE);
}

static void compare_channel_0_of_c2(struct golden *g, struct ld_net *net)
{
    struct ld_shape s;
    float *c2 = plain_map(g, net, "c2", &s);
    size_t area = (size_t)s.H * (size_t)s.W;

    for (int n = 1; n < s.N; n++)
        memcpy(c2 + (size_t)n * area, c2 + (size_t)(n * s.C) * area,
               area * sizeof(float));
    golden_compare(g, "c2_ch0", c2, (size_t)s.N * area, CLOSE);
}

/* Rows (N, A, C) of a level as the reference has them, (N, C, H, W), or back.
 */
static void move_level(const struct ld_grid *grid, int level, int N, int C,
                       float *rows, float *plain, bool to_rows)
{
    int area = grid->H[level] * grid->W[level];
    int A = grid->start[LD_MAX_LEVELS], start = grid->start[level];

    for (int n = 0; n < N; n++)
        for (int c = 0; c < C; c++)
            for (int i = 0; i < area; i++) {
                float *row =
                    rows +
                    ((size_t)n * (size_t)A + (size_t)(start + i)) * (size_t)C;
                float *value =
                    plain + ((size_t)n * (size_t)C + (size_t)c) * (size_t)area;

                if (to_rows)
                    row[c] = value[i];
                else
                    value[i] = row[c];
            }
}

static void compare_rows(struct golden *g, struct ld_net *net,
                         const float *rows, const char *kind)
{
    struct ld_grid grid = ld_net_grid(net);
    int N = net->plan->image.N, A = grid.start[LD_MAX_LEVELS];
    int C = *kind == 'c' ? net->model.n_classes : 4 * (net->model.reg_max + 1);
    float *got = fetched(g, net->dev, rows, (size_t)N * (size_t)A * (size_t)C);
    float *plain =
        fetched(g, net->dev, rows, (size_t)N * (size_t)A * (size_t)C);

    for (int level = 0; level < LD_MAX_LEVELS; level++) {
        int area = grid.H[level] * grid.W[level];
        char name[16];

        snprintf(name, sizeof(name), "%s_%d", kind, level);
        move_level(&grid, level, N, C, got, plain, false);
        golden_compare(g, name, plain, (size_t)(N * C * area), CLOSE);
    }
}

static void compare_forward(struct golden *g, struct ld_net *net)
{
    static const char *const maps[][2] = {
        {"c3", "c3"},  {"c4", "c4"},  {"c5", "c5"},  {"p3", "p_0"},
        {"p4", "p_1"}, {"p5", "p_2"}, {"p6", "p_3"}, {"p7", "p_4"}};

    run_forward(g, net);
    compare_channel_0_of_c2(g, net);
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
        compare_map(g, net, maps[i][0], maps[i][1]);
    compare_rows(g, net, ld_net_class_rows(net), "cls");
    compare_rows(g, net, ld_net_box_rows(net), "reg");
}

/* Upstream gradients of the logits: a stream a level, classes first. */
static void upload_upstream(struct golden *g, struct ld_net *net, float *to,
                            int C, uint32_t stream)
{
    struct ld_grid grid = ld_net_grid(net);
    int N = net->plan->image.N, A = grid.start[LD_MAX_LEVELS];
    size_t count = (size_t)N * (size_t)A * (size_t)C;
    float *rows = fetched(g, net->dev, to, count);

    for (int level = 0; level < LD_MAX_LEVELS; level++) {
        int area = grid.H[level] * grid.W[level];
        const float *upstream =
            golden_gauss(g, stream + (uint32_t)level, (size_t)(N * C * area));

        move_level(&grid, level, N, C, rows, (float *)upstream, true);
    }
    net->dev->ops->upload(net->dev, to, rows, count * sizeof(float));
}

static void compare_norm(struct golden *g, struct ld_net *net,
                         const struct ld_param *param)
{
    char fp32[160], fp64[160];
    double want, rounding, got;

    snprintf(fp32, sizeof(fp32), "values.param_grad_norm.%s",
             param->value.name);
    snprintf(fp64, sizeof(fp64), "values.param_grad_norm_fp64.%s",
             param->value.name);
    ck_assert_msg(param->trained == golden_has_value(g, fp32),
                  "%s: %s is frozen in one of the two", g->name,
                  param->value.name);
    if (!param->trained)
        return;
    want = golden_number(g, fp64);
    rounding = fabs(golden_number(g, fp32) - want);
    got = norm_of(g, net, param);
    ck_assert_msg(fabs(got - want) <= fmax(10 * rounding, CLOSE * want),
                  "%s: gradient of %s: norm %.9g, expected %.9g", g->name,
                  param->value.name, got, want);
}

static void compare_backward(struct golden *g, struct ld_net *net)
{
    uint32_t stream =
        (uint32_t)golden_number(g, "params.upstream_seed") * 32 + 7;
    struct ld_err err = {0};
    struct ld_param *params;
    int n;

    upload_upstream(g, net, ld_net_class_rows_grad(net), net->model.n_classes,
                    stream);
    upload_upstream(g, net, ld_net_box_rows_grad(net),
                    4 * (net->model.reg_max + 1), stream + 5);
    ld_net_zero_grad(net);
    ld_net_backward(net);
    check_ok(net->dev->ops->sync(net->dev, &err), &err);
    params = ld_net_params(net, &n);
    for (int i = 0; i < n; i++)
        compare_norm(g, net, &params[i]);
}

/* The case of batch statistics has a test of its own below. */
static bool is_detector(struct golden *g)
{
    return golden_has_value(g, "params.dcn");
}

static void infer_case(struct golden *g)
{
    struct ld_device *dev = open_cpu();
    struct ld_model model;
    struct ld_net *net;

    if (is_detector(g)) {
        model = golden_model(g);
        net = golden_net(g, dev, &model, LD_NET_INFER);
        compare_forward(g, net);
        ld_net_free(net);
    }
    dev->ops->close(dev);
}

START_TEST(inference_gives_the_maps_and_logits_of_the_reference)
{
    golden_each("07_nets", infer_case);
}
END_TEST

static void train_case(struct golden *g)
{
    struct ld_device *dev = open_cpu();
    struct ld_model model;
    struct ld_net *net;

    if (is_detector(g) && golden_has_value(g, "params.upstream_seed")) {
        model = golden_model(g);
        net = golden_net(g, dev, &model, LD_NET_TRAIN);
        compare_forward(g, net);
        compare_backward(g, net);
        ld_net_free(net);
    }
    dev->ops->close(dev);
}

START_TEST(backward_gives_the_gradients_of_the_reference)
{
    golden_each("07_nets", train_case);
}
END_TEST

/* ---- batch statistics: the backbone alone ---- */

static void compare_gradient(struct golden *g, struct ld_net *net,
                             const char *name)
{
    const struct ld_param *param = param_of(net, name);
    size_t count = ld_tensor_count(&param->value);
    char golden_name[128];

    snprintf(golden_name, sizeof(golden_name), "grad__%s", name);
    golden_compare(g, golden_name, fetched(g, net->dev, param->grad, count),
                   count, CLOSE);
}

static void compare_statistic(struct golden *g, struct ld_net *net,
                              const char *name)
{
    const struct ld_param *param = param_of(net, name);
    size_t count = ld_tensor_count(&param->value);
    char golden_name[128];

    snprintf(golden_name, sizeof(golden_name), "after__%s", name);
    golden_compare(g, golden_name,
                   fetched(g, net->dev, param->value.data, count), count,
                   CLOSE);
}

static void check_batch_statistics(struct golden *g, struct ld_net *net)
{
    static const char *const moved[] = {
        "layer2.0.bn1.running_mean", "layer2.0.bn1.running_var",
        "layer4.1.bn2.running_mean", "layer4.1.bn2.running_var",
        "layer1.0.bn1.running_mean", "bn1.running_var"};
    static const char *const gradients[] = {
        "layer2.0.conv1.weight", "layer2.0.bn1.weight", "layer2.0.bn1.bias",
        "layer3.0.downsample.0.weight", "layer4.1.bn2.weight"};
    static const char *const maps[] = {"c2", "c3", "c4", "c5"};

    run_forward(g, net);
    for (int i = 0; i < 4; i++)
        compare_map(g, net, maps[i], maps[i]);
    for (int i = 0; i < 6; i++)
        compare_statistic(g, net, moved[i]);
    ld_net_backward_from(net, upload_map_gradients(g, net));
    for (int i = 0; i < 5; i++)
        compare_gradient(g, net, gradients[i]);
}

static void batch_statistics_case(struct golden *g)
{
    struct ld_model model = tiny_model();
    struct ld_device *dev;
    struct ld_net *net;

    if (!golden_has_value(g, "params.bn_momentum"))
        return;
    model.width = (int)golden_number(g, "params.base_channels");
    model.frozen_stages = (int)golden_number(g, "params.frozen_stages");
    model.norm_eval = false;
    dev = open_cpu();
    net = golden_net(g, dev, &model, LD_NET_TRAIN);
    check_batch_statistics(g, net);
    ld_net_free(net);
    dev->ops->close(dev);
}

START_TEST(batch_statistics_move_in_the_stages_that_are_not_frozen)
{
    golden_each("07_nets", batch_statistics_case);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("net");
    TCase *c = tcase_create("net");

    tcase_add_test(c, inference_gives_the_maps_and_logits_of_the_reference);
    tcase_add_test(c, backward_gives_the_gradients_of_the_reference);
    tcase_add_test(c, batch_statistics_move_in_the_stages_that_are_not_frozen);
    suite_add_tcase(s, c);
    return s;
}
