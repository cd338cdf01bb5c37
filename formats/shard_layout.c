#include "formats/shard_layout.h"

#include <stddef.h>
#include <string.h>

#include "formats/h5file.h"

/* ---- columns ---- */

enum { CHUNK_BYTES = 32 * 1024, MAX_CHUNK_ROWS = 4096 };

/* A record's rows are read with little beside them, yet a frame is long enough
 * to compress well. */
static size_t chunk_rows_of(const struct ld_column *column)
{
    size_t rows = 1;

    while (rows < MAX_CHUNK_ROWS &&
           2 * rows * ld_column_row_bytes(column) <= CHUNK_BYTES)
        rows *= 2;
    return rows;
}

void ld_columns_of(const struct ld_shard_facts *facts,
                   struct ld_column out[LD_N_COLUMNS])
{
    size_t item = ld_codec_bytes(facts->storage);
    unsigned B = (unsigned)facts->reg_max + 1, K = (unsigned)facts->n_logits;
    unsigned C = (unsigned)facts->feature_channels;

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
    for (int i = 0; i < LD_N_COLUMNS; i++)
        out[i].chunk_rows = chunk_rows_of(&out[i]);
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
    return storage == LD_STORAGE_FP16 ? half_type() : H5Tcopy(H5T_IEEE_F32LE);
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
