#include "cache/precompute.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/file.h"
#include "formats/setup.h"
#include "kernels/backend.h"
#include "kernels/base/progress.h"
#include "kernels/net/teacher.h"

struct run {
    const struct ld_config *config;
    const char *out;
    struct ld_dataset *set;
    int32_t
        *samples; /* (n_samples) indices of the images a student trains on */
    int n_samples, n_parts, views_per_image;
    struct ld_device *dev;
    struct ld_teacher *teacher;
    struct ld_arena arena;      /* the run's */
    struct ld_arena view_arena; /* one view's */
    struct ld_buf scratch;
    float *planes; /* (3, canvas_H, canvas_W) of the largest view so far */
    size_t planes_size;
    struct ld_shard_facts facts;
    struct ld_setup_texts texts;
    char model_text[160], teacher_sha256[65];
    struct ld_progress progress;
    int64_t n_done, n_skipped, bytes;
};

/* ---- opening ---- */

static bool open_teacher(struct run *run, const char *path, struct ld_err *err)
{
    struct ld_arena loading = {0};
    struct ld_checkpoint checkpoint;
    struct ld_model model;
    char note[200];
    bool ok = false;

    if (!ld_setup_teacher(path, run->set, run->config, &checkpoint, &model,
                          &loading, err) ||
        !ld_file_sha256(path, run->teacher_sha256, err))
        goto done;

    run->dev =
        ld_device_open(run->config->device, run->config->threads, note, err);
    if (!run->dev)
        goto done;
    ld_setup_model_text(&model, run->model_text);
    fprintf(stderr, "ld-cache: %s\nld-cache: teacher: %s\n", note,
            run->model_text);
    if (checkpoint.note)
        fprintf(stderr, "ld-cache: %s: %s\n", path, checkpoint.note);
    run->teacher = ld_teacher_new(run->dev, &model, checkpoint.tensors,
                                  checkpoint.n_tensors, err);
    ok = run->teacher != NULL || ld_fail_in(err, path);
    if (ok && run->config->loss.im > 0)
        ld_teacher_keep_features(run->teacher);

done:
    ld_arena_free(&loading);
    return ok;
}

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
    if (!ld_views_check(&run->config->views, true, err))
        return false;
    if (!ld_setup_cacheable(run->config, err))
        return false;
    run->set = ld_setup_dataset(run->config, LD_SPLIT_TRAIN, err);
    if (!run->set || !choose_samples(run, err) ||
        !open_teacher(run, job->teacher, err) || !ld_folder_make(run->out, err))
        return false;

    run->facts = ld_setup_facts(run->config, run->set, &run->texts);
    run->facts.teacher_sha256 = run->teacher_sha256;
    run->facts.teacher_model = run->model_text;
    run->facts.n_logits = ld_model_class_logits(ld_teacher_model(run->teacher));
    run->facts.n_parts = run->n_parts;
    return true;
}

static void close_run(struct run *run)
{
    ld_teacher_free(run->teacher);
    if (run->dev)
        run->dev->ops->close(run->dev);
    ld_dataset_free(run->set);
    ld_delete(run->planes);
    ld_buf_free(&run->scratch);
    ld_arena_free(&run->view_arena);
    ld_arena_free(&run->arena);
}

/* ---- one view ---- */

static bool view_planes(struct run *run, const struct ld_view *view,
                        const struct ld_image *image, struct ld_err *err)
{
    size_t size = 3 * (size_t)view->canvas_H * (size_t)view->canvas_W;

    if (size > run->planes_size) {
        ld_delete(run->planes);
        run->planes_size = 0;
        run->planes = ld_new(size, sizeof(float), err);
        if (!run->planes)
            return false;
        run->planes_size = size;
    }
    return ld_view_pixels(view, &run->config->views.rules, image, run->planes,
                          view->canvas_H, view->canvas_W, &run->scratch, err);
}

/* What boxes tell of a view: its rows and, if asked for, where features are
 * imitated; gi_teacher's region is up to the teacher. */
