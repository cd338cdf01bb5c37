/* shard_columns.h - rows to compressed chunks of an HDF5 file, and back.
 *
 * Private to formats/shard_*.c. Writing goes through HDF5's own metadata, with
 * chunks compressed here; reading knows the frames' places and uses no HDF5. */
#pragma once

#include <stdatomic.h>
#include <zstd.h>

#include "formats/seal.h"
#include "formats/shard_layout.h"

/* ---- writing ---- */

/* Whole chunks go to the file, the rows of the next one wait. */
struct ld_column_tail {
    hid_t set;
    unsigned char *rows; /* chunk_rows of them, n_rows are filled */
    size_t n_rows, n_chunks;
    uint32_t *histogram; /* of each number, of a predicted column */
};

struct ld_columns_writer {
    const char *path; /* for errors; borrowed */
    struct ld_column is[LD_N_COLUMNS];
    struct ld_column_tail tail[LD_N_COLUMNS];
    const struct ld_steps *steps[LD_N_COLUMNS]; /* of a predicted one; set by
                                                   the owner before it puts */
    unsigned char *shuffled, *frame;            /* one chunk on its way */
    void *strip;                                /* scratch of the prediction */
    size_t frame_room;
    ZSTD_CCtx *zstd;
};

/* Makes the empty datasets of /rows and /features. Close it even after a
 * failure. LD_ERR_IO or LD_ERR_MEMORY. */
bool ld_columns_create(struct ld_columns_writer *w, hid_t file,
                       const char *path, const struct ld_shard_facts *facts,
                       struct ld_err *err);
/* Rows put so far. */
int64_t ld_columns_count(const struct ld_columns_writer *w,
                         enum ld_column_id id);
bool ld_columns_put(struct ld_columns_writer *w, enum ld_column_id id,
                    const void *rows, size_t n_rows, struct ld_err *err);
/* Bytes a row of a predicted column at the entropy of its bytes, each column of
 * numbers by itself: what no coder of single numbers can go below. */
double ld_columns_entropy(const struct ld_columns_writer *w,
                          enum ld_column_id id);
/* Writes the waiting rows. Nothing may be put afterwards. */
bool ld_columns_flush(struct ld_columns_writer *w, struct ld_err *err);
/* Where the frames stand, column after column; `file_path` is the file as it
 * lies on disk. The arena's. */
bool ld_columns_frames(struct ld_columns_writer *w, const char *file_path,
                       struct ld_frame **frames, size_t *n_frames,
                       struct ld_arena *arena, struct ld_err *err);
/* False if HDF5 could not write all. Zero-initialised or closed is fine. */
bool ld_columns_close(struct ld_columns_writer *w);

/* ---- reading ---- */

/* What one thread needs to decode. */
struct ld_columns_scratch {
    unsigned char *frame, *chunk;
    void *strip;
    ZSTD_DCtx *zstd;
};

enum { LD_COLUMNS_SPARES = 8 };

struct ld_columns {
    int fd;
    const char *path; /* for errors; borrowed */
    struct ld_column is[LD_N_COLUMNS];
    const struct ld_steps *steps[LD_N_COLUMNS]; /* of a predicted one */
    const struct ld_frame *frames[LD_N_COLUMNS];
    size_t n_frames[LD_N_COLUMNS];
    size_t largest_frame, largest_chunk; /* bytes */
    /* Scratches that nobody uses now: to make one takes a tenth of the time to
     * read a record. (LD_COLUMNS_SPARES), NULL before a shard is open. */
    _Atomic(struct ld_columns_scratch *) *spare;
};

/* Deals the frames out to columns of so many rows. False if their number or
 * their sizes cannot be right. */
bool ld_columns_place(struct ld_columns *columns, const struct ld_frame *frames,
                      size_t n_frames, const int64_t n_rows[LD_N_COLUMNS]);

/* A scratch for one thread, a spare one if there is, to be given back. Any
 * thread may at any time. */
struct ld_columns_scratch *
ld_columns_scratch_take(const struct ld_columns *columns, struct ld_err *err);
void ld_columns_scratch_give(const struct ld_columns *columns,
                             struct ld_columns_scratch *scratch); /* or NULL */
/* Frees the spare ones. */
void ld_columns_scratch_free(const struct ld_columns *columns);

/* A predicted column's rows: logits in `out`, or, if that is NULL, what is kept
 * of them. LD_ERR_FORMAT if a frame is damaged: it holds a checksum of its
 * own. */
bool ld_columns_restore(const struct ld_columns *columns, enum ld_column_id id,
                        int64_t start, size_t n_rows, float *out, int16_t *kept,
                        struct ld_columns_scratch *scratch, struct ld_err *err);

/* n_rows rows of any other column from `start` on, as stored. LD_ERR_FORMAT if
 * a frame is damaged. */
bool ld_columns_read(const struct ld_columns *columns, enum ld_column_id id,
                     int64_t start, size_t n_rows, void *out,
                     struct ld_columns_scratch *scratch, struct ld_err *err);
