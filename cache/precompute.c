#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cache/cache_command.h"
#include "cache/projection.h"
#include "cache/ranks.h"
#include "cache/recorder.h"
#include "formats/file.h"
#include "kernels/base/launch.h"
#include "kernels/base/progress.h"

struct run {
    const struct ld_config *config;
    const char *out;
    struct ld_recorder recorder;
    const struct ld_dataset *set; /* the recorder's */
    int32_t
        *samples; /* (n_samples) indices of the images a student trains on */
    int n_samples, n_parts, views_per_image;
    struct ld_share share; /* of the shards */
    struct ld_arena arena; /* the run's */
    struct ld_progress progress;
    int64_t n_done, n_skipped, n_stored; /* views */
    struct ld_shard_sizes sizes;         /* of the share's shards */
};

/* ---- opening ---- */

static bool choose_samples(struct run *run, struct ld_err *err)
{
    run->samples = ld_arena_new(&run->arena, (size_t)run->set->n_samples,
                                sizeof(*run->samples), err);
    if (!run->samples)
        return false;
    for (int i = 0; i < run->set->n_samples; i++)
        if (run->set->samples[i].trained)
            run->samples[run->n_samples++] = i;
    if (run->n_samples == 0)
        return ld_fail(err, LD_ERR_FORMAT,
                       "%s: no image with an object to train on",
                       run->config->data.train);

    run->views_per_image = ld_views_per_image(&run->config->views);
    run->n_parts =
        (run->n_samples - 1) / run->config->cache.images_per_shard + 1;
    return true;
}

/* The trainer would refuse a folder with shards of two jobs: say so before they
 * are made. */
static bool only_our_parts(struct run *run, struct ld_err *err)
{
    struct ld_err none = {0};
    const char **paths;
    char name[64];
    int n;

    if (!ld_cache_list(run->out, &paths, &n, &run->arena, &none))
        return true;
    for (int i = 0; i < n; i++) {
        const char *found = strrchr(paths[i], '/');

        ld_shard_part_name(0, run->n_parts, name);
        found = found ? found + 1 : paths[i];
        if (strncmp(found, "part-", 5) == 0 && strlen(found) == strlen(name) &&
            strcmp(found + 10, name + 10) != 0)
            return ld_fail(err, LD_ERR_MISMATCH,
                           "%s: is of a job with another number of shards, "
                           "expected %d: choose another folder",
                           paths[i], run->n_parts);
    }
    return true;
}

static bool open_run(struct run *run, const struct ld_cache_command *command,
                     struct ld_err *err)
{
    if (!ld_recorder_open(&run->recorder, run->config, command->teacher,
                          run->share.local, err))
        return false;
    run->set = run->recorder.set;
    if (!choose_samples(run, err) || !ld_folder_make(run->out, err) ||
        !only_our_parts(run, err))
        return false;
    run->recorder.facts.n_parts = run->n_parts;
    ld_folder_tidy(run->out);
    return true;
}

static void close_run(struct run *run)
{
    ld_recorder_close(&run->recorder);
    ld_arena_free(&run->arena);
}

/* ---- one image, one shard ---- */

static bool cache_view(struct run *run, struct ld_shard_writer *shard,
                       const struct ld_sample *sample,
                       const struct ld_image *image, int number,
                       struct ld_err *err)
{
    struct ld_record record;

    return ld_recorder_view(&run->recorder, sample, image, number, &record,
                            err) &&
           ld_shard_append(shard, &record, err);
}

static bool cache_image(struct run *run, struct ld_shard_writer *shard,
                        const struct ld_sample *sample, struct ld_err *err)
{
    struct ld_err bad = {0};
    struct ld_image image = {0};
    bool ok = true;

    if (!ld_recorder_image(&run->recorder, sample, &image, &bad)) {
        if (!run->config->cache.skip_bad || bad.code == LD_ERR_MEMORY)
            return ld_fail(err, bad.code,
                           "%s (--set cache.skip_bad=true leaves it out)",
                           bad.text);
        fprintf(stderr, "\nld-cache: left out: %s\n", bad.text);
        run->n_skipped++;
        return ld_shard_skip(shard, sample->id, bad.text, err);
    }
    for (int number = 0; ok && number < run->views_per_image; number++) {
        ok = cache_view(run, shard, sample, &image, number, err) ||
             ld_fail_in(err, sample->name);
        ld_progress_show(&run->progress, run->n_done + number + 1, "");
    }
    ld_image_free(&image);
    return ok;
}

