#include "trainer/export_onnx_model.h"

#include <stdio.h>
#include <string.h>

#include "formats/file.h"

static const size_t MOST_BYTES = INT32_MAX; /* of any protobuf message */

/* ---- inputs, outputs, properties ---- */

/* A dimension is a number, or one that is known when it runs. */
static LdOnnx__Dimension *dimension(struct ld_onnx *onnx, const char *text)
{
    LdOnnx__Dimension *d = ld_onnx_room(onnx, 1, sizeof(*d));
    int number;

    if (!d)
        return NULL;
    ld_onnx__dimension__init(d);
    if (sscanf(text, "%d", &number) == 1) {
        d->value_case = LD_ONNX__DIMENSION__VALUE_DIM_VALUE;
        d->dim_value = number;
    } else {
        d->value_case = LD_ONNX__DIMENSION__VALUE_DIM_PARAM;
        d->dim_param = ld_onnx_text(onnx, text);
    }
    return d;
}

/* `dims` ends with NULL. */
static LdOnnx__ValueInfo *value_info(struct ld_onnx *onnx, const char *name,
                                     int type, const char *const *dims)
{
    struct {
        LdOnnx__ValueInfo info;
        LdOnnx__Type type;
        LdOnnx__TensorType tensor;
        LdOnnx__Shape shape;
        LdOnnx__Dimension *dims[4];
    } *v = ld_onnx_room(onnx, 1, sizeof(*v));

    if (!v)
        return NULL;
    ld_onnx__value_info__init(&v->info);
    ld_onnx__type__init(&v->type);
    ld_onnx__tensor_type__init(&v->tensor);
    ld_onnx__shape__init(&v->shape);
    v->info.name = ld_onnx_text(onnx, name);
    v->info.type = &v->type;
    v->type.value_case = LD_ONNX__TYPE__VALUE_TENSOR_TYPE;
    v->type.tensor_type = &v->tensor;
    v->tensor.has_elem_type = true;
    v->tensor.elem_type = type;
    v->tensor.shape = &v->shape;
    v->shape.dim = v->dims;
    while (dims[v->shape.n_dim]) {
        v->dims[v->shape.n_dim] = dimension(onnx, dims[v->shape.n_dim]);
        v->shape.n_dim++;
    }
    return &v->info;
}

void ld_onnx_input(struct ld_onnx *onnx, const char *name, int type,
                   const char *const *dims)
{
    ld_onnx_list_add(onnx, &onnx->inputs, value_info(onnx, name, type, dims));
}

void ld_onnx_output(struct ld_onnx *onnx, const char *name, int type,
                    const char *const *dims)
{
    ld_onnx_list_add(onnx, &onnx->outputs, value_info(onnx, name, type, dims));
}

void ld_onnx_property(struct ld_onnx *onnx, const char *key, const char *value)
{
    LdOnnx__Property *p = ld_onnx_room(onnx, 1, sizeof(*p));

    if (!p)
        return;
    ld_onnx__property__init(p);
    p->key = ld_onnx_text(onnx, key);
    p->value = ld_onnx_text(onnx, value);
    ld_onnx_list_add(onnx, &onnx->properties, p);
}

/* ---- the file ---- */

/* The graph borrows the lists, whose items are of these types. */
static LdOnnx__Graph graph_of(const struct ld_onnx *onnx, char *name)
{
    LdOnnx__Graph graph = LD_ONNX__GRAPH__INIT;

    graph.name = name;
    graph.n_node = onnx->nodes.n;
    graph.node = (LdOnnx__Node **)onnx->nodes.items;
    graph.n_initializer = onnx->tensors.n;
    graph.initializer = (LdOnnx__Tensor **)onnx->tensors.items;
    graph.n_input = onnx->inputs.n;
    graph.input = (LdOnnx__ValueInfo **)onnx->inputs.items;
    graph.n_output = onnx->outputs.n;
    graph.output = (LdOnnx__ValueInfo **)onnx->outputs.items;
    return graph;
}

static bool write_model(struct ld_onnx *onnx, const LdOnnx__Model *model,
                        const char *path)
{
    size_t size = ld_onnx__model__get_packed_size(model);
    uint8_t *bytes;

    if (size > MOST_BYTES)
        return ld_fail(onnx->err, LD_ERR_USAGE,
                       "%s: %zu bytes: ONNX allows one file 2 GiB", path, size);
    bytes = ld_onnx_room(onnx, size, 1);
    if (!bytes)
        return false;
    ld_onnx__model__pack(model, bytes);
    return ld_file_replace(path, bytes, size, onnx->err);
}

bool ld_onnx_write(struct ld_onnx *onnx, const char *name, const char *doc,
                   const char *path)
{
    LdOnnx__Graph graph = graph_of(onnx, ld_onnx_text(onnx, name));
    LdOnnx__OperatorSet set = LD_ONNX__OPERATOR_SET__INIT, *sets[1] = {&set};
    LdOnnx__Model model = LD_ONNX__MODEL__INIT;

    set.domain = ld_onnx_text(onnx, "");
    set.has_version = model.has_ir_version = true;
    set.version = onnx->operator_set;
    model.ir_version =
        onnx->operator_set < 19 ? 8 : 9; /* ONNX: Versioning.md */
    model.producer_name = ld_onnx_text(onnx, "ld-distill");
    model.producer_version = ld_onnx_text(onnx, LD_VERSION);
    model.doc_string = ld_onnx_text(onnx, doc);
    model.graph = &graph;
    model.n_opset_import = 1;
    model.opset_import = sets;
    model.n_metadata_props = onnx->properties.n;
    model.metadata_props = (LdOnnx__Property **)onnx->properties.items;
    return ld_onnx_ok(onnx) && write_model(onnx, &model, path);
}
