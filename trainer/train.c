#include "trainer/train.h"

#include <stdio.h>
#include <string.h>

#include "formats/file.h"
#include "formats/setup.h"
#include "kernels/backend.h"
#include "kernels/base/progress.h"
#include "trainer/evaluate.h"
#include "trainer/loader.h"
#include "trainer/log.h"
#include "trainer/run.h"
#include "trainer/save.h"
#include "trainer/schedule.h"
#include "trainer/step.h"

struct run {
    const struct ld_config *config;
    const char *out;
    struct ld_dataset *train, *val; /* val NULL: no evaluation */
    struct ld_cache *cache;
    struct ld_device *dev;
    struct ld_model model;
    struct ld_net *student;
    struct ld_net *eval_net; /* made by the first evaluation */
    struct ld_teacher *teacher;
    struct ld_step *step;
    struct ld_loader *loader;
    struct ld_log *log;
    struct ld_saver saver;
    struct ld_place place;
    struct ld_loss_terms sum; /* since the last line of the log */
    int n_summed;
    double log_began, log_waited;
    struct ld_progress progress;
    double step_seconds; /* spent in steps, without evaluation and saving */
    int64_t steps_timed;
};

/* ---- opening ---- */

static bool open_data(struct run *run, struct ld_err *err)
{
    const struct ld_config *config = run->config;

    run->train = ld_setup_dataset(config, LD_SPLIT_TRAIN, err);
    if (!run->train)
        return false;
    if (!config->data.val[0] || config->train.eval_every == 0)
        return true;
    run->val = ld_setup_dataset(config, LD_SPLIT_VAL, err);
    return run->val != NULL;
}

static bool open_cache(struct run *run, struct ld_err *err)
{
    const struct ld_config *config = run->config;
    char assigner[32], sha256[65];
    struct ld_shard_facts wanted = ld_setup_facts(config, run->train, assigner);

    if (config->teacher.source != LD_TEACHER_CACHE)
        return true;
    if (!config->teacher.cache[0])
        return ld_fail(err, LD_ERR_USAGE,
                       "teacher.cache: not set: expected the folder that "
                       "ld-cache precompute wrote (--cache FOLDER)");
    if (config->teacher.checkpoint[0]) {
        if (!ld_file_sha256(config->teacher.checkpoint, sha256, err))
            return false;
        wanted.teacher_sha256 = sha256;
    }
    run->cache = ld_cache_open(config->teacher.cache, err);
    return run->cache &&
           ld_shard_facts_match(ld_cache_facts(run->cache), &wanted,
                                config->teacher.cache, err);
}

static bool open_teacher(struct run *run, struct ld_err *err)
{
    const char *path = run->config->teacher.checkpoint;
    struct ld_arena arena = {0};
    struct ld_checkpoint checkpoint;
    struct ld_model model;

    if (run->config->teacher.source != LD_TEACHER_RESIDENT)
        return true;
    if (!path[0])
        return ld_fail(err, LD_ERR_USAGE,
                       "teacher.checkpoint: not set: teacher.source resident "
                       "needs it");
    if (ld_setup_teacher(path, run->train, run->model.reg_max, &checkpoint,
                         &model, &arena, err))
        run->teacher = ld_teacher_new(run->dev, &model, checkpoint.tensors,
                                      checkpoint.n_tensors, err);
    ld_arena_free(&arena);
    return run->teacher != NULL;
}

static bool start_params(struct run *run, struct ld_err *err)
{
    const char *init = run->config->model_init;
    struct ld_arena arena = {0};
    struct ld_checkpoint checkpoint;
    bool ok;

    ld_net_init(run->student, (uint64_t)run->config->train.seed);
    if (!init[0])
        return true;
    ok = ld_checkpoint_load(init, &checkpoint, &arena, err) &&
         (ld_net_load(run->student, checkpoint.tensors, checkpoint.n_tensors,
                      true, err) ||
          ld_fail_in(err, init));
    ld_arena_free(&arena);
    return ok;
}

static bool open_student(struct run *run, struct ld_err *err)
{
    char note[200], text[160];

    run->model = run->config->model;
    run->model.n_classes = run->train->n_classes;
    run->dev =
        ld_device_open(run->config->device, run->config->threads, note, err);
    if (!run->dev || !ld_model_check(&run->model, "model", err))
        return false;
    ld_setup_model_text(&run->model, text);
    fprintf(stderr, "ld-distill: %s\nld-distill: student: %s\n", note, text);
    run->student = ld_net_new(run->dev, &run->model, LD_NET_TRAIN, err);
    return run->student && start_params(run, err);
}