static bool write_part(struct run *run, const char *path, int part,
                       struct ld_err *err)
{
    int per_shard = run->config->cache.images_per_shard;
    int begin = part * per_shard;
    int end =
        begin + per_shard < run->n_samples ? begin + per_shard : run->n_samples;
    struct ld_shard_facts facts = run->recorder.facts;
    struct ld_shard_writer *shard;

    facts.part = part;
    shard = ld_shard_create(path, &facts, err);
    if (!shard)
        return false;
    for (int i = begin; i < end; i++) {
        if (!cache_image(run, shard, &run->set->samples[run->samples[i]],
                         err)) {
            ld_shard_abandon(shard);
            return false;
        }
        run->n_done += run->views_per_image;
    }
    return ld_shard_finish(shard, err);
}

/* ---- all shards ---- */

/* Views of a shard that is there, or -1; fails if it is of another job. */
static bool count_finished(struct run *run, const char *path, int part,
                           int64_t *n_views, struct ld_err *err)
{
    struct ld_shard_facts wanted = run->recorder.facts;
    struct ld_shard *shard;
    bool ok;

    *n_views = -1;
    if (access(path, F_OK) != 0)
        return true;
    shard = ld_shard_open(path, err);
    if (!shard)
        return false;
    wanted.part = part;
    ok = ld_shard_same_job(ld_shard_facts(shard), &wanted, path, err);
    *n_views = ld_shard_count(shard) +
               (int64_t)run->views_per_image * ld_shard_n_skipped(shard);
    ld_projection_add(&run->sizes, shard);
    run->n_stored += ld_shard_count(shard);
    ld_shard_close(shard);
    return ok;
}

static bool part_path(const struct run *run, int part, char path[4096],
                      struct ld_err *err)
{
    char name[64];

    ld_shard_part_name(part, run->n_parts, name);
    return ld_path_join(path, run->out, name, err);
}

static int64_t views_of(const struct run *run, int part)
{
    int begin = part * run->config->cache.images_per_shard;
    int left = run->n_samples - begin;
    int per_shard = run->config->cache.images_per_shard;

    return (int64_t)run->views_per_image *
           (left < per_shard ? left : per_shard);
}

/* Looks which shards of the share are there already. */
static bool count_parts(struct run *run, uint8_t *finished, struct ld_err *err)
{
    int n_finished = 0, n_mine = 0;
    int64_t n_views, total = 0;
    char path[4096];

    for (int part = 0; part < run->n_parts; part++) {
        if (!ld_share_has(&run->share, part))
            continue;
        if (!part_path(run, part, path, err) ||
            !count_finished(run, path, part, &n_views, err))
            return false;
        finished[part] = n_views >= 0;
        n_finished += finished[part];
        n_mine++;
        run->n_done += n_views > 0 ? n_views : 0;
        total += views_of(run, part);
    }
    if (run->share.count > 1)
        fprintf(stderr, "ld-cache: share %d of %d: %d of %d shards\n",
                run->share.index + 1, run->share.count, n_mine, run->n_parts);
    if (n_finished)
        fprintf(stderr, "ld-cache: %d of %d shards are there already\n",
                n_finished, n_mine);
    ld_progress_start(&run->progress, "caching", "views", run->n_done, total);
    return true;
}

/* Makes the shard, unless another process has made it by now. */
static bool cache_part(struct run *run, int part, const char *path,
                       struct ld_err *err)
{
    bool made = access(path, F_OK) != 0;
    int64_t n_views;

    if (made && !write_part(run, path, part, err))
        return false;
    if (!count_finished(run, path, part, &n_views, err))
        return false;
    run->n_done += made ? 0 : n_views;
    return true;
}

/* What another process is writing is left for last, when it is likely done: so
 * several with the same share divide the work, and if one of them dies, the
 * others do its shard too. */
