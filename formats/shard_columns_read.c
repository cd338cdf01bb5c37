#include <string.h>

#include "formats/shard_columns.h"

static bool place_column(struct ld_columns *columns, int c,
                         const struct ld_frame *frames)
{
    const struct ld_column *is = &columns->is[c];
    size_t chunk = ld_column_chunk_bytes(is);

    columns->frames[c] = frames;
    if (chunk > columns->largest_chunk)
        columns->largest_chunk = chunk;
    for (size_t i = 0; i < columns->n_frames[c]; i++) {
        if (frames[i].size > ZSTD_compressBound(chunk))
            return false;
        if (frames[i].size > columns->largest_frame)
            columns->largest_frame = frames[i].size;
    }
    return true;
}

bool ld_columns_place(struct ld_columns *columns, const struct ld_frame *frames,
                      size_t n_frames, const int64_t n_rows[LD_N_COLUMNS])
{
    size_t at = 0;

    for (int c = 0; c < LD_N_COLUMNS; c++) {
        size_t chunk_rows = columns->is[c].chunk_rows;
        size_t n = (size_t)n_rows[c] / chunk_rows +
                   ((size_t)n_rows[c] % chunk_rows != 0);

        if (n > n_frames - at)
            return false;
        columns->n_frames[c] = n;
        if (!place_column(columns, c, frames + at))
            return false;
        at += n;
    }
    return at == n_frames;
}

static void discard(struct ld_columns_scratch *scratch)
{
    if (!scratch)
        return;
    ld_delete(scratch->frame);
    ld_delete(scratch->chunk);
    ld_delete(scratch->strip);
    ZSTD_freeDCtx(scratch->zstd);
    ld_delete(scratch);
}

static struct ld_columns_scratch *make(const struct ld_columns *columns,
                                       struct ld_err *err)
{
    struct ld_columns_scratch *out = ld_new(1, sizeof(*out), err);
    size_t widest = 0;

    if (!out)
        return NULL;
    for (int c = 0; c < LD_N_COLUMNS; c++)
        if (columns->is[c].row_items > widest)
            widest = columns->is[c].row_items;
    out->frame = ld_new(columns->largest_frame, 1, err);
    out->chunk = ld_new(columns->largest_chunk, 1, err);
    out->strip = ld_new(ld_predict_scratch_bytes((int)widest), 1, err);
    out->zstd = ZSTD_createDCtx();
    if (out->frame && out->chunk && out->strip && out->zstd)
        return out;
    discard(out);
    ld_fail(err, LD_ERR_MEMORY, "out of memory to read a shard");
    return NULL;
}

struct ld_columns_scratch *
ld_columns_scratch_take(const struct ld_columns *columns, struct ld_err *err)
{
    for (int i = 0; i < LD_COLUMNS_SPARES; i++) {
        struct ld_columns_scratch *spare =
            atomic_exchange(&columns->spare[i], NULL);

        if (spare)
            return spare;
    }
    return make(columns, err);
}

void ld_columns_scratch_give(const struct ld_columns *columns,
                             struct ld_columns_scratch *scratch)
{
    for (int i = 0; scratch && i < LD_COLUMNS_SPARES; i++)
        scratch = atomic_exchange(&columns->spare[i], scratch);
    discard(scratch);
}

void ld_columns_scratch_free(const struct ld_columns *columns)
{
    for (int i = 0; columns->spare && i < LD_COLUMNS_SPARES; i++)
        discard(atomic_exchange(&columns->spare[i], NULL));
}

/* Rows [first, first + n_rows) of a shuffled chunk. */
static void unshuffle(unsigned char *restrict out,
                      const unsigned char *restrict chunk,
                      const struct ld_column *is, size_t first, size_t n_rows)
{
    size_t size = is->item_bytes, n = n_rows * is->row_items;
    size_t plane = is->chunk_rows * is->row_items;
    const unsigned char *in = chunk + first * is->row_items;

    if (size == 2) {
        for (size_t i = 0; i < n; i++) {
            out[2 * i] = in[i];
            out[2 * i + 1] = in[plane + i];
        }
        return;
    }
    for (size_t b = 0; b < size; b++)
        for (size_t i = 0; i < n; i++)
            out[i * size + b] = in[b * plane + i];
}

