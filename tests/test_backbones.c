#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/nets.h"
#include "tests/suite.h"

/* As test_net.c: Winograd's rounding, through some fifty layers. */
static const double CLOSE = 1e-4;

static struct ld_model model_of(struct golden *g)
{
    struct ld_model model = tiny_model();

    if (strcmp(golden_string(g, "params.backbone"), "res2net") == 0)
        model.backbone = LD_RES2NET;
    model.depth = (int)golden_number(g, "params.depth");
    model.width = (int)golden_number(g, "params.width");
    model.groups = (int)golden_number(g, "params.groups");
    model.base_width = (int)golden_number(g, "params.base_width");
    model.frozen_stages = (int)golden_number(g, "params.frozen_stages");
    model.norm_eval = golden_number(g, "params.norm_eval") != 0;
    return model;
}

/* Keeps the first `few` channels of each image. */
static size_t keep_few(float *map, struct ld_shape s, int few)
{
    size_t part = (size_t)few * s.H * s.W;

    for (int n = 1; n < s.N; n++)
        memmove(map + n * part, map + (size_t)n * s.C * s.H * s.W,
                part * sizeof(*map));
    return s.N * part;
}

static void compare_maps(struct golden *g, struct ld_net *net)
{
    static const char *const names[] = {"c2", "c3", "c4", "c5"};

    for (int i = 0; i < 4; i++) {
        struct golden_array want;
        struct ld_shape s;
        float *map = plain_map(g, net, names[i], &s);
        char few[16];

        snprintf(few, sizeof(few), "%s_few", names[i]);
        want = golden_array(g, few);
        ck_assert_int_eq(want.dim[0], s.N);
        ck_assert_int_eq(want.dim[2], s.H);
        ck_assert_int_eq(want.dim[3], s.W);
        golden_compare(g, few, map, keep_few(map, s, want.dim[1]), CLOSE);
    }
}

/* The arrays that the case names in params.`list`. */
static void compare_listed(struct golden *g, struct ld_net *net,
                           const char *list, const char *prefix, bool gradients)
{
    for (int i = 0;; i++) {
        char path[64], array[128];
        const struct ld_param *param;
        const char *name;
        size_t count;

        snprintf(path, sizeof(path), "params.%s.%d", list, i);
        if (!golden_has_value(g, path))
            return;
        name = golden_string(g, path);
        param = param_of(net, name);
        count = ld_tensor_count(&param->value);
        snprintf(array, sizeof(array), "%s__%s", prefix, name);
        golden_compare(g, array,
                       fetched(g, net->dev,
                               gradients ? param->grad : param->value.data,
                               count),
                       count, CLOSE);
    }
}

/* The norm of every gradient; frozen ones are in neither. */
static void compare_norms(struct golden *g, struct ld_net *net)
{
    double rounding = golden_number(g, "values.param_grad_norm_rounding");
    struct ld_param *params;
    int n;

    params = ld_net_params(net, &n);
    for (int i = 0; i < n; i++) {
        const char *name = params[i].value.name + strlen("backbone.");
        char path[160];
        double want, got;

        if (strncmp(params[i].value.name, "backbone.", 9) != 0)
            continue;
        snprintf(path, sizeof(path), "values.param_grad_norm.%s", name);
        ck_assert_msg(params[i].trained == golden_has_value(g, path),
                      "%s: %s is frozen in one of the two", g->name, name);
        if (!params[i].trained)
            continue;
        want = golden_number(g, path);
        got = norm_of(g, net, &params[i]);
        ck_assert_msg(fabs(got - want) <= fmax(10 * rounding, CLOSE) * want,
                      "%s: gradient of %s: norm %.9g, expected %.9g", g->name,
                      name, got, want);
    }
}

/* The case's weights are in the order of the reference's state_dict. */
static void compare_order(struct golden *g, struct ld_net *net)
{
    struct ld_param *params;
    const struct ld_tensor *want;
    int n, n_want;

    params = ld_net_params(net, &n);
    want = golden_tensors(g, false, &n_want);
    ck_assert_int_lt(n_want, n);
    for (int i = 0; i < n_want; i++)
        ck_assert_str_eq(params[i].value.name, want[i].name);
}

