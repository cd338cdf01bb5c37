#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cache/cache_command.h"
#include "formats/array_file.h"
#include "formats/file.h"

/* All of one shard, records end to end, as other programs read it. */
struct plain {
    int64_t *image_id, *row_start, *main_start, *feature_start;
    int32_t *view, *height, *width, *canvas_height, *canvas_width;
    int32_t *n_rows, *n_main, *n_features;
    uint8_t *flipped;
    int32_t *location, *feature_location;
    uint8_t *kind;
    float *box, *class, *features;
    size_t views, rows, mains, places; /* how many */
};

enum { MAX_ARRAYS = 20 };

struct arrays {
    struct ld_array is[MAX_ARRAYS];
    size_t n;
    struct ld_arena arena;
};

/* Room for an array (rows, a, b), named in the file; b or both may be 0. */
static void *add(struct arrays *to, const char *name, char letter, size_t rows,
                 size_t a, size_t b, struct ld_err *err)
{
    struct ld_array array = {.name = name,
                             .letter = letter,
                             .rank = 1 + (a > 0) + (b > 0),
                             .dims = {rows, a, b}};
    void *room = ld_arena_new(&to->arena, ld_array_bytes(&array), 1, err);

    array.values = room;
    to->is[to->n++] = array;
    return room;
}

static void add_index(struct arrays *to, struct plain *p, bool features,
                      struct ld_err *err)
{
    p->image_id = add(to, "index/image_id", 'q', p->views, 0, 0, err);
    p->view = add(to, "index/view", 'i', p->views, 0, 0, err);
    p->height = add(to, "index/height", 'i', p->views, 0, 0, err);
    p->width = add(to, "index/width", 'i', p->views, 0, 0, err);
    p->canvas_height = add(to, "index/canvas_height", 'i', p->views, 0, 0, err);
    p->canvas_width = add(to, "index/canvas_width", 'i', p->views, 0, 0, err);
    p->flipped = add(to, "index/flipped", 'B', p->views, 0, 0, err);
    p->row_start = add(to, "index/row_start", 'q', p->views, 0, 0, err);
    p->n_rows = add(to, "index/n_rows", 'i', p->views, 0, 0, err);
    p->main_start = add(to, "index/main_start", 'q', p->views, 0, 0, err);
    p->n_main = add(to, "index/n_main", 'i', p->views, 0, 0, err);
    if (!features)
        return;
    p->feature_start = add(to, "index/feature_start", 'q', p->views, 0, 0, err);
    p->n_features = add(to, "index/n_features", 'i', p->views, 0, 0, err);
}

static bool make_room(struct arrays *to, struct plain *p,
                      const struct ld_shard *shard, struct ld_err *err)
{
    const struct ld_shard_facts *facts = ld_shard_facts(shard);
    size_t B = (size_t)facts->reg_max + 1, C = (size_t)facts->feature_channels;
    struct ld_shard_sizes sizes;

    ld_shard_sizes(shard, &sizes);
    *p = (struct plain){.views = (size_t)ld_shard_count(shard)};
    add_index(to, p, C > 0, err);
    p->location =
        add(to, "rows/location", 'i', (size_t)sizes.n_rows, 0, 0, err);
    p->kind = add(to, "rows/kind", 'B', (size_t)sizes.n_rows, 0, 0, err);
    p->box = add(to, "rows/box", 'f', (size_t)sizes.n_rows, 4, B, err);
    p->class = add(to, "rows/class", 'f', (size_t)sizes.n_main,
                   (size_t)facts->n_logits, 0, err);
    if (C > 0) {
        size_t F = (size_t)sizes.n_features;

        p->feature_location = add(to, "features/location", 'i', F, 0, 0, err);
        p->features = add(to, "features/rows", 'f', F, C, 0, err);
    }
    return err->code == LD_OK;
}

static void put_entry(struct plain *p, size_t at, const struct ld_record *r)
{
    p->image_id[at] = r->image_id;
    p->view[at] = r->view.number;
    p->height[at] = r->view.H;
    p->width[at] = r->view.W;
    p->canvas_height[at] = r->view.canvas_H;
    p->canvas_width[at] = r->view.canvas_W;
    p->flipped[at] = r->view.flipped;
    p->row_start[at] = (int64_t)p->rows;
    p->n_rows[at] = r->n_rows;
    p->main_start[at] = (int64_t)p->mains;
    p->n_main[at] = r->n_main;
}

