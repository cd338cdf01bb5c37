#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "formats/h5file.h"
#include "formats/shard_columns.h"
#include "formats/zstd_filter.h"

enum {
    ZSTD_LEVEL = 1,
    MATCH = 7,      /* what the bytes have in common is chance: not less */
    SYMBOLS = 2048, /* of which the entropy is taken; more are rare */
};

/* ---- start ---- */

static hid_t column_properties(const struct ld_column *is)
{
    hid_t list = ld_h5_plain(H5P_DATASET_CREATE);
    hsize_t chunk[3] = {is->dim[0], is->dim[1], is->dim[2]};
    unsigned level = ZSTD_LEVEL;

    chunk[is->row_axis] = is->chunk_rows;
    if (list >= 0 && (H5Pset_chunk(list, is->rank, chunk) < 0 ||
                      (is->item_bytes > 1 && H5Pset_shuffle(list) < 0) ||
                      H5Pset_filter(list, LD_ZSTD_FILTER, H5Z_FLAG_MANDATORY, 1,
                                    &level) < 0)) {
        H5Pclose(list);
        return -1;
    }
    return list;
}

static hid_t create_dataset(hid_t file, const struct ld_column *is, hid_t type)
{
    hsize_t dims[3] = {is->dim[0], is->dim[1], is->dim[2]};
    hsize_t most[3] = {is->dim[0], is->dim[1], is->dim[2]};
    hid_t list = column_properties(is), set = -1, space;

    dims[is->row_axis] = 0;
    most[is->row_axis] = H5S_UNLIMITED;
    space = H5Screate_simple(is->rank, dims, most);
    if (space >= 0 && type >= 0 && list >= 0)
        set = H5Dcreate2(file, is->name, type, space, H5P_DEFAULT, list,
                         H5P_DEFAULT);
    H5Pclose(list);
    H5Sclose(space);
    return set;
}

static bool create_group(hid_t file, const char *name)
{
    hid_t plain = ld_h5_plain(H5P_GROUP_CREATE);
    hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, plain, H5P_DEFAULT);

    H5Pclose(plain);
    return group >= 0 && H5Gclose(group) >= 0;
}

static bool create_datasets(struct ld_columns_writer *w, hid_t file,
                            const struct ld_shard_facts *facts)
{
    bool ok = ld_zstd_filter_register() && create_group(file, "rows") &&
              (!facts->feature_channels || create_group(file, "features"));

    for (int c = 0; ok && c < LD_N_COLUMNS; c++) {
        hid_t type;

        if (w->is[c].row_items == 0)
            continue;
        type = ld_column_type((enum ld_column_id)c, w->is[c].storage);
        w->tail[c].set = create_dataset(file, &w->is[c], type);
        ok = w->tail[c].set >= 0;
        H5Tclose(type);
    }
    return ok;
}

/* Memory of a size that does not grow: a chunk a column, and the two later
 * forms of one chunk. */
static bool make_room(struct ld_columns_writer *w, struct ld_err *err)
{
    size_t largest = 0, widest = 0;

    for (int c = 0; c < LD_N_COLUMNS; c++) {
        const struct ld_column *is = &w->is[c];
        size_t bytes = ld_column_chunk_bytes(is);

        w->tail[c].rows = ld_new(bytes, 1, err);
        w->tail[c].histogram =
            is->storage == LD_STORAGE_PREDICTED
                ? ld_new(SYMBOLS * is->row_items, sizeof(uint32_t), err)
                : NULL;
        if (err->code != LD_OK)
            return false;
        largest = bytes > largest ? bytes : largest;
        widest = is->row_items > widest ? is->row_items : widest;
    }
    w->strip = ld_new(ld_predict_scratch_bytes((int)widest), 1, err);
    w->frame_room = ZSTD_compressBound(largest);
    w->shuffled = ld_new(largest, 1, err);
    w->frame = ld_new(w->frame_room, 1, err);
    w->zstd = ZSTD_createCCtx();
    if (!w->strip || !w->shuffled || !w->frame || !w->zstd)
        return ld_fail(err, LD_ERR_MEMORY, "out of memory for a shard");
    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1);
    return true;
}

bool ld_columns_create(struct ld_columns_writer *w, hid_t file,
                       const char *path, const struct ld_shard_facts *facts,
                       struct ld_err *err)
{
    *w = (struct ld_columns_writer){.path = path};
    for (int c = 0; c < LD_N_COLUMNS; c++)
        w->tail[c].set = -1;
    ld_columns_of(facts, w->is);
    if (!create_datasets(w, file, facts))
        return ld_h5_fail(err, LD_ERR_IO, path, "create the rows");
    return make_room(w, err);
}

/* ---- rows ---- */

