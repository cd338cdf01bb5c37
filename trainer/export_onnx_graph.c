#include "trainer/export_onnx_graph.h"

#include <stdio.h>
#include <string.h>

static char *nothing(void) /* the name after a failure */
{
    return (char *)"";
}

bool ld_onnx_ok(const struct ld_onnx *onnx)
{
    return onnx->err->code == LD_OK;
}

void *ld_onnx_room(struct ld_onnx *onnx, size_t count, size_t size)
{
    return ld_onnx_ok(onnx) ? ld_arena_new(onnx->arena, count, size, onnx->err)
                            : NULL;
}

char *ld_onnx_text(struct ld_onnx *onnx, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = ld_onnx_room(onnx, size, 1);

    return copy ? memcpy(copy, text, size) : nothing();
}

void ld_onnx_list_add(struct ld_onnx *onnx, struct ld_onnx_list *list,
                      void *item)
{
    if (list->n == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 256;
        void **items = ld_onnx_room(onnx, cap, sizeof(*items));

        if (!items)
            return;
        if (list->n)
            memcpy(items, list->items, list->n * sizeof(*items));
        list->items = items;
        list->cap = cap;
    }
    list->items[list->n++] = item;
}

/* ---- nodes ---- */

static LdOnnx__Attribute *attribute_of(struct ld_onnx *onnx,
                                       const struct ld_onnx_attribute *from)
{
    LdOnnx__Attribute *a = ld_onnx_room(onnx, 1, sizeof(*a));

    if (!a)
        return NULL;
    ld_onnx__attribute__init(a);
    a->name = ld_onnx_text(onnx, from->name);
    a->has_type = true;
    if (from->text) {
        a->type = LD_ONNX__ATTRIBUTE__TYPE__STRING;
        a->has_s = true;
        a->s.data = (uint8_t *)ld_onnx_text(onnx, from->text);
        a->s.len = strlen(from->text);
    } else if (from->n_ints) {
        a->type = LD_ONNX__ATTRIBUTE__TYPE__INTS;
        a->n_ints = (size_t)from->n_ints;
        a->ints = ld_onnx_room(onnx, a->n_ints, sizeof(*a->ints));
        if (a->ints)
            memcpy(a->ints, from->ints, a->n_ints * sizeof(*a->ints));
    } else if (from->is_float) {
        a->type = LD_ONNX__ATTRIBUTE__TYPE__FLOAT;
        a->has_f = true;
        a->f = from->f;
    } else {
        a->type = LD_ONNX__ATTRIBUTE__TYPE__INT;
        a->has_i = true;
        a->i = from->i;
    }
    return a;
}

static void set_attributes(struct ld_onnx *onnx, LdOnnx__Node *node,
                           const struct ld_onnx_attribute *from)
{
    node->attribute =
        ld_onnx_room(onnx, LD_ONNX_ATTRIBUTES, sizeof(*node->attribute));
    for (; node->attribute && from->name; from++)
        node->attribute[node->n_attribute++] = attribute_of(onnx, from);
}

/* A node and its outputs are named for what it does and where it stands. */
static LdOnnx__Node *new_node(struct ld_onnx *onnx, const char *op, size_t n_in,
                              size_t n_out)
{
    LdOnnx__Node *node = ld_onnx_room(onnx, 1, sizeof(*node));
    char name[64];

    if (!node)
        return NULL;
    ld_onnx__node__init(node);
    node->input = ld_onnx_room(onnx, n_in, sizeof(*node->input));
    node->output = ld_onnx_room(onnx, n_out, sizeof(*node->output));
    if (!node->output)
        return NULL;
    snprintf(name, sizeof(name), "%s_%zu", op, onnx->nodes.n);
    node->op_type = ld_onnx_text(onnx, op);
    node->name = ld_onnx_text(onnx, name);
    for (size_t i = 0; i < n_out; i++) {
        snprintf(name, sizeof(name), "%s_%zu.%zu", op, onnx->nodes.n, i);
        node->output[node->n_output++] = ld_onnx_text(onnx, name);
    }
    ld_onnx_list_add(onnx, &onnx->nodes, node);
    return node;
}

void ld_onnx_need(struct ld_onnx *onnx, int operator_set)
{
    if (onnx->operator_set < operator_set)
        onnx->operator_set = operator_set;
}

