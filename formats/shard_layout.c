#include "formats/shard_layout.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "formats/h5file.h"

/* ---- columns ---- */

enum {
    CHUNK_BYTES = 32 * 1024,
    PREDICTED_BYTES = 24 * 1024,
    MAX_CHUNK_ROWS = 4096
};

/* A record's rows are read with little beside them, yet a frame is long enough
 * to compress well. Of a predicted number only one byte counts: the other is
 * next to nothing. Half the rows would take 2 % more bytes and a Huffman table
 * for every half of them, twice as many be for the most part another record's.
 */
static size_t chunk_rows_of(const struct ld_column *column)
{
    bool predicted = column->storage == LD_STORAGE_PREDICTED;
    size_t rows = predicted ? LD_PREDICT_STRIP : 1;
    size_t row_bytes =
        predicted ? column->row_items : ld_column_row_bytes(column);
    size_t most = predicted ? PREDICTED_BYTES : CHUNK_BYTES;

    while (rows < MAX_CHUNK_ROWS && 2 * rows * row_bytes <= most)
        rows *= 2;
    return rows;
}

/* Features are next to random: there is nothing to foretell. */
static enum ld_storage storage_of(enum ld_column_id id, enum ld_storage storage)
{
    if (id == LD_COLUMN_BOX || id == LD_COLUMN_CLASS)
        return storage;
    return storage == LD_STORAGE_FP32 || id != LD_COLUMN_FEATURE
               ? LD_STORAGE_FP32
               : LD_STORAGE_FP16;
}

void ld_columns_of(const struct ld_shard_facts *facts,
                   struct ld_column out[LD_N_COLUMNS])
{
    size_t item = ld_codec_bytes(facts->storage);
    unsigned B = (unsigned)facts->reg_max + 1, K = (unsigned)facts->n_logits;
    unsigned C = (unsigned)facts->feature_channels;
    unsigned n_box = 4 * B - (unsigned)ld_shard_runs(facts); /* predicted */

    out[LD_COLUMN_LOCATION] = (struct ld_column){
        .name = "rows/location", .item_bytes = 4, .row_items = 1, .rank = 1};
    out[LD_COLUMN_KIND] = (struct ld_column){
        .name = "rows/kind", .item_bytes = 1, .row_items = 1, .rank = 1};
    out[LD_COLUMN_BOX] = (struct ld_column){.name = "rows/box",
                                            .item_bytes = item,
                                            .row_items = 4 * (size_t)B,
                                            .rank = 3,
                                            .dim = {0, 4, B}};
    out[LD_COLUMN_CLASS] = (struct ld_column){.name = "rows/class",
                                              .item_bytes = item,
                                              .row_items = K,
                                              .rank = 2,
                                              .dim = {0, K}};
    out[LD_COLUMN_FEATURE_LOCATION] =
        (struct ld_column){.name = "features/location",
                           .item_bytes = 4,
                           .row_items = C ? 1 : 0,
                           .rank = 1};
    out[LD_COLUMN_FEATURE] = (struct ld_column){.name = "features/rows",
                                                .item_bytes = item,
                                                .row_items = C,
                                                .rank = 2,
                                                .dim = {0, C}};
    if (facts->storage == LD_STORAGE_PREDICTED) {
        out[LD_COLUMN_BOX] = (struct ld_column){.name = "rows/box",
                                                .item_bytes = item,
                                                .row_items = n_box,
                                                .rank = 2,
                                                .row_axis = 1,
                                                .dim = {n_box, 0}};
        out[LD_COLUMN_CLASS] = (struct ld_column){.name = "rows/class",
                                                  .item_bytes = item,
                                                  .row_items = K,
                                                  .rank = 2,
                                                  .row_axis = 1,
                                                  .dim = {K, 0}};
    }
    for (int i = 0; i < LD_N_COLUMNS; i++) {
        out[i].storage = storage_of((enum ld_column_id)i, facts->storage);
        out[i].chunk_rows = chunk_rows_of(&out[i]);
    }
}

/* IEEE binary16, which HDF5 has by name since 1.14.4 only. */
static hid_t half_type(void)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);

    if (type >= 0 && (H5Tset_fields(type, 15, 10, 5, 0, 10) < 0 ||
                      H5Tset_size(type, 2) < 0 || H5Tset_ebias(type, 15) < 0)) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

hid_t ld_column_type(enum ld_column_id id, enum ld_storage storage)
{
    if (id == LD_COLUMN_LOCATION || id == LD_COLUMN_FEATURE_LOCATION)
        return H5Tcopy(H5T_STD_I32LE);
    if (id == LD_COLUMN_KIND)
        return H5Tcopy(H5T_STD_U8LE);
    if (storage == LD_STORAGE_PREDICTED && id != LD_COLUMN_FEATURE)
        return H5Tcopy(H5T_STD_U16LE);
    return storage == LD_STORAGE_FP32 ? H5Tcopy(H5T_IEEE_F32LE) : half_type();
}

/* ---- steps ---- */

bool ld_shard_steps_make(struct ld_shard_steps *out,
                         const struct ld_shard_facts *facts,
                         struct ld_arena *arena, struct ld_err *err)
{
    int runs = ld_shard_runs(facts), width = 4 * (facts->reg_max + 1) / runs;

    return ld_steps_make(&out->box, runs, width, true, arena, err) &&
           ld_steps_make(&out->class_rows, 1, facts->n_logits, false, arena,
                         err);
}

