#include "formats/pth_write.h"

#include <stdio.h>
#include <string.h>

#include "formats/pth.h"
#include "formats/utf8.h"
#include "formats/zip_write.h"

/* Whose names and shapes these are. */
static const char MMDET_VERSION[] = "2.10.0";

static const char RUNNING_VAR[] = ".running_var";

enum { MAX_PICKLE = 1 << 28 };

/* ---- pickle, protocol 2 (Python's Lib/pickletools.py) ---- */

static const char PROTO_2[] = "\x80\x02", MARK[] = "(", TUPLE[] = "t",
                  EMPTY_TUPLE[] = ")", EMPTY_DICT[] = "}", SET_ITEMS[] = "u",
                  REDUCE[] = "R", PERSISTENT_ID[] = "Q", NEW_FALSE[] = "\x89",
                  STOP[] = ".";

static const char ORDERED_DICT[] = "collections\nOrderedDict\n",
                  REBUILD_TENSOR[] = "torch._utils\n_rebuild_tensor_v2\n",
                  FLOAT_STORAGE[] = "torch\nFloatStorage\n",
                  LONG_STORAGE[] = "torch\nLongStorage\n";

static void put_op(struct ld_buf *out, const char *op)
{
    ld_buf_put(out, op, strlen(op));
}

static void put_global(struct ld_buf *out, const char *module_and_name)
{
    put_op(out, "c");
    put_op(out, module_and_name);
}

static void put_text(struct ld_buf *out, const char *text)
{
    uint32_t len = (uint32_t)strlen(text);

    put_op(out, "X");
    ld_buf_put(out, &len, sizeof(len));
    ld_buf_put(out, text, len);
}

static void put_integer(struct ld_buf *out, int64_t value)
{
    int32_t narrow = (int32_t)value;

    if (narrow == value) {
        put_op(out, "J");
        ld_buf_put(out, &narrow, sizeof(narrow));
    } else {
        put_op(out, "\x8a\x08");
        ld_buf_put(out, &value, sizeof(value));
    }
}

/* OrderedDict(), to be filled. */
static void put_ordered_dict(struct ld_buf *out)
{
    put_global(out, ORDERED_DICT);
    put_op(out, EMPTY_TUPLE);
    put_op(out, REDUCE);
}

/* ---- what the checkpoint says of itself ---- */

static void put_meta(struct ld_buf *out, const struct ld_checkpoint *in,
                     const struct ld_pth_meta *meta)
{
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {
        {"epoch", in->epoch}, {"iter", in->step}, {"seed", meta->seed}};
    const char *const texts[][2] = {
        {"mmdet_version", MMDET_VERSION},
        {"config", meta->config},
        {"ld_distill", LD_VERSION},
        {LD_PTH_CONFIG, in->config},
    };

    put_op(out, EMPTY_DICT);
    put_op(out, MARK);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        put_text(out, numbers[i].key);
        put_integer(out, numbers[i].value);
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        put_text(out, texts[i][0]);
        put_text(out, texts[i][1]);
    }
    put_text(out, "CLASSES");
    put_op(out, MARK);
    for (int i = 0; i < in->n_classes; i++)
        put_text(out, in->class_names[i]);
    put_op(out, TUPLE);
    put_op(out, SET_ITEMS);
}

/* ---- tensors ---- */

struct pth {
    struct ld_arena arena; /* of the entries' names */
    struct ld_buf pickle;
    struct ld_zip_part *entries;
    size_t n_entries;
    int n_storages;
    struct ld_err *err;
};

static bool add_entry(struct pth *p, const char *name, const void *bytes,
                      size_t len)
{
    char path[64];

    snprintf(path, sizeof(path), "archive/%s", name);
    p->entries[p->n_entries].name =
        ld_arena_text(&p->arena, path, strlen(path), p->err);
    p->entries[p->n_entries].bytes = bytes;
    p->entries[p->n_entries].len = len;
    return p->entries[p->n_entries++].name != NULL;
}

/* The bytes a tensor lies in: ("storage", type, key, device, count), which
 * torch turns into a storage by a persistent id. */
static void put_storage(struct ld_buf *out, const char *type, int key,
                        size_t count)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", key);
    put_op(out, MARK);
    put_text(out, "storage");
    put_global(out, type);
    put_text(out, text);
    put_text(out, "cpu");
    put_integer(out, (int64_t)count);
    put_op(out, TUPLE);
    put_op(out, PERSISTENT_ID);
}

static void put_shape(struct ld_buf *out, const struct ld_tensor *t)
{
    int64_t stride[LD_MAX_DIMS + 1];

    stride[t->n_dims] = 1;
    for (int i = t->n_dims; i-- > 0;)
        stride[i] = stride[i + 1] * t->dim[i];
    put_op(out, MARK);
    for (int i = 0; i < t->n_dims; i++)
        put_integer(out, t->dim[i]);
    put_op(out, TUPLE);
    put_op(out, MARK);
    for (int i = 0; i < t->n_dims; i++)
        put_integer(out, stride[i + 1]);
    put_op(out, TUPLE);
}

