#include <assert.h>
#include <math.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "formats/file.h"
#include "formats/h5file.h"
#include "formats/seal.h"
#include "formats/shard_columns.h"
#include "formats/shard_pending.h"

/* Temperatures of the two losses whose error is measured: spec losses 5, 6. */
static const float LD_TEMPERATURE = 10, KD_TEMPERATURE = 2;

struct ld_shard_writer {
    char path[4096], temporary[4096];
    hid_t file;
    struct ld_columns_writer columns;
    struct ld_shard_steps steps; /* of a predicted shard */
    struct ld_pending pending;   /* likewise */
    struct ld_shard_facts facts;
    struct ld_arena arena; /* of facts and of the reasons to skip */
    struct ld_buf entries; /* struct ld_shard_entry */
    struct ld_buf skipped; /* int64_t */
    struct ld_buf reasons; /* const char * */
    struct ld_buf stored;  /* logits of one record as stored */
    struct ld_buf decoded; /* and what a reader makes of them */
    struct ld_codec_error ld_error, kd_error;
    double feature_change, feature_square; /* sums over all features */
    bool created;                          /* the temporary file exists */
    bool broken; /* a write failed: nothing is to be published */
};

static size_t count_of(const struct ld_buf *buf, size_t item_bytes)
{
    return buf->len / item_bytes;
}

/* ---- start ---- */

static bool start(struct ld_shard_writer *w, const char *path,
                  const struct ld_shard_facts *facts, struct ld_err *err)
{
    if (!ld_path_join(w->path, "", path, err) ||
        !ld_file_temporary(path, w->temporary, err) ||
        !ld_facts_copy(&w->facts, facts, &w->arena, err))
        return false;
    w->facts.format = LD_SHARD_FORMAT;
    if (facts->storage == LD_STORAGE_PREDICTED &&
        !ld_shard_steps_make(&w->steps, &w->facts, &w->arena, err))
        return false;
    w->created = true; /* even a failed creation may leave a file */
    w->file = ld_h5_create(w->temporary, err);
    if (w->file < 0 ||
        !ld_columns_create(&w->columns, w->file, w->path, &w->facts, err))
        return false;
    w->columns.steps[LD_COLUMN_BOX] = &w->steps.box;
    w->columns.steps[LD_COLUMN_CLASS] = &w->steps.class_rows;
    return true;
}

struct ld_shard_writer *ld_shard_create(const char *path,
                                        const struct ld_shard_facts *facts,
                                        struct ld_err *err)
{
    const size_t most = (size_t)1 << 32;
    struct ld_shard_writer *w = ld_new(1, sizeof(*w), err);

    assert(facts->n_classes > 0 && facts->reg_max > 0 && facts->n_anchors > 0);
    assert(facts->n_logits == facts->n_classes ||
           facts->n_logits == facts->n_classes + 1);
    assert(facts->part >= 0 && facts->part < facts->n_parts);
    if (!w)
        return NULL;
    w->file = -1;
    w->entries.max = w->skipped.max = w->reasons.max = most;
    w->stored.max = w->decoded.max = most;
    if (!start(w, path, facts, err)) {
        ld_shard_abandon(w);
        return NULL;
    }
    return w;
}

/* ---- records ---- */

/* What only a mistake in the program could get wrong. */
static void assert_record(const struct ld_shard_writer *w,
                          const struct ld_record *record)
{
    struct ld_grid grid = ld_shard_grid(&w->facts, &record->view);
    bool dense = w->facts.select == LD_SELECT_DENSE;
    int n_main = 0;

    assert(!dense || record->n_rows == grid.start[grid.n_levels]);
    for (int i = 0; i < record->n_rows; i++) {
        int32_t before = i > 0 ? record->location[i - 1] : -1;

        assert(record->location[i] > before);
        assert(record->location[i] < grid.start[grid.n_levels]);
        assert(record->kind[i] >= !dense && record->kind[i] <= 3);
        n_main += record->kind[i] & LD_SHARD_MAIN;
    }
    assert(record->n_main ==
           (ld_shard_all_classes(&w->facts) ? record->n_rows : n_main));
    assert(record->n_features == 0 || w->facts.feature_channels > 0);
    for (int i = 0; i < record->n_features; i++) {
        int32_t before = i > 0 ? record->feature_location[i - 1] : -1;

        assert(record->feature_location[i] > before);
        assert(record->feature_location[i] < grid.start[grid.n_levels]);
    }
}

static bool all_finite(const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}

/* Room for `len` bytes that are about to be written. */
static void *reserve(struct ld_buf *buf, size_t len, struct ld_err *err)
{
    buf->len = 0;
    ld_buf_put(buf, NULL, len);
    return ld_buf_ok(buf, err) ? buf->data : NULL;
}

