#include "trainer/run.h"

#include <stdio.h>

/* What stays of a checkpoint when its tensors are gone. */
static bool keep_facts(struct ld_detector *out,
                       const struct ld_checkpoint *checkpoint,
                       struct ld_err *err)
{
    int n = checkpoint->n_classes;

    out->classes_assumed = checkpoint->classes_assumed;
    out->epoch = checkpoint->epoch;
    out->step = checkpoint->step;
    out->class_names =
        ld_arena_new(&out->arena, (size_t)n, sizeof(*out->class_names), err);
    for (int i = 0; out->class_names && i < n; i++) {
        const char *name = checkpoint->class_names[i];

        name = ld_arena_text(&out->arena, name, strlen(name), err);
        if (!name)
            return false;
        out->class_names[out->n_classes++] = name;
    }
    return out->class_names != NULL;
}

bool ld_detector_open(struct ld_detector *out, struct ld_device *dev,
                      const char *path, struct ld_err *err)
{
    struct ld_arena loading = {0};
    struct ld_checkpoint c;
    bool ok;

    *out = (struct ld_detector){0};
    ok =
        ld_checkpoint_load(path, &c, &loading, err) &&
        ld_setup_model(&c, path, &out->model, &out->config, &out->arena, err) &&
        keep_facts(out, &c, err);
    if (ok && c.note)
        fprintf(stderr, "ld-distill: %s: %s\n", path, c.note);
    if (ok) {
        out->net = ld_net_new(dev, &out->model, LD_NET_INFER, err);
        ok = (out->net &&
              ld_net_load(out->net, c.tensors, c.n_tensors, false, err)) ||
             ld_fail_in(err, path);
    }
    ld_arena_free(&loading);
    if (!ok)
        ld_detector_close(out);
    return ok;
}

void ld_detector_close(struct ld_detector *detector)
{
    ld_net_free(detector->net);
    ld_arena_free(&detector->arena);
    *detector = (struct ld_detector){0};
}

bool ld_run_read_params(struct ld_device *dev, struct ld_net *net,
                        bool momentum, struct ld_tensor **tensors, int *n,
                        struct ld_arena *arena, struct ld_err *err)
{
    int n_params, count = 0;
    struct ld_param *params = ld_net_params(net, &n_params);
    struct ld_tensor *out =
        ld_arena_new(arena, (size_t)n_params, sizeof(*out), err);

    for (int i = 0; out && i < n_params; i++) {
        const float *from =
            momentum ? params[i].momentum : params[i].value.data;
        size_t size = ld_tensor_count(&params[i].value) * sizeof(float);

        if (!from)
            continue;
        out[count] = params[i].value;
        out[count].data = ld_arena_new(arena, size, 1, err);
        if (!out[count].data)
            return false;
        dev->ops->download(dev, out[count++].data, from, size);
    }
    *tensors = out;
    *n = count;
    return out && dev->ops->sync(dev, err);
}

bool ld_run_write_momentum(struct ld_device *dev, struct ld_net *net,
                           const struct ld_tensor *tensors, int n,
                           struct ld_err *err)
{
    int n_params;
    struct ld_param *params = ld_net_params(net, &n_params);

    for (int i = 0; i < n_params; i++) {
        const struct ld_tensor *value = &params[i].value;
        const struct ld_tensor *from = ld_tensor_find(tensors, n, value->name);

        if (!params[i].momentum)
            continue;
        if (!from || ld_tensor_count(from) != ld_tensor_count(value))
            return ld_fail(err, LD_ERR_MISMATCH,
                           "no momentum of %s: trained with other "
                           "model.frozen_stages?",
                           value->name);
        dev->ops->upload(dev, params[i].momentum, from->data,
                         ld_tensor_count(value) * sizeof(float));
    }
    return dev->ops->sync(dev, err);
}
