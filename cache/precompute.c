#include "cache/precompute.h"

#include <stdio.h>
#include <unistd.h>

#include "cache/recorder.h"
#include "formats/file.h"
#include "kernels/base/progress.h"

struct run {
    const struct ld_config *config;
    const char *out;
    struct ld_recorder recorder;
    const struct ld_dataset *set; /* the recorder's */
    int32_t
        *samples; /* (n_samples) indices of the images a student trains on */
    int n_samples, n_parts, views_per_image;
    struct ld_arena arena; /* the run's */
    struct ld_progress progress;
    int64_t n_done, n_skipped, bytes;
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

static bool open_run(struct run *run, const struct ld_precompute *job,
                     struct ld_err *err)
{
    if (!ld_recorder_open(&run->recorder, run->config, job->teacher, err))
        return false;
    run->set = run->recorder.set;
    if (!choose_samples(run, err) || !ld_folder_make(run->out, err))
        return false;
    run->recorder.facts.n_parts = run->n_parts;
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
    struct ld_shard_sizes sizes;
    struct ld_shard *shard;
    bool ok;

    *n_views = -1;
    if (access(path, F_OK) != 0)
        return true;
    shard = ld_shard_open(path, err);
    if (!shard)
        return false;
    wanted.part = part;
    ok = ld_shard_facts_match(ld_shard_facts(shard), &wanted, path, err);
    *n_views = ld_shard_count(shard) +
               (int64_t)run->views_per_image * ld_shard_n_skipped(shard);
    ld_shard_sizes(shard, &sizes);
    run->bytes += sizes.file;
    ld_shard_close(shard);
    return ok;
}

static bool part_path(const struct run *run, int part, char path[4096],
                      struct ld_err *err)
{
    char name[64];

    snprintf(name, sizeof(name), "part-%05d-of-%05d.h5", part, run->n_parts);
    return ld_path_join(path, run->out, name, err);
}

static bool cache_parts(struct run *run, struct ld_err *err)
{
    uint8_t *finished = ld_arena_new(&run->arena, (size_t)run->n_parts, 1, err);
    int n_finished = 0;
    int64_t n_views;
    char path[4096];

    for (int part = 0; finished && part < run->n_parts; part++) {
        if (!part_path(run, part, path, err) ||
            !count_finished(run, path, part, &n_views, err))
            return false;
        finished[part] = n_views >= 0;
        n_finished += finished[part];
        run->n_done += n_views > 0 ? n_views : 0;
    }
    if (!finished)
        return false;
    if (n_finished)
        fprintf(stderr, "ld-cache: %d of %d shards are there already\n",
                n_finished, run->n_parts);

    ld_progress_start(&run->progress, "caching", "views", run->n_done,
                      (int64_t)run->n_samples * run->views_per_image);
    for (int part = 0; part < run->n_parts; part++) {
        if (finished[part])
            continue;
        if (!part_path(run, part, path, err) ||
            !write_part(run, path, part, err) ||
            !count_finished(run, path, part, &n_views, err))
            return false;
    }
    return true;
}

bool ld_precompute_run(const struct ld_precompute *job, struct ld_err *err)
{
    struct run run = {.config = job->config, .out = job->out};
    char size[16];
    bool ok = open_run(&run, job, err) && cache_parts(&run, err);

    if (ok) {
        ld_progress_end(&run.progress, run.n_done, "");
        ld_bytes_text(size, (double)run.bytes);
        fprintf(stderr, "ld-cache: %s: %d shards, %s", run.out, run.n_parts,
                size);
        if (run.n_skipped)
            fprintf(stderr, ", %lld images left out", (long long)run.n_skipped);
        fputc('\n', stderr);
    }
    close_run(&run);
    return ok;
}