/* Adds up what storing loses: of logits as a loss feels it, of features as they
 * are. */
static void measure(struct ld_shard_writer *w, enum ld_column_id id,
                    const float *exact, const float *stored, size_t count)
{
    int run = 4 * (w->facts.reg_max + 1) / ld_shard_runs(&w->facts);
    int K = w->facts.n_logits;

    if (id == LD_COLUMN_BOX) {
        ld_codec_measure(&w->ld_error, exact, stored, count / (size_t)run, run,
                         LD_TEMPERATURE);
    } else if (id == LD_COLUMN_CLASS) {
        ld_codec_measure(&w->kd_error, exact, stored, count / (size_t)K, K,
                         KD_TEMPERATURE);
    } else {
        for (size_t i = 0; i < count; i++) {
            double change = (double)stored[i] - (double)exact[i];

            w->feature_change += change * change;
            w->feature_square += (double)exact[i] * (double)exact[i];
        }
    }
}

/* Whole numbers of a step; not of the checksum, as their frames have one. */
static bool put_steps(struct ld_shard_writer *w, enum ld_column_id id,
                      const float *numbers, size_t n_rows, struct ld_err *err)
{
    const struct ld_steps *s = w->columns.steps[id];
    size_t count = n_rows * (size_t)s->groups * (size_t)s->width;
    int16_t *kept =
        reserve(&w->stored, n_rows * (size_t)s->n_columns * sizeof(*kept), err);
    float *decoded = reserve(&w->decoded, count * sizeof(*decoded), err);

    if (!kept || !decoded)
        return false;
    ld_steps_keep(s, kept, numbers, n_rows);
    ld_steps_restore(s, decoded, kept, n_rows);
    if (s->relative) /* to compare with what it was relative to */
        for (size_t run = 0; run < count; run += (size_t)s->width)
            for (int i = 0; i < s->width; i++)
                decoded[run + (size_t)i] += numbers[run];
    measure(w, id, numbers, decoded, count);
    return ld_columns_put(&w->columns, id, kept, n_rows, err);
}

/* Encodes rows of numbers, measures what that loses, and puts them. */
static bool put_numbers(struct ld_shard_writer *w, enum ld_column_id id,
                        const float *numbers, size_t n_rows, uint32_t *crc,
                        struct ld_err *err)
{
    const struct ld_column *is = &w->columns.is[id];
    size_t count = n_rows * is->row_items, len = count * is->item_bytes;
    void *stored, *decoded;

    if (n_rows == 0)
        return true;
    if (is->storage == LD_STORAGE_PREDICTED)
        return put_steps(w, id, numbers, n_rows, err);
    stored = reserve(&w->stored, len, err);
    decoded = reserve(&w->decoded, count * sizeof(float), err);
    if (!stored || !decoded)
        return false;
    ld_codec_encode(is->storage, stored, numbers, count);
    if (is->storage != LD_STORAGE_FP32) {
        ld_codec_decode(is->storage, decoded, stored, count);
        measure(w, id, numbers, decoded, count);
    }
    *crc = (uint32_t)crc32_z(*crc, stored, len);
    return ld_columns_put(&w->columns, id, stored, n_rows, err);
}

static bool put_rows(struct ld_shard_writer *w, const struct ld_record *record,
                     uint32_t *crc, struct ld_err *err)
{
    size_t n = (size_t)record->n_rows, m = (size_t)record->n_main;

    *crc = (uint32_t)crc32_z(0, NULL, 0);
    if (n > 0) {
        *crc = (uint32_t)crc32_z(*crc, (const void *)record->location,
                                 n * sizeof(*record->location));
        *crc = (uint32_t)crc32_z(*crc, record->kind, n);
    }
    return ld_columns_put(&w->columns, LD_COLUMN_LOCATION, record->location, n,
                          err) &&
           ld_columns_put(&w->columns, LD_COLUMN_KIND, record->kind, n, err) &&
           put_numbers(w, LD_COLUMN_BOX, record->box_logits, n, crc, err) &&
           put_numbers(w, LD_COLUMN_CLASS, record->class_logits, m, crc, err);
}

static bool put_features(struct ld_shard_writer *w,
                         const struct ld_record *record, uint32_t *crc,
                         struct ld_err *err)
{
    size_t n = (size_t)record->n_features;

    *crc = (uint32_t)crc32_z(0, NULL, 0);
    if (n > 0)
        *crc = (uint32_t)crc32_z(*crc, (const void *)record->feature_location,
                                 n * sizeof(*record->feature_location));
    return ld_columns_put(&w->columns, LD_COLUMN_FEATURE_LOCATION,
                          record->feature_location, n, err) &&
           put_numbers(w, LD_COLUMN_FEATURE, record->features, n, crc, err);
}

