#include <stdio.h>

#include "cache/cache_command.h"
#include "cache/pipeline.h"
#include "cache/projection.h"
#include "kernels/base/launch.h"

static void say_part(const struct ld_job *job, const char *name, int64_t bytes)
{
    char text[16];

    ld_bytes_text(text, (double)bytes / (double)job->n_stored);
    fprintf(stderr, "%s %s", name, text);
}

static void say_sizes(const struct ld_job *job)
{
    const struct ld_shard_sizes *sizes = &job->sizes;
    char text[100];

    say_part(job, "ld-cache: a view:", sizes->file);
    say_part(job, " (box", sizes->box);
    say_part(job, ", class", sizes->class_rows);
    if (sizes->features > 0)
        say_part(job, ", features", sizes->features);
    say_part(job, ", places", sizes->location + sizes->kind);
    say_part(job, ", index", sizes->index);
    ld_projection_text(text, &job->recorder.facts, sizes, job->n_stored);
    fprintf(stderr, "); so %s\n", text);
}

static void say_done(struct ld_job *job)
{
    int missing = ld_job_missing(job);
    char size[16];

    ld_progress_end(&job->progress, job->n_done, "");
    if (job->n_stored > 0)
        say_sizes(job);
    ld_bytes_text(size, (double)job->sizes.file);
    if (job->share.count == 1)
        fprintf(stderr, "ld-cache: %s: %d shards, %s", job->out, job->n_parts,
                size);
    else
        fprintf(stderr,
                "ld-cache: %s: share %d of %d, %s; %d of %d shards are "
                "still missing",
                job->out, job->share.index + 1, job->share.count, size, missing,
                job->n_parts);
    if (job->n_skipped)
        fprintf(stderr, ", %lld images left out", (long long)job->n_skipped);
    fputc('\n', stderr);
}

static bool run_job(const struct ld_cache_command *command,
                    const struct ld_config *config, struct ld_share share,
                    struct ld_err *err)
{
    struct ld_job job = {.config = config, .out = command->out, .share = share};
    bool ok =
        ld_job_open(&job, command->teacher, err) && ld_pipeline_run(&job, err);

    if (ok)
        say_done(&job);
    ld_job_close(&job);
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
