#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "formats/h5file.h"
#include "formats/seal.h"
#include "formats/shard_open.h"

/* What a sane shard stays below: a damaged one must not ask for the moon. */
enum {
    MAX_SIDE = 1 << 16,
    MAX_REG_MAX = 1024,
    MAX_CLASSES = 65536,
    MAX_CHANNELS = 65536
};

/* ---- open ---- */

static bool bad(const struct ld_shard *shard, struct ld_err *err,
                const char *what)
{
    return ld_fail(err, LD_ERR_FORMAT, "%s: %s", shard->path, what);
}

/* First of all: another format may well lack what this one has. */
static bool check_format(const struct ld_shard *shard, hid_t file,
                         struct ld_err *err)
{
    int32_t format;

    return !ld_h5_get(file, "format", H5T_STD_I32LE, &format, 1) ||
           format == LD_SHARD_FORMAT ||
           ld_fail(err, LD_ERR_FORMAT,
                   "%s: shard format %" PRId32 ", this program reads %d",
                   shard->path, format, LD_SHARD_FORMAT);
}

static bool read_facts(struct ld_shard *shard, hid_t file, struct ld_err *err)
{
    struct ld_shard_facts *facts = &shard->facts;
    const char *missing;

    if (!check_format(shard, file, err))
        return false;
    if (!ld_facts_get(file, facts, &missing, &shard->arena, err))
        return ld_fail(err, LD_ERR_FORMAT,
                       "%s: its attribute %s is missing or of another type",
                       shard->path, missing);
    if (facts->n_classes < 1 || facts->n_classes > MAX_CLASSES ||
        facts->n_logits < facts->n_classes ||
        facts->n_logits > facts->n_classes + 1 || facts->reg_max < 1 ||
        facts->reg_max > MAX_REG_MAX ||
        (facts->n_anchors != 1 && facts->n_anchors != LD_RETINA_ANCHORS) ||
        facts->feature_channels < 0 || facts->feature_channels > MAX_CHANNELS ||
        facts->seeded_views < 0 || facts->n_parts < 1 || facts->part < 0 ||
        facts->part >= facts->n_parts)
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

/* Records stand end to end, the next after so many rows, on canvases a grid
 * exists for. */
static bool entry_follows(const struct ld_shard_entry *e,
                          const int64_t n_rows[LD_N_COLUMNS])
{
    return is_side(e->height) && is_side(e->width) &&
           is_side(e->canvas_height) && is_side(e->canvas_width) &&
           e->canvas_height % 32 == 0 && e->canvas_width % 32 == 0 &&
           e->flipped <= 1 && e->n_rows >= 0 && e->n_main >= 0 &&
           e->n_main <= e->n_rows && e->n_features >= 0 &&
           e->row_start == n_rows[LD_COLUMN_LOCATION] &&
           e->main_start == n_rows[LD_COLUMN_CLASS] &&
           e->feature_start == n_rows[LD_COLUMN_FEATURE];
}

static bool read_entries(struct ld_shard *shard, hid_t file,
                         int64_t n_rows[LD_N_COLUMNS], struct ld_err *err)
{
    hid_t index = H5Gopen2(file, "index", H5P_DEFAULT);
    int64_t n = index < 0 ? -1 : ld_h5_rows(index, "image_id");
    bool features = shard->facts.feature_channels > 0;
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
        const struct ld_shard_entry *e = &shard->entries[i];

        ok = entry_follows(e, n_rows) && is_view(e, &shard->facts) &&
             (features || e->n_features == 0);
        n_rows[LD_COLUMN_LOCATION] += e->n_rows;
        n_rows[LD_COLUMN_KIND] += e->n_rows;
        n_rows[LD_COLUMN_BOX] += e->n_rows;
        n_rows[LD_COLUMN_CLASS] += e->n_main;
        n_rows[LD_COLUMN_FEATURE_LOCATION] += e->n_features;
        n_rows[LD_COLUMN_FEATURE] += e->n_features;
    }
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

static bool read_steps(struct ld_shard *shard, hid_t file, struct ld_err *err)
{
    if (shard->facts.storage != LD_STORAGE_PREDICTED)
        return true;
    shard->columns.steps[LD_COLUMN_BOX] = &shard->steps.box;
    shard->columns.steps[LD_COLUMN_CLASS] = &shard->steps.class_rows;
    return ld_shard_steps_make(&shard->steps, &shard->facts, &shard->arena,
                               err) &&
           (ld_shard_steps_get(file, &shard->steps) ||
            bad(shard, err, "what its rows are foretold by is damaged"));
}

/* All that HDF5 is needed for. */
static bool read_metadata(struct ld_shard *shard, int64_t n_rows[LD_N_COLUMNS],
                          struct ld_err *err)
{
    hid_t file = ld_h5_open(shard->path, err);
    bool ok = file >= 0 && read_facts(shard, file, err) &&
              read_steps(shard, file, err) &&
              read_entries(shard, file, n_rows, err) &&
              read_skipped(shard, file, err);

    if (file >= 0)
        H5Fclose(file);
    return ok;
}

static bool open_file(struct ld_shard *shard, const char *path,
                      struct ld_err *err)
{
    struct ld_columns *columns = &shard->columns;

    shard->path = ld_arena_text(&shard->arena, path, strlen(path), err);
    columns->path = shard->path;
    columns->spare = ld_arena_new(&shard->arena, LD_COLUMNS_SPARES,
                                  sizeof(*columns->spare), err);
    if (!columns->path || !columns->spare)
        return false;
    columns->fd = open(path, O_RDONLY | O_CLOEXEC);
    return columns->fd >= 0 || ld_fail(err, LD_ERR_IO, "%s: cannot open: %s",
                                       path, strerror(errno));
}

static bool load(struct ld_shard *shard, const char *path, struct ld_err *err)
{
    struct ld_frame *frames = NULL;
    int64_t n_rows[LD_N_COLUMNS] = {0};

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
    ld_columns_scratch_free(&shard->columns);
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
        .n_features = e->n_features,
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
        .features =
            bytes[LD_COLUMN_FEATURE_LOCATION] + bytes[LD_COLUMN_FEATURE],
        .index = (int64_t)shard->seal.file_bytes - frames,
    };
    for (int i = 0; i < shard->n_views; i++) {
        out->n_rows += shard->entries[i].n_rows;
        out->n_main += shard->entries[i].n_main;
        out->n_features += shard->entries[i].n_features;
    }
}

bool ld_shard_check(const struct ld_shard *shard, struct ld_err *err)
{
    return ld_seal_check_whole(shard->columns.fd, &shard->seal, shard->path,
                               err);
}