static bool check_finite(const struct ld_shard_writer *w,
                         const struct ld_record *record, struct ld_err *err)
{
    size_t n = (size_t)record->n_rows * 4 * ((size_t)w->facts.reg_max + 1);
    size_t m = (size_t)record->n_main * (size_t)w->facts.n_logits;
    size_t f =
        (size_t)record->n_features * w->columns.is[LD_COLUMN_FEATURE].row_items;
    bool logits = all_finite(record->box_logits, n) &&
                  all_finite(record->class_logits, m);
    char name[32];

    ld_view_name(&record->view, w->facts.seeded_views > 0, name);
    return (logits && all_finite(record->features, f)) ||
           ld_fail(err, LD_ERR_NUMBER,
                   "image %lld%s: the teacher's %s are not finite",
                   (long long)record->image_id, name,
                   logits ? "features" : "logits");
}

static bool append(struct ld_shard_writer *w, const struct ld_record *record,
                   struct ld_err *err)
{
    const struct ld_view *view = &record->view;
    struct ld_shard_entry entry = {
        .image_id = record->image_id,
        .view = view->number,
        .height = view->H,
        .width = view->W,
        .canvas_height = view->canvas_H,
        .canvas_width = view->canvas_W,
        .flipped = view->flipped,
        .row_start = ld_columns_count(&w->columns, LD_COLUMN_LOCATION),
        .main_start = ld_columns_count(&w->columns, LD_COLUMN_CLASS),
        .n_rows = record->n_rows,
        .n_main = record->n_main,
        .feature_start = ld_columns_count(&w->columns, LD_COLUMN_FEATURE),
        .n_features = record->n_features,
    };

    w->broken = w->broken || !put_rows(w, record, &entry.checksum, err) ||
                !put_features(w, record, &entry.feature_checksum, err);
    ld_buf_put(&w->entries, &entry, sizeof(entry));
    return !w->broken && ld_buf_ok(&w->entries, err);
}

/* Chooses the steps and appends what has waited for them. */
static bool settle(struct ld_shard_writer *w, struct ld_err *err)
{
    const struct ld_pending *p = &w->pending;
    const struct ld_record *records =
        (const struct ld_record *)(const void *)p->records.data;
    bool ok = ld_pending_fit(p, &w->steps, &w->facts, err);

    for (size_t i = 0; ok && i < p->records.len / sizeof(*records); i++)
        ok = append(w, &records[i], err);
    w->pending.settled = true;
    w->broken = w->broken || !ok;
    ld_pending_free(&w->pending);
    return ok;
}

bool ld_shard_append(struct ld_shard_writer *w, const struct ld_record *record,
                     struct ld_err *err)
{
    assert_record(w, record);
    if (!check_finite(w, record, err))
        return false;
    if (w->facts.storage != LD_STORAGE_PREDICTED || w->pending.settled)
        return append(w, record, err);
    return ld_pending_keep(&w->pending, record, &w->facts, err) &&
           (!ld_pending_enough(&w->pending) || settle(w, err));
}

bool ld_shard_skip(struct ld_shard_writer *w, int64_t image_id,
                   const char *reason, struct ld_err *err)
{
    const char *copy = ld_arena_text(&w->arena, reason, strlen(reason), err);

    if (!copy)
        return false;
    ld_buf_put(&w->skipped, &image_id, sizeof(image_id));
    ld_buf_put(&w->reasons, &copy, sizeof(copy));
    return ld_buf_ok(&w->skipped, err) && ld_buf_ok(&w->reasons, err);
}

/* ---- finish ---- */

static void settle_facts(struct ld_shard_writer *w)
{
    struct ld_shard_facts *facts = &w->facts;

    facts->ld_gradient_error_early = ld_codec_error_early(&w->ld_error);
    facts->ld_gradient_error_late = ld_codec_error_late(&w->ld_error);
    facts->kd_gradient_error_early = ld_codec_error_early(&w->kd_error);
    facts->kd_gradient_error_late = ld_codec_error_late(&w->kd_error);
    facts->largest_logit_error = fmax(w->ld_error.largest, w->kd_error.largest);
    if (facts->storage == LD_STORAGE_PREDICTED) {
        facts->box_entropy = ld_columns_entropy(&w->columns, LD_COLUMN_BOX);
        facts->class_entropy = ld_columns_entropy(&w->columns, LD_COLUMN_CLASS);
    }
    facts->feature_error =
        w->feature_square > 0 ? sqrt(w->feature_change / w->feature_square) : 0;
}

