/* shard_layout.h - where things are inside a shard: what its writer and its
 * reader must agree on. Private to formats/shard_*.c. */
#pragma once

#include <hdf5.h>

#include "formats/shard.h"
#include "formats/steps.h"

/* The datasets of /rows and /features. */
enum ld_column_id {
    LD_COLUMN_LOCATION,
    LD_COLUMN_KIND,
    LD_COLUMN_BOX,
    LD_COLUMN_CLASS,
    LD_COLUMN_FEATURE_LOCATION,
    LD_COLUMN_FEATURE,
    LD_N_COLUMNS,
};

/* A chunk of `chunk_rows` rows is one frame: its bytes shuffled (all first
 * bytes of the items, then all second bytes, ...: HDF5's filter 2), then
 * compressed. The last chunk of a column is filled up with zeros.
 *
 * The chunk of a predicted column holds its numbers column after column, a row
 * of the file along the last dimension, and what was foretold of each is taken
 * away (formats/predict.h); a block of the frame, with a Huffman table of its
 * own, is some columns that are missed by as much. */
struct ld_column {
    const char *name;  /* "rows/box" */
    size_t item_bytes; /* 1, 2 or 4 */
    size_t row_items;  /* 0: the shard has no such column */
    size_t chunk_rows;
    enum ld_storage storage;
    int rank;        /* of the dataset */
    int row_axis;    /* the dimension that grows: the last, if predicted */
    unsigned dim[3]; /* dim[row_axis] is free */
};

void ld_columns_of(const struct ld_shard_facts *facts,
                   struct ld_column out[LD_N_COLUMNS]);

static inline size_t ld_column_row_bytes(const struct ld_column *column)
{
    return column->item_bytes * column->row_items;
}

static inline size_t ld_column_chunk_bytes(const struct ld_column *column)
{
    return column->chunk_rows * ld_column_row_bytes(column);
}

/* The file's type of a column's items; H5Tclose it. */
hid_t ld_column_type(enum ld_column_id id, enum ld_storage storage);

/* The steps of a predicted shard's box and class rows. */
struct ld_shard_steps {
    struct ld_steps box, class_rows;
};

/* Those of no data yet; the arena's. */
bool ld_shard_steps_make(struct ld_shard_steps *out,
                         const struct ld_shard_facts *facts,
                         struct ld_arena *arena, struct ld_err *err);

/* /steps: box_weight, class_weight int16 (columns, 64); box_bias, class_bias,
 * box_place, class_place int32 (columns); attributes of the file box_step,
 * class_step. As the arrays of the index. */
bool ld_shard_steps_put(hid_t file, const struct ld_shard_steps *steps);
bool ld_shard_steps_get(hid_t file, struct ld_shard_steps *steps);

/* One member of a struct that is stored as an array or attribute of its name.
 */
struct ld_field {
    char letter; /* as in Python's struct module: q int64, i int32, I uint32,
                    B uint8, f float, d double; and s: a text */
    const char *name;
    size_t offset, count; /* count of an array */
};

hid_t ld_field_type(char letter); /* of a number; HDF5's own, not to close */

/* One entry of /index. */
struct ld_shard_entry {
    int64_t image_id;
    int32_t view, height, width, canvas_height, canvas_width;
    uint8_t flipped;
    int64_t row_start, main_start; /* in the columns */
    int32_t n_rows, n_main;
    uint32_t checksum;     /* CRC-32 of location, kind and what is not predicted
                             of box and class as stored */
    int64_t feature_start; /* in the columns of /features */
    int32_t n_features;
    uint32_t feature_checksum; /* CRC-32 of their location and rows */
};

/* The arrays of the group `index`. Writing: false if HDF5 fails. Reading:
 * false too if an array is absent or not of `count` entries. `err` is set only
 * if memory runs out. */
bool ld_index_put(hid_t index, const struct ld_shard_entry *entries,
                  size_t count, struct ld_err *err);
bool ld_index_get(hid_t index, struct ld_shard_entry *entries, size_t count,
                  struct ld_err *err);

/* The attributes of the file. Reading names the attribute that is absent or
 * wrong in *missing; texts are the arena's. `err` is set only if memory runs
 * out. */
bool ld_facts_put(hid_t file, const struct ld_shard_facts *facts);
bool ld_facts_get(hid_t file, struct ld_shard_facts *out, const char **missing,
                  struct ld_arena *arena, struct ld_err *err);

/* A deep copy, the arena's. */
bool ld_facts_copy(struct ld_shard_facts *out,
                   const struct ld_shard_facts *facts, struct ld_arena *arena,
                   struct ld_err *err);
