#include "tests/nets.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/backend.h"

void check_ok(bool ok, const struct ld_err *err)
{
    if (!ok)
        ck_abort_msg("%s", err->text);
}

struct ld_device *open_cpu(void)
{
    struct ld_err err = {0};
    struct ld_device *dev = ld_device_open(
        &(struct ld_device_options){.name = "cpu", .n_threads = 1}, NULL, &err);

    check_ok(dev != NULL, &err);
    return dev;
}

struct ld_model tiny_model(void)
{
    return (struct ld_model){.depth = 18,
                             .groups = 1,
                             .base_width = 64,
                             .width = 16,
                             .fpn_channels = 32,
                             .head_convs = 1,
                             .gn_groups = 4,
                             .n_classes = 3,
                             .reg_max = 3,
                             .frozen_stages = 1,
                             .norm_eval = true};
}

static void *room(struct golden *g, size_t count, size_t size)
{
    struct ld_err err = {0};
    void *memory = ld_arena_new(&g->arena, count, size, &err);

    check_ok(memory != NULL, &err);
    return memory;
}

static const char *full_name(struct golden *g, const char *name)
{
    size_t bytes = strlen(name) + sizeof("backbone.");
    char *full = room(g, bytes, 1);
    bool has_prefix = strncmp(name, "backbone.", 9) == 0 ||
                      strncmp(name, "neck.", 5) == 0 ||
                      strncmp(name, "bbox_head.", 10) == 0;

    snprintf(full, bytes, "%s%s", has_prefix ? "" : "backbone.", name);
    return full;
}

const struct ld_tensor *golden_tensors(struct golden *g, bool of_teacher,
                                       int *count)
{
    const struct golden_array *arrays;
    const char *const *names;
    int n = of_teacher ? golden_teacher_weights(g, &names, &arrays)
                       : golden_weights(g, &names, &arrays);
    struct ld_tensor *tensors = room(g, (size_t)n, sizeof(*tensors));

    for (int i = 0; i < n; i++) {
        tensors[i] = (struct ld_tensor){.name = full_name(g, names[i]),
                                        .data = (float *)arrays[i].data,
                                        .n_dims = arrays[i].n_dims};
        for (int d = 0; d < arrays[i].n_dims; d++)
            tensors[i].dim[d] = arrays[i].dim[d];
    }
    *count = n;
    return tensors;
}

struct ld_net *golden_net(struct golden *g, struct ld_device *dev,
                          const struct ld_model *model, enum ld_net_use use)
{
    struct ld_err err = {0};
    struct ld_net *net = ld_net_new(dev, model, use, &err);
    const struct ld_tensor *tensors;
    int n;

    check_ok(net != NULL, &err);
    tensors = golden_tensors(g, false, &n);
    if (n < net->graph.n_params)
        ld_net_init(net, 1);
    check_ok(ld_net_load(net, tensors, n, n < net->graph.n_params, &err), &err);
    return net;
}

float *fetched(struct golden *g, struct ld_device *dev, const float *from,
               size_t count)
{
    float *to = room(g, count, sizeof(*to));
    struct ld_err err = {0};

    dev->ops->download(dev, to, from, count * sizeof(*to));
    check_ok(dev->ops->sync(dev, &err), &err);
    return to;
}

static void fill_with_nan(struct ld_net *net, char *at, size_t bytes)
{
    float nan[1024];

    for (int i = 0; i < 1024; i++)
        nan[i] = NAN;
    for (size_t done = 0; done < bytes; done += sizeof(nan))
        net->dev->ops->upload(net->dev, at + done, nan,
                              bytes - done < sizeof(nan) ? bytes - done
                                                         : sizeof(nan));
}

static void poison_dead(struct ld_net *net, int step)
{
    const struct ld_plan *plan = net->plan;

    for (int i = 0; i < plan->n_spans; i++) {
        const struct ld_span *span = &plan->span[i];

        if (span->with == i && span->last == step && span->bytes)
            fill_with_nan(net, net->maps + span->offset, span->bytes);
    }
}

void poison(struct ld_net *net)
{
    net->after_step = poison_dead;
    fill_with_nan(net, net->maps, net->plan->bytes);
}

void run_forward(struct golden *g, struct ld_net *net)
{
    struct golden_array img = golden_array(g, "img");
    struct ld_err err = {0};

    net->keep = true;
    check_ok(ld_net_resize(net, img.dim[0], img.dim[2], img.dim[3], &err),
             &err);
    poison(net);
    net->dev->ops->upload(net->dev, ld_net_input(net), img.data,
                          img.count * sizeof(float));
    ld_net_forward(net);
}

float *plain_map(struct golden *g, struct ld_net *net, const char *name,
                 struct ld_shape *shape)
{
    struct ld_device *dev = net->dev;
    const float *map = ld_net_map(net, name, shape);
    size_t count = (size_t)shape->N * (size_t)shape->C * (size_t)shape->H *
                   (size_t)shape->W;
    struct ld_err err = {0};
    float *plain = dev->ops->alloc(dev, count * sizeof(float), &err), *host;

    ck_assert_msg(map != NULL, "%s: no map %s", g->name, name);
    check_ok(plain != NULL, &err);
    dev->ops->map_unpack(dev, plain, map, *shape);
    host = fetched(g, dev, plain, count);
    dev->ops->release(dev, plain);
    return host;
}

double norm_of(struct golden *g, struct ld_net *net,
               const struct ld_param *param)
{
    size_t count = ld_tensor_count(&param->value);
    const float *grad = fetched(g, net->dev, param->grad, count);
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += (double)grad[i] * (double)grad[i];
    return sqrt(sum);
}

int upload_map_gradients(struct golden *g, struct ld_net *net)
{
    uint32_t stream =
        (uint32_t)golden_number(g, "params.upstream_seed") * 32 + 7;
    struct ld_device *dev = net->dev;
    int last = 0;

    for (int i = 0; i < net->graph.n_maps; i++) {
        const char *name = net->graph.map[i].name;
        struct ld_shape s = net->plan->shape[i];
        size_t count = (size_t)s.N * (size_t)s.C * (size_t)s.H * (size_t)s.W;

        if (!name || name[0] != 'c' || name[1] == '2')
            continue;
        dev->ops->map_pack(
            dev, ld_net_span(net, ld_plan_grad(&net->graph, i)),
            golden_gauss(g, stream + (uint32_t)(name[1] - '2'), count), s);
        for (int j = 0; j < net->graph.n_layers; j++)
            if (net->graph.layer[j].out == i)
                last = j;
    }
    return last + 1;
}

const struct ld_param *param_of(struct ld_net *net, const char *name)
{
    struct ld_param *params;
    char full[128];
    int n;

    snprintf(full, sizeof(full), "backbone.%s", name);
    params = ld_net_params(net, &n);
    for (int i = 0; i < n; i++)
        if (strcmp(params[i].value.name, full) == 0)
            return &params[i];
    ck_abort_msg("no parameter %s", full);
    return NULL;
}
