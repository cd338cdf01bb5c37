#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "formats/h5file.h"
#include "formats/seal.h"
#include "formats/shard_columns.h"

/* What a sane shard stays below: a damaged one must not ask for the moon. */
enum { MAX_SIDE = 1 << 16, MAX_REG_MAX = 1024, MAX_CLASSES = 65536 };

struct ld_shard {
    const char *path;
    struct ld_arena arena; /* of all below */
    struct ld_seal seal;
    struct ld_shard_facts facts;
    struct ld_columns columns;
    struct ld_shard_entry *entries;
    int n_views, n_skipped;
    int64_t *skipped;
    const char **reasons;
};

/* ---- open ---- */

static bool bad(const struct ld_shard *shard, struct ld_err *err,
                const char *what)
{
    return ld_fail(err, LD_ERR_FORMAT, "%s: %s", shard->path, what);
}

static bool read_facts(struct ld_shard *shard, hid_t file, struct ld_err *err)
{
    struct ld_shard_facts *facts = &shard->facts;
    const char *missing;

    if (!ld_facts_get(file, facts, &missing, &shard->arena, err))
        return ld_fail(err, LD_ERR_FORMAT,
                       "%s: its attribute %s is missing or of another type",
                       shard->path, missing);
    if (facts->format != LD_SHARD_FORMAT)
        return ld_fail(err, LD_ERR_FORMAT,
                       "%s: shard format %d, this program reads %d",
                       shard->path, facts->format, LD_SHARD_FORMAT);
    if (facts->n_classes < 1 || facts->n_classes > MAX_CLASSES ||
        facts->n_logits < facts->n_classes ||
        facts->n_logits > facts->n_classes + 1 || facts->reg_max < 1 ||
        facts->reg_max > MAX_REG_MAX || facts->seeded_views < 0 ||
        facts->n_parts < 1 || facts->part < 0 || facts->part >= facts->n_parts)
        return bad(shard, err, "its attributes are out of range");
    return true;
}

static bool is_side(int32_t side)
{
    return side >= 1 && side <= MAX_SIDE;
}

/* A number that the scheme has; without seeded views it tells the flip. */
static bool is_view(const struct ld_shard_entry *e,
                    const struct ld_shard_facts *facts)
{
    if (facts->seeded_views == 0)
        return e->view == e->flipped;
    return e->view >= 0 && e->view < facts->seeded_views;
}

/* Records stand end to end, on canvases a grid exists for. */
static bool entry_follows(const struct ld_shard_entry *e, int64_t row,
                          int64_t main_row)
{
    return is_side(e->height) && is_side(e->width) &&
           is_side(e->canvas_height) && is_side(e->canvas_width) &&
           e->canvas_height % 32 == 0 && e->canvas_width % 32 == 0 &&
           e->flipped <= 1 && e->n_rows >= 0 && e->n_main >= 0 &&
           e->n_main <= e->n_rows && e->row_start == row &&
           e->main_start == main_row;
}

static bool read_entries(struct ld_shard *shard, hid_t file,
                         int64_t n_rows[LD_N_COLUMNS], struct ld_err *err)
{
    hid_t index = H5Gopen2(file, "index", H5P_DEFAULT);
    int64_t n = index < 0 ? -1 : ld_h5_rows(index, "image_id");
    int64_t row = 0, main_row = 0;
    bool ok = n >= 0 && n < INT32_MAX;

    if (ok) {
        shard->n_views = (int)n;
        shard->entries = ld_arena_new(&shard->arena, (size_t)n,
                                      sizeof(*shard->entries), err);
        ok = shard->entries &&
             ld_index_get(index, shard->entries, (size_t)n, err);
    }
    if (index >= 0)
        H5Gclose(index);
    for (int i = 0; ok && i < shard->n_views; i++) {
        ok = entry_follows(&shard->entries[i], row, main_row) &&
             is_view(&shard->entries[i], &shard->facts);
        row += shard->entries[i].n_rows;
        main_row += shard->entries[i].n_main;
    }
    n_rows[LD_COLUMN_LOCATION] = n_rows[LD_COLUMN_KIND] = row;
    n_rows[LD_COLUMN_BOX] = row;
    n_rows[LD_COLUMN_CLASS] = main_row;
    return ok || bad(shard, err, "its index is missing or contradicts itself");
}

static bool read_skipped(struct ld_shard *shard, hid_t file, struct ld_err *err)
{
    hid_t group = H5Gopen2(file, "skipped", H5P_DEFAULT);
    int64_t n = group < 0 ? -1 : ld_h5_rows(group, "image_id");
    bool ok = n >= 0 && n < INT32_MAX;

    if (ok) {
        size_t count = (size_t)n;

        shard->n_skipped = (int)n;
        shard->skipped =
            ld_arena_new(&shard->arena, count, sizeof(int64_t), err);
        shard->reasons =
            ld_arena_new(&shard->arena, count, sizeof(char *), err);
        ok = shard->skipped && shard->reasons &&
             ld_h5_get_array(group, "image_id", H5T_STD_I64LE, shard->skipped,
                             count) &&
             ld_h5_get_text_array(group, "reason", shard->reasons, count,
                                  &shard->arena, err);
    }
    if (group >= 0)
        H5Gclose(group);
    return ok || bad(shard, err, "its list of skipped images is damaged");
}