static hid_t create_group(hid_t file, const char *name)
{
    hid_t plain = ld_h5_plain(H5P_GROUP_CREATE);
    hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, plain, H5P_DEFAULT);

    H5Pclose(plain);
    return group;
}

static bool write_skipped(struct ld_shard_writer *w)
{
    size_t n = count_of(&w->skipped, sizeof(int64_t));
    hid_t group = create_group(w->file, "skipped");
    bool ok =
        group >= 0 &&
        ld_h5_put_array(group, "image_id", H5T_STD_I64LE, w->skipped.data, n) &&
        ld_h5_put_text_array(group, "reason",
                             (const char *const *)w->reasons.data, n);

    if (group >= 0)
        ok = H5Gclose(group) >= 0 && ok;
    return ok;
}

/* An array (n, 2) of addresses and sizes; *address is where it stands. */
static bool write_table(hid_t index, const struct ld_frame *frames, size_t n,
                        uint64_t *address)
{
    hsize_t dims[2] = {n, 2};
    hid_t space = H5Screate_simple(2, dims, NULL);
    hid_t plain = ld_h5_plain(H5P_DATASET_CREATE);
    hid_t set = H5Dcreate2(index, "frames", H5T_STD_U64LE, space, H5P_DEFAULT,
                           plain, H5P_DEFAULT);
    haddr_t at = 0;
    bool ok = set >= 0;

    if (ok && n > 0) {
        ok = H5Dwrite(set, H5T_STD_U64LE, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                      frames) >= 0;
        at = H5Dget_offset(set);
    }
    if (set >= 0)
        ok = H5Dclose(set) >= 0 && ok;
    H5Pclose(plain);
    H5Sclose(space);
    *address = at;
    return ok && at != HADDR_UNDEF;
}

static bool write_index(struct ld_shard_writer *w,
                        const struct ld_frame *frames, size_t n,
                        uint64_t *address, struct ld_err *err)
{
    hid_t group = create_group(w->file, "index");
    bool ok = group >= 0 &&
              ld_index_put(
                  group, (const struct ld_shard_entry *)w->entries.data,
                  count_of(&w->entries, sizeof(struct ld_shard_entry)), err) &&
              write_table(group, frames, n, address);

    if (group >= 0)
        ok = H5Gclose(group) >= 0 && ok;
    return ok;
}

/* Everything but the seal. The file is closed in any case. */
static bool complete_file(struct ld_shard_writer *w, uint64_t *address,
                          size_t *n_frames, struct ld_err *err)
{
    struct ld_frame *frames = NULL;
    char reason[LD_H5_REASON];
    bool ok = ld_columns_flush(&w->columns, err) &&
              ld_columns_frames(&w->columns, w->temporary, &frames, n_frames,
                                &w->arena, err);

    ld_h5_note_reason(reason);
    settle_facts(w);
    ok = ok && write_index(w, frames, *n_frames, address, err) &&
         write_skipped(w) && ld_facts_put(w->file, &w->facts) &&
         (w->facts.storage != LD_STORAGE_PREDICTED ||
          ld_shard_steps_put(w->file, &w->steps));
    ok = ld_columns_close(&w->columns) && ok;
    ok = H5Fclose(w->file) >= 0 && ok;
    w->file = -1;
    ld_h5_note_reason(NULL);
    return ok || ld_fail(err, LD_ERR_IO, "%s: cannot write: %s", w->path,
                         *reason ? reason : "HDF5 gives no reason");
}

bool ld_shard_finish(struct ld_shard_writer *w, struct ld_err *err)
{
    uint64_t address = 0;
    size_t n_frames = 0;
    bool waiting =
        w->facts.storage == LD_STORAGE_PREDICTED && !w->pending.settled;
    bool ok =
        (!waiting || settle(w, err)) && !w->broken &&
        complete_file(w, &address, &n_frames, err) &&
        ld_seal_write(w->temporary, "shard", address, n_frames, w->path, err);

    if (ok) {
        ok = ld_file_publish_first(w->temporary, w->path, err);
        w->created = false; /* whatever came of it, it is gone */
    }
    ld_shard_abandon(w);
    return ok;
}

void ld_shard_abandon(struct ld_shard_writer *w)
{
    if (!w)
        return;
    ld_columns_close(&w->columns);
    if (w->file >= 0)
        H5Fclose(w->file);
    if (w->created)
        unlink(w->temporary);
    ld_pending_free(&w->pending);
    ld_buf_free(&w->entries);
    ld_buf_free(&w->skipped);
    ld_buf_free(&w->reasons);
    ld_buf_free(&w->stored);
    ld_buf_free(&w->decoded);
    ld_arena_free(&w->arena);
    ld_delete(w);
}
