#include "trainer/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "formats/setup.h"
#include "kernels/base/progress.h"
#include "trainer/check_losses.h"
#include "trainer/check_regions.h"
#include "trainer/evaluate.h"
#include "trainer/parts.h"
#include "trainer/run.h"
#include "trainer/schedule.h"

enum {
    SAMPLE = 64,         /* images whose regions are counted */
    STEPS = 4,           /* the first of them warms up */
    TEACHER_SAMPLE = 32, /* images of data.val */
};

/* ---- model ---- */

static void count_params(struct ld_net *net, double *all, double *trained)
{
    int n;
    const struct ld_param *params = ld_net_params(net, &n);

    *all = *trained = 0;
    for (int i = 0; i < n; i++) {
        double count = (double)ld_tensor_count(&params[i].value);

        *all += count;
        *trained += params[i].trained ? count : 0;
    }
}

static void print_student(const struct ld_parts *parts)
{
    const struct ld_config *config = parts->config;
    double all, trained;
    char text[160];

    ld_setup_model_text(&parts->model, text);
    count_params(parts->student, &all, &trained);
    printf("student   %s\n"
           "          %.2f M parameters, %.2f M of them trained; from %s; "
           "batch norm on %s statistics\n",
           text, all / 1e6, trained / 1e6,
           config->model_init[0] ? config->model_init : "random numbers",
           config->model.norm_eval ? "stored" : "the batch's");
}

static void print_cache(const struct ld_cache *cache, const char *folder)
{
    const struct ld_shard_facts *facts = ld_cache_facts(cache);

    printf("teacher   from %s: %s\n"
           "          checkpoint %.12s.., %d shards, stored as %s; gradient "
           "error: LD %.2g, KD %.2g\n",
           folder, facts->teacher_model, facts->teacher_sha256,
           ld_cache_n_shards(cache), ld_codec_name(facts->storage),
           facts->ld_gradient_error_late, facts->kd_gradient_error_late);
}

static void print_teacher(const struct ld_parts *parts, bool unnamed)
{
    const struct ld_config *config = parts->config;
    char text[160];

    if (unnamed) {
        printf("teacher   a cache, not named yet (--cache FOLDER): time and "
               "memory below are without it\n");
    } else if (parts->cache) {
        print_cache(parts->cache, config->teacher.cache);
    } else if (parts->teacher) {
        ld_setup_model_text(&parts->teacher_model, text);
        printf("teacher   resident, %s: %s\n", config->teacher.checkpoint,
               text);
    } else {
        printf("teacher   none\n");
        return;
    }
    if (!unnamed)
        printf("          its classes, strides and %d bins are the "
               "student's\n",
               parts->model.reg_max + 1);
}

/* ---- data ---- */

static void print_set(const char *name, const struct ld_dataset *set)
{
    int trained = 0, ignored = 0;

    for (int i = 0; i < set->n_samples; i++)
        trained += set->samples[i].trained;
    for (int i = 0; i < set->n_objects; i++)
        ignored += set->objects[i].ignored;
    printf("%-9s %d images, %d of them with something to train on; %d boxes "
           "(%d crowd or difficult, %d left out), %d classes\n",
           name, set->n_samples, trained, set->n_objects, ignored,
           set->n_dropped, set->n_classes);
}

static void print_schedule(const struct ld_parts *parts)
{
    const struct ld_config *config = parts->config;
    int64_t steps = ld_loader_steps_per_epoch(parts->loader);

    printf("schedule  %d epochs of %lld steps of %d images; rate %g",
           config->train.epochs, (long long)steps, config->train.batch,
           ld_schedule_rate(config, config->train.batch, 0,
                            config->train.warmup_steps));
    if (config->train.warmup_steps)
        printf(" after %d steps of warm-up", config->train.warmup_steps);
    for (int i = 0; i < config->train.n_lr_steps; i++)
        printf("%s %d", i ? "," : ", a tenth from epoch",
               config->train.lr_steps[i]);
    printf("\n");
}

/* ---- steps ---- */

struct sample {
    struct ld_check_regions regions;
    double seconds[STEPS];
    int n_steps;
};

static bool run_sample(struct ld_parts *parts, struct sample *sample,
                       struct ld_err *err)
{
    struct ld_device *dev = parts->dev;
    struct ld_loss_terms *terms = dev->ops->alloc(dev, sizeof(*terms), err);
    bool ok = terms != NULL;

