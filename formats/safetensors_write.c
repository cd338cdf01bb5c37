#include "formats/safetensors_write.h"

#include <inttypes.h>
#include <string.h>

#include "formats/file.h"
#include "formats/json.h"
#include "formats/safetensors.h"

enum { MAX_HEADER = 1 << 26 }; /* as formats/safetensors.h reads */

static bool join_classes(const char *path, const struct ld_checkpoint *in,
                         struct ld_buf *out, struct ld_err *err)
{
    for (int i = 0; i < in->n_classes; i++) {
        if (strchr(in->class_names[i], '\n'))
            return ld_fail(err, LD_ERR_FORMAT,
                           "%s: the name of class %d holds a line break, "
                           "which parts the classes here",
                           path, i);
        ld_buf_printf(out, "%s%s", i ? "\n" : "", in->class_names[i]);
    }
    ld_buf_put(out, "", 1);
    return ld_buf_ok(out, err);
}

static void put_metadata(struct ld_buf *out, const struct ld_checkpoint *in,
                         const char *classes)
{
    ld_buf_printf(out, "{\"__metadata__\":{\"format\":\"pt\",\"%s\":",
                  LD_SAFETENSORS_CLASSES);
    ld_json_put_string(out, classes);
    ld_buf_printf(out, ",\"%s\":", LD_SAFETENSORS_CONFIG);
    ld_json_put_string(out, in->config);
    ld_buf_printf(out, ",\"%s\":\"%" PRId64 "\",\"%s\":\"%" PRId64 "\"}",
                  LD_SAFETENSORS_EPOCH, in->epoch, LD_SAFETENSORS_STEP,
                  in->step);
}

static void put_tensor(struct ld_buf *out, const struct ld_tensor *t,
                       uint64_t begin, uint64_t end)
{
    ld_buf_printf(out, ",");
    ld_json_put_string(out, t->name);
    ld_buf_printf(out, ":{\"dtype\":\"F32\",\"shape\":[");
    for (int i = 0; i < t->n_dims; i++)
        ld_buf_printf(out, "%s%d", i ? "," : "", t->dim[i]);
    ld_buf_printf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin,
                  end);
}

/* The header without its length; pieces[1..] are the tensors it tells of. */
static void put_header(struct ld_buf *out, const struct ld_checkpoint *in,
                       const char *classes, struct ld_piece *pieces)
{
    uint64_t at = 0;

    put_metadata(out, in, classes);
    for (int i = 0; i < in->n_tensors; i++) {
        const struct ld_tensor *t = &in->tensors[i];
        size_t bytes = ld_tensor_count(t) * sizeof(float);

        put_tensor(out, t, at, at + bytes);
        pieces[1 + i] = (struct ld_piece){t->data, bytes};
        at += bytes;
    }
    ld_buf_put(out, "}", 1);
    while (out->len % 8 != 0)
        ld_buf_put(out, " ", 1);
}

bool ld_safetensors_write(const char *path, const struct ld_checkpoint *in,
                          struct ld_err *err)
{
    size_t n_pieces = 1 + (size_t)in->n_tensors;
    struct ld_piece *pieces = ld_new(n_pieces, sizeof(*pieces), err);
    struct ld_buf classes = {.max = MAX_HEADER}, header = {.max = MAX_HEADER};
    uint64_t len;
    bool ok = pieces && join_classes(path, in, &classes, err);

    if (ok) {
        ld_buf_put(&header, &(uint64_t){0}, sizeof(len));
        put_header(&header, in, (const char *)classes.data, pieces);
        ok = ld_buf_ok(&header, err);
    }
    if (ok) {
        len = header.len - sizeof(len);
        memcpy(header.data, &len, sizeof(len));
        pieces[0] = (struct ld_piece){header.data, header.len};
        ok = ld_file_replace_pieces(path, pieces, n_pieces, err);
    }
    ld_buf_free(&classes);
    ld_buf_free(&header);
    ld_delete(pieces);
    return ok;
}
