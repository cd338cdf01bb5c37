#include <inttypes.h>
#include <stdio.h>
#include <zlib.h>

#include "formats/shard_open.h"

/* One record on its way in. */
struct reading {
    const struct ld_shard *shard;
    const struct ld_shard_entry *entry;
    struct ld_arena *arena;
    struct ld_columns_scratch *scratch;
    uint32_t crc;
    struct ld_err *err;
};

/* Where an entry's rows of a column begin; their number. */
static int64_t rows_of(const struct ld_shard_entry *e, enum ld_column_id id,
                       size_t *n_rows)
{
    switch (id) {
    case LD_COLUMN_CLASS:
        *n_rows = (size_t)e->n_main;
        return e->main_start;
    case LD_COLUMN_FEATURE_LOCATION:
    case LD_COLUMN_FEATURE:
        *n_rows = (size_t)e->n_features;
        return e->feature_start;
    default:
        *n_rows = (size_t)e->n_rows;
        return e->row_start;
    }
}

/* The stored bytes of a column, the arena's; they are added to the checksum. */
static void *read_stored(struct reading *r, enum ld_column_id id)
{
    size_t n;
    int64_t start = rows_of(r->entry, id, &n);
    size_t bytes = n * ld_column_row_bytes(&r->shard->columns.is[id]);
    void *stored = ld_arena_room(r->arena, bytes, 1, r->err);

    if (!stored || !ld_columns_read(&r->shard->columns, id, start, n, stored,
                                    r->scratch, r->err))
        return NULL;
    r->crc = (uint32_t)crc32_z(r->crc, stored, bytes);
    return stored;
}

/* Not of the checksum: their frames have one each. */
static const float *read_predicted(struct reading *r, enum ld_column_id id)
{
    const struct ld_columns *columns = &r->shard->columns;
    const struct ld_steps *steps = columns->steps[id];
    size_t n;
    int64_t start = rows_of(r->entry, id, &n);
    float *numbers = ld_arena_room(
        r->arena, n * (size_t)steps->groups * (size_t)steps->width,
        sizeof(*numbers), r->err);

    return numbers && ld_columns_restore(columns, id, start, n, numbers, NULL,
                                         r->scratch, r->err)
               ? numbers
               : NULL;
}

static const int16_t *read_kept(struct reading *r, enum ld_column_id id,
                                float *step)
{
    const struct ld_columns *columns = &r->shard->columns;
    const struct ld_steps *steps = columns->steps[id];
    size_t n;
    int64_t start = rows_of(r->entry, id, &n);
    int16_t *kept = ld_arena_new(r->arena, n * (size_t)steps->n_columns,
                                 sizeof(*kept), r->err);

    *step = (float)steps->step;
    return kept && ld_columns_restore(columns, id, start, n, NULL, kept,
                                      r->scratch, r->err)
               ? kept
               : NULL;
}

static const float *read_numbers(struct reading *r, enum ld_column_id id)
{
    enum ld_storage storage = r->shard->columns.is[id].storage;
    void *stored;
    size_t count;
    float *numbers;

    if (storage == LD_STORAGE_PREDICTED)
        return read_predicted(r, id);
    stored = read_stored(r, id);
    if (!stored || storage == LD_STORAGE_FP32)
        return stored;
    rows_of(r->entry, id, &count);
    count *= r->shard->columns.is[id].row_items;
    numbers = ld_arena_new(r->arena, count, sizeof(*numbers), r->err);
    if (numbers)
        ld_codec_decode(storage, numbers, stored, count);
    return numbers;
}

static bool check_crc(const struct reading *r, uint32_t wanted)
{
    return r->crc == wanted || ld_fail(r->err, LD_ERR_FORMAT,
                                       "its rows are damaged: CRC-32 %08" PRIx32
                                       ", the index says %08" PRIx32,
                                       r->crc, wanted);
}

/* The rows make sense on the view's grid. */
static bool rows_fit(const struct ld_record *record,
                     const struct ld_shard_facts *facts)
{
    struct ld_grid grid = ld_shard_grid(facts, &record->view);
    bool dense = facts->select == LD_SELECT_DENSE;
    int32_t before = -1;
    int n_main = 0;

    for (int i = 0; i < record->n_rows; i++) {
        int32_t at = record->location[i];

        if (at <= before || at >= grid.start[grid.n_levels] ||
            record->kind[i] < !dense || record->kind[i] > 3)
            return false;
        before = at;
        n_main += record->kind[i] & LD_SHARD_MAIN;
    }
    if (dense && record->n_rows != grid.start[grid.n_levels])
        return false;
    return record->n_main ==
           (ld_shard_all_classes(facts) ? record->n_rows : n_main);
}

static bool check_rows(const struct reading *r, const struct ld_record *record)
{
    return rows_fit(record, &r->shard->facts) ||
           ld_fail(r->err, LD_ERR_FORMAT, "its rows contradict its grid");
}

static bool read_places(struct reading *r, struct ld_record *out)
{
    out->location = read_stored(r, LD_COLUMN_LOCATION);
    if (out->location)
        out->kind = read_stored(r, LD_COLUMN_KIND);
    return out->location && out->kind;
}

static bool read_all(struct reading *r, struct ld_record *out)
{
    if (!read_places(r, out))
        return false;
    out->box_logits = read_numbers(r, LD_COLUMN_BOX);
    if (out->box_logits)
        out->class_logits = read_numbers(r, LD_COLUMN_CLASS);
    return out->box_logits && out->class_logits &&
           check_crc(r, r->entry->checksum);
}