int64_t ld_columns_count(const struct ld_columns_writer *w,
                         enum ld_column_id id)
{
    const struct ld_column_tail *tail = &w->tail[id];

    return (int64_t)(tail->n_chunks * w->is[id].chunk_rows + tail->n_rows);
}

static void shuffle(unsigned char *out, const unsigned char *in, size_t n_items,
                    size_t item_bytes)
{
    for (size_t b = 0; b < item_bytes; b++)
        for (size_t i = 0; i < n_items; i++)
            *out++ = in[i * item_bytes + b];
}

/* The waiting rows, zeros behind them, as the bytes to be compressed. */
static void lay_out(struct ld_columns_writer *w, enum ld_column_id id)
{
    const struct ld_column *is = &w->is[id];
    struct ld_column_tail *tail = &w->tail[id];
    size_t row_bytes = ld_column_row_bytes(is);
    size_t bytes = ld_column_chunk_bytes(is);

    memset(tail->rows + tail->n_rows * row_bytes, 0,
           bytes - tail->n_rows * row_bytes);
    if (is->storage != LD_STORAGE_PREDICTED) {
        shuffle(w->shuffled, tail->rows, bytes / is->item_bytes,
                is->item_bytes);
        return;
    }
    ld_predict_encode(&w->steps[id]->predictor, w->shuffled,
                      (const int16_t *)(void *)tail->rows, is->chunk_rows,
                      w->strip);
    for (size_t c = 0; c < is->row_items; c++)
        for (size_t r = 0; r < tail->n_rows; r++) {
            size_t at = c * is->chunk_rows + r;
            size_t symbol =
                w->shuffled[at] | (size_t)w->shuffled[bytes / 2 + at] << 8;

            tail->histogram[SYMBOLS * c +
                            (symbol < SYMBOLS ? symbol : SYMBOLS - 1)]++;
        }
}

/* Compresses what was laid out; the low bytes of a predicted chunk in the
 * blocks that its predictor names. */
static size_t compress(struct ld_columns_writer *w, enum ld_column_id id)
{
    const struct ld_column *is = &w->is[id];
    size_t bytes = ld_column_chunk_bytes(is), left = 0;
    ZSTD_inBuffer in = {w->shuffled, 0, 0};
    ZSTD_outBuffer out = {w->frame, w->frame_room, 0};

    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_minMatch,
                           is->storage == LD_STORAGE_PREDICTED ? MATCH : 0);
    if (is->storage != LD_STORAGE_PREDICTED)
        return ZSTD_compress2(w->zstd, w->frame, w->frame_room, w->shuffled,
                              bytes);
    ZSTD_CCtx_setPledgedSrcSize(w->zstd, bytes);
    for (size_t c = 0; c < is->row_items && !ZSTD_isError(left); c++) {
        in.size += is->chunk_rows;
        if (w->steps[id]->predictor.ends_block[c])
            left = ZSTD_compressStream2(w->zstd, &out, &in, ZSTD_e_flush);
    }
    in.size = bytes;
    if (!ZSTD_isError(left))
        left = ZSTD_compressStream2(w->zstd, &out, &in, ZSTD_e_end);
    assert(ZSTD_isError(left) || left == 0); /* there is room for all */
    return ZSTD_isError(left) ? left : out.pos;
}

static bool write_chunk(struct ld_columns_writer *w, enum ld_column_id id,
                        struct ld_err *err)
{
    const struct ld_column *is = &w->is[id];
    struct ld_column_tail *tail = &w->tail[id];
    hsize_t offset[3] = {0};
    hsize_t extent[3] = {is->dim[0], is->dim[1], is->dim[2]};
    size_t len;

    offset[is->row_axis] = tail->n_chunks * is->chunk_rows;
    extent[is->row_axis] = offset[is->row_axis] + tail->n_rows;
    lay_out(w, id);
    len = compress(w, id);
    if (ZSTD_isError(len))
        return ld_fail(err, LD_ERR_MEMORY, "%s: cannot compress: %s", w->path,
                       ZSTD_getErrorName(len));
    if (H5Dset_extent(tail->set, extent) < 0 ||
        H5Dwrite_chunk(tail->set, H5P_DEFAULT, 0, offset, len, w->frame) < 0)
        return ld_h5_fail(err, LD_ERR_IO, w->path, "write");
    tail->n_chunks++;
    tail->n_rows = 0;
    return true;
}

double ld_columns_entropy(const struct ld_columns_writer *w,
                          enum ld_column_id id)
{
    double n = (double)ld_columns_count(w, id), bits = 0;

    for (size_t i = 0; n > 0 && i < SYMBOLS * w->is[id].row_items; i++) {
        double share = w->tail[id].histogram[i] / n;

        bits -= share > 0 ? share * log2(share) : 0;
    }
    return bits / 8;
}