/* All that HDF5 is needed for. */
static bool read_metadata(struct ld_shard *shard, int64_t n_rows[LD_N_COLUMNS],
                          struct ld_err *err)
{
    hid_t file = ld_h5_open(shard->path, err);
    bool ok = file >= 0 && read_facts(shard, file, err) &&
              read_entries(shard, file, n_rows, err) &&
              read_skipped(shard, file, err);

    if (file >= 0)
        H5Fclose(file);
    return ok;
}

static bool open_file(struct ld_shard *shard, const char *path,
                      struct ld_err *err)
{
    shard->path = ld_arena_text(&shard->arena, path, strlen(path), err);
    if (!shard->path)
        return false;
    shard->columns.path = shard->path;
    shard->columns.fd = open(path, O_RDONLY | O_CLOEXEC);
    return shard->columns.fd >= 0 ||
           ld_fail(err, LD_ERR_IO, "%s: cannot open: %s", path,
                   strerror(errno));
}

static bool load(struct ld_shard *shard, const char *path, struct ld_err *err)
{
    struct ld_frame *frames = NULL;
    int64_t n_rows[LD_N_COLUMNS];

    if (!open_file(shard, path, err) ||
        !ld_seal_check(shard->columns.fd, "shard", path, &shard->seal, &frames,
                       &shard->arena, err) ||
        !read_metadata(shard, n_rows, err))
        return false;
    ld_columns_of(&shard->facts, shard->columns.is);
    return ld_columns_place(&shard->columns, frames,
                            (size_t)shard->seal.n_frames, n_rows) ||
           bad(shard, err, "its table of frames does not fit its rows");
}

struct ld_shard *ld_shard_open(const char *path, struct ld_err *err)
{
    struct ld_shard *shard = ld_new(1, sizeof(*shard), err);

    if (!shard)
        return NULL;
    shard->columns.fd = -1;
    if (!load(shard, path, err)) {
        ld_shard_close(shard);
        return NULL;
    }
    return shard;
}

void ld_shard_close(struct ld_shard *shard)
{
    struct ld_arena arena;

    if (!shard)
        return;
    if (shard->columns.fd >= 0)
        close(shard->columns.fd);
    arena = shard->arena;
    ld_arena_free(&arena);
    ld_delete(shard);
}

/* ---- what is known without reading rows ---- */

const char *ld_shard_path(const struct ld_shard *shard)
{
    return shard->path;
}

const struct ld_shard_facts *ld_shard_facts(const struct ld_shard *shard)
{
    return &shard->facts;
}

int ld_shard_count(const struct ld_shard *shard)
{
    return shard->n_views;
}

void ld_shard_entry(const struct ld_shard *shard, int index,
                    struct ld_record *out)
{
    const struct ld_shard_entry *e = &shard->entries[index];

    *out = (struct ld_record){
        .image_id = e->image_id,
        .view = {.H = e->height,
                 .W = e->width,
                 .canvas_H = e->canvas_height,
                 .canvas_W = e->canvas_width,
                 .flipped = e->flipped,
                 .number = e->view},
        .n_rows = e->n_rows,
        .n_main = e->n_main,
        .n_logits = shard->facts.n_logits,
    };
}

int ld_shard_n_skipped(const struct ld_shard *shard)
{
    return shard->n_skipped;
}

int64_t ld_shard_skipped(const struct ld_shard *shard, int index,
                         const char **reason)
{
    if (reason)
        *reason = shard->reasons[index];
    return shard->skipped[index];
}

void ld_shard_sizes(const struct ld_shard *shard, struct ld_shard_sizes *out)
{
    const struct ld_columns *columns = &shard->columns;
    int64_t bytes[LD_N_COLUMNS] = {0}, frames = 0;

    for (int c = 0; c < LD_N_COLUMNS; c++) {
        for (size_t i = 0; i < columns->n_frames[c]; i++)
            bytes[c] += (int64_t)columns->frames[c][i].size;
        frames += bytes[c];
    }
    *out = (struct ld_shard_sizes){
        .file = (int64_t)shard->seal.file_bytes,
        .location = bytes[LD_COLUMN_LOCATION],
        .kind = bytes[LD_COLUMN_KIND],
        .box = bytes[LD_COLUMN_BOX],
        .class_rows = bytes[LD_COLUMN_CLASS],
        .index = (int64_t)shard->seal.file_bytes - frames,
    };
    for (int i = 0; i < shard->n_views; i++) {
        out->n_rows += shard->entries[i].n_rows;
        out->n_main += shard->entries[i].n_main;
    }
}

