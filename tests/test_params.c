#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/nets.h"
#include "tests/suite.h"

static bool is_of_the_reference_only(const char *name)
{
    return strstr(name, "num_batches_tracked") != NULL ||
           strcmp(name, "bbox_head.integral.project") == 0;
}

static void compare_names(struct golden *g, struct ld_net *net)
{
    const struct ld_tensor *want;
    struct ld_param *params;
    int n, n_want, at = 0;

    params = ld_net_params(net, &n);
    want = golden_tensors(g, false, &n_want);
    for (int i = 0; i < n_want; i++) {
        if (is_of_the_reference_only(want[i].name))
            continue;
        ck_assert_int_lt(at, n);
        ck_assert_str_eq(params[at].value.name, want[i].name);
        ck_assert_int_eq(params[at].value.n_dims, want[i].n_dims);
        for (int d = 0; d < want[i].n_dims; d++)
            ck_assert_int_eq(params[at].value.dim[d], want[i].dim[d]);
        at++;
    }
    ck_assert_int_eq(at, n);
}

static void names_case(struct golden *g)
{
    struct ld_model model = {.width = 64,
                             .groups = 1,
                             .base_width = 64,
                             .fpn_channels = 256,
                             .head_convs = 4,
                             .gn_groups = 32,
                             .reg_max = 16,
                             .frozen_stages = 1,
                             .norm_eval = true};
    struct ld_device *dev;
    struct ld_err err = {0};
    struct ld_net *net;

    if (!golden_has_value(g, "params.dcn"))
        return;
    if (golden_number(g, "params.dcn") != 0) {
        model.dcn = LD_DCN_V1;
        model.dcn_from = 2;
    }
    model.depth = (int)golden_number(g, "params.depth");
    model.n_classes = (int)golden_number(g, "params.num_classes");
    dev = open_cpu();
    net = ld_net_new(dev, &model, LD_NET_INFER, &err);
    check_ok(net != NULL, &err);
    compare_names(g, net);
    ld_net_free(net);
    dev->ops->close(dev);
}

START_TEST(parameters_have_the_names_shapes_and_order_of_the_reference)
{
    golden_each("07_nets", names_case);
}
END_TEST

static struct ld_net *tiny_net(struct ld_device *dev, enum ld_net_use use)
{
    struct ld_model model = tiny_model();
    struct ld_err err = {0};
    struct ld_net *net = ld_net_new(dev, &model, use, &err);

    check_ok(net != NULL, &err);
    return net;
}

/* ---- initial values ---- */

static float *values_of(struct golden *g, struct ld_net *net, const char *name,
                        size_t *count)
{
    struct ld_param *params;
    int n;

    params = ld_net_params(net, &n);
    for (int i = 0; i < n; i++)
        if (strcmp(params[i].value.name, name) == 0) {
            *count = ld_tensor_count(&params[i].value);
            return fetched(g, net->dev, params[i].value.data, *count);
        }
    ck_abort_msg("no parameter %s", name);
    return NULL;
}

static void check_constant(struct golden *g, struct ld_net *net,
                           const char *name, float want)
{
    size_t n;
    float *values = values_of(g, net, name, &n);

    for (size_t i = 0; i < n; i++)
        ck_assert_msg(values[i] == want, "%s[%zu] is %g, expected %g", name, i,
                      values[i], want);
}

