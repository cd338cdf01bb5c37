/* job.h - what a precompute is to do: which images go into which shards, which
 * of these are this process's, and which are there already. */
#pragma once

#include "cache/ranks.h"
#include "cache/recorder.h"
#include "kernels/base/progress.h"

enum ld_part { LD_PART_MISSING, LD_PART_THERE, LD_PART_DEALT };

struct ld_job {
    const struct ld_config *config;
    const char *out; /* folder */
    struct ld_recorder recorder;
    int32_t
        *samples; /* (n_samples) indices of the images a student trains on */
    int n_samples, n_parts, views_per_image;
    struct ld_share share; /* of the shards */
    uint8_t *parts;        /* (n_parts) enum ld_part, of the share's */
    struct ld_arena arena; /* the job's */

    /* Of the share's shards, so far. */
    struct ld_progress progress;
    int64_t n_done, n_skipped, n_stored; /* views, images, views */
    struct ld_shard_sizes sizes;
};

/* Loads the teacher, makes the folder, looks which shards are there. The caller
 * has set config, out and share. Close it even after a failure. */
bool ld_job_open(struct ld_job *job, const char *teacher, struct ld_err *err);
void ld_job_close(struct ld_job *job);

bool ld_job_path(const struct ld_job *job, int part, char path[4096],
                 struct ld_err *err);

/* Images begin to end - 1 of job->samples are the part's. */
void ld_job_images(const struct ld_job *job, int part, int *begin, int *end);

/* Adds a shard to what is stored; *n_views counts those left out too, and is -1
 * if the shard is not there. LD_ERR_MISMATCH if it is of another job. */
bool ld_job_count(struct ld_job *job, int part, int64_t *n_views,
                  struct ld_err *err);

/* Shards that are not there, of all shares. */
int ld_job_missing(const struct ld_job *job);
