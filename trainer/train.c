#include "trainer/train.h"

#include <stdio.h>

#include "formats/file.h"
#include "kernels/base/parallel.h"
#include "kernels/base/progress.h"
#include "trainer/evaluate.h"
#include "trainer/log.h"
#include "trainer/parts.h"
#include "trainer/schedule.h"
#include "trainer/tally.h"

struct run {
    struct ld_parts parts;
    const char *out;
    struct ld_net *eval_net; /* made by the first evaluation */
    struct ld_log *log;
    struct ld_saver saver;
    struct ld_place place;
    struct ld_tally tally; /* its means are since the last line of the log */
    double log_seconds, log_waited; /* of those below, at that line */
    struct ld_progress progress;
    double step_seconds; /* spent in steps, without evaluation and saving */
    int64_t steps_timed;
    struct ld_lane *lane; /* NULL: no profile */
};

/* Of the ranks it speaks and writes for all. */
static bool is_first(const struct run *run)
{
    return run->parts.team->rank == 0;
}

/* ---- opening ---- */

static bool open_place(struct run *run, bool resume, struct ld_err *err)
{
    run->saver = (struct ld_saver){
        run->out,       run->parts.config,  run->parts.train,
        run->parts.dev, run->parts.student, run->parts.team->n_ranks};
    if (!ld_save_exists(run->out))
        return ld_folder_make(run->out, err);
    if (!resume)
        return ld_fail(err, LD_ERR_USAGE,
                       "%s: holds a run already: go on with --resume, or "
                       "choose another folder",
                       run->out);
    return ld_save_resume(&run->saver, &run->place, err);
}

static bool open_profile(struct run *run, const char *path, struct ld_err *err)
{
    if (!path)
        return true;
    run->parts.profile = ld_profile_start(path, run->parts.dev, err);
    run->lane = ld_profile_lane(run->parts.profile);
    return run->parts.profile || ld_fail_in(err, "--profile");
}

static bool open_log(struct run *run, struct ld_err *err)
{
    char path[4096];

    if (!ld_path_join(path, run->out, "log.jsonl", err))
        return false;
    run->log = ld_log_open(path, run->place.step, err);
    return run->log != NULL;
}

static void tell_rate(const struct ld_parts *parts)
{
    const struct ld_config *config = parts->config;
    const struct ld_team *team = parts->team;
    int images = ld_parts_images(parts);

    if (team->n_ranks > 1)
        fprintf(stderr,
                "ld-distill: %d ranks on %d machine%s, %d images and %d "
                "threads each\n",
                team->n_ranks, team->n_machines,
                team->n_machines == 1 ? "" : "s", config->train.batch,
                ld_parallel_threads());
    fprintf(stderr, "ld-distill: learning rate %.6g at %d images a step",
            ld_schedule_base(config, images), images);
    if (config->train.base_batch > 0)
        fprintf(stderr, " (%.6g at %d)", (double)config->train.lr,
                config->train.base_batch);
    fputc('\n', stderr);
}

/* Rank 0 alone reads and writes the folder of the run. */
static bool open_run(struct run *run, const struct ld_train *job,
                     struct ld_err *err)
{
    struct ld_parts *parts = &run->parts;
    bool ok = ld_parts_open_data(parts, err) &&
              ld_parts_open_student(parts, err) &&
              ld_parts_open_teacher(parts, err) &&
              (!is_first(run) || (open_place(run, job->resume, err) &&
                                  open_profile(run, job->profile, err)));

    if (!ld_team_agree(parts->team, ok, err) ||
        !ld_team_reducer(parts->team, parts->dev, &parts->reducer, err))
        return false;
    ld_team_send(parts->team, &run->place, sizeof(run->place));
    if (parts->reducer)
        ld_net_share(parts->student, parts->reducer);
    ok = ld_tally_open(&run->tally, parts->dev, err) &&
         ld_parts_start(parts, &run->place, err) &&
         (!is_first(run) || open_log(run, err));
    if (ok && is_first(run))
        tell_rate(parts);
    return ld_team_agree(parts->team, ok, err);
}

static bool close_run(struct run *run, struct ld_err *err)
{
    bool ok = ld_log_close(run->log, err);

    ld_net_free(run->eval_net);
    ld_tally_close(&run->tally);
    ld_parts_close(&run->parts);
    return ok;
}

/* ---- evaluation ---- */

static bool copy_params(struct run *run, struct ld_err *err)
{
    int n;
    struct ld_param *from = ld_net_params(run->parts.student, &n);
    struct ld_param *to;

    if (!run->eval_net)
        run->eval_net =
            ld_net_new(run->parts.dev, &run->parts.model, LD_NET_INFER, err);
    if (!run->eval_net)
        return false;
    to = ld_net_params(run->eval_net, &n);
    for (int i = 0; i < n; i++)
        run->parts.dev->ops->copy(
            run->parts.dev, to[i].value.data, from[i].value.data,
            ld_tensor_count(&to[i].value) * sizeof(float));
    ld_net_changed(run->eval_net);
    return true;
}