static bool put_steps(hid_t file, hid_t group, const struct ld_steps *s,
                      const char *const names[4])
{
    const struct ld_predictor *p = &s->predictor;
    size_t n = (size_t)p->n_columns;

    return ld_h5_put(file, names[0], H5T_IEEE_F64LE, &s->step, 1) &&
           ld_h5_put_array(group, names[1], H5T_STD_I16LE, p->weight,
                           n * LD_PREDICT_TAPS) &&
           ld_h5_put_array(group, names[2], H5T_STD_I32LE, p->bias, n) &&
           ld_h5_put_array(group, names[3], H5T_STD_I32LE, p->place, n);
}

/* Each place is some column's. */
static bool places_fit(const struct ld_predictor *p)
{
    for (int c = 0; c < p->n_columns; c++) {
        if (p->place[c] < 0 || p->place[c] >= p->n_columns)
            return false;
        for (int d = 0; d < c; d++)
            if (p->place[d] == p->place[c])
                return false;
    }
    return true;
}

static bool get_steps(hid_t file, hid_t group, struct ld_steps *s,
                      const char *const names[4])
{
    const struct ld_predictor *p = &s->predictor;
    size_t n = (size_t)p->n_columns;

    return ld_h5_get(file, names[0], H5T_IEEE_F64LE, &s->step, 1) &&
           isfinite(s->step) && s->step > 0 &&
           ld_h5_get_array(group, names[1], H5T_STD_I16LE, p->weight,
                           n * LD_PREDICT_TAPS) &&
           ld_h5_get_array(group, names[2], H5T_STD_I32LE, p->bias, n) &&
           ld_h5_get_array(group, names[3], H5T_STD_I32LE, p->place, n) &&
           places_fit(p);
}

static const char *const box_names[4] = {"box_step", "box_weight", "box_bias",
                                         "box_place"};
static const char *const class_names[4] = {"class_step", "class_weight",
                                           "class_bias", "class_place"};

bool ld_shard_steps_put(hid_t file, const struct ld_shard_steps *steps)
{
    hid_t plain = ld_h5_plain(H5P_GROUP_CREATE);
    hid_t group = H5Gcreate2(file, "steps", H5P_DEFAULT, plain, H5P_DEFAULT);
    bool ok = group >= 0 && put_steps(file, group, &steps->box, box_names) &&
              put_steps(file, group, &steps->class_rows, class_names);

    H5Pclose(plain);
    return group >= 0 && H5Gclose(group) >= 0 && ok;
}

bool ld_shard_steps_get(hid_t file, struct ld_shard_steps *steps)
{
    hid_t group = H5Gopen2(file, "steps", H5P_DEFAULT);
    bool ok = group >= 0 && get_steps(file, group, &steps->box, box_names) &&
              get_steps(file, group, &steps->class_rows, class_names);

    if (group >= 0)
        H5Gclose(group);
    return ok;
}

/* ---- fields ---- */

hid_t ld_field_type(char letter)
{
    switch (letter) {
    case 'q':
        return H5T_STD_I64LE;
    case 'i':
        return H5T_STD_I32LE;
    case 'I':
        return H5T_STD_U32LE;
    case 'f':
        return H5T_IEEE_F32LE;
    case 'd':
        return H5T_IEEE_F64LE;
    default:
        return H5T_STD_U8LE;
    }
}

static size_t size_of(char letter)
{
    return letter == 'q' || letter == 'd' ? 8 : letter == 'B' ? 1 : 4;
}

/* ---- index ---- */

#define ENTRY(name, letter) \
    letter, #name, offsetof(struct ld_shard_entry, name), 1

static const struct ld_field entry_fields[] = {
    {ENTRY(image_id, 'q')},         {ENTRY(view, 'i')},
    {ENTRY(height, 'i')},           {ENTRY(width, 'i')},
    {ENTRY(canvas_height, 'i')},    {ENTRY(canvas_width, 'i')},
    {ENTRY(flipped, 'B')},          {ENTRY(row_start, 'q')},
    {ENTRY(n_rows, 'i')},           {ENTRY(main_start, 'q')},
    {ENTRY(n_main, 'i')},           {ENTRY(checksum, 'I')},
    {ENTRY(feature_start, 'q')},    {ENTRY(n_features, 'i')},
    {ENTRY(feature_checksum, 'I')},
};

enum { N_ENTRY_FIELDS = sizeof(entry_fields) / sizeof(entry_fields[0]) };

bool ld_index_put(hid_t index, const struct ld_shard_entry *entries,
                  size_t count, struct ld_err *err)
{
    unsigned char *values = ld_new(count, 8, err);
    bool ok = values != NULL;

    for (size_t f = 0; ok && f < N_ENTRY_FIELDS; f++) {
        const struct ld_field *field = &entry_fields[f];
        size_t size = size_of(field->letter);

        for (size_t i = 0; i < count; i++)
            memcpy(values + i * size,
                   (const unsigned char *)&entries[i] + field->offset, size);
        ok = ld_h5_put_array(index, field->name, ld_field_type(field->letter),
                             values, count);
    }
    ld_delete(values);
    return ok;
}

bool ld_index_get(hid_t index, struct ld_shard_entry *entries, size_t count,
                  struct ld_err *err)
{
    unsigned char *values = ld_new(count, 8, err);
    bool ok = values != NULL;

    for (size_t f = 0; ok && f < N_ENTRY_FIELDS; f++) {
        const struct ld_field *field = &entry_fields[f];
        size_t size = size_of(field->letter);

        ok = ld_h5_get_array(index, field->name, ld_field_type(field->letter),
                             values, count);
        for (size_t i = 0; ok && i < count; i++)
            memcpy((unsigned char *)&entries[i] + field->offset,
                   values + i * size, size);
    }
    ld_delete(values);
    return ok;
}
