/* A detector out of mmdetection's file gives what it gave there. */
#include <stdio.h>
#include <string.h>

#include "formats/checkpoint.h"
#include "formats/setup.h"
#include "tests/nets.h"
#include "tests/suite.h"

/* The file's backbone begins with 8 channels, of which we need a multiple of
 * 16: as many more, that give zero and are not looked at, change nothing. */
static int widened(const struct ld_tensor *t, int i)
{
    bool backbone = strncmp(t->name, "backbone.", 9) == 0;
    bool lateral = strncmp(t->name, "neck.lateral_convs.", 19) == 0;
    bool image = t->n_dims == 4 && i == 1 && t->dim[1] == 3;

    return i < 2 && ((backbone && !image) ||
                     (lateral && t->n_dims == 4 && i == 1))
               ? 2 * t->dim[i]
               : t->dim[i];
}

static void widen(struct ld_tensor *t, struct ld_arena *arena)
{
    struct ld_tensor wide = *t;
    struct ld_err err = {0};
    int area = 1, C = t->n_dims > 1 ? t->dim[1] : 1;

    for (int i = 0; i < t->n_dims; i++) {
        wide.dim[i] = widened(t, i);
        area *= i > 1 ? t->dim[i] : 1;
    }
    wide.data =
        ld_arena_new(arena, ld_tensor_count(&wide), sizeof(float), &err);
    check_ok(wide.data != NULL, &err);
    if (strstr(t->name, "running_var"))
        for (size_t i = 0; i < ld_tensor_count(&wide); i++)
            wide.data[i] = 1;
    for (int o = 0; o < (t->n_dims ? t->dim[0] : 1); o++)
        for (int c = 0; c < C; c++)
            memcpy(wide.data +
                       ((size_t)o * (t->n_dims > 1 ? wide.dim[1] : 1) + c) *
                           (size_t)area,
                   t->data + ((size_t)o * C + c) * (size_t)area,
                   (size_t)area * sizeof(float));
    *t = wide;
}

static struct ld_net *open_net(struct golden *g, struct ld_device *dev,
                               const char *kind, struct ld_model *model)
{
    struct ld_err err = {0};
    struct ld_checkpoint c;
    struct ld_net *net;
    char path[1400];

    snprintf(path, sizeof(path), "%s/../../ckpt/gfl_r18_%s.pth", g->folder,
             kind);
    check_ok(ld_checkpoint_load(path, &c, &g->arena, &err), &err);
    check_ok(ld_setup_model(&c, path, model, NULL, &g->arena, &err), &err);
    ck_assert_int_eq(model->width,
                     (int)golden_number(g, "params.base_channels"));
    ck_assert_int_eq(model->fpn_channels,
                     (int)golden_number(g, "params.channels"));
    ck_assert_int_eq(model->head_convs,
                     (int)golden_number(g, "params.stacked_convs"));
    ck_assert_int_eq(model->n_classes,
                     (int)golden_number(g, "params.num_classes"));
    for (int i = 0; i < c.n_tensors; i++)
        widen(&c.tensors[i], &g->arena);
    model->width *= 2;
    net = ld_net_new(dev, model, LD_NET_INFER, &err);
    check_ok(net != NULL, &err);
    check_ok(ld_net_load(net, c.tensors, c.n_tensors, false, &err), &err);
    return net;
}

/* Rows (A, width) of a level as its map (width, h, w). */
static void compare_level(struct golden *g, const char *name, int level,
                          const float *rows, int width)
{
    struct golden_array want;
    struct ld_err err = {0};
    char array[32];
    float *map;
    size_t n;

    snprintf(array, sizeof(array), "%s_%d", name, level);
    want = golden_array(g, array);
    n = (size_t)want.dim[2] * (size_t)want.dim[3];
    ck_assert_int_eq(want.dim[1], width);
    map = ld_arena_new(&g->arena, want.count, sizeof(float), &err);
    check_ok(map != NULL, &err);
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < width; k++)
            map[(size_t)k * n + i] = rows[i * (size_t)width + (size_t)k];
    /* 30 convolutions in float, summed in another order: the golden nets'. */
    golden_compare(g, array, map, want.count, 1e-4);
}

static void compare_rows(struct golden *g, struct ld_net *net,
                         struct ld_device *dev, const struct ld_model *model)
{
    struct ld_grid grid = ld_net_grid(net);
    int K = model->n_classes, B = 4 * (model->reg_max + 1);
    size_t A = (size_t)grid.start[grid.n_levels];
    const float *cls = fetched(g, dev, ld_net_class_rows(net), A * (size_t)K);
    const float *reg = fetched(g, dev, ld_net_box_rows(net), A * (size_t)B);

    for (int level = 0; level < LD_MAX_LEVELS; level++) {
        size_t first = (size_t)grid.start[level];

        compare_level(g, "cls", level, cls + first * (size_t)K, K);
        compare_level(g, "reg", level, reg + first * (size_t)B, B);
    }
}

static int n_run;

static void forward_case(struct golden *g)
{
    static const char *const kinds[] = {"zip", "legacy"};
    struct ld_device *dev;
    struct ld_err err = {0};
    struct ld_model model;
    struct ld_net *net;

    if (!golden_has(g, "img"))
        return;
    for (int i = 0; i < 2; i++, n_run++) {
        dev = open_cpu();
        net = open_net(g, dev, kinds[i], &model);
        check_ok(ld_net_resize(net, 1, 96, 160, &err), &err);
        dev->ops->upload(dev, ld_net_input(net),
                         golden_floats(g, "img", 3 * 96 * 160),
                         3 * 96 * 160 * sizeof(float));
        ld_net_forward(net);
        compare_rows(g, net, dev, &model);
        ld_net_free(net);
        dev->ops->close(dev);
    }
}

START_TEST(its_logits_are_those_of_the_reference)
{
    n_run = 0;
    golden_each("ckpt_expected", forward_case);
    if (n_run == 0)
        SKIP_TEST("no golden/ckpt/gfl_r18 below $LD_SHARED");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("pth_net");
    TCase *c = tcase_create("net");

    tcase_add_test(c, its_logits_are_those_of_the_reference);
    suite_add_tcase(s, c);
    return s;
}