/* name: _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad,
 * hooks) */
static bool add_tensor(struct pth *p, const struct ld_tensor *t,
                       const char *type, const void *bytes, size_t len)
{
    struct ld_buf *out = &p->pickle;
    char entry[32];

    put_text(out, t->name);
    put_global(out, REBUILD_TENSOR);
    put_op(out, MARK);
    put_storage(out, type, p->n_storages, ld_tensor_count(t));
    put_integer(out, 0);
    put_shape(out, t);
    put_op(out, NEW_FALSE);
    put_ordered_dict(out);
    put_op(out, TUPLE);
    put_op(out, REDUCE);
    snprintf(entry, sizeof(entry), "data/%d", p->n_storages++);
    return add_entry(p, entry, bytes, len);
}

/* Batches that a BatchNorm has seen. */
static bool add_counter(struct pth *p, const char *running_var)
{
    static const int64_t zero = 0;
    struct ld_tensor counter = {0};
    char name[512];
    int len =
        snprintf(name, sizeof(name), "%.*s.num_batches_tracked",
                 (int)(strlen(running_var) - strlen(RUNNING_VAR)), running_var);

    if (len >= (int)sizeof(name))
        return ld_fail(p->err, LD_ERR_FORMAT, "'%s': the name is too long",
                       running_var);
    counter.name = name;
    return add_tensor(p, &counter, LONG_STORAGE, &zero, sizeof(zero));
}

static bool is_running_var(const char *name)
{
    size_t len = strlen(name), n = strlen(RUNNING_VAR);

    return len > n && strcmp(name + len - n, RUNNING_VAR) == 0;
}

static bool add_tensors(struct pth *p, const struct ld_checkpoint *in)
{
    put_ordered_dict(&p->pickle);
    put_op(&p->pickle, MARK);
    for (int i = 0; i < in->n_tensors; i++) {
        const struct ld_tensor *t = &in->tensors[i];

        if (!add_tensor(p, t, FLOAT_STORAGE, t->data,
                        ld_tensor_count(t) * sizeof(float)) ||
            (is_running_var(t->name) && !add_counter(p, t->name)))
            return false;
    }
    put_op(&p->pickle, SET_ITEMS);
    return true;
}

/* ---- the file ---- */

static bool add_all(struct pth *p, const struct ld_checkpoint *in,
                    const struct ld_pth_meta *meta)
{
    struct ld_buf *out = &p->pickle;

    put_op(out, PROTO_2);
    put_op(out, EMPTY_DICT);
    put_op(out, MARK);
    put_text(out, "meta");
    put_meta(out, in, meta);
    put_text(out, "state_dict");
    p->n_entries = 1; /* torch reads data.pkl first: it is the first */
    if (!add_entry(p, "byteorder", "little", 6) || !add_tensors(p, in))
        return false;
    put_op(out, SET_ITEMS);
    put_op(out, STOP);
    p->entries[0] = (struct ld_zip_part){
        .name = "archive/data.pkl", .bytes = out->data, .len = out->len};
    return add_entry(p, "version", "3\n", 2) && ld_buf_ok(out, p->err);
}

static bool check_text(const char *path, const char *what, const char *text,
                       struct ld_err *err)
{
    return ld_utf8_is_text(text) ||
           ld_fail(err, LD_ERR_FORMAT, "%s: %s '%s' is not UTF-8", path, what,
                   text);
}

/* Python reads no other. */
static bool check_texts(const char *path, const struct ld_checkpoint *in,
                        struct ld_err *err)
{
    for (int i = 0; i < in->n_classes; i++)
        if (!check_text(path, "the class name", in->class_names[i], err))
            return false;
    for (int i = 0; i < in->n_tensors; i++)
        if (!check_text(path, "the tensor's name", in->tensors[i].name, err))
            return false;
    return check_text(path, "the config", in->config, err);
}

bool ld_pth_write(const char *path, const struct ld_checkpoint *in,
                  const struct ld_pth_meta *meta, struct ld_err *err)
{
    struct pth p = {.pickle = {.max = MAX_PICKLE}, .err = err};
    bool ok = check_texts(path, in, err);

    if (ok) {
        p.entries =
            ld_new(2 * (size_t)in->n_tensors + 3, sizeof(*p.entries), err);
        ok = p.entries && add_all(&p, in, meta) &&
             ld_zip_write(path, p.entries, p.n_entries, err);
    }
    ld_delete(p.entries);
    ld_buf_free(&p.pickle);
    ld_arena_free(&p.arena);
    return ok;
}
