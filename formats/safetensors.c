#include "formats/safetensors.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "formats/element.h"
#include "formats/json.h"

enum {
    MAX_HEADER = 64 << 20,
    MAX_NAME = 256,
    LEAST_ENTRY = 40, /* bytes of JSON a tensor takes at least */
    LANES = 16,       /* floats, 64 bytes */
};

struct entry {
    struct ld_tensor tensor; /* without its data */
    enum ld_element type;
    uint64_t begin, end; /* of its bytes, from the data's first */
};

struct loader {
    const struct ld_file *file;
    const char *path;
    uint64_t header_bytes, data_bytes;
    struct ld_json json;
    struct entry *entries;
    int n, room;
    struct ld_arena *scratch, *arena;
    struct ld_err *err;
};

static uint64_t header_bytes(const struct ld_file *file)
{
    uint64_t bytes = 0;

    for (int i = 8; i-- > 0;)
        bytes = bytes << 8 | file->data[i];
    return bytes;
}

bool ld_safetensors_is(const struct ld_file *file)
{
    return file->len > 8 && header_bytes(file) <= MAX_HEADER &&
           file->data[8] == '{';
}

static bool bad(struct loader *l, const char *name, const char *what)
{
    return ld_fail(l->err, LD_ERR_FORMAT, "%s: '%s': %s", l->path, name, what);
}

/* ---- one tensor of the header ---- */

static bool element_of(const char *name, enum ld_element *out)
{
    static const struct {
        const char *name;
        enum ld_element type;
    } types[] = {{"F32", LD_F32},   {"F64", LD_F64}, {"F16", LD_F16},
                 {"BF16", LD_BF16}, {"I64", LD_I64}, {"I32", LD_I32},
                 {"I16", LD_I16},   {"I8", LD_I8},   {"U8", LD_U8},
                 {"BOOL", LD_BOOL}};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (strcmp(types[i].name, name) == 0) {
            *out = types[i].type;
            return true;
        }
    return false;
}

static bool read_type(struct loader *l, struct entry *e)
{
    struct ld_buf text = {.max = 64};
    bool ok = ld_json_string(&l->json, &text) &&
              (element_of((const char *)text.data, &e->type) ||
               bad(l, e->tensor.name, "is of an unknown dtype"));

    ld_buf_free(&text);
    return ok;
}

static bool read_shape(struct loader *l, struct entry *e)
{
    struct ld_tensor *t = &e->tensor;
    int64_t dim;

    t->n_dims = 0;
    if (!ld_json_array(&l->json))
        return false;
    while (ld_json_element(&l->json)) {
        if (!ld_json_integer(&l->json, &dim))
            return false;
        if (t->n_dims == LD_MAX_DIMS || dim < 0 || dim > INT_MAX)
            return bad(l, t->name, "expected 0 to 4 dimensions, each a size");
        t->dim[t->n_dims++] = (int)dim;
    }
    return l->err->code == LD_OK;
}

static bool read_range(struct loader *l, struct entry *e)
{
    int64_t ends[3] = {-1, -1, -1};
    int n = 0;

    if (!ld_json_array(&l->json))
        return false;
    while (n < 3 && ld_json_element(&l->json))
        if (!ld_json_integer(&l->json, &ends[n++]))
            return false;
    if (l->err->code != LD_OK)
        return false;
    e->begin = (uint64_t)ends[0];
    e->end = (uint64_t)ends[1];
    return (n == 2 && ends[0] >= 0 && ends[0] <= ends[1]) ||
           bad(l, e->tensor.name, "its data_offsets are no range");
}

/* The bytes are those of the shape. */
static bool check_entry(struct loader *l, const struct entry *e)
{
    uint64_t bytes = ld_element_size(e->type);

    for (int i = 0; i < e->tensor.n_dims; i++)
        if (__builtin_mul_overflow(bytes, (uint64_t)e->tensor.dim[i], &bytes))
            return bad(l, e->tensor.name, "its shape is beyond its bytes");
    return e->end - e->begin == bytes ||
           bad(l, e->tensor.name, "has more or fewer bytes than its shape");
}

static bool read_entry(struct loader *l, struct entry *e)
{
    enum { TYPE = 1, SHAPE = 2, RANGE = 4 };
    int seen = 0;
    char key[32];

    if (!ld_json_object(&l->json))
        return false;
    while (ld_json_key(&l->json, key, sizeof(key))) {
        bool ok;

        if (strcmp(key, "dtype") == 0) {
            ok = read_type(l, e);
            seen |= TYPE;
        } else if (strcmp(key, "shape") == 0) {
            ok = read_shape(l, e);
            seen |= SHAPE;
        } else if (strcmp(key, "data_offsets") == 0) {
            ok = read_range(l, e);
            seen |= RANGE;
        } else {
            ok = bad(l, e->tensor.name, "holds an unknown key");
        }
        if (!ok)
            return false;
    }
    if (l->err->code != LD_OK)
        return false;
    if (seen != (TYPE | SHAPE | RANGE))
        return bad(l, e->tensor.name, "expected dtype, shape and data_offsets");
    return check_entry(l, e);
}

/* ---- metadata ---- */

/* Names joined by newlines. */
static bool split_classes(struct loader *l, const char *text,
                          struct ld_foreign *out)
{
    size_t n = 1;

    for (const char *c = text; *c; c++)
        n += *c == '\n';
    out->class_names =
        ld_arena_new(l->arena, n, sizeof(*out->class_names), l->err);
    while (out->class_names && *text) {
        size_t len = strcspn(text, "\n");
        const char *name = ld_arena_text(l->arena, text, len, l->err);

        if (!name)
            return false;
        out->class_names[out->n_classes++] = name;
        text += len + (text[len] == '\n');
    }
    return out->class_names != NULL;
}

