#include "tests/made_detector.h"

#include <string.h>

#include "kernels/base/rng.h"

static const char *const CLASSES[] = {"person", "traffic \"light\"", "cat"};

static bool ends_in(const char *text, const char *ending)
{
    size_t len = strlen(text), n = strlen(ending);

    return len >= n && strcmp(text + len - n, ending) == 0;
}

/* As a training might leave it: norms that scale and shift, classes that are
 * told apart, offsets of a pixel or two. Blocks add little to their input, or
 * values and offsets grow until a chain of deformable layers makes pixels of a
 * rounding. */
static void stir(struct ld_tensor *t, struct ld_rng *rng)
{
    size_t count = ld_tensor_count(t);

    for (size_t i = 0; i < count; i++) {
        float u = ld_rng_uniform(rng);

        if (ends_in(t->name, "gfl_cls.weight") ||
            ends_in(t->name, "gfl_reg.weight") ||
            ends_in(t->name, "reg_conf.2.weight"))
            t->data[i] *= 20;
        else if (ends_in(t->name, "conv_offset.weight"))
            t->data[i] = 0.001F * (u - 0.5F);
        else if (ends_in(t->name, "conv_offset.bias"))
            t->data[i] = 3 * (u - 0.5F);
        else if (ends_in(t->name, "bn3.weight"))
            t->data[i] = 0.2F * (0.5F + u);
        else if (ends_in(t->name, "mean") || ends_in(t->name, "bias"))
            t->data[i] += 0.4F * (u - 0.5F);
        else if (ends_in(t->name, "var") || ends_in(t->name, "scale") ||
                 t->n_dims == 1)
            t->data[i] = 0.5F + u;
    }
}

/* Copies of the net's parameters, in host memory. */
static void read_params(struct made_detector *m)
{
    struct ld_checkpoint *c = &m->e.checkpoint;
    struct ld_param *param = ld_net_params(m->net, &c->n_tensors);
    struct ld_err err = {0};

    c->tensors = ld_arena_new(&m->arena, (size_t)c->n_tensors,
                              sizeof(*c->tensors), &err);
    check_ok(c->tensors != NULL, &err);
    for (int i = 0; i < c->n_tensors; i++) {
        struct ld_tensor *t = &c->tensors[i];
        size_t size = ld_tensor_count(&param[i].value) * sizeof(float);

        *t = param[i].value;
        t->data = ld_arena_new(&m->arena, size, 1, &err);
        check_ok(t->data != NULL, &err);
        m->dev->ops->download(m->dev, t->data, param[i].value.data, size);
    }
    check_ok(m->dev->ops->sync(m->dev, &err), &err);
}

/* What differs from tiny_model(). */
static const struct {
    const char *name;
    int depth, head_convs, reg_max, groups, base_width;
    enum ld_backbone backbone;
    enum ld_dcn dcn;
    int dcn_from;
    enum ld_head head;
    bool background_logit;
} kinds[DETECTOR_KINDS] = {
    {.name = "R-18"},
    {.name = "R-50, two convolutions a tower",
     .depth = 50,
     .head_convs = 2,
     .reg_max = 16},
    {.name = "ResNeXt-50", .depth = 50, .groups = 8, .base_width = 16},
    {.name = "GFL V2", .reg_max = 16, .head = LD_HEAD_GFLV2},
    {.name = "GFL V2 with a background",
     .reg_max = 7,
     .head = LD_HEAD_GFLV2,
     .background_logit = true},
    {.name = "R-50-DCN", .depth = 50, .dcn = LD_DCN_V1, .dcn_from = 2},
    {.name = "ResNeXt-50-DCNv2",
     .depth = 50,
     .groups = 8,
     .base_width = 16,
     .dcn = LD_DCN_V2,
     .dcn_from = 2},
    {.name = "Res2Net-50",
     .backbone = LD_RES2NET,
     .depth = 50,
     .base_width = 26},
    {.name = "Res2Net-50-DCN",
     .backbone = LD_RES2NET,
     .depth = 50,
     .base_width = 26,
     .dcn = LD_DCN_V1,
     .dcn_from = 3},
};

static void set(int *field, int value)
{
    *field = value ? value : *field;
}

static struct ld_model model_of(int kind)
{
    struct ld_model model = tiny_model();

    set(&model.depth, kinds[kind].depth);
    set(&model.head_convs, kinds[kind].head_convs);
    set(&model.reg_max, kinds[kind].reg_max);
    set(&model.groups, kinds[kind].groups);
    set(&model.base_width, kinds[kind].base_width);
    model.backbone = kinds[kind].backbone;
    model.dcn_from = kinds[kind].dcn_from;
    model.dcn = kinds[kind].dcn;
    model.head = kinds[kind].head;
    model.background_logit = kinds[kind].background_logit;
    return model;
}

void detector_make(struct made_detector *m, int kind)
{
    struct ld_err err = {0};
    struct ld_checkpoint *c = &m->e.checkpoint;
    struct ld_rng rng = ld_rng_seed(1, 2);
    struct ld_model model = model_of(kind);

    *m = (struct made_detector){.dev = open_cpu(), .kind = kinds[kind].name};
    check_ok(ld_config_default(&m->e.config, &m->arena, &err), &err);
    m->e.model = m->e.config.model = model;
    m->e.config.test.score_limit = 0.02F;
    m->net = ld_net_new(m->dev, &model, LD_NET_INFER, &err);
    check_ok(m->net != NULL, &err);
    ld_net_init(m->net, 1);
    read_params(m);
    for (int i = 0; i < c->n_tensors; i++)
        stir(&c->tensors[i], &rng);
    check_ok(ld_net_load(m->net, c->tensors, c->n_tensors, false, &err), &err);
    c->class_names = (const char **)CLASSES;
    c->n_classes = model.n_classes;
}

void detector_free(struct made_detector *m)
{
    ld_net_free(m->net);
    m->dev->ops->close(m->dev);
    ld_arena_free(&m->arena);
}
