#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file.h"
#include "formats/shard.h"

/* Where a view is. Sorted by image and number, so that a bisection finds it. */
struct place {
    int64_t image_id;
    int32_t view, shard, index;
};

struct ld_cache {
    struct ld_shard **shards;
    int n_shards;
    struct place *places;
    int64_t *skipped; /* rising */
    size_t n_places, n_skipped;
};

/* ---- the folder ---- */

static int is_shard_name(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return entry->d_name[0] != '.' && len > 3 &&
           strcmp(entry->d_name + len - 3, ".h5") == 0;
}

/* The names of `entries` as paths. */
static bool join_names(const char *folder, struct dirent **entries, int n,
                       const char ***paths, struct ld_arena *arena,
                       struct ld_err *err)
{
    char path[4096];

    *paths = ld_arena_new(arena, (size_t)n, sizeof(**paths), err);
    if (!*paths)
        return false;
    for (int i = 0; i < n; i++) {
        if (!ld_path_join(path, folder, entries[i]->d_name, err))
            return false;
        (*paths)[i] = ld_arena_text(arena, path, strlen(path), err);
        if (!(*paths)[i])
            return false;
    }
    return true;
}

void ld_shard_part_name(int part, int n_parts, char out[64])
{
    snprintf(out, 64, "part-%05d-of-%05d.h5", part, n_parts);
}

bool ld_cache_list(const char *folder, const char ***paths, int *count,
                   struct ld_arena *arena, struct ld_err *err)
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, is_shard_name, alphasort);
    bool ok = false;

    if (n < 0)
        ld_fail(err, LD_ERR_IO, "%s: cannot list the folder: %s", folder,
                strerror(errno));
    else if (n == 0)
        ld_fail(err, LD_ERR_IO, "%s: holds no shard (*.h5)", folder);
    else
        ok = join_names(folder, entries, n, paths, arena, err);
    for (int i = 0; i < n; i++)
        free(entries[i]);
    free(entries);
    *count = n;
    return ok;
}

static bool open_folder(struct ld_cache *cache, const char *folder,
                        struct ld_err *err)
{
    struct ld_arena arena = {0};
    const char **paths;
    int n;
    bool ok = ld_cache_list(folder, &paths, &n, &arena, err);

    if (ok)
        cache->shards = ld_new((size_t)n, sizeof(*cache->shards), err);
    ok = cache->shards != NULL;
    for (int i = 0; ok && i < n; i++) {
        cache->shards[i] = ld_shard_open(paths[i], err);
        ok = cache->shards[i] != NULL;
        cache->n_shards += ok;
    }
    ld_arena_free(&arena);
    return ok;
}

/* ---- do the shards belong together? ---- */

bool ld_shard_same_job(const struct ld_shard_facts *facts,
                       const struct ld_shard_facts *wanted, const char *where,
                       struct ld_err *err)
{
    if (!ld_shard_facts_match(facts, wanted, where, err))
        return false;
    if (facts->select != wanted->select)
        return ld_fail(
            err, LD_ERR_MISMATCH, "%s: its select is %s, expected %s", where,
            ld_select_name(facts->select), ld_select_name(wanted->select));
    if (facts->storage != wanted->storage)
        return ld_fail(
            err, LD_ERR_MISMATCH, "%s: its storage is %s, expected %s", where,
            ld_codec_name(facts->storage), ld_codec_name(wanted->storage));
    if (fabs(facts->asked_gradient_error - wanted->asked_gradient_error) > 0)
        return ld_fail(err, LD_ERR_MISMATCH,
                       "%s: its asked_gradient_error is %.9g, expected %.9g",
                       where, facts->asked_gradient_error,
                       wanted->asked_gradient_error);
    return facts->n_parts == wanted->n_parts ||
           ld_fail(err, LD_ERR_MISMATCH, "%s: is one of %d parts, expected %d",
                   where, facts->n_parts, wanted->n_parts);
}

static bool same_source(const struct ld_cache *cache, struct ld_err *err)
{
    for (int i = 1; i < cache->n_shards; i++)
        if (!ld_shard_same_job(ld_shard_facts(cache->shards[i]),
                               ld_cache_facts(cache),
                               ld_shard_path(cache->shards[i]), err))
            return false;
    return true;
}

static bool holds_part(const struct ld_cache *cache, int part)
{
    for (int i = 0; i < cache->n_shards; i++)
        if (ld_shard_facts(cache->shards[i])->part == part)
            return true;
    return false;
}

/* "1, 3 to 5": the parts from `first` on that are not there; "" if all are. */
static void name_missing(const struct ld_cache *cache, char out[200])
{
    int n = ld_cache_facts(cache)->n_parts, end;
    size_t len = 0;

    out[0] = 0;
    for (int part = 0; part < n && len < 160; part = end + 1) {
        for (end = part; end < n && !holds_part(cache, end);)
            end++;
        if (end == part)
            continue;
        len += (size_t)snprintf(out + len, 200 - len, "%s%d", len ? ", " : "",
                                part);
        if (end > part + 1)
            len += (size_t)snprintf(out + len, 200 - len, " to %d", end - 1);
        if (len >= 160 && end < n)
            snprintf(out + len, 200 - len, ", ...");
    }
}