bool ld_columns_put(struct ld_columns_writer *w, enum ld_column_id id,
                    const void *rows, size_t n_rows, struct ld_err *err)
{
    const struct ld_column *is = &w->is[id];
    struct ld_column_tail *tail = &w->tail[id];
    const unsigned char *from = rows;
    size_t row_bytes = ld_column_row_bytes(is);

    while (n_rows > 0) {
        size_t room = is->chunk_rows - tail->n_rows;
        size_t n = n_rows < room ? n_rows : room;

        memcpy(tail->rows + tail->n_rows * row_bytes, from, n * row_bytes);
        tail->n_rows += n;
        from += n * row_bytes;
        n_rows -= n;
        if (tail->n_rows == is->chunk_rows && !write_chunk(w, id, err))
            return false;
    }
    return true;
}

bool ld_columns_flush(struct ld_columns_writer *w, struct ld_err *err)
{
    bool ok = true;

    for (int c = 0; ok && c < LD_N_COLUMNS; c++)
        if (w->tail[c].n_rows > 0)
            ok = write_chunk(w, (enum ld_column_id)c, err);
    return ok;
}

/* ---- where the frames stand ---- */

/* HDF5 gives a chunk's address from the start of the file or, before 1.14,
 * from the end of the user block: look which it is. A frame begins with
 * Zstandard's magic number, and what precedes the first frame is none. */
static bool find_base(const char *file_path, const struct ld_frame *frames,
                      size_t n, uint64_t *base, struct ld_err *err)
{
    int fd = open(file_path, O_RDONLY | O_CLOEXEC);
    uint64_t first = UINT64_MAX;
    uint32_t magic = 0;
    bool ok = true;

    if (fd < 0)
        return ld_fail(err, LD_ERR_IO, "%s: cannot open: %s", file_path,
                       strerror(errno));
    for (size_t i = 0; i < n; i++)
        first = frames[i].address < first ? frames[i].address : first;
    for (*base = 0; *base <= LD_SEAL_BYTES; *base += LD_SEAL_BYTES) {
        ok = ld_seal_pread(fd, &magic, sizeof(magic), first + *base, file_path,
                           err);
        if (!ok || magic == ZSTD_MAGICNUMBER)
            break;
    }
    close(fd);
    return ok && (magic == ZSTD_MAGICNUMBER ||
                  ld_fail(err, LD_ERR_IO,
                          "%s: its rows are not where HDF5 "
                          "says they are",
                          file_path));
}

static bool locate_chunks(struct ld_columns_writer *w, enum ld_column_id id,
                          struct ld_frame *frames, struct ld_err *err)
{
    const struct ld_column_tail *tail = &w->tail[id];

    for (size_t i = 0; i < tail->n_chunks; i++) {
        hsize_t offset[3] = {0}, size;
        haddr_t address;
        unsigned mask;

        offset[w->is[id].row_axis] = i * w->is[id].chunk_rows;
        if (H5Dget_chunk_info_by_coord(tail->set, offset, &mask, &address,
                                       &size) < 0)
            return ld_h5_fail(err, LD_ERR_IO, w->path, "find a chunk");
        frames[i] = (struct ld_frame){address, size};
    }
    return true;
}

bool ld_columns_frames(struct ld_columns_writer *w, const char *file_path,
                       struct ld_frame **frames, size_t *n_frames,
                       struct ld_arena *arena, struct ld_err *err)
{
    size_t n = 0, at = 0;
    uint64_t base = 0;
    bool ok;

    for (int c = 0; c < LD_N_COLUMNS; c++)
        n += w->tail[c].n_chunks;
    *n_frames = n;
    *frames = ld_arena_new(arena, n, sizeof(**frames), err);
    ok = *frames != NULL;
    for (int c = 0; ok && c < LD_N_COLUMNS; c++) {
        ok = locate_chunks(w, (enum ld_column_id)c, *frames + at, err);
        at += w->tail[c].n_chunks;
    }
    if (ok && n > 0)
        ok = find_base(file_path, *frames, n, &base, err);
    for (size_t i = 0; ok && i < n; i++)
        (*frames)[i].address += base;
    return ok;
}

bool ld_columns_close(struct ld_columns_writer *w)
{
    bool ok = true;

    for (int c = 0; c < LD_N_COLUMNS; c++) {
        if (w->tail[c].set > 0)
            ok = H5Dclose(w->tail[c].set) >= 0 && ok;
        ld_delete(w->tail[c].rows);
        ld_delete(w->tail[c].histogram);
    }
    ld_delete(w->strip);
    ld_delete(w->shuffled);
    ld_delete(w->frame);
    ZSTD_freeCCtx(w->zstd);
    *w = (struct ld_columns_writer){0};
    return ok;
}