static void check_deviation(struct golden *g, struct ld_net *net,
                            const char *name, double want)
{
    double sum = 0, squares = 0, mean;
    size_t n;
    float *values = values_of(g, net, name, &n);

    for (size_t i = 0; i < n; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    mean = sum / (double)n;
    /* Both estimates scatter by about want / sqrt(n): allow five times that. */
    ck_assert_double_le(fabs(mean), 5 * want / sqrt((double)n));
    ck_assert_double_eq_tol(sqrt(squares / (double)n), want,
                            5 * want / sqrt((double)n));
}

START_TEST(initial_values_are_distributed_as_the_reference_draws_them)
{
    struct ld_device *dev = open_cpu();
    struct ld_net *net = tiny_net(dev, LD_NET_TRAIN);
    struct golden g = {0};

    ld_net_init(net, 7);
    check_constant(&g, net, "bbox_head.gfl_cls.bias", -4.59511985F);
    check_constant(&g, net, "bbox_head.gfl_reg.bias", 0);
    check_constant(&g, net, "bbox_head.scales.3.scale", 1);
    check_constant(&g, net, "bbox_head.cls_convs.0.gn.weight", 1);
    check_constant(&g, net, "backbone.bn1.weight", 1);
    check_constant(&g, net, "backbone.layer2.0.bn1.weight", 1);
    check_constant(&g, net, "backbone.layer2.0.bn2.weight", 0);
    check_constant(&g, net, "backbone.layer2.0.downsample.1.weight", 1);
    check_constant(&g, net, "backbone.layer1.1.bn1.running_var", 1);
    check_constant(&g, net, "neck.fpn_convs.4.conv.bias", 0);
    check_deviation(&g, net, "backbone.layer4.1.conv1.weight",
                    sqrt(2.0 / (128 * 9)));
    check_deviation(&g, net, "neck.fpn_convs.0.conv.weight",
                    sqrt(2.0 / (2 * 32 * 9)));
    check_deviation(&g, net, "bbox_head.reg_convs.0.conv.weight", 0.01);
    ld_arena_free(&g.arena);
    ld_net_free(net);
    dev->ops->close(dev);
}
END_TEST

START_TEST(initial_values_depend_on_seed_and_name_alone)
{
    static const char name[] = "neck.lateral_convs.1.conv.weight";
    struct ld_model other = tiny_model();
    struct ld_device *dev = open_cpu();
    struct ld_net *a = tiny_net(dev, LD_NET_TRAIN), *b;
    struct golden g = {0};
    struct ld_err err = {0};
    float *first, *second, *third;
    size_t n;

    other.head_convs = 3;
    b = ld_net_new(dev, &other, LD_NET_INFER, &err);
    ld_net_init(a, 5);
    ld_net_init(b, 5);
    first = values_of(&g, a, name, &n);
    second = values_of(&g, b, name, &n);
    ld_net_init(b, 6);
    third = values_of(&g, b, name, &n);
    ck_assert_mem_eq(first, second, n * sizeof(float));
    ck_assert_mem_ne(first, third, n * sizeof(float));
    ld_arena_free(&g.arena);
    ld_net_free(a);
    ld_net_free(b);
    dev->ops->close(dev);
}
END_TEST

/* ---- loading ---- */

enum { ROOM = 400 };

/* The parameters of a network on the CPU, whose memory the host can read. */
static int tensors_of(struct ld_net *net, struct ld_tensor tensors[ROOM])
{
    struct ld_param *params;
    int n;

    params = ld_net_params(net, &n);
    ck_assert_int_le(n, ROOM - 2);
    for (int i = 0; i < n; i++)
        tensors[i] = params[i].value;
    return n;
}

struct pair {
    struct ld_device *dev;
    struct ld_net *from, *to;
    struct ld_tensor tensors[ROOM];
    int n;
};

static void set_up_pair(struct pair *p)
{
    p->dev = open_cpu();
    p->from = tiny_net(p->dev, LD_NET_TRAIN);
    p->to = tiny_net(p->dev, LD_NET_INFER);
    ld_net_init(p->from, 1);
    ld_net_init(p->to, 2);
    p->n = tensors_of(p->from, p->tensors);
}

static void tear_down_pair(struct pair *p)
{
    ld_net_free(p->from);
    ld_net_free(p->to);
    p->dev->ops->close(p->dev);
}

/* Whether the stem's weights of both are equal. */
static bool same(struct pair *p)
{
    struct ld_tensor to[ROOM];

    tensors_of(p->to, to);
    return memcmp(to[0].data, p->tensors[0].data,
                  ld_tensor_count(&to[0]) * sizeof(float)) == 0;
}

START_TEST(a_checkpoint_of_the_reference_may_hold_counters_and_a_projection)
{
    struct pair p;
    struct ld_err err = {0};

    set_up_pair(&p);
    p.tensors[p.n++] =
        (struct ld_tensor){.name = "backbone.bn1.num_batches_tracked"};
    p.tensors[p.n++] = (struct ld_tensor){
        .name = "bbox_head.integral.project", .n_dims = 1, .dim = {17}};
    ck_assert(!same(&p));
    check_ok(ld_net_load(p.to, p.tensors, p.n, false, &err), &err);
    ck_assert(same(&p));
    tear_down_pair(&p);
}
END_TEST

static void check_refusal(struct pair *p, bool partial, const char *text)
{
    struct ld_err err = {0};

    ck_assert(!ld_net_load(p->to, p->tensors, p->n, partial, &err));
    ck_assert_int_eq(err.code, LD_ERR_MISMATCH);
    ck_assert_msg(strstr(err.text, text) != NULL, "%s", err.text);
    ck_assert(!same(p)); /* nothing is half written */
}

START_TEST(a_missing_tensor_is_named)
{
    struct pair p;

    set_up_pair(&p);
    p.n -= 2;
    check_refusal(
        &p, false,
        "tensors of the model that are missing, 2: "
        "'bbox_head.scales.3.scale', 'bbox_head.scales.4.scale'; that "
        "are not of the model, 0; of another shape, 0");
    tear_down_pair(&p);
}
END_TEST

START_TEST(an_unexpected_tensor_is_named)
{
    struct pair p;

    set_up_pair(&p);
    p.tensors[p.n++] = (struct ld_tensor){.name = "fc.weight"};
    check_refusal(&p, false, "not of the model, 1: 'fc.weight'; ");
    tear_down_pair(&p);
}
END_TEST

START_TEST(another_shape_is_refused_even_in_part)
{
    struct pair p;

    set_up_pair(&p);
    p.tensors[0].dim[2] = 5;
    check_refusal(&p, true,
                  "'backbone.conv1.weight': shape (16, 3, 5, 7), expected "
                  "(16, 3, 7, 7)");
    tear_down_pair(&p);
}
END_TEST

START_TEST(a_head_of_other_classes_begins_anew)
{
    struct pair p;
    struct ld_tensor to[ROOM];
    struct ld_err err = {0};
    int head = 0;

    set_up_pair(&p);
    while (strcmp(p.tensors[head].name, "bbox_head.gfl_cls.weight") != 0)
        head++;
    p.tensors[head].dim[0]++;
    check_refusal(&p, false, "'bbox_head.gfl_cls.weight': shape (");
    check_ok(ld_net_load(p.to, p.tensors, p.n, true, &err), &err);
    ck_assert(same(&p));
    tensors_of(p.to, to);
    ck_assert_int_ne(memcmp(to[head].data, p.tensors[head].data,
                            ld_tensor_count(&to[head]) * sizeof(float)),
                     0);
    tear_down_pair(&p);
}
END_TEST

START_TEST(every_tensor_that_does_not_fit_is_counted_and_20_are_named)
{
    struct pair p;
    char text[100];

    set_up_pair(&p);
    for (int i = 0; i < p.n; i++)
        p.tensors[i].name = "other";
    snprintf(text, sizeof(text), "missing, %d: 'backbone.conv1.weight', ", p.n);
    check_refusal(&p, false, text);
    snprintf(text, sizeof(text), " and %d more; that are not of the model, ",
             p.n - 20);
    check_refusal(&p, false, text);
    snprintf(text, sizeof(text), "model, %d: 'other', 'other'", p.n);
    check_refusal(&p, false, text);
    check_refusal(&p, true, "none of its tensors is of the model; it has");
    tear_down_pair(&p);
}
END_TEST

START_TEST(a_part_loads_if_that_is_allowed)
{
    struct pair p;
    struct ld_err err = {0};

    set_up_pair(&p);
    p.tensors[3] = (struct ld_tensor){.name = "fc.weight"};
    p.n = 4;
    check_ok(ld_net_load(p.to, p.tensors, p.n, true, &err), &err);
    ck_assert(same(&p));
    tear_down_pair(&p);
}
END_TEST

/* ---- models ---- */

static void refused(struct ld_model model, const char *text)
{
    struct ld_err err = {0};

    ck_assert(!ld_model_check(&model, "teacher.model", &err));
    ck_assert_int_eq(err.code, LD_ERR_USAGE);
    ck_assert_msg(strstr(err.text, text) != NULL, "%s", err.text);
}

START_TEST(a_model_that_cannot_be_built_is_refused_by_field)
{
    struct ld_model m = tiny_model();

    m.depth = 19;
    refused(m, "teacher.model.depth: 19, expected 18, 34, 50 or 101");
    m = tiny_model();
    m.width = 20;
    refused(m, "teacher.model.width: 20, expected a multiple of 16");
    m = tiny_model();
    m.fpn_channels = 0;
    refused(m, "teacher.model.fpn_channels: 0, expected a multiple of 16");
    m = tiny_model();
    m.gn_groups = 5;
    refused(m, "teacher.model.gn_groups: 5 does not divide fpn_channels, 32");
    m = tiny_model();
    m.n_classes = 0;
    refused(m, "teacher.model.n_classes: 0, expected 1 to");
    m = tiny_model();
    m.frozen_stages = 5;
    refused(m, "teacher.model.frozen_stages: 5, expected -1 to 4");
    m = tiny_model();
    m.head_convs = 9;
    refused(m, "teacher.model.head_convs: 9, expected 1 to 8");
    m = tiny_model();
    m.background_logit = true;
    refused(m, "teacher.model.background_logit: set, expected with head gflv2");
    m.head = LD_HEAD_GFLV2;
    m.reg_max = 2;
    refused(m, "teacher.model.reg_max: 2, expected 3 to 255");
    m = tiny_model();
    m.groups = 32;
    refused(m,
            "teacher.model.groups: 32, and base_width 64: only bottlenecks "
            "have them, expected 1 and 64 with depth 18, or depth 50 or 101");
    m.depth = 50;
    m.base_width = 128;
    refused(m, "teacher.model.groups: 32 of base_width 128 make the 3x3 of "
               "layer1 1024 channels wide, of layer4 8192: expected 1 to 4096");
    m.base_width = 3;
    refused(m, "make the 3x3 of layer1 0 channels wide");
    m.base_width = 0;
    refused(m, "teacher.model.base_width: 0, expected 1 to 1024");
    m = tiny_model();
    m.dcn = LD_DCN_V1;
    m.dcn_from = 2;
    refused(m, "teacher.model.dcn: R-18 has no bottlenecks, which alone can be "
               "deformable: expected depth 50 or 101");
    m.depth = 50;
    m.dcn_from = 5;
    refused(m, "teacher.model.dcn_from: 5, expected 1 to 4");
    m = tiny_model();
    m.backbone = LD_RES2NET;
    refused(m, "teacher.model.depth: 18, expected 50 or 101 with backbone");
    m.depth = 101;
    m.groups = 32;
    refused(m, "teacher.model.groups: 32, expected 1 with backbone res2net");
}
END_TEST

START_TEST(style_caffe_is_of_resnets_with_bottlenecks_and_fixed_norms)
{
    struct ld_model m = tiny_model();

    m.style = LD_STYLE_CAFFE;
    refused(m, "teacher.model.style: caffe, expected with ResNets of depth 50");
    m.depth = 101;
    m.backbone = LD_RES2NET;
    refused(m, "teacher.model.style: caffe, expected with ResNets of depth 50");
    m.backbone = LD_RESNET;
    m.norm_eval = false;
    refused(m, "teacher.model.style: caffe, whose batch norms are fixed");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("params");
    TCase *c = tcase_create("params");

    tcase_add_test(c,
                   parameters_have_the_names_shapes_and_order_of_the_reference);
    tcase_add_test(c,
                   initial_values_are_distributed_as_the_reference_draws_them);
    tcase_add_test(c, initial_values_depend_on_seed_and_name_alone);
    tcase_add_test(
        c, a_checkpoint_of_the_reference_may_hold_counters_and_a_projection);
    tcase_add_test(c, a_missing_tensor_is_named);
    tcase_add_test(c, an_unexpected_tensor_is_named);
    tcase_add_test(c,
                   every_tensor_that_does_not_fit_is_counted_and_20_are_named);
    tcase_add_test(c, another_shape_is_refused_even_in_part);
    tcase_add_test(c, a_head_of_other_classes_begins_anew);
    tcase_add_test(c, a_part_loads_if_that_is_allowed);
    tcase_add_test(c, a_model_that_cannot_be_built_is_refused_by_field);
    tcase_add_test(c,
                   style_caffe_is_of_resnets_with_bottlenecks_and_fixed_norms);
    suite_add_tcase(s, c);
    return s;
}