static bool all_parts(const struct ld_cache *cache, const char *folder,
                      struct ld_err *err)
{
    int n = ld_cache_facts(cache)->n_parts;
    char missing[200];

    name_missing(cache, missing);
    return !*missing ||
           ld_fail(err, LD_ERR_MISMATCH,
                   "%s: of parts 0 to %d these are missing: %s (run its "
                   "ld-cache precompute again: it makes what is missing, and "
                   "only that; or ld-cache merge the folders)",
                   folder, n - 1, missing);
}

/* ---- the index ---- */

static int by_place(const void *a, const void *b)
{
    const struct place *p = a, *q = b;

    if (p->image_id != q->image_id)
        return p->image_id < q->image_id ? -1 : 1;
    return p->view - q->view;
}

static int by_id(const void *a, const void *b)
{
    int64_t p = *(const int64_t *)a, q = *(const int64_t *)b;

    return (p > q) - (p < q);
}

static void add_shard(struct ld_cache *cache, int s)
{
    const struct ld_shard *shard = cache->shards[s];
    struct ld_record entry;

    for (int i = 0; i < ld_shard_count(shard); i++) {
        ld_shard_entry(shard, i, &entry);
        cache->places[cache->n_places++] =
            (struct place){entry.image_id, entry.view.number, s, i};
    }
    for (int i = 0; i < ld_shard_n_skipped(shard); i++)
        cache->skipped[cache->n_skipped++] = ld_shard_skipped(shard, i, NULL);
}

static bool no_view_twice(const struct ld_cache *cache, struct ld_err *err)
{
    for (size_t i = 1; i < cache->n_places; i++) {
        const struct place *p = &cache->places[i - 1], *q = p + 1;

        if (by_place(p, q) == 0)
            return ld_fail(err, LD_ERR_MISMATCH,
                           "%s: view %d of image %" PRId64 " is in %s too",
                           ld_shard_path(cache->shards[p->shard]), p->view,
                           p->image_id, ld_shard_path(cache->shards[q->shard]));
    }
    return true;
}

static bool build_index(struct ld_cache *cache, struct ld_err *err)
{
    size_t n_views = 0, n_skipped = 0;

    for (int s = 0; s < cache->n_shards; s++) {
        n_views += (size_t)ld_shard_count(cache->shards[s]);
        n_skipped += (size_t)ld_shard_n_skipped(cache->shards[s]);
    }
    cache->places = ld_new(n_views, sizeof(*cache->places), err);
    cache->skipped = ld_new(n_skipped, sizeof(*cache->skipped), err);
    if (!cache->places || !cache->skipped)
        return false;
    for (int s = 0; s < cache->n_shards; s++)
        add_shard(cache, s);
    qsort(cache->places, n_views, sizeof(*cache->places), by_place);
    qsort(cache->skipped, n_skipped, sizeof(*cache->skipped), by_id);
    return no_view_twice(cache, err);
}

/* ---- the interface ---- */

struct ld_cache *ld_cache_open(const char *folder, struct ld_err *err)
{
    struct ld_cache *cache = ld_new(1, sizeof(*cache), err);

    if (!cache)
        return NULL;
    if (open_folder(cache, folder, err) && same_source(cache, err) &&
        all_parts(cache, folder, err) && build_index(cache, err))
        return cache;
    ld_cache_close(cache);
    return NULL;
}

void ld_cache_close(struct ld_cache *cache)
{
    if (!cache)
        return;
    for (int i = 0; i < cache->n_shards; i++)
        ld_shard_close(cache->shards[i]);
    ld_delete(cache->shards);
    ld_delete(cache->places);
    ld_delete(cache->skipped);
    ld_delete(cache);
}

const struct ld_shard_facts *ld_cache_facts(const struct ld_cache *cache)
{
    return ld_shard_facts(cache->shards[0]);
}

int ld_cache_n_shards(const struct ld_cache *cache)
{
    return cache->n_shards;
}

const struct ld_shard *ld_cache_shard(const struct ld_cache *cache, int index)
{
    return cache->shards[index];
}

bool ld_cache_find(const struct ld_cache *cache, int64_t image_id, int view,
                   const struct ld_shard **shard, int *index)
{
    struct place wanted = {.image_id = image_id, .view = view};
    const struct place *found = bsearch(&wanted, cache->places, cache->n_places,
                                        sizeof(*cache->places), by_place);

    if (!found)
        return false;
    *shard = cache->shards[found->shard];
    *index = found->index;
    return true;
}

bool ld_cache_skipped(const struct ld_cache *cache, int64_t image_id)
{
    return bsearch(&image_id, cache->skipped, cache->n_skipped,
                   sizeof(*cache->skipped), by_id) != NULL;
}