static bool open_place(struct run *run, bool resume, struct ld_err *err)
{
    run->saver = (struct ld_saver){run->out, run->config, run->train, run->dev,
                                   run->student};
    if (!ld_save_exists(run->out))
        return ld_folder_make(run->out, err);
    if (!resume)
        return ld_fail(err, LD_ERR_USAGE,
                       "%s: holds a run already: go on with --resume, or "
                       "choose another folder",
                       run->out);
    return ld_save_resume(&run->saver, &run->place, err);
}

static bool start_loader(struct run *run, struct ld_err *err)
{
    const struct ld_config *config = run->config;
    struct ld_loader_plan plan = {
        .set = run->train,
        .cache = run->cache,
        .view = config->view,
        .assign = config->assign,
        .batch = config->train.batch,
        .repeat = config->data.repeat,
        .n_threads = config->train.loader_threads,
        .seed = (uint64_t)config->train.seed,
        .flip = config->view_flip,
    };
    char path[4096];

    run->loader =
        ld_loader_start(&plan, run->place.epoch, run->place.step_of_epoch, err);
    if (!run->loader || !ld_path_join(path, run->out, "log.jsonl", err))
        return false;
    run->log = ld_log_open(path, run->place.step, err);
    return run->log != NULL;
}

static bool open_run(struct run *run, bool resume, struct ld_err *err)
{
    if (!open_data(run, err) || !open_cache(run, err) ||
        !open_student(run, err) || !open_teacher(run, err) ||
        !open_place(run, resume, err) || !start_loader(run, err))
        return false;
    run->step = ld_step_new(run->dev, run->student, run->teacher,
                            &run->config->loss, err);
    return run->step != NULL;
}

static bool close_run(struct run *run, struct ld_err *err)
{
    bool ok = ld_log_close(run->log, err);

    ld_loader_stop(run->loader);
    ld_step_free(run->step);
    ld_teacher_free(run->teacher);
    ld_net_free(run->eval_net);
    ld_net_free(run->student);
    if (run->dev)
        run->dev->ops->close(run->dev);
    ld_cache_close(run->cache);
    ld_dataset_free(run->val);
    ld_dataset_free(run->train);
    return ok;
}

/* ---- evaluation ---- */

static bool copy_params(struct run *run, struct ld_err *err)
{
    int n;
    struct ld_param *from = ld_net_params(run->student, &n);
    struct ld_param *to;

    if (!run->eval_net)
        run->eval_net = ld_net_new(run->dev, &run->model, LD_NET_INFER, err);
    if (!run->eval_net)
        return false;
    to = ld_net_params(run->eval_net, &n);
    for (int i = 0; i < n; i++)
        run->dev->ops->copy(run->dev, to[i].value.data, from[i].value.data,
                            ld_tensor_count(&to[i].value) * sizeof(float));
    ld_net_changed(run->eval_net);
    return true;
}

static bool evaluate(struct run *run, struct ld_scores *scores,
                     struct ld_err *err)
{
    struct ld_evaluation e = {run->config, run->val, run->dev, NULL};
    struct ld_image_detections *images;
    struct ld_arena arena = {0};
    bool ok;

    if (!copy_params(run, err))
        return false;
    e.net = run->eval_net;
    ok =
        ld_evaluate_detect(&e, &images, &arena, err) &&
        ld_evaluate_score(&e, images, false, scores, err) &&
        ld_log_scores(run->log, run->place.epoch, run->place.step, scores, err);
    ld_arena_free(&arena);
    return ok;
}

/* ---- the loop ---- */

static void add_terms(struct run *run, const struct ld_loss_terms *terms)
{
    for (int term = 0; term < LD_N_TERMS; term++)
        for (int level = 0; level < LD_MAX_LEVELS; level++)
            run->sum.value[term][level] += terms->value[term][level];
    run->n_summed++;
}

static bool log_steps(struct run *run, double rate, struct ld_err *err)
{
    double now = ld_seconds(), waited = ld_loader_waited(run->loader);
    double elapsed = now - run->log_began;
    struct ld_log_step line = {
        .epoch = run->place.epoch + 1,
        .step = run->place.step,
        .lr = rate,
        .steps_per_second = run->n_summed / elapsed,
        .wait = (waited - run->log_waited) / elapsed,
        .terms = &run->sum,
    };
    bool ok;

    for (int term = 0; term < LD_N_TERMS; term++)
        for (int level = 0; level < LD_MAX_LEVELS; level++)
            run->sum.value[term][level] /= run->n_summed;
    ok = ld_log_step(run->log, &line, err);
    memset(&run->sum, 0, sizeof(run->sum));
    run->n_summed = 0;
    run->log_began = now;
    run->log_waited = waited;
    return ok;
}

