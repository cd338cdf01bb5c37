#include "cache/job.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cache/projection.h"
#include "formats/file.h"

/* ---- opening ---- */

static bool choose_samples(struct ld_job *job, struct ld_err *err)
{
    job->samples =
        ld_arena_new(&job->arena, (size_t)job->recorder.set->n_samples,
                     sizeof(*job->samples), err);
    if (!job->samples)
        return false;
    for (int i = 0; i < job->recorder.set->n_samples; i++)
        if (job->recorder.set->samples[i].trained)
            job->samples[job->n_samples++] = i;
    if (job->n_samples == 0)
        return ld_fail(err, LD_ERR_FORMAT,
                       "%s: no image with an object to train on",
                       job->config->data.train);

    job->views_per_image = ld_views_per_image(&job->config->views);
    job->n_parts =
        (job->n_samples - 1) / job->config->cache.images_per_shard + 1;
    return true;
}

/* The trainer would refuse a folder with shards of two jobs: say so before they
 * are made. */
static bool only_our_parts(struct ld_job *job, struct ld_err *err)
{
    struct ld_err none = {0};
    const char **paths;
    char name[64];
    int n;

    if (!ld_cache_list(job->out, &paths, &n, &job->arena, &none))
        return true;
    for (int i = 0; i < n; i++) {
        const char *found = strrchr(paths[i], '/');

        ld_shard_part_name(0, job->n_parts, name);
        found = found ? found + 1 : paths[i];
        if (strncmp(found, "part-", 5) == 0 && strlen(found) == strlen(name) &&
            strcmp(found + 10, name + 10) != 0)
            return ld_fail(err, LD_ERR_MISMATCH,
                           "%s: is of a job with another number of shards, "
                           "expected %d: choose another folder",
                           paths[i], job->n_parts);
    }
    return true;
}

/* Looks which shards of the share are there already. */
static bool count_parts(struct ld_job *job, struct ld_err *err)
{
    int n_there = 0, n_mine = 0;
    int64_t n_views, total = 0;

    job->parts = ld_arena_new(&job->arena, (size_t)job->n_parts, 1, err);
    if (!job->parts)
        return false;
    for (int part = 0; part < job->n_parts; part++) {
        int begin, end;

        if (!ld_share_has(&job->share, part))
            continue;
        if (!ld_job_count(job, part, &n_views, err))
            return false;
        if (n_views >= 0)
            job->parts[part] = LD_PART_THERE;
        n_there += n_views >= 0;
        n_mine++;
        job->n_done += n_views > 0 ? n_views : 0;
        ld_job_images(job, part, &begin, &end);
        total += (int64_t)job->views_per_image * (end - begin);
    }
    if (job->share.count > 1)
        fprintf(stderr, "ld-cache: share %d of %d: %d of %d shards\n",
                job->share.index + 1, job->share.count, n_mine, job->n_parts);
    if (n_there)
        fprintf(stderr, "ld-cache: %d of %d shards are there already\n",
                n_there, n_mine);
    ld_progress_start(&job->progress, "caching", "views", job->n_done, total);
    return true;
}

bool ld_job_open(struct ld_job *job, const char *teacher, struct ld_err *err)
{
    if (!ld_recorder_open(&job->recorder, job->config, teacher,
                          job->share.local, err) ||
        !choose_samples(job, err) || !ld_folder_make(job->out, err) ||
        !only_our_parts(job, err))
        return false;
    job->recorder.facts.n_parts = job->n_parts;
    ld_folder_tidy(job->out);
    return count_parts(job, err);
}

void ld_job_close(struct ld_job *job)
{
    ld_recorder_close(&job->recorder);
    ld_arena_free(&job->arena);
}

/* ---- parts ---- */

bool ld_job_path(const struct ld_job *job, int part, char path[4096],
                 struct ld_err *err)
{
    char name[64];

    ld_shard_part_name(part, job->n_parts, name);
    return ld_path_join(path, job->out, name, err);
}

void ld_job_images(const struct ld_job *job, int part, int *begin, int *end)
{
    int n = job->config->cache.images_per_shard;

    *begin = part * n;
    *end = *begin + n < job->n_samples ? *begin + n : job->n_samples;
}

bool ld_job_count(struct ld_job *job, int part, int64_t *n_views,
                  struct ld_err *err)
{
    struct ld_shard_facts wanted = job->recorder.facts;
    struct ld_shard *shard;
    char path[4096];
    bool ok;

    *n_views = -1;
    if (!ld_job_path(job, part, path, err))
        return false;
    if (access(path, F_OK) != 0)
        return true;
    shard = ld_shard_open(path, err);
    if (!shard)
        return false;
    wanted.part = part;
    ok = ld_shard_same_job(ld_shard_facts(shard), &wanted, path, err);
    *n_views = ld_shard_count(shard) +
               (int64_t)job->views_per_image * ld_shard_n_skipped(shard);
    ld_projection_add(&job->sizes, shard);
    job->n_stored += ld_shard_count(shard);
    ld_shard_close(shard);
    return ok;
}

int ld_job_missing(const struct ld_job *job)
{
    struct ld_err ignored = {0};
    char path[4096];
    int n = 0;

    for (int part = 0; part < job->n_parts; part++)
        n += ld_job_path(job, part, path, &ignored) && access(path, F_OK) != 0;
    return n;
}