bool ld_shard_check(const struct ld_shard *shard, struct ld_err *err)
{
    return ld_seal_check_whole(shard->columns.fd, &shard->seal, shard->path,
                               err);
}

/* ---- rows ---- */

/* One record on its way in. */
struct reading {
    const struct ld_shard *shard;
    const struct ld_shard_entry *entry;
    struct ld_arena *arena;
    struct ld_columns_scratch scratch;
    uint32_t crc;
    struct ld_err *err;
};

/* The stored bytes of a column, the arena's; they are added to the checksum. */
static void *read_stored(struct reading *r, enum ld_column_id id)
{
    const struct ld_column *is = &r->shard->columns.is[id];
    bool class_rows = id == LD_COLUMN_CLASS;
    int64_t start = class_rows ? r->entry->main_start : r->entry->row_start;
    size_t n = (size_t)(class_rows ? r->entry->n_main : r->entry->n_rows);
    size_t bytes = n * ld_column_row_bytes(is);
    void *stored = ld_arena_new(r->arena, bytes, 1, r->err);

    if (!stored || !ld_columns_read(&r->shard->columns, id, start, n, stored,
                                    &r->scratch, r->err))
        return NULL;
    r->crc = (uint32_t)crc32_z(r->crc, stored, bytes);
    return stored;
}

static const float *read_logits(struct reading *r, enum ld_column_id id)
{
    enum ld_storage storage = r->shard->facts.storage;
    int rows = id == LD_COLUMN_CLASS ? r->entry->n_main : r->entry->n_rows;
    size_t count = (size_t)rows * r->shard->columns.is[id].row_items;
    void *stored = read_stored(r, id);
    float *logits;

    if (!stored || storage == LD_STORAGE_FP32)
        return stored;
    logits = ld_arena_new(r->arena, count, sizeof(*logits), r->err);
    if (logits)
        ld_codec_decode(storage, logits, stored, count);
    return logits;
}

/* The rows make sense on the view's grid. */
static bool rows_fit(const struct ld_record *record, bool all_classes)
{
    const struct ld_view *view = &record->view;
    struct ld_grid grid = ld_grid_of_canvas(view->canvas_H, view->canvas_W);
    int32_t before = -1;
    int n_main = 0;

    for (int i = 0; i < record->n_rows; i++) {
        int32_t at = record->location[i];

        if (at <= before || at >= grid.start[grid.n_levels] ||
            record->kind[i] < 1 || record->kind[i] > 3)
            return false;
        before = at;
        n_main += record->kind[i] & LD_SHARD_MAIN;
    }
    return record->n_main == (all_classes ? record->n_rows : n_main);
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
    out->box_logits = read_logits(r, LD_COLUMN_BOX);
    if (out->box_logits)
        out->class_logits = read_logits(r, LD_COLUMN_CLASS);
    if (!out->box_logits || !out->class_logits)
        return false;
    return r->crc == r->entry->checksum ||
           ld_fail(r->err, LD_ERR_FORMAT,
                   "its rows are damaged: CRC-32 %08" PRIx32
                   ", the index says %08" PRIx32,
                   r->crc, r->entry->checksum);
}

/* Reads with `how`, checks, and says which view it was if that fails. */
static bool read_record(struct reading *r, struct ld_record *out,
                        bool how(struct reading *, struct ld_record *))
{
    const struct ld_shard *shard = r->shard;
    char place[4200], name[32];
    bool ok;

    ld_shard_entry(shard, (int)(r->entry - shard->entries), out);
    ok = ld_columns_scratch_new(&r->scratch, &shard->columns, r->arena,
                                r->err) &&
         how(r, out);
    if (ok && !rows_fit(out, shard->facts.all_classes))
        ok = ld_fail(r->err, LD_ERR_FORMAT, "its rows contradict its grid");
    ld_columns_scratch_free(&r->scratch);
    if (ok)
        return true;
    ld_view_name(&out->view, shard->facts.seeded_views > 0, name);
    snprintf(place, sizeof(place), "%s: image %" PRId64 "%s", shard->path,
             out->image_id, name);
    return ld_fail_in(r->err, place);
}

bool ld_shard_read(const struct ld_shard *shard, int index,
                   struct ld_arena *arena, struct ld_record *out,
                   struct ld_err *err)
{
    struct reading r = {.shard = shard,
                        .entry = &shard->entries[index],
                        .arena = arena,
                        .err = err};

    return read_record(&r, out, read_all);
}

bool ld_shard_read_places(const struct ld_shard *shard, int index,
                          struct ld_arena *arena, struct ld_record *out,
                          struct ld_err *err)
{
    struct reading r = {.shard = shard,
                        .entry = &shard->entries[index],
                        .arena = arena,
                        .err = err};

    return read_record(&r, out, read_places);
}
