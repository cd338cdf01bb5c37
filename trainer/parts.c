#include "trainer/parts.h"

#include <stdio.h>
#include <string.h>

#include "formats/file.h"
#include "formats/setup.h"
#include "kernels/backend.h"
#include "kernels/base/parallel.h"

bool ld_parts_open_data(struct ld_parts *parts, struct ld_err *err)
{
    const struct ld_config *config = parts->config;

    if (!ld_views_check(&config->views,
                        config->teacher.source == LD_TEACHER_CACHE, err))
        return false;
    parts->train = ld_setup_dataset(config, LD_SPLIT_TRAIN, err);
    if (!parts->train)
        return false;
    parts->model = config->model;
    parts->model.n_classes = parts->train->n_classes;
    if (!config->data.val[0] || config->train.eval_every == 0)
        return true;
    parts->val = ld_setup_dataset(config, LD_SPLIT_VAL, err);
    return parts->val != NULL;
}

/* How many parameters of the student have a tensor of their name and shape. */
static int count_taken(const struct ld_parts *parts,
                       const struct ld_checkpoint *checkpoint, int *n_params)
{
    const struct ld_param *params = ld_net_params(parts->student, n_params);
    int n = 0;

    for (int i = 0; i < *n_params; i++) {
        const struct ld_tensor *value = &params[i].value;
        const struct ld_tensor *from = ld_tensor_find(
            checkpoint->tensors, checkpoint->n_tensors, value->name);

        n += from && ld_tensor_same_shape(from, value);
    }
    return n;
}

/* Rank 0 tells for all. */
static bool tells(const struct ld_parts *parts)
{
    return parts->team->rank == 0;
}

static bool start_params(struct ld_parts *parts, struct ld_err *err)
{
    const char *init = parts->config->model_init;
    struct ld_arena arena = {0};
    struct ld_checkpoint checkpoint;
    int n_taken, n_params;
    bool ok;

    ld_net_init(parts->student, (uint64_t)parts->config->train.seed);
    if (!init[0])
        return true;
    ok = ld_checkpoint_load(init, &checkpoint, &arena, err) &&
         (ld_net_load(parts->student, checkpoint.tensors, checkpoint.n_tensors,
                      true, err) ||
          ld_fail_in(err, init));
    if (ok) {
        n_taken = count_taken(parts, &checkpoint, &n_params);
        if (tells(parts))
            fprintf(stderr,
                    "ld-distill: %s: gives %d of the student's %d tensors\n",
                    init, n_taken, n_params);
    }
    ld_arena_free(&arena);
    return ok;
}

bool ld_parts_open_student(struct ld_parts *parts, struct ld_err *err)
{
    const struct ld_config *config = parts->config;
    struct ld_device_options options;
    char note[200], text[160];

    options = ld_setup_device(config);
    options.index = parts->team->local_rank;
    options.n_sharing = parts->team->n_sharing;
    parts->dev = ld_device_open(&options, note, err);
    if (!parts->dev || !ld_model_check(&parts->model, "model", err))
        return false;
    ld_setup_model_text(&parts->model, text);
    if (tells(parts))
        fprintf(stderr, "ld-distill: %s\nld-distill: student: %s\n", note,
                text);
    parts->student = ld_net_new(parts->dev, &parts->model, LD_NET_TRAIN, err);
    return parts->student && start_params(parts, err);
}

static bool open_cache(struct ld_parts *parts, struct ld_err *err)
{
    const struct ld_config *config = parts->config;
    struct ld_setup_texts texts;
    char sha256[65];
    struct ld_shard_facts wanted = ld_setup_facts(config, parts->train, &texts);

    wanted.select = ld_setup_reads(config);
    if (config->loss.im == 0)
        wanted.imitation = NULL;
    if (!ld_setup_cacheable(config, err))
        return false;
    if (!config->teacher.cache[0])
        return ld_fail(err, LD_ERR_USAGE,
                       "teacher.cache: not set: expected the folder that "
                       "ld-cache precompute wrote (--cache FOLDER)");
    if (config->teacher.checkpoint[0]) {
        if (!ld_file_sha256(config->teacher.checkpoint, sha256, err))
            return false;
        wanted.teacher_sha256 = sha256;
    }
    parts->cache = ld_cache_open(config->teacher.cache, err);
    return parts->cache &&
           ld_shard_facts_match(ld_cache_facts(parts->cache), &wanted,
                                config->teacher.cache, err);
}