/* The device keeps a fault of the optimizer, a velocity that is not finite,
 * until it is asked. */
static bool move(struct run *run, const struct ld_batch *batch,
                 struct ld_sgd sgd, struct ld_loss_terms *terms,
                 struct ld_err *err)
{
    if (!ld_step_gradient(run->step, batch, terms, err))
        return false;
    ld_net_sgd(run->student, sgd);
    return run->dev->ops->sync(run->dev, err);
}

static bool train_step(struct run *run, struct ld_err *err)
{
    const struct ld_config *config = run->config;
    double rate = ld_schedule_rate(config, run->place.epoch, run->place.step);
    struct ld_sgd sgd = {(float)rate, config->train.momentum,
                         config->train.weight_decay};
    double began = ld_seconds();
    const struct ld_batch *batch = ld_loader_next(run->loader, err);
    struct ld_loss_terms terms;
    char note[80];

    if (!batch)
        return false;
    if (!move(run, batch, sgd, &terms, err)) {
        snprintf(note, sizeof(note), "epoch %lld, step %lld",
                 (long long)run->place.epoch + 1,
                 (long long)run->place.step + 1);
        return ld_fail_in(err, note);
    }
    run->place.step++;
    run->place.step_of_epoch++;
    run->step_seconds += ld_seconds() - began;
    run->steps_timed++;

    add_terms(run, &terms);
    snprintf(note, sizeof(note), "epoch %lld/%d, loss %.3f",
             (long long)run->place.epoch + 1, config->train.epochs,
             ld_loss_total(&terms));
    ld_progress_show(&run->progress, run->place.step, note);
    return run->place.step % config->train.log_every != 0 ||
           log_steps(run, rate, err);
}

static bool is_time(int every, int64_t count, bool last)
{
    return every > 0 && (count % every == 0 || last);
}

static bool end_epoch(struct run *run, struct ld_err *err)
{
    const struct ld_config *config = run->config;
    struct ld_scores scores;
    double rate = (double)run->steps_timed / run->step_seconds;

    run->place.epoch++;
    run->place.step_of_epoch = 0;
    if (!ld_save(&run->saver, &run->place, err))
        return false;
    printf("epoch %lld: %lld steps, %.3g steps/s, data wait %.1f %%",
           (long long)run->place.epoch, (long long)run->place.step, rate,
           100 * ld_loader_waited(run->loader) / run->step_seconds);
    if (run->val && is_time(config->train.eval_every, run->place.epoch,
                            run->place.epoch == config->train.epochs)) {
        if (!evaluate(run, &scores, err))
            return false;
        printf(", AP %.3f, AP50 %.3f, AP75 %.3f", scores.ap, scores.ap50,
               scores.ap75);
    }
    printf("\n");
    fflush(stdout);
    run->log_began = ld_seconds();
    return true;
}

static bool train_epoch(struct run *run, int64_t n_steps, struct ld_err *err)
{
    while (run->place.step_of_epoch < n_steps) {
        if (!train_step(run, err))
            return false;
        if (run->place.step_of_epoch < n_steps &&
            is_time(run->config->train.save_every, run->place.step_of_epoch,
                    false) &&
            !ld_save(&run->saver, &run->place, err))
            return false;
    }
    return end_epoch(run, err);
}

static bool train(struct run *run, struct ld_err *err)
{
    int64_t n_steps = ld_loader_steps_per_epoch(run->loader);
    char memory[16];

    ld_progress_start(&run->progress, "training", "steps", run->place.step,
                      n_steps * run->config->train.epochs);
    run->log_began = ld_seconds();
    while (run->place.epoch < run->config->train.epochs)
        if (!train_epoch(run, n_steps, err))
            return false;
    ld_progress_end(&run->progress, run->place.step, "");

    ld_bytes_text(memory, ld_peak_memory());
    printf("done: %s/latest.h5, %lld steps, peak memory %s\n", run->out,
           (long long)run->place.step, memory);
    return true;
}

bool ld_train_run(const struct ld_train *job, struct ld_err *err)
{
    struct run run = {.config = job->config, .out = job->out};
    bool ok = open_run(&run, job->resume, err) && train(&run, err);

    return close_run(&run, err) && ok;
}