static void run_case(struct golden *g, enum ld_net_use use)
{
    struct ld_model model = model_of(g);
    struct ld_device *dev = open_cpu();
    struct ld_net *net = golden_net(g, dev, &model, use);
    struct ld_err err = {0};

    compare_order(g, net);
    run_forward(g, net);
    compare_maps(g, net);
    if (use == LD_NET_TRAIN) {
        ld_net_zero_grad(net);
        ld_net_backward_from(net, upload_map_gradients(g, net));
        check_ok(dev->ops->sync(dev, &err), &err);
        compare_norms(g, net);
        compare_listed(g, net, "whole_gradients", "grad", true);
        compare_listed(g, net, "moved", "after", false);
    }
    ld_net_free(net);
    dev->ops->close(dev);
}

/* Batch statistics are for training alone. */
static void infer_case(struct golden *g)
{
    if (golden_number(g, "params.norm_eval") != 0)
        run_case(g, LD_NET_INFER);
}

START_TEST(inference_gives_the_maps_of_pytorch)
{
    golden_each("12_backbones", infer_case);
}
END_TEST

static void train_case(struct golden *g)
{
    run_case(g, LD_NET_TRAIN);
}

START_TEST(backward_gives_the_gradients_of_pytorch)
{
    golden_each("12_backbones", train_case);
}
END_TEST

/* ---- the published sizes ---- */

static void check_full(struct ld_model model, const char *name, int n_dims,
                       const int *dim)
{
    struct ld_device *dev = open_cpu();
    struct ld_err err = {0};
    struct ld_net *net = ld_net_new(dev, &model, LD_NET_INFER, &err);
    const struct ld_param *param;

    check_ok(net != NULL, &err);
    param = param_of(net, name);
    ck_assert_int_eq(param->value.n_dims, n_dims);
    for (int i = 0; i < n_dims; i++)
        ck_assert_int_eq(param->value.dim[i], dim[i]);
    ld_net_free(net);
    dev->ops->close(dev);
}

START_TEST(the_published_backbones_have_their_tensors)
{
    struct ld_model x = tiny_model(), r;

    x.depth = 101;
    x.width = 64;
    x.groups = 32;
    x.base_width = 4;
    check_full(x, "layer1.0.conv2.weight", 4, (int[]){128, 4, 3, 3});
    check_full(x, "layer3.22.conv2.weight", 4, (int[]){512, 16, 3, 3});
    check_full(x, "layer4.0.downsample.0.weight", 4, (int[]){2048, 1024, 1, 1});
    x.groups = 64;
    check_full(x, "layer1.2.conv2.weight", 4, (int[]){256, 4, 3, 3});
    check_full(x, "layer4.2.conv3.weight", 4, (int[]){2048, 2048, 1, 1});
    r = x;
    r.backbone = LD_RES2NET;
    r.groups = 1;
    r.base_width = 26;
    check_full(r, "stem.3.weight", 4, (int[]){32, 32, 3, 3});
    check_full(r, "stem.7.running_var", 1, (int[]){64});
    check_full(r, "layer1.0.conv1.weight", 4, (int[]){104, 64, 1, 1});
    check_full(r, "layer2.1.convs.2.weight", 4, (int[]){52, 52, 3, 3});
    check_full(r, "layer3.22.bns.0.weight", 1, (int[]){104});
    check_full(r, "layer4.0.downsample.1.weight", 4, (int[]){2048, 1024, 1, 1});
    check_full(r, "layer4.2.conv3.weight", 4, (int[]){2048, 832, 1, 1});
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("backbones");
    TCase *c = tcase_create("backbones");

    tcase_add_test(c, inference_gives_the_maps_of_pytorch);
    tcase_add_test(c, backward_gives_the_gradients_of_pytorch);
    tcase_add_test(c, the_published_backbones_have_their_tensors);
    suite_add_tcase(s, c);
    return s;
}