    sample->regions.head = parts->model.head;
    while (ok &&
           (sample->regions.n_images < SAMPLE || sample->n_steps < STEPS)) {
        const struct ld_batch *batch = ld_loader_next(parts->loader, err);
        double began = ld_seconds();

        ok = batch && ld_check_regions_add(&sample->regions, batch, err);
        if (!ok || sample->n_steps == STEPS)
            continue;
        ok = ld_step_gradient(parts->step, batch, sample->n_steps + 1, terms,
                              err) &&
             dev->ops->sync(dev, err);
        sample->seconds[sample->n_steps++] = ld_seconds() - began;
    }
    dev->ops->release(dev, terms);
    return ok;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_cost(const struct ld_parts *parts, struct sample *sample)
{
    const struct ld_config *config = parts->config;
    double steps = (double)ld_loader_steps_per_epoch(parts->loader);
    char memory[16], epoch[16], all[16];
    double step;

    qsort(sample->seconds + 1, STEPS - 1, sizeof(double), by_size);
    step = sample->seconds[1 + (STEPS - 1) / 2];
    ld_bytes_text(memory, ld_peak_memory());
    ld_duration_text(epoch, step * steps);
    ld_duration_text(all, step * steps * config->train.epochs);
    printf("memory    %s so far, with %d loader threads\n"
           "time      %.3g s a step (median of %d): %s an epoch, %s in all, "
           "without evaluation\n",
           memory, ld_parts_loader_threads(parts), step, STEPS - 1, epoch, all);
}

/* ---- the teacher's worth ---- */

static bool score_teacher(const struct ld_parts *parts, struct ld_err *err)
{
    const struct ld_config *config = parts->config;
    struct ld_detector detector = {0};
    struct ld_dataset few = *parts->val;
    struct ld_evaluation e = {config, &few, parts->dev, NULL, NULL};
    struct ld_image_detections *images;
    struct ld_arena arena = {0};
    struct ld_scores scores;
    bool ok;

    if (few.n_samples > TEACHER_SAMPLE)
        few.n_samples = TEACHER_SAMPLE;
    ok = ld_detector_open(&detector, parts->dev, config->teacher.checkpoint,
                          err);
    e.net = detector.net;
    ok = ok && ld_evaluate_detect(&e, &images, &arena, err) &&
         ld_evaluate_score(&e, images, false, &scores, err);
    if (ok)
        printf("          on the first %d images of data.val the teacher "
               "reaches AP %.3f, AP50 %.3f (a rough figure; near 0 "
               "means: it is not of this data)\n",
               few.n_samples, scores.ap, scores.ap50);
    ld_detector_close(&detector);
    ld_arena_free(&arena);
    return ok;
}

/* ---- */

static bool open_parts(struct ld_parts *parts, struct ld_err *err)
{
    struct ld_place place = {0};

    return ld_parts_open_data(parts, err) &&
           ld_parts_open_student(parts, err) &&
           ld_parts_open_teacher(parts, err) &&
           ld_parts_start(parts, &place, err);
}

static bool print_all(struct ld_parts *parts, bool distils, bool unnamed,
                      struct ld_err *err)
{
    struct sample sample = {0};
    bool ok;

    print_student(parts);
    print_teacher(parts, unnamed);
    ok = !parts->config->teacher.checkpoint[0] || !parts->val ||
         score_teacher(parts, err);
    if (ok) {
        print_set("data", parts->train);
        if (parts->val)
            print_set("  val", parts->val);
        print_schedule(parts);
        ld_check_losses_print(parts->config, parts->model.n_classes, distils);
        ok = run_sample(parts, &sample, err);
    }
    if (ok) {
        ld_check_regions_print(&sample.regions);
        print_cost(parts, &sample);
    }
    ld_check_regions_free(&sample.regions);
    return ok;
}

bool ld_check_run(const struct ld_config *config, struct ld_err *err)
{
    struct ld_config checked = *config;
    struct ld_team team = ld_team_alone;
    struct ld_parts parts = {.config = &checked, .team = &team};
    bool distils = config->teacher.source != LD_TEACHER_NONE;
    bool unnamed =
        config->teacher.source == LD_TEACHER_CACHE && !config->teacher.cache[0];
    bool ok;

    if (unnamed)
        checked.teacher.source = LD_TEACHER_NONE;
    ok = ld_views_check(&config->views,
                        config->teacher.source == LD_TEACHER_CACHE, err) &&
         open_parts(&parts, err) && print_all(&parts, distils, unnamed, err);
    ld_parts_close(&parts);
    return ok;
}