static bool score(struct run *run, struct ld_scores *scores, struct ld_err *err)
{
    struct ld_evaluation e = {run->parts.config, run->parts.val, run->parts.dev,
                              NULL, run->parts.team};
    struct ld_image_detections *images;
    struct ld_arena arena = {0};
    bool ok;

    if (run->parts.reducer)
        ld_net_share_statistics(run->parts.student, run->parts.reducer);
    if (!copy_params(run, err))
        return false;
    e.net = run->eval_net;
    ok =
        ld_evaluate_detect(&e, &images, &arena, err) &&
        (!is_first(run) || (ld_evaluate_score(&e, images, false, scores, err) &&
                            ld_log_scores(run->log, run->place.epoch,
                                          run->place.step, scores, err)));
    ld_arena_free(&arena);
    return ok;
}

static bool evaluate(struct run *run, struct ld_scores *scores,
                     struct ld_err *err)
{
    int64_t t = ld_lane_begin(run->lane);
    bool ok = score(run, scores, err);

    ld_lane_end(run->lane, "evaluate", t);
    return ok;
}

/* ---- the loop ---- */

static bool save(struct run *run, struct ld_err *err)
{
    int64_t t = ld_lane_begin(run->lane);
    bool ok = !is_first(run) || ld_save(&run->saver, &run->place, err);

    ld_lane_end(run->lane, "save", t);
    return ok;
}

static bool fail_in_epoch(const struct run *run, struct ld_err *err)
{
    char note[40];

    snprintf(note, sizeof(note), "epoch %lld", (long long)run->place.epoch + 1);
    return ld_fail_in(err, note);
}

/* Waits for the steps so far; they are in order if none left a fault. */
static bool settle(struct run *run, struct ld_err *err)
{
    double began = ld_seconds();
    int64_t t = ld_lane_begin(run->lane);
    bool ok = ld_tally_read(&run->tally, err);

    ld_lane_end(run->lane, "wait for device", t);
    run->step_seconds += ld_seconds() - began;
    return ok || fail_in_epoch(run, err);
}

static bool log_steps(struct run *run, double rate, struct ld_err *err)
{
    double waited = ld_loader_waited(run->parts.loader);
    double elapsed = run->step_seconds - run->log_seconds;
    int n_steps = run->tally.n_summed;
    struct ld_loss_terms mean = ld_tally_mean(&run->tally);
    int64_t t = ld_lane_begin(run->lane);
    bool ok;
    struct ld_log_step line = {
        .epoch = run->place.epoch + 1,
        .step = run->place.step,
        .lr = rate,
        .steps_per_second = n_steps / elapsed,
        .wait = (waited - run->log_waited) / elapsed,
        .terms = &mean,
    };

    ld_team_mean(run->parts.team, &mean.value[0][0],
                 LD_N_TERMS * LD_MAX_LEVELS);
    run->log_seconds = run->step_seconds;
    run->log_waited = waited;
    ok = !is_first(run) || ld_log_step(run->log, &line, err);
    ld_lane_end(run->lane, "log", t);
    return ok;
}

/* The device may still be at it when this returns. */
static bool move(struct run *run, const struct ld_batch *batch, double rate,
                 struct ld_err *err)
{
    const struct ld_config *config = run->parts.config;
    struct ld_sgd sgd = {(float)rate, config->train.momentum,
                         config->train.weight_decay, run->place.step + 1};
    struct ld_sgd bias = {sgd.rate * config->train.bias_rate, sgd.momentum,
                          sgd.decay * config->train.bias_decay, sgd.step};
    struct ld_loss_terms *terms = ld_tally_next(&run->tally, err);
    int64_t t;

    if (!terms ||
        !ld_step_gradient(run->parts.step, batch, sgd.step, terms, err))
        return false;
    t = ld_lane_begin(run->lane);
    ld_net_sgd(run->parts.student, sgd, bias);
    ld_lane_end(run->lane, "update", t);
    return true;
}

static void show_progress(struct run *run)
{
    int n_epochs = run->parts.config->train.epochs;
    long long epoch = (long long)run->place.epoch + 1;
    char note[80];

    if (run->tally.any)
        snprintf(note, sizeof(note), "epoch %lld/%d, loss %.3f", epoch,
                 n_epochs, run->tally.last);
    else
        snprintf(note, sizeof(note), "epoch %lld/%d", epoch, n_epochs);
    ld_progress_show(&run->progress, run->place.step, note);
}

static bool train_step(struct run *run, struct ld_err *err)
{
    const struct ld_config *config = run->parts.config;
    double rate = ld_schedule_rate(config, ld_parts_images(&run->parts),
                                   run->place.epoch, run->place.step);
    double began = ld_seconds();
    int64_t t = ld_lane_begin(run->lane);
    const struct ld_batch *batch = ld_loader_next(run->parts.loader, err);

    if (!batch)
        return false;
    ld_lane_end(run->lane, "wait for data", t);
    /* A resident teacher waits for the device in any case; a fault is not its
     * but that of the step before. */
    if (run->parts.teacher && !settle(run, err))
        return false;
    if (!move(run, batch, rate, err))
        return fail_in_epoch(run, err);
    run->place.step++;
    run->place.step_of_epoch++;
    run->step_seconds += ld_seconds() - began;
    run->steps_timed++;
    if (is_first(run))
        show_progress(run);
    return run->place.step % config->train.log_every != 0 ||
           (settle(run, err) && log_steps(run, rate, err));
}

