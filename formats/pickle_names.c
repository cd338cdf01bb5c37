#include "formats/pickle_names.h"

#include <string.h>

enum call { NOT_CALLED, DICT, TENSOR, PARAMETER, SIZE, STORAGE, OTHER };

static const struct {
    const char *module, *name;
    enum call call;
    enum ld_element element; /* of a STORAGE */
} names[] = {
    {"collections", "OrderedDict", DICT, 0},
    {"collections", "defaultdict", OTHER, 0},
    {"torch._utils", "_rebuild_tensor", TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v2", TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", PARAMETER, 0},
    {"torch", "Size", SIZE, 0},
    {"torch", "device", OTHER, 0},
    {"torch", "DoubleStorage", STORAGE, LD_F64},
    {"torch", "FloatStorage", STORAGE, LD_F32},
    {"torch", "HalfStorage", STORAGE, LD_F16},
    {"torch", "BFloat16Storage", STORAGE, LD_BF16},
    {"torch", "LongStorage", STORAGE, LD_I64},
    {"torch", "IntStorage", STORAGE, LD_I32},
    {"torch", "ShortStorage", STORAGE, LD_I16},
    {"torch", "CharStorage", STORAGE, LD_I8},
    {"torch", "ByteStorage", STORAGE, LD_U8},
    {"torch", "BoolStorage", STORAGE, LD_BOOL},
    /* Notes of a run: numbers of numpy, log buffers of mmengine. */
    {"builtins", "list", NOT_CALLED, 0},
    {"builtins", "dict", NOT_CALLED, 0},
    {"__builtin__", "list", NOT_CALLED, 0},
    {"__builtin__", "dict", NOT_CALLED, 0},
    {"_codecs", "encode", OTHER, 0},
    {"numpy", "dtype", OTHER, 0},
    {"numpy", "ndarray", NOT_CALLED, 0},
    {"numpy.core.multiarray", "scalar", OTHER, 0},
    {"numpy.core.multiarray", "_reconstruct", OTHER, 0},
    {"numpy._core.multiarray", "scalar", OTHER, 0},
    {"numpy._core.multiarray", "_reconstruct", OTHER, 0},
    {"mmengine.logging.history_buffer", "HistoryBuffer", OTHER, 0},
};

enum { N_NAMES = sizeof(names) / sizeof(names[0]) };

int ld_py_name(const char *module, const char *name)
{
    for (int i = 0; i < N_NAMES; i++)
        if (strcmp(names[i].module, module) == 0 &&
            strcmp(names[i].name, name) == 0)
            return i;
    return LD_PY_NO_NAME;
}

static bool is(const struct ld_py *v, enum ld_py_kind kind)
{
    return v->kind == kind;
}

/* (storage, offset, shape, strides, ...) */
static bool is_tensor(const struct ld_py *args)
{
    const struct ld_py *shape, *strides;

    if (args->n < 4 || !is(args->items[0], LD_PY_STORAGE) ||
        !is(args->items[1], LD_PY_INT) || !is(args->items[2], LD_PY_TUPLE) ||
        !is(args->items[3], LD_PY_TUPLE))
        return false;
    shape = args->items[2];
    strides = args->items[3];
    if (shape->n != strides->n)
        return false;
    for (int i = 0; i < shape->n; i++)
        if (!is(shape->items[i], LD_PY_INT) ||
            !is(strides->items[i], LD_PY_INT))
            return false;
    return true;
}

bool ld_py_call(const struct ld_py *name, const struct ld_py *args,
                struct ld_py *out, struct ld_py **same, struct ld_py **pairs)
{
    *same = *pairs = NULL;
    if (!is(args, LD_PY_TUPLE) || !is(name, LD_PY_NAME))
        return false;
    switch (names[name->integer].call) {
    case DICT:
        *out = (struct ld_py){.kind = LD_PY_DICT};
        if (args->n == 1 && is(args->items[0], LD_PY_LIST))
            *pairs = args->items[0];
        return args->n == 0 || *pairs;
    case TENSOR:
        *out = *args;
        out->kind = LD_PY_TENSOR;
        return is_tensor(args);
    case PARAMETER:
        *same = args->n > 0 ? args->items[0] : NULL;
        return *same && is(*same, LD_PY_TENSOR);
    case SIZE:
        *same = args->n == 1 ? args->items[0] : NULL;
        return *same && is(*same, LD_PY_TUPLE);
    case OTHER:
        *out = (struct ld_py){.kind = LD_PY_OTHER};
        return true;
    case STORAGE:
    case NOT_CALLED:
        break;
    }
    return false;
}

bool ld_py_element(const struct ld_py *name, enum ld_element *out)
{
    if (!is(name, LD_PY_NAME) || names[name->integer].call != STORAGE)
        return false;
    *out = names[name->integer].element;
    return true;
}

bool ld_py_is_storage(const struct ld_py *id)
{
    enum ld_element element;

    return is(id, LD_PY_TUPLE) && id->n >= 5 && ld_py_is_text(id->items[0]) &&
           strcmp(id->items[0]->text, "storage") == 0 &&
           ld_py_element(id->items[1], &element) &&
           ld_py_is_text(id->items[2]) && is(id->items[4], LD_PY_INT);
}