static bool cache_parts(struct run *run, struct ld_err *err)
{
    uint8_t *finished = ld_arena_new(&run->arena, (size_t)run->n_parts, 1, err);
    char path[4096];

    if (!finished || !count_parts(run, finished, err))
        return false;
    for (int last = 0; last < 2; last++) {
        for (int part = 0; part < run->n_parts; part++) {
            if (finished[part] || !ld_share_has(&run->share, part))
                continue;
            if (!part_path(run, part, path, err))
                return false;
            if (!last && ld_file_is_being_written(path))
                continue;
            if (!cache_part(run, part, path, err))
                return false;
            finished[part] = true;
        }
    }
    return true;
}

/* ---- the command ---- */

static int count_missing(const struct run *run)
{
    struct ld_err ignored = {0};
    char path[4096];
    int n = 0;

    for (int part = 0; part < run->n_parts; part++)
        n += part_path(run, part, path, &ignored) && access(path, F_OK) != 0;
    return n;
}

static void say_part(const struct run *run, const char *name, int64_t bytes)
{
    char text[16];

    ld_bytes_text(text, (double)bytes / (double)run->n_stored);
    fprintf(stderr, "%s %s", name, text);
}

static void say_sizes(const struct run *run)
{
    const struct ld_shard_sizes *sizes = &run->sizes;
    char text[100];

    say_part(run, "ld-cache: a view:", sizes->file);
    say_part(run, " (box", sizes->box);
    say_part(run, ", class", sizes->class_rows);
    if (sizes->features > 0)
        say_part(run, ", features", sizes->features);
    say_part(run, ", places", sizes->location + sizes->kind);
    say_part(run, ", index", sizes->index);
    ld_projection_text(text, &run->recorder.facts, sizes, run->n_stored);
    fprintf(stderr, "); so %s\n", text);
}

static void say_done(struct run *run)
{
    int missing = count_missing(run);
    char size[16];

    ld_progress_end(&run->progress, run->n_done, "");
    if (run->n_stored > 0)
        say_sizes(run);
    ld_bytes_text(size, (double)run->sizes.file);
    if (run->share.count == 1)
        fprintf(stderr, "ld-cache: %s: %d shards, %s", run->out, run->n_parts,
                size);
    else
        fprintf(stderr,
                "ld-cache: %s: share %d of %d, %s; %d of %d shards are "
                "still missing",
                run->out, run->share.index + 1, run->share.count, size, missing,
                run->n_parts);
    if (run->n_skipped)
        fprintf(stderr, ", %lld images left out", (long long)run->n_skipped);
    fputc('\n', stderr);
}

static bool run_job(const struct ld_cache_command *command,
                    const struct ld_config *config, struct ld_share share,
                    struct ld_err *err)
{
    struct run run = {.config = config, .out = command->out, .share = share};
    bool ok = open_run(&run, command, err) && cache_parts(&run, err);

    if (ok)
        say_done(&run);
    close_run(&run);
    return ok;
}

static bool choose_share(const char *part, struct ld_share *share,
                         struct ld_err *err)
{
    if (!part)
        return ld_ranks_start(share, err);
    if (ld_launched() > 1)
        return ld_fail(err, LD_ERR_USAGE,
                       "--part %s: mpirun shares the work already", part);
    return ld_share_read(part, share, err);
}

bool ld_precompute(struct ld_cache_command *command, struct ld_err *err)
{
    struct ld_config config;
    struct ld_share share;

    if (command->n_words != 1)
        return ld_fail(err, LD_ERR_USAGE,
                       "expected: ld-cache precompute CONFIG --teacher "
                       "CHECKPOINT --out FOLDER (see --help)");
    if (!command->teacher || !command->out)
        return ld_fail(err, LD_ERR_USAGE, "%s is missing (see --help)",
                       command->teacher ? "--out" : "--teacher");
    if (choose_share(command->part, &share, err) &&
        ld_setup_config(&config, command->words[0], &command->settings,
                        command->arena, err))
        run_job(command, &config, share, err);
    ld_ranks_stop(err);
    return err->code == LD_OK;
}