static struct ld_teacher *new_teacher(struct ld_parts *parts,
                                      const struct ld_checkpoint *checkpoint,
                                      const char *path, struct ld_err *err)
{
    struct ld_teacher *teacher =
        ld_teacher_new(parts->dev, &parts->teacher_model, checkpoint->tensors,
                       checkpoint->n_tensors, err);

    if (!teacher)
        ld_fail_in(err, path);
    else if (checkpoint->note && tells(parts))
        fprintf(stderr, "ld-distill: %s: %s\n", path, checkpoint->note);
    return teacher;
}

static bool open_resident(struct ld_parts *parts, struct ld_err *err)
{
    const char *path = parts->config->teacher.checkpoint;
    struct ld_arena arena = {0};
    struct ld_checkpoint checkpoint;

    if (!path[0])
        return ld_fail(err, LD_ERR_USAGE,
                       "teacher.checkpoint: not set: teacher.source resident "
                       "needs it");
    if (ld_setup_teacher(path, parts->train, parts->config, &checkpoint,
                         &parts->teacher_model, &arena, err))
        parts->teacher = new_teacher(parts, &checkpoint, path, err);
    ld_arena_free(&arena);
    return parts->teacher != NULL;
}

bool ld_parts_open_teacher(struct ld_parts *parts, struct ld_err *err)
{
    switch ((enum ld_teacher_source)parts->config->teacher.source) {
    case LD_TEACHER_CACHE:
        return open_cache(parts, err);
    case LD_TEACHER_RESIDENT:
        return open_resident(parts, err);
    case LD_TEACHER_NONE:
        break;
    }
    return true;
}

int ld_parts_images(const struct ld_parts *parts)
{
    return parts->team->n_ranks * parts->config->train.batch;
}

/* A thread makes some 300 images a second; a GPU may ask for 1000. */
int ld_parts_loader_threads(const struct ld_parts *parts)
{
    int asked = parts->config->train.loader_threads;
    int cores = ld_parallel_threads();

    if (asked > 0)
        return asked;
    if (strcmp(parts->dev->ops->name, "cpu") == 0 || cores < 4)
        return 2;
    return cores > 9 ? 8 : cores - 1;
}

bool ld_parts_start(struct ld_parts *parts, const struct ld_place *place,
                    struct ld_err *err)
{
    const struct ld_config *config = parts->config;
    struct ld_loader_plan plan = {
        .set = parts->train,
        .cache = parts->cache,
        .views = config->views,
        .head = config->model.head,
        .assign = config->assign,
        .imitate =
            config->loss.im > 0 && config->teacher.source != LD_TEACHER_NONE,
        .imitation = config->loss.imitation,
        .batch = config->train.batch,
        .rank = parts->team->rank,
        .n_ranks = parts->team->n_ranks,
        .repeat = config->data.repeat,
        .n_threads = ld_parts_loader_threads(parts),
        .seed = (uint64_t)config->train.seed,
        .group_by_aspect = config->train.group_by_aspect,
        .trace = ld_profile_trace(parts->profile),
    };

    parts->loader =
        ld_loader_start(&plan, place->epoch, place->step_of_epoch, err);
    if (!parts->loader)
        return false;
    parts->step = ld_step_new(parts->dev, parts->student, parts->teacher,
                              &config->loss, err);
    if (!parts->step)
        return false;
    ld_step_trace(parts->step, ld_profile_lane(parts->profile));
    ld_net_trace(parts->student,
                 ld_trace_lane(ld_profile_trace(parts->profile), "layers"));
    return !parts->reducer || ld_step_join(parts->step, parts->reducer, err);
}

void ld_parts_close(struct ld_parts *parts)
{
    ld_loader_stop(parts->loader);
    ld_step_free(parts->step);
    ld_profile_free(parts->profile);
    ld_teacher_free(parts->teacher);
    ld_net_free(parts->student);
    if (parts->reducer)
        parts->reducer->ops->free(parts->reducer);
    if (parts->dev)
        parts->dev->ops->close(parts->dev);
    ld_cache_close(parts->cache);
    ld_dataset_free(parts->val);
    ld_dataset_free(parts->train);
    *parts = (struct ld_parts){0};
}