static bool decode_frame(const struct ld_columns *columns, int c, size_t index,
                         struct ld_columns_scratch *scratch, struct ld_err *err)
{
    const struct ld_frame *frame = &columns->frames[c][index];
    size_t bytes = ld_column_chunk_bytes(&columns->is[c]), n;

    if (!ld_seal_pread(columns->fd, scratch->frame, frame->size, frame->address,
                       columns->path, err))
        return false;
    n = ZSTD_decompressDCtx(scratch->zstd, scratch->chunk, bytes,
                            scratch->frame, frame->size);
    return n == bytes ||
           ld_fail(err, LD_ERR_FORMAT, "/%s, chunk %zu: %s",
                   columns->is[c].name, index,
                   ZSTD_isError(n) ? ZSTD_getErrorName(n) : "is too short");
}

bool ld_columns_read(const struct ld_columns *columns, enum ld_column_id id,
                     int64_t start, size_t n_rows, void *out,
                     struct ld_columns_scratch *scratch, struct ld_err *err)
{
    const struct ld_column *is = &columns->is[id];
    unsigned char *to = out;
    size_t at = (size_t)start;

    while (n_rows > 0) {
        size_t first = at % is->chunk_rows, room = is->chunk_rows - first;
        size_t n = n_rows < room ? n_rows : room;

        if (!decode_frame(columns, (int)id, at / is->chunk_rows, scratch, err))
            return false;
        unshuffle(to, scratch->chunk, is, first, n);
        to += n * ld_column_row_bytes(is);
        at += n;
        n_rows -= n;
    }
    return true;
}

/* Rows [first, first + n_rows) of a predicted chunk. */
static void restore(const struct ld_columns *columns, enum ld_column_id id,
                    size_t first, size_t n_rows, float *out, int16_t *kept,
                    struct ld_columns_scratch *scratch)
{
    const struct ld_steps *steps = columns->steps[id];
    size_t begin = first % LD_PREDICT_STRIP;
    size_t row_items = (size_t)steps->groups * (size_t)steps->width;

    for (size_t at = first - begin; at < first + n_rows;
         at += LD_PREDICT_STRIP) {
        size_t end = first + n_rows - at, n;
        const int32_t *strip =
            ld_predict_decode(&steps->predictor, scratch->chunk,
                              columns->is[id].chunk_rows, at, scratch->strip);

        n = (end < LD_PREDICT_STRIP ? end : LD_PREDICT_STRIP) - begin;
        if (out) {
            ld_steps_restore_strip(steps, out, strip, begin, n);
            out += n * row_items;
        } else {
            ld_steps_strip_kept(steps, kept, strip, begin, n);
            kept += n * (size_t)steps->n_columns;
        }
        begin = 0;
    }
}

bool ld_columns_restore(const struct ld_columns *columns, enum ld_column_id id,
                        int64_t start, size_t n_rows, float *out, int16_t *kept,
                        struct ld_columns_scratch *scratch, struct ld_err *err)
{
    const struct ld_column *is = &columns->is[id];
    const struct ld_steps *steps = columns->steps[id];
    size_t at = (size_t)start;

    while (n_rows > 0) {
        size_t first = at % is->chunk_rows, room = is->chunk_rows - first;
        size_t n = n_rows < room ? n_rows : room;

        if (!decode_frame(columns, (int)id, at / is->chunk_rows, scratch, err))
            return false;
        restore(columns, id, first, n, out, kept, scratch);
        if (out)
            out += n * (size_t)steps->groups * (size_t)steps->width;
        else
            kept += n * (size_t)steps->n_columns;
        at += n;
        n_rows -= n;
    }
    return true;
}
