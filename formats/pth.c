#include "formats/pth.h"

#include <limits.h>
#include <string.h>

#include "formats/pickle_names.h"
#include "formats/pth_storage.h"

enum { MAX_NESTED = 3, MAX_NAME = 256, LANES = 16 /* floats, 64 bytes */ };

/* A tensor of the file: numbers of a storage by offset and strides. */
struct view {
    const char *name;
    struct ld_py **storage; /* items */
    enum ld_element type;
    struct ld_pth_bytes bytes;
    uint64_t offset; /* numbers */
    int n_dims;
    uint64_t dim[LD_MAX_DIMS], stride[LD_MAX_DIMS];
    uint64_t count;
};

struct loader {
    struct ld_pth pth;
    struct view *views;
    int n;
    uint64_t n_numbers; /* of all views */
    uint64_t room;      /* the same, each begun on a line of the cache */
};

/* 80 02 8a 0a, then the number; later protocols put a frame between. */
static const unsigned char MAGIC[] = {0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                      0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

bool ld_pth_is(const struct ld_file *file)
{
    size_t head = file->len < 24 ? file->len : 24;

    return ld_zip_is(file) || (head > 0 && file->data[0] == 0x80 &&
                               memmem(file->data, head, MAGIC, sizeof(MAGIC)));
}

static bool bad(struct loader *l, const struct view *v, const char *what)
{
    return ld_fail(l->pth.err, LD_ERR_FORMAT, "%s: '%s': %s", l->pth.path,
                   v->name, what);
}

/* ---- tensors ---- */

/* The shape; the number of the last number it reads must be in the storage. */
static bool measure(struct loader *l, struct view *v, struct ld_py **items)
{
    const struct ld_py *shape = items[2], *strides = items[3];
    uint64_t last = v->offset, span;

    v->n_dims = shape->n;
    v->count = 1;
    if (v->n_dims > LD_MAX_DIMS)
        return bad(l, v, "expected 0 to 4 dimensions");
    for (int i = 0; i < v->n_dims; i++) {
        int64_t dim = shape->items[i]->integer;
        int64_t stride = strides->items[i]->integer;

        if (dim < 0 || dim > INT_MAX || stride < 0)
            return bad(l, v, "its shape or strides are not sizes");
        v->dim[i] = (uint64_t)dim;
        v->stride[i] = (uint64_t)stride;
        if (__builtin_mul_overflow(v->count, v->dim[i], &v->count) ||
            __builtin_mul_overflow(v->dim[i] - (dim > 0), v->stride[i],
                                   &span) ||
            __builtin_add_overflow(last, span, &last))
            return bad(l, v, "its shape is beyond its storage");
    }
    span = v->bytes.size / ld_element_size(v->type);
    if (v->count > 0 && (last >= span || v->count > span))
        return bad(l, v, "its shape is beyond its storage");
    return true;
}

/* A storage may itself be a part of another: (key, offset, length). */
static bool start_of(const struct ld_py *view, uint64_t *out)
{
    *out = 0;
    if (view->kind == LD_PY_NONE)
        return true;
    if (view->kind != LD_PY_TUPLE || view->n != 3 ||
        view->items[1]->kind != LD_PY_INT || view->items[1]->integer < 0)
        return false;
    *out = (uint64_t)view->items[1]->integer;
    return true;
}

static bool add_view(struct loader *l, const struct ld_py *key,
                     const struct ld_py *tensor)
{
    struct view *v = &l->views[l->n];
    const struct ld_py *storage = tensor->items[0];
    int64_t offset = tensor->items[1]->integer;
    uint64_t start = 0;

    v->name = key->text;
    if (!ld_py_is_text(key) || key->n == 0 || key->n > MAX_NAME)
        return bad(l, v, "no name for a tensor");
    if ((storage->n > 5 && !start_of(storage->items[5], &start)) ||
        offset < 0 || start > INT64_MAX)
        return bad(l, v, "its place in its storage is none");
    v->offset = (uint64_t)offset + start;
    ld_py_element(storage->items[1], &v->type);
    if (!ld_pth_find(&l->pth, storage->items[2]->text, &v->bytes) ||
        !measure(l, v, tensor->items))
        return false;
    l->n++;
    l->n_numbers += v->count;
    l->room += (v->count + LANES) / LANES * LANES;
    /* A number takes a byte or more. */
    return l->n_numbers <= l->pth.file->len ||
           bad(l, v, "with it, the tensors are larger than the file");
}

/* Row by row; what is no dimension counts one. */
static void copy_view(const struct loader *l, const struct view *v, float *out)
{
    size_t size = ld_element_size(v->type);
    uint64_t dim[LD_MAX_DIMS] = {1, 1, 1, 1}, stride[LD_MAX_DIMS] = {0};
    int shift = LD_MAX_DIMS - v->n_dims;

    for (int i = 0; i < v->n_dims; i++) {
        dim[shift + i] = v->dim[i];
        stride[shift + i] = v->stride[i];
    }
    for (uint64_t i = 0; i < dim[0] * dim[1] * dim[2] && v->count > 0; i++) {
        uint64_t at = v->offset + i / (dim[1] * dim[2]) * stride[0] +
                      i / dim[2] % dim[1] * stride[1] + i % dim[2] * stride[2];

        ld_element_read(out + i * dim[3], dim[3], v->bytes.data + at * size,
                        stride[3] * size, v->type, l->pth.big_endian);
    }
}

/* All numbers in one piece of memory: an arena that grows would take twice. */
static bool copy_views(struct loader *l, struct ld_foreign *out,
                       struct ld_arena *arena)
{
    float *at;

    out->tensors =
        ld_arena_new(arena, (size_t)l->n, sizeof(*out->tensors), l->pth.err);
    at = ld_arena_new(arena, l->room, sizeof(float), l->pth.err);
    if (!out->tensors || !at)
        return false;
    for (int i = 0; i < l->n; i++) {
        const struct view *v = &l->views[i];
        struct ld_tensor *t = &out->tensors[out->n_tensors++];
        size_t begin = (size_t)(v->bytes.data - l->pth.file->data);

        t->name = ld_arena_text(arena, v->name, strlen(v->name), l->pth.err);
        if (!t->name)
            return false;
        t->n_dims = v->n_dims;
        for (int j = 0; j < v->n_dims; j++)
            t->dim[j] = (int)v->dim[j];
        t->data = at;
        copy_view(l, v, at);
        ld_file_forget(l->pth.file, begin, begin + v->bytes.size);
        at += (v->count + LANES) / LANES * LANES;
    }
    return true;
}

/* The dict of tensors in the object. */
static const struct ld_py *state_of(const struct ld_py *object)
{
    for (int i = 0; i < MAX_NESTED; i++) {
        const struct ld_py *inner = ld_py_get(object, "state_dict");

        if (!inner)
            inner = ld_py_get(object, "model");
        if (!inner || inner->kind != LD_PY_DICT)
            break;
        object = inner;
    }
    return object;
}

static bool read_tensors(struct loader *l, const struct ld_py *state,
                         struct ld_foreign *out, struct ld_arena *arena)
{
    struct ld_err *err = l->pth.err;

    if (state->kind != LD_PY_DICT)
        return ld_fail(err, LD_ERR_FORMAT,
                       "%s: holds no dict: expected a state_dict", l->pth.path);
    l->views =
        ld_arena_new(l->pth.arena, (size_t)state->n, sizeof(*l->views), err);
    if (!l->views)
        return false;
    for (int i = 0; i < state->n; i++)
        if (state->items[2 * i + 1]->kind == LD_PY_TENSOR &&
            state->items[2 * i]->kind == LD_PY_TEXT &&
            !add_view(l, state->items[2 * i], state->items[2 * i + 1]))
            return false;
    if (l->n == 0)
        return ld_fail(err, LD_ERR_FORMAT,
                       "%s: holds no tensor: expected a state_dict, bare or "
                       "under the key state_dict or model",
                       l->pth.path);
    return copy_views(l, out, arena);
}

/* ---- what it says of itself ---- */

/* The text under a key; *out stays NULL if there is none. */
static bool read_text(struct loader *l, const struct ld_py *dict,
                      const char *key, const char **out,
                      struct ld_arena *arena)
{
    const struct ld_py *text = ld_py_get(dict, key);

    if (*out || !text || !ld_py_is_text(text))
        return true;
    *out = ld_arena_text(arena, text->text, (size_t)text->n, l->pth.err);
    return *out != NULL;
}

static int64_t integer_of(const struct ld_py *dict, const char *key)
{
    const struct ld_py *value = ld_py_get(dict, key);

    return value && value->kind == LD_PY_INT && value->integer > 0
               ? value->integer
               : 0;
}

static const struct ld_py *classes_of(const struct ld_py *meta)
{
    const struct ld_py *set = ld_py_get(meta, "dataset_meta");
    const struct ld_py *classes = ld_py_get(set ? set : meta, "CLASSES");

    return classes ? classes : ld_py_get(set ? set : meta, "classes");
}

/* Class i of a tuple or list of texts; of one class often the bare text. */
static const struct ld_py *class_at(const struct ld_py *classes, int i)
{
    return classes->kind == LD_PY_TEXT ? classes : classes->items[i];
}

/* How many classes those are; 0 if it is anything else. */
static int count_classes(const struct ld_py *classes)
{
    bool is_list = classes->kind == LD_PY_TUPLE || classes->kind == LD_PY_LIST;
    int n = classes->kind == LD_PY_TEXT ? 1 : is_list ? classes->n : 0;

    for (int i = 0; i < n; i++)
        if (!ld_py_is_text(class_at(classes, i)))
            return 0;
    return n;
}

static bool read_classes(struct loader *l, const struct ld_py *classes,
                         struct ld_foreign *out, struct ld_arena *arena)
{
    int n = count_classes(classes);

    if (n == 0)
        return true;
    out->class_names =
        ld_arena_new(arena, (size_t)n, sizeof(*out->class_names), l->pth.err);
    if (!out->class_names)
        return false;
    for (int i = 0; i < n; i++) {
        const struct ld_py *name = class_at(classes, i);

        out->class_names[i] =
            ld_arena_text(arena, name->text, (size_t)name->n, l->pth.err);
        if (!out->class_names[i])
            return false;
    }
    out->n_classes = n;
    return true;
}

/* mmdetection calls its config "config", from version 3 on "cfg". */
static bool read_meta(struct loader *l, const struct ld_py *meta,
                      struct ld_foreign *out, struct ld_arena *arena)
{
    const struct ld_py *classes = classes_of(meta);

    out->epoch = integer_of(meta, "epoch");
    out->step = integer_of(meta, "iter");
    return read_text(l, meta, LD_PTH_CONFIG, &out->config, arena) &&
           read_text(l, meta, "config", &out->recipe, arena) &&
           read_text(l, meta, "cfg", &out->recipe, arena) &&
           (!classes || read_classes(l, classes, out, arena));
}

bool ld_pth_load(const struct ld_file *file, const char *path,
                 struct ld_foreign *out, struct ld_arena *arena,
                 struct ld_err *err)
{
    struct ld_arena scratch = {0};
    struct loader l = {
        .pth = {.file = file, .path = path, .arena = &scratch, .err = err}};
    const struct ld_py *meta;
    bool ok;

    *out = (struct ld_foreign){0};
    ok = ld_pth_open(&l.pth) &&
         read_tensors(&l, state_of(l.pth.object), out, arena);
    if (ok) {
        meta = ld_py_get(l.pth.object, "meta");
        ok = !meta || read_meta(&l, meta, out, arena);
    }
    ld_arena_free(&scratch);
    return ok;
}