static bool is_time(int every, int64_t count, bool last)
{
    return every > 0 && (count % every == 0 || last);
}

static void tell_scores(const struct ld_scores *scores)
{
    printf(", AP %.3f, AP50 %.3f, AP75 %.3f", scores->ap, scores->ap50,
           scores->ap75);
}

/* `scores` NULL: not evaluated. */
static void tell_epoch(const struct run *run, const struct ld_scores *scores)
{
    printf("epoch %lld: %lld steps, %.3g steps/s, data wait %.1f %%",
           (long long)run->place.epoch, (long long)run->place.step,
           (double)run->steps_timed / run->step_seconds,
           100 * ld_loader_waited(run->parts.loader) / run->step_seconds);
    if (scores)
        tell_scores(scores);
    printf("\n");
    fflush(stdout);
}

/* Whether the epoch that has ended is one to be evaluated. */
static bool is_scored(const struct run *run)
{
    const struct ld_config *config = run->parts.config;

    return run->parts.val && is_time(config->train.eval_every, run->place.epoch,
                                     run->place.epoch == config->train.epochs);
}

static bool end_epoch(struct run *run, struct ld_err *err)
{
    struct ld_scores scores;
    bool scored;

    if (!settle(run, err))
        return false;
    run->place.epoch++;
    run->place.step_of_epoch = 0;
    scored = is_scored(run);
    if (!save(run, err) || (scored && !evaluate(run, &scores, err)))
        return false;
    if (is_first(run))
        tell_epoch(run, scored ? &scores : NULL);
    return true;
}

/* Whether the log has no scores of this step. */
static bool lacks_scores(const struct run *run, bool *lacks, struct ld_err *err)
{
    struct ld_arena arena = {0};
    double *steps, *values;
    char path[4096];
    int n = 0;
    bool ok = ld_path_join(path, run->out, "log.jsonl", err) &&
              ld_log_read(path, "AP", &steps, &values, &n, &arena, err);

    *lacks = n == 0 || (int64_t)steps[n - 1] != run->place.step;
    ld_arena_free(&arena);
    return ok;
}

/* What is resumed may have been killed between an epoch's checkpoint and its
 * evaluation. */
static bool make_up(struct run *run, struct ld_err *err)
{
    struct ld_scores scores;
    bool ok = true, lacks = false;

    if (run->place.step == 0 || run->place.step_of_epoch > 0 || !is_scored(run))
        return true;
    if (is_first(run))
        ok = lacks_scores(run, &lacks, err);
    if (!ld_team_agree(run->parts.team, ok, err))
        return false;
    ld_team_send(run->parts.team, &lacks, sizeof(lacks));
    if (!lacks)
        return true;
    if (!evaluate(run, &scores, err))
        return false;
    if (is_first(run)) {
        printf("epoch %lld: %lld steps", (long long)run->place.epoch,
               (long long)run->place.step);
        tell_scores(&scores);
        printf("\n");
    }
    return true;
}

static bool train_epoch(struct run *run, int64_t n_steps, struct ld_err *err)
{
    while (run->place.step_of_epoch < n_steps) {
        ld_profile_step(run->parts.profile);
        if (!train_step(run, err))
            return false;
        if (run->place.step_of_epoch < n_steps &&
            is_time(run->parts.config->train.save_every,
                    run->place.step_of_epoch, false) &&
            (!settle(run, err) || !save(run, err)))
            return false;
    }
    return end_epoch(run, err);
}

static bool train(struct run *run, struct ld_err *err)
{
    int64_t n_steps = ld_loader_steps_per_epoch(run->parts.loader);
    char memory[16];

    ld_progress_start(&run->progress, "training", "steps", run->place.step,
                      n_steps * run->parts.config->train.epochs);
    if (!make_up(run, err))
        return false;
    while (run->place.epoch < run->parts.config->train.epochs)
        if (!train_epoch(run, n_steps, err))
            return false;
    ld_profile_end(run->parts.profile);
    if (!is_first(run))
        return true;
    ld_progress_end(&run->progress, run->place.step, "");
    ld_bytes_text(memory, ld_peak_memory());
    printf("done: %s/latest.h5, %lld steps, peak memory %s\n", run->out,
           (long long)run->place.step, memory);
    return true;
}

bool ld_train_run(const struct ld_train *job, struct ld_err *err)
{
    struct run run = {.parts = {.config = job->config, .team = job->team},
                      .out = job->out};
    bool ok = open_run(&run, job, err) && train(&run, err);

    if (!ok)
        ld_team_fail(job->team, err);
    return close_run(&run, err) && ok;
}
