#include "trainer/save.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/checkpoint.h"
#include "formats/file.h"
#include "formats/setup.h"
#include "trainer/run.h"

static const char LATEST[] = "latest.h5";

/* OUT/latest.h5 becomes another name of `path`; at any moment it is the old
 * file or the new one. */
static bool link_latest(const char *out, const char *path, struct ld_err *err)
{
    char latest[4096], temporary[4096];

    if (!ld_path_join(latest, out, LATEST, err) ||
        !ld_file_temporary(latest, temporary, err))
        return false;
    unlink(temporary);
    if (link(path, temporary) != 0)
        return ld_fail(err, LD_ERR_IO, "%s: cannot link: %s", latest,
                       strerror(errno));
    return ld_file_publish(temporary, latest, err);
}

/* A run gone wrong must not take its last good checkpoint with it. (A ReLU can
 * hide a NaN from the losses.) */
static bool check_finite(const struct ld_checkpoint *c, struct ld_err *err)
{
    for (int i = 0; i < c->n_tensors; i++) {
        size_t n = ld_tensor_count(&c->tensors[i]);
        const float *value = c->tensors[i].data;

        for (size_t k = 0; k < n; k++)
            if (!isfinite(value[k]))
                return ld_fail(err, LD_ERR_NUMBER,
                               "step %lld: %s is not finite; the checkpoints "
                               "before are kept: lower train.lr",
                               (long long)c->step, c->tensors[i].name);
    }
    return true;
}

static bool write_checkpoint(const struct ld_saver *saver,
                             const struct ld_place *place, const char *path,
                             struct ld_err *err)
{
    struct ld_arena arena = {0};
    struct ld_buf text = {.max = 1 << 24};
    struct ld_checkpoint c = {.epoch = place->epoch,
                              .step = place->step,
                              .step_of_epoch = place->step_of_epoch,
                              .n_ranks = saver->n_ranks,
                              .class_names = saver->set->class_names,
                              .n_classes = saver->set->n_classes};
    bool ok;

    ld_config_text(saver->config, &text);
    ld_buf_put(&text, "", 1);
    c.config = (const char *)text.data;
    ok = ld_buf_ok(&text, err) &&
         ld_run_read_params(saver->dev, saver->net, false, &c.tensors,
                            &c.n_tensors, &arena, err) &&
         ld_run_read_params(saver->dev, saver->net, true, &c.momentum,
                            &c.n_momentum, &arena, err) &&
         check_finite(&c, err) && ld_checkpoint_save(path, &c, err);
    ld_buf_free(&text);
    ld_arena_free(&arena);
    return ok;
}

bool ld_save(const struct ld_saver *saver, const struct ld_place *place,
             struct ld_err *err)
{
    char name[64], path[4096];
    bool whole = place->step_of_epoch == 0;

    snprintf(name, sizeof(name), "epoch_%03lld.h5", (long long)place->epoch);
    return ld_path_join(path, saver->out, whole ? name : LATEST, err) &&
           write_checkpoint(saver, place, path, err) &&
           (!whole || link_latest(saver->out, path, err));
}

static bool same_views(const struct ld_views *now, const struct ld_views *then)
{
    char a[96], b[96];

    ld_views_edges_text(now, a);
    ld_views_edges_text(then, b);
    return memcmp(&now->rules, &then->rules, sizeof(now->rules)) == 0 &&
           now->multi_scale == then->multi_scale && strcmp(a, b) == 0;
}

/* What must not change when a run goes on, or its result would be of neither
 * config. Epochs may be added. */
static bool same_run(const struct ld_config *now, const struct ld_config *then,
                     const char *path, struct ld_err *err)
{
    const char *key = NULL;

    if (now->train.seed != then->train.seed)
        key = "train.seed";
    else if (now->data.repeat != then->data.repeat)
        key = "data.repeat";
    else if (now->train.group_by_aspect != then->train.group_by_aspect)
        key = "train.group_by_aspect";
    else if (now->views.flip != then->views.flip)
        key = "view.flip";
    else if (now->views.n_seeded != then->views.n_seeded)
        key = "cache.views";
    else if (now->views.seed != then->views.seed)
        key = "cache.view_seed";
    else if (now->teacher.source != then->teacher.source)
        key = "teacher.source";
    else if (!same_views(&now->views, &then->views))
        key = "view.*";
    return !key || ld_fail(err, LD_ERR_MISMATCH,
                           "%s: was trained with another %s: resume with the "
                           "same config, or train into another folder",
                           path, key);
}

/* The ranks may be others, with as many images a step. */
static bool same_batch(const struct ld_saver *saver,
                       const struct ld_config *then, int64_t n_then,
                       const char *path, struct ld_err *err)
{
    int now = saver->config->train.batch, n_now = saver->n_ranks;
    long long was = n_then * then->train.batch;

    return was == (long long)n_now * now ||
           ld_fail(err, LD_ERR_MISMATCH,
                   "%s: was trained with %lld images a step (ranks %lld x "
                   "train.batch %d), now there are %lld (%d x %d): resume with "
                   "as many, or train into another folder",
                   path, was, (long long)n_then, then->train.batch,
                   (long long)n_now * now, n_now, now);
}

bool ld_save_resume(const struct ld_saver *saver, struct ld_place *place,
                    struct ld_err *err)
{
    struct ld_arena arena = {0};
    struct ld_checkpoint c;
    struct ld_model model;
    struct ld_config then;
    char path[4096];
    bool ok;

    ok = ld_path_join(path, saver->out, LATEST, err) &&
         ld_checkpoint_load_own(path, &c, &arena, err) &&
         ld_setup_model(&c, path, &model, &then, &arena, err) &&
         ld_setup_same_classes(&c, path, saver->set, err) &&
         same_run(saver->config, &then, path, err) &&
         same_batch(saver, &then, c.n_ranks, path, err) &&
         (ld_net_load(saver->net, c.tensors, c.n_tensors, false, err) ||
          ld_fail_in(err, path)) &&
         (ld_run_write_momentum(saver->dev, saver->net, c.momentum,
                                c.n_momentum, err) ||
          ld_fail_in(err, path));
    if (ok)
        *place = (struct ld_place){c.epoch, c.step, c.step_of_epoch};
    ld_arena_free(&arena);
    return ok;
}

bool ld_save_exists(const char *out)
{
    struct ld_err ignored = {0};
    char path[4096];

    return ld_path_join(path, out, LATEST, &ignored) && access(path, F_OK) == 0;
}