static bool assign_view(struct run *run, const struct ld_sample *sample,
                        const struct ld_view *view,
                        const struct ld_image *image, struct ld_assignment *out,
                        struct ld_region *region, struct ld_err *err)
{
    const struct ld_config *config = run->config;
    const struct ld_object *objects = run->set->objects + sample->first_object;
    struct ld_grid grid = ld_grid_of_canvas(view->canvas_H, view->canvas_W);
    struct ld_box *boxes = ld_arena_new(
        &run->view_arena, (size_t)sample->n_objects, sizeof(*boxes), err);
    int n = 0;

    if (!boxes)
        return false;
    for (int i = 0; i < sample->n_objects; i++)
        if (objects[i].trained)
            boxes[n++] = ld_view_box(view, image->H, image->W, objects[i].box);
    *region = (struct ld_region){0};
    return ld_assign(out, &grid, boxes, n, &config->assign, &run->view_arena,
                     err) &&
           (config->loss.im == 0 ||
            config->loss.imitation == LD_IMITATE_GI_TEACHER ||
            ld_region_of(region, config->loss.imitation, &grid, boxes, n, out,
                         &run->view_arena, err));
}

static bool add_features(struct run *run, struct ld_region *region,
                         struct ld_record *record, struct ld_err *err)
{
    if (run->config->loss.im == 0)
        return true;
    if (!ld_teacher_features(run->teacher, run->config->loss.imitation, region,
                             &record->features, &run->view_arena, err))
        return false;
    record->n_features = region->n;
    record->feature_location = region->location;
    return true;
}

static bool copy_rows(struct run *run, const struct ld_assignment *assignment,
                      struct ld_record *record, struct ld_err *err)
{
    size_t n = (size_t)assignment->n_rows;
    int32_t *location =
        ld_arena_new(&run->view_arena, n, sizeof(*location), err);
    uint8_t *kind = ld_arena_new(&run->view_arena, n, sizeof(*kind), err);

    if (!location || !kind)
        return false;
    for (size_t i = 0; i < n; i++) {
        location[i] = assignment->rows[i].location;
        kind[i] = assignment->rows[i].kind;
    }
    record->location = location;
    record->kind = kind;
    return true;
}

static bool cache_view(struct run *run, struct ld_shard_writer *shard,
                       const struct ld_sample *sample,
                       const struct ld_image *image, int number,
                       struct ld_err *err)
{
    struct ld_view view = ld_views_cached(&run->config->views, sample->id,
                                          number, image->H, image->W);
    struct ld_record record = {.image_id = sample->id, .view = view};
    struct ld_assignment assignment;
    struct ld_teacher_rows rows;
    struct ld_region region;

    ld_arena_clear(&run->view_arena);
    if (!assign_view(run, sample, &view, image, &assignment, &region, err) ||
        !copy_rows(run, &assignment, &record, err) ||
        !view_planes(run, &view, image, err) ||
        !ld_teacher_run(run->teacher, run->planes, view.canvas_H, view.canvas_W,
                        &assignment, run->facts.all_classes, &rows, err))
        return false;

    record.n_rows = rows.n_rows;
    record.n_main = rows.n_main;
    record.box_logits = rows.box_logits;
    record.class_logits = rows.class_logits;
    record.n_logits = rows.n_logits;
    return add_features(run, &region, &record, err) &&
           ld_shard_append(shard, &record, err);
}

/* ---- one image, one shard ---- */

static bool read_image(struct run *run, const struct ld_sample *sample,
                       struct ld_image *image, struct ld_err *err)
{
    char path[4096];

    if (!ld_dataset_path(run->set, sample, path, err) ||
        !ld_image_read(path, image, err))
        return false;
    if ((sample->H && sample->H != image->H) ||
        (sample->W && sample->W != image->W)) {
        ld_fail(err, LD_ERR_FORMAT,
                "%s: is %d x %d pixels, its annotation says %d x %d", path,
                image->W, image->H, sample->W, sample->H);
        ld_image_free(image);
        return false;
    }
    return true;
}

static bool cache_image(struct run *run, struct ld_shard_writer *shard,
                        const struct ld_sample *sample, struct ld_err *err)
{
    struct ld_err bad = {0};
    struct ld_image image = {0};
    bool ok = true;

    if (!read_image(run, sample, &image, &bad)) {
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
    struct ld_shard_facts facts = run->facts;
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
    struct ld_shard_facts wanted = run->facts;
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
    struct run run = {.config = job->config,
                      .out = job->out,
                      .scratch = {.max = (size_t)1 << 30}};
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