const char *ld_onnx_add(struct ld_onnx *onnx, struct ld_onnx_node from)
{
    LdOnnx__Node *node =
        new_node(onnx, from.op, LD_ONNX_INPUTS, from.second ? 2 : 1);

    if (from.second)
        *from.second = node ? node->output[1] : nothing();
    if (!node)
        return nothing();
    if (from.out)
        node->output[0] = ld_onnx_text(onnx, from.out);
    for (int i = 0; from.in[i]; i++)
        node->input[node->n_input++] = ld_onnx_text(onnx, from.in[i]);
    set_attributes(onnx, node, from.attribute);
    return ld_onnx_ok(onnx) ? node->output[0] : nothing();
}

const char *ld_onnx_op(struct ld_onnx *onnx, const char *op, const char *a,
                       const char *b)
{
    return ld_onnx_add(onnx, (struct ld_onnx_node){.op = op, .in = {a, b}});
}

const char *ld_onnx_concat(struct ld_onnx *onnx, const char *const *values,
                           int n, int64_t axis)
{
    struct ld_onnx_attribute attribute[2] = {{.name = "axis", .i = axis}};
    LdOnnx__Node *node = new_node(onnx, "Concat", (size_t)n, 1);

    if (!node)
        return nothing();
    for (int i = 0; i < n; i++)
        node->input[node->n_input++] = ld_onnx_text(onnx, values[i]);
    set_attributes(onnx, node, attribute);
    return ld_onnx_ok(onnx) ? node->output[0] : nothing();
}

/* ---- stored tensors ---- */

static LdOnnx__Tensor *new_tensor(struct ld_onnx *onnx, const char *name,
                                  int type, int n_dims, const int64_t *dims)
{
    LdOnnx__Tensor *t = ld_onnx_room(onnx, 1, sizeof(*t));

    if (!t)
        return NULL;
    ld_onnx__tensor__init(t);
    t->name = ld_onnx_text(onnx, name);
    t->has_data_type = true;
    t->data_type = type;
    t->dims = ld_onnx_room(onnx, (size_t)n_dims, sizeof(*t->dims));
    if (!t->dims)
        return NULL;
    for (int i = 0; i < n_dims; i++)
        t->dims[t->n_dims++] = dims[i];
    ld_onnx_list_add(onnx, &onnx->tensors, t);
    return t;
}

static const char *known(const struct ld_onnx *onnx, const char *name)
{
    for (size_t i = 0; i < onnx->tensors.n; i++) {
        const LdOnnx__Tensor *t = onnx->tensors.items[i];

        if (strcmp(t->name, name) == 0)
            return t->name;
    }
    return NULL;
}

const char *ld_onnx_floats(struct ld_onnx *onnx, const char *name, float *data,
                           int n_dims, const int64_t *dims)
{
    const char *had = known(onnx, name);
    LdOnnx__Tensor *t =
        had ? NULL
            : new_tensor(onnx, name, LD_ONNX__TENSOR__DATA_TYPE__FLOAT, n_dims,
                         dims);

    if (!t)
        return had ? had : nothing();
    t->float_data = data;
    t->n_float_data = 1;
    for (int i = 0; i < n_dims; i++)
        t->n_float_data *= (size_t)dims[i];
    return t->name;
}

const char *ld_onnx_float(struct ld_onnx *onnx, float value)
{
    float *data = ld_onnx_room(onnx, 1, sizeof(*data));
    char name[40];

    if (!data)
        return nothing();
    *data = value;
    snprintf(name, sizeof(name), "float_%.9g", (double)value);
    return ld_onnx_floats(onnx, name, data, 0, NULL);
}

static const char *store_ints(struct ld_onnx *onnx, const char *name, int n,
                              const int64_t *values, int n_dims)
{
    const char *had = known(onnx, name);
    LdOnnx__Tensor *t;
    int64_t dim = n;

    if (had)
        return had;
    t = new_tensor(onnx, name, LD_ONNX__TENSOR__DATA_TYPE__INT64, n_dims, &dim);
    if (t)
        t->int64_data = ld_onnx_room(onnx, (size_t)n, sizeof(*values));
    if (!t || !t->int64_data)
        return nothing();
    memcpy(t->int64_data, values, (size_t)n * sizeof(*values));
    t->n_int64_data = (size_t)n;
    return t->name;
}

const char *ld_onnx_int(struct ld_onnx *onnx, int64_t value)
{
    char name[40];

    snprintf(name, sizeof(name), "int_%lld", (long long)value);
    return store_ints(onnx, name, 1, &value, 0);
}

const char *ld_onnx_ints(struct ld_onnx *onnx, int n, const int64_t *values)
{
    char name[256] = "ints";
    size_t len = strlen(name);

    for (int i = 0; i < n && len < sizeof(name); i++)
        len += (size_t)snprintf(name + len, sizeof(name) - len, "_%lld",
                                (long long)values[i]);
    return store_ints(onnx, name, n, values, 1);
}