/* Another program may keep something else under the name. */
static void read_count(const char *text, int64_t *out)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (errno == 0 && end > text && *end == 0 && value >= 0)
        *out = value;
}

static bool take_metadata(struct loader *l, const char *key, const char *text,
                          struct ld_foreign *out)
{
    if (strcmp(key, LD_SAFETENSORS_CLASSES) == 0)
        return out->class_names || split_classes(l, text, out);
    if (strcmp(key, LD_SAFETENSORS_CONFIG) == 0) {
        out->config = ld_arena_text(l->arena, text, strlen(text), l->err);
        return out->config != NULL;
    }
    if (strcmp(key, LD_SAFETENSORS_EPOCH) == 0)
        read_count(text, &out->epoch);
    else if (strcmp(key, LD_SAFETENSORS_STEP) == 0)
        read_count(text, &out->step);
    return true;
}

static bool read_metadata(struct loader *l, struct ld_foreign *out)
{
    struct ld_buf text = {.max = MAX_HEADER};
    char key[64];
    bool ok = ld_json_object(&l->json);

    while (ok && ld_json_key(&l->json, key, sizeof(key))) {
        text.len = 0;
        ok = ld_json_string(&l->json, &text) &&
             take_metadata(l, key, (const char *)text.data, out);
    }
    ld_buf_free(&text);
    return ok && l->err->code == LD_OK;
}

/* ---- the header ---- */

static bool add_entry(struct loader *l, const char *name)
{
    struct entry *e = &l->entries[l->n];
    size_t len = strlen(name);

    if (len == 0 || len > MAX_NAME)
        return bad(l, name, "no name for a tensor");
    if (l->n == l->room)
        return bad(l, name, "more tensors than the header has room for");
    e->tensor.name = ld_arena_text(l->arena, name, len, l->err);
    l->n++;
    return e->tensor.name && read_entry(l, e);
}

static bool read_header(struct loader *l, struct ld_foreign *out)
{
    char name[MAX_NAME + 2];

    l->room = (int)(l->header_bytes / LEAST_ENTRY);
    l->entries =
        ld_arena_new(l->scratch, (size_t)l->room, sizeof(*l->entries), l->err);
    if (!l->entries || !ld_json_object(&l->json))
        return false;
    while (ld_json_key(&l->json, name, sizeof(name)))
        if (strcmp(name, "__metadata__") == 0 ? !read_metadata(l, out)
                                              : !add_entry(l, name))
            return false;
    return ld_json_end(&l->json);
}

static int by_begin(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* One behind another, to the last byte. */
static bool check_ranges(struct loader *l)
{
    uint64_t at = 0;

    if (l->n > 0)
        qsort(l->entries, (size_t)l->n, sizeof(*l->entries), by_begin);
    for (int i = 0; i < l->n; i++) {
        const struct entry *e = &l->entries[i];

        if (e->begin != at)
            return bad(l, e->tensor.name,
                       e->begin < at ? "its bytes are another's as well"
                                     : "bytes before its own are nobody's");
        at = e->end;
        if (at > l->data_bytes)
            return bad(l, e->tensor.name, "passes the end of the file");
    }
    return at == l->data_bytes ||
           ld_fail(l->err, LD_ERR_FORMAT, "%s: goes on behind its last tensor",
                   l->path);
}

/* ---- the data ---- */

static size_t room_of(const struct ld_tensor *t)
{
    return (ld_tensor_count(t) + LANES) / LANES * LANES;
}

/* All numbers in one piece of memory: an arena that grows would take twice. */
static bool copy_data(struct loader *l, struct ld_foreign *out)
{
    const unsigned char *data = l->file->data + 8 + l->header_bytes;
    size_t room = 0;
    float *at;

    for (int i = 0; i < l->n; i++)
        room += room_of(&l->entries[i].tensor);
    out->tensors =
        ld_arena_new(l->arena, (size_t)l->n, sizeof(*out->tensors), l->err);
    at = ld_arena_new(l->arena, room, sizeof(float), l->err);
    if (!out->tensors || !at)
        return false;
    for (int i = 0; i < l->n; i++) {
        const struct entry *e = &l->entries[i];
        size_t begin = (size_t)(data - l->file->data) + e->begin;

        out->tensors[i] = e->tensor;
        out->tensors[i].data = at;
        ld_element_read(at, ld_tensor_count(&e->tensor), data + e->begin,
                        ld_element_size(e->type), e->type, false);
        ld_file_forget(l->file, begin, begin + (e->end - e->begin));
        at += room_of(&e->tensor);
    }
    out->n_tensors = l->n;
    return true;
}

bool ld_safetensors_load(const struct ld_file *file, const char *path,
                         struct ld_foreign *out, struct ld_arena *arena,
                         struct ld_err *err)
{
    struct ld_arena scratch = {0};
    struct loader l = {.file = file,
                       .path = path,
                       .header_bytes = header_bytes(file),
                       .scratch = &scratch,
                       .arena = arena,
                       .err = err};
    bool ok;

    *out = (struct ld_foreign){0};
    if (l.header_bytes > file->len - 8)
        return ld_fail(err, LD_ERR_FORMAT,
                       "%s: its header of %llu bytes passes the end of the "
                       "file",
                       path, (unsigned long long)l.header_bytes);
    l.data_bytes = file->len - 8 - l.header_bytes;
    ld_json_open(&l.json, (const char *)file->data + 8, l.header_bytes, path,
                 err);
    ok = read_header(&l, out) && check_ranges(&l) && copy_data(&l, out);
    ld_arena_free(&scratch);
    return ok;
}