static bool read_all_kept(struct reading *r, struct ld_record *out)
{
    if (r->shard->facts.storage != LD_STORAGE_PREDICTED)
        return read_all(r, out);
    if (!read_places(r, out))
        return false;
    out->box_kept = read_kept(r, LD_COLUMN_BOX, &out->box_step);
    if (out->box_kept)
        out->class_kept = read_kept(r, LD_COLUMN_CLASS, &out->class_step);
    return out->box_kept && out->class_kept && check_crc(r, r->entry->checksum);
}

static bool features_fit(const struct ld_record *record)
{
    const struct ld_view *view = &record->view;
    struct ld_grid grid = ld_grid_of_canvas(view->canvas_H, view->canvas_W);
    int32_t before = -1;

    for (int i = 0; i < record->n_features; i++) {
        int32_t at = record->feature_location[i];

        if (at <= before || at >= grid.start[grid.n_levels])
            return false;
        before = at;
    }
    return true;
}

static bool read_features(struct reading *r, struct ld_record *out)
{
    out->feature_location = read_stored(r, LD_COLUMN_FEATURE_LOCATION);
    if (out->feature_location)
        out->features = read_numbers(r, LD_COLUMN_FEATURE);
    return out->features && check_crc(r, r->entry->feature_checksum) &&
           (features_fit(out) ||
            ld_fail(r->err, LD_ERR_FORMAT, "its features contradict its grid"));
}

static bool read_rows(struct reading *r, struct ld_record *out)
{
    return read_all(r, out) && check_rows(r, out);
}

static bool read_rows_kept(struct reading *r, struct ld_record *out)
{
    return read_all_kept(r, out) && check_rows(r, out);
}

static bool read_places_only(struct reading *r, struct ld_record *out)
{
    return read_places(r, out) && check_rows(r, out);
}

/* Reads with `how`, and says which view it was if that fails. */
static bool read_record(const struct ld_shard *shard, int index,
                        struct ld_arena *arena, struct ld_record *out,
                        bool how(struct reading *, struct ld_record *),
                        struct ld_err *err)
{
    struct reading r = {.shard = shard,
                        .entry = &shard->entries[index],
                        .arena = arena,
                        .scratch =
                            ld_columns_scratch_take(&shard->columns, err),
                        .err = err};
    char place[4200], name[32];
    bool ok = r.scratch && how(&r, out);

    ld_columns_scratch_give(&shard->columns, r.scratch);
    if (ok)
        return true;
    ld_view_name(&out->view, shard->facts.seeded_views > 0, name);
    snprintf(place, sizeof(place), "%s: image %" PRId64 "%s", shard->path,
             out->image_id, name);
    return ld_fail_in(err, place);
}

bool ld_shard_read(const struct ld_shard *shard, int index,
                   struct ld_arena *arena, struct ld_record *out,
                   struct ld_err *err)
{
    ld_shard_entry(shard, index, out);
    return read_record(shard, index, arena, out, read_rows, err);
}

bool ld_shard_read_kept(const struct ld_shard *shard, int index,
                        struct ld_arena *arena, struct ld_record *out,
                        struct ld_err *err)
{
    ld_shard_entry(shard, index, out);
    return read_record(shard, index, arena, out, read_rows_kept, err);
}

bool ld_shard_read_places(const struct ld_shard *shard, int index,
                          struct ld_arena *arena, struct ld_record *out,
                          struct ld_err *err)
{
    ld_shard_entry(shard, index, out);
    return read_record(shard, index, arena, out, read_places_only, err);
}

bool ld_shard_read_features(const struct ld_shard *shard, int index,
                            struct ld_arena *arena, struct ld_record *record,
                            struct ld_err *err)
{
    return read_record(shard, index, arena, record, read_features, err);
}

/* Both columns as a whole, dealt out to the records. */
static bool read_columns(const struct ld_shard *shard, struct ld_record *out,
                         size_t n_rows, struct ld_arena *arena,
                         struct ld_err *err)
{
    const struct ld_columns *columns = &shard->columns;
    struct ld_columns_scratch *scratch = ld_columns_scratch_take(columns, err);
    int32_t *location = ld_arena_new(arena, n_rows, sizeof(*location), err);
    uint8_t *kind = ld_arena_new(arena, n_rows, sizeof(*kind), err);
    bool ok =
        scratch && location && kind &&
        ld_columns_read(columns, LD_COLUMN_LOCATION, 0, n_rows, location,
                        scratch, err) &&
        ld_columns_read(columns, LD_COLUMN_KIND, 0, n_rows, kind, scratch, err);

    ld_columns_scratch_give(columns, scratch);
    for (int i = 0; ok && i < shard->n_views; i++) {
        ld_shard_entry(shard, i, &out[i]);
        out[i].location = location + shard->entries[i].row_start;
        out[i].kind = kind + shard->entries[i].row_start;
        ok = rows_fit(&out[i], &shard->facts);
    }
    return ok;
}

bool ld_shard_read_all_places(const struct ld_shard *shard,
                              struct ld_record **out, struct ld_arena *arena,
                              struct ld_err *err)
{
    size_t n = (size_t)shard->n_views, n_rows = 0;
    struct ld_err whole = {0};
    struct ld_record one;

    *out = ld_arena_new(arena, n, sizeof(**out), err);
    if (!*out)
        return false;
    for (size_t i = 0; i < n; i++)
        n_rows += (size_t)shard->entries[i].n_rows;
    if (read_columns(shard, *out, n_rows, arena, &whole))
        return true;
    for (int i = 0; i < shard->n_views; i++) /* which view is it? */
        if (!ld_shard_read_places(shard, i, arena, &one, err))
            return false;
    return ld_fail(err, whole.code, "%s: %s", shard->path, whole.text);
}
