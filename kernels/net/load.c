#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/net/net_parts.h"

enum { MOST_NAMED = 20, NAMES_SIZE = 1280 };

/* Tensors of one kind that do not fit, the first of them by name. */
struct misfits {
    int n, n_named;
    size_t len;
    char names[NAMES_SIZE];
};

/* Counts one more, and names it where there is room. */
static void add(struct misfits *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(struct misfits *m, const char *format, ...)
{
    size_t room = sizeof(m->names) - m->len;
    char *at = m->names + m->len;
    va_list args;
    int len;

    if (m->n++ > m->n_named || m->n_named == MOST_NAMED)
        return;
    va_start(args, format);
    len = vsnprintf(at, room, format, args);
    va_end(args);
    if (len > 0 && (size_t)len < room) {
        m->len += (size_t)len;
        m->n_named++;
    } else {
        *at = 0;
    }
}

/* ": 'a', 'b' and 7 more" */
static const char *names_of(struct misfits *m)
{
    char more[32] = "";
    size_t room = sizeof(m->names);

    if (m->n > m->n_named)
        snprintf(more, sizeof(more), " and %d more", m->n - m->n_named);
    if (m->len + sizeof(more) > room)
        m->len = room - sizeof(more);
    snprintf(m->names + m->len, room - m->len, "%s", more);
    return m->names;
}

static const char *comma(const struct misfits *m)
{
    return m->n_named ? ", " : ": ";
}

/* In a checkpoint of the reference, but not a parameter of ours. */
static bool is_ignored(const char *name)
{
    static const char counter[] = "num_batches_tracked";
    size_t len = strlen(name), tail = sizeof(counter) - 1;

    return strcmp(name, "bbox_head.integral.project") == 0 ||
           (len >= tail && strcmp(name + len - tail, counter) == 0);
}

static bool is_param(const struct ld_net *net, const char *name)
{
    for (int i = 0; i < net->graph.n_params; i++)
        if (strcmp(net->graph.param[i].name, name) == 0)
            return true;
    return false;
}

static const char *shape_text(char text[64], const struct ld_tensor *t)
{
    int at = snprintf(text, 64, "(");

    for (int i = 0; i < t->n_dims; i++)
        at += snprintf(text + at, (size_t)(64 - at), "%s%d", i ? ", " : "",
                       t->dim[i]);
    snprintf(text + at, (size_t)(64 - at), ")");
    return text;
}

/* A head that was trained for other classes begins anew where it must. */
static bool may_differ(const char *name)
{
    return strncmp(name, "bbox_head.", strlen("bbox_head.")) == 0;
}

/* Sorts every tensor, wanted or given, by how it fits. */
static void compare(const struct ld_net *net, const struct ld_tensor *tensors,
                    int n, bool partial, struct misfits *missing,
                    struct misfits *unexpected, struct misfits *misshapen)
{
    char got_text[64], want_text[64];

    for (int i = 0; i < net->graph.n_params; i++) {
        const struct ld_tensor *want = &net->param[i].value;
        const struct ld_tensor *got = ld_tensor_find(tensors, n, want->name);

        if (!got)
            add(missing, "%s'%s'", comma(missing), want->name);
        else if (!ld_tensor_same_shape(got, want) &&
                 !(partial && may_differ(want->name)))
            add(misshapen, "%s'%s': shape %s, expected %s", comma(misshapen),
                want->name, shape_text(got_text, got),
                shape_text(want_text, want));
    }
    for (int i = 0; i < n; i++)
        if (!is_param(net, tensors[i].name) && !is_ignored(tensors[i].name))
            add(unexpected, "%s'%s'", comma(unexpected), tensors[i].name);
}

static bool check(const struct ld_net *net, const struct ld_tensor *tensors,
                  int n, bool partial, struct ld_err *err)
{
    struct misfits missing = {0}, unexpected = {0}, misshapen = {0};

    compare(net, tensors, n, partial, &missing, &unexpected, &misshapen);
    if (misshapen.n > 0 && partial)
        return ld_fail(err, LD_ERR_MISMATCH,
                       "tensors of another shape than the model's, %d%s",
                       misshapen.n, names_of(&misshapen));
    if (partial && missing.n == net->graph.n_params)
        return ld_fail(err, LD_ERR_MISMATCH,
                       "none of its tensors is of the model; it has %d%s",
                       unexpected.n, names_of(&unexpected));
    if (partial || missing.n + unexpected.n + misshapen.n == 0)
        return true;
    return ld_fail(err, LD_ERR_MISMATCH,
                   "tensors of the model that are missing, %d%s; that are not "
                   "of the model, %d%s; of another shape, %d%s",
                   missing.n, names_of(&missing), unexpected.n,
                   names_of(&unexpected), misshapen.n, names_of(&misshapen));
}

bool ld_net_load(struct ld_net *net, const struct ld_tensor *tensors, int n,
                 bool partial, struct ld_err *err)
{
    const struct ld_ops *ops = net->dev->ops;

    if (!check(net, tensors, n, partial, err))
        return false;
    for (int i = 0; i < net->graph.n_params; i++) {
        const struct ld_tensor *value = &net->param[i].value;
        const struct ld_tensor *tensor =
            ld_tensor_find(tensors, n, value->name);

        if (tensor && ld_tensor_same_shape(tensor, value))
            ops->upload(net->dev, value->data, tensor->data,
                        ld_tensor_count(value) * sizeof(float));
    }
    ld_net_changed(net);
    return ops->sync(net->dev, err);
}