static void copy(void *to, size_t at, const void *from, size_t n, size_t size)
{
    if (n > 0)
        memcpy((unsigned char *)to + at * size, from, n * size);
}

static void put_rows(struct plain *p, const struct ld_record *r,
                     const struct ld_shard_facts *facts)
{
    size_t n = (size_t)r->n_rows, m = (size_t)r->n_main;
    size_t sides = 4 * (size_t)(facts->reg_max + 1) * sizeof(float);

    copy(p->location, p->rows, r->location, n, sizeof(int32_t));
    copy(p->kind, p->rows, r->kind, n, 1);
    copy(p->box, p->rows, r->box_logits, n, sides);
    copy(p->class, p->mains, r->class_logits, m,
         (size_t)r->n_logits * sizeof(float));
    p->rows += n;
    p->mains += m;
}

static void put_features(struct plain *p, size_t at, const struct ld_record *r,
                         const struct ld_shard_facts *facts)
{
    size_t n = (size_t)r->n_features;

    p->feature_start[at] = (int64_t)p->places;
    p->n_features[at] = r->n_features;
    copy(p->feature_location, p->places, r->feature_location, n,
         sizeof(int32_t));
    copy(p->features, p->places, r->features, n,
         (size_t)facts->feature_channels * sizeof(float));
    p->places += n;
}

static bool fill(struct plain *p, const struct ld_shard *shard,
                 struct ld_err *err)
{
    const struct ld_shard_facts *facts = ld_shard_facts(shard);
    bool features = facts->feature_channels > 0, ok = true;
    struct ld_arena arena = {0};
    struct ld_record record;

    for (int i = 0; ok && i < ld_shard_count(shard); i++) {
        ld_arena_clear(&arena);
        ok = ld_shard_read(shard, i, &arena, &record, err) &&
             (!features ||
              ld_shard_read_features(shard, i, &arena, &record, err));
        if (!ok)
            break;
        put_entry(p, (size_t)i, &record);
        put_rows(p, &record, facts);
        if (features)
            put_features(p, (size_t)i, &record, facts);
    }
    ld_arena_free(&arena);
    return ok;
}

static bool export_shard(const char *path, const char *out, bool npz,
                         struct ld_err *err)
{
    struct ld_shard *shard = ld_shard_open(path, err);
    struct arrays arrays = {0};
    struct plain plain;
    bool ok = shard && make_room(&arrays, &plain, shard, err) &&
              fill(&plain, shard, err) &&
              (npz ? ld_array_write_npz(out, arrays.is, arrays.n, err)
                   : ld_array_write_h5(out, arrays.is, arrays.n, err));

    if (ok)
        fprintf(stderr, "ld-cache: %s: %zu views, %zu rows\n", out, plain.views,
                plain.rows);
    ld_arena_free(&arrays.arena);
    ld_shard_close(shard);
    return ok;
}

/* "cache/part-1.h5" in `out` as "out/part-1.npz" or "out/part-1.native.h5",
 * which is no name of a shard. */
static bool name_export(const char *path, const char *out, bool npz,
                        char name[4096], struct ld_err *err)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    char file[300];

    snprintf(file, sizeof(file), "%.*s%s", (int)strlen(base) - 3, base,
             npz ? ".npz" : ".native.h5");
    return ld_path_join(name, out, file, err);
}

static bool other_folder(const char *folder, const char *out,
                         struct ld_err *err)
{
    struct stat a, b;

    return stat(folder, &a) != 0 || stat(out, &b) != 0 ||
           a.st_dev != b.st_dev || a.st_ino != b.st_ino ||
           ld_fail(err, LD_ERR_USAGE,
                   "--out %s: is the cache itself, which would be none any "
                   "more with other files in it",
                   out);
}

bool ld_cache_export(struct ld_cache_command *command, struct ld_err *err)
{
    const char **paths;
    char name[4096];
    int n;
    bool ok;

    if (command->n_words != 1 || !command->out ||
        command->npz == command->native)
        return ld_fail(err, LD_ERR_USAGE,
                       "expected: ld-cache export FOLDER --npz|--native --out "
                       "FOLDER (see --help)");
    ok = ld_cache_list(command->words[0], &paths, &n, command->arena, err) &&
         ld_folder_make(command->out, err) &&
         other_folder(command->words[0], command->out, err);
    for (int i = 0; ok && i < n; i++)
        ok = name_export(paths[i], command->out, command->npz, name, err) &&
             export_shard(paths[i], name, command->npz, err);
    return ok;
}
