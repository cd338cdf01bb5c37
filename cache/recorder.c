#include "cache/recorder.h"

#include <stdio.h>
#include <string.h>

#include "formats/file.h"
#include "kernels/backend.h"

/* ---- opening ---- */

/* Logits of fewer bits are another teacher's: the parts of a cache, and who
 * verifies it, must agree; a student need not. */
static void add_precision(struct ld_recorder *r,
                          const struct ld_device_options *options)
{
    const char *precision = ld_device_precision(r->dev, options);
    size_t len = strlen(r->model_text);

    if (strcmp(precision, "fp32") != 0)
        snprintf(r->model_text + len, sizeof(r->model_text) - len, ", %s",
                 precision);
}

static bool open_teacher(struct ld_recorder *r, const char *path, int gpu,
                         struct ld_err *err)
{
    struct ld_arena loading = {0};
    struct ld_checkpoint checkpoint;
    struct ld_model model;
    struct ld_device_options options;
    char note[200];
    bool ok = false;

    if (!ld_setup_teacher(path, r->set, r->config, &checkpoint, &model,
                          &loading, err) ||
        !ld_file_sha256(path, r->teacher_sha256, err))
        goto done;

    options = ld_setup_device(r->config);
    options.index = gpu;
    r->dev = ld_device_open(&options, note, err);
    if (!r->dev)
        goto done;
    ld_setup_model_text(&model, r->model_text);
    add_precision(r, &options);
    fprintf(stderr, "ld-cache: %s\nld-cache: teacher: %s\n", note,
            r->model_text);
    if (checkpoint.note)
        fprintf(stderr, "ld-cache: %s: %s\n", path, checkpoint.note);
    r->teacher = ld_teacher_new(r->dev, &model, checkpoint.tensors,
                                checkpoint.n_tensors, err);
    ok = r->teacher != NULL || ld_fail_in(err, path);
    if (ok && r->config->loss.im > 0)
        ld_teacher_keep_features(r->teacher);

done:
    ld_arena_free(&loading);
    return ok;
}

bool ld_recorder_open(struct ld_recorder *r, const struct ld_config *config,
                      const char *teacher, int gpu, struct ld_err *err)
{
    *r = (struct ld_recorder){.config = config};
    if (!ld_views_check(&config->views, true, err) ||
        !ld_setup_cacheable(config, err))
        return false;
    r->set = ld_setup_dataset(config, LD_SPLIT_TRAIN, err);
    if (!r->set || !open_teacher(r, teacher, gpu, err))
        return false;

    r->facts = ld_setup_facts(config, r->set, &r->texts);
    r->facts.teacher_sha256 = r->teacher_sha256;
    r->facts.teacher_model = r->model_text;
    r->facts.n_logits = ld_model_class_logits(ld_teacher_model(r->teacher));
    return true;
}

void ld_recorder_close(struct ld_recorder *r)
{
    ld_teacher_free(r->teacher);
    if (r->dev)
        r->dev->ops->close(r->dev);
    ld_dataset_free(r->set);
}

/* ---- one view ---- */

bool ld_recorder_image(const struct ld_recorder *r,
                       const struct ld_sample *sample, struct ld_image *image,
                       struct ld_err *err)
{
    char path[4096];

    if (!ld_dataset_path(r->set, sample, path, err) ||
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

/* Every location of the grid as a row, of the kind it has. */
static bool fill_up(struct ld_assignment *assignment, int n_places,
                    struct ld_arena *arena, struct ld_err *err)
{
    struct ld_row *all =
        ld_arena_new(arena, (size_t)n_places, sizeof(*all), err);

    if (!all)
        return false;
    for (int at = 0; at < n_places; at++)
        all[at] = (struct ld_row){.location = at, .object = -1};
    for (int i = 0; i < assignment->n_rows; i++)
        all[assignment->rows[i].location] = assignment->rows[i];
    assignment->rows = all;
    assignment->n_rows = n_places;
    return true;
}

/* What boxes tell of a view: its rows and, if asked for, where features are
 * imitated; gi_teacher's region is up to the teacher. */
static bool assign_view(const struct ld_recorder *r,
                        struct ld_recording *recording,
                        const struct ld_sample *sample,
                        const struct ld_image *image, struct ld_err *err)
{
    const struct ld_config *config = r->config;
    const struct ld_object *objects = r->set->objects + sample->first_object;
    const struct ld_view *view = &recording->record.view;
    struct ld_assignment *out = &recording->assignment;
    struct ld_grid grid = ld_grid_with_head(
        ld_grid_of_canvas(view->canvas_H, view->canvas_W), config->model.head);
    struct ld_box *boxes = ld_arena_new(
        &recording->arena, (size_t)sample->n_objects, sizeof(*boxes), err);
    int n = 0;

    if (!boxes)
        return false;
    for (int i = 0; i < sample->n_objects; i++)
        if (objects[i].trained)
            boxes[n++] = ld_view_box(view, image->H, image->W, objects[i].box);
    recording->region = (struct ld_region){0};
    return ld_assign(out, &grid, boxes, n, &config->assign, &recording->arena,
                     err) &&
           (config->loss.im == 0 ||
            config->loss.imitation == LD_IMITATE_GI_TEACHER ||
            ld_region_of(&recording->region, config->loss.imitation, &grid,
                         boxes, n, out, &recording->arena, err)) &&
           (r->facts.select != LD_SELECT_DENSE ||
            fill_up(out, grid.start[grid.n_levels], &recording->arena, err));
}

static bool copy_rows(struct ld_recording *recording, struct ld_err *err)
{
    const struct ld_assignment *assignment = &recording->assignment;
    size_t n = (size_t)assignment->n_rows;
    int32_t *location =
        ld_arena_new(&recording->arena, n, sizeof(*location), err);
    uint8_t *kind = ld_arena_new(&recording->arena, n, sizeof(*kind), err);

    if (!location || !kind)
        return false;
    for (size_t i = 0; i < n; i++) {
        location[i] = assignment->rows[i].location;
        kind[i] = assignment->rows[i].kind;
    }
    recording->record.location = location;
    recording->record.kind = kind;
    return true;
}

bool ld_recorder_prepare(const struct ld_recorder *r,
                         struct ld_recording *recording,
                         const struct ld_sample *sample,
                         const struct ld_image *image, int number,
                         struct ld_err *err)
{
    struct ld_view view = ld_views_cached(&r->config->views, sample->id, number,
                                          image->H, image->W);

    ld_arena_clear(&recording->arena);
    recording->record =
        (struct ld_record){.image_id = sample->id, .view = view};
    recording->draw =
        ld_view_draw(&view, &r->config->views.rules, image->H, image->W);
    return assign_view(r, recording, sample, image, err) &&
           copy_rows(recording, err);
}

static bool start_features(struct ld_recorder *r,
                           struct ld_recording *recording, struct ld_err *err)
{
    struct ld_record *record = &recording->record;

    if (r->config->loss.im == 0)
        return true;
    if (!ld_teacher_features(r->teacher, r->config->loss.imitation,
                             &recording->region, &record->features,
                             &recording->arena, err))
        return false;
    record->n_features = recording->region.n;
    record->feature_location = recording->region.location;
    return true;
}

bool ld_recorder_start(struct ld_recorder *r, struct ld_recording *recording,
                       const struct ld_image *image, struct ld_err *err)
{
    struct ld_record *record = &recording->record;
    struct ld_teacher_rows rows;

    if (!ld_teacher_start(
            r->teacher, image->rgb, &recording->draw, &recording->assignment,
            ld_shard_all_classes(&r->facts), &rows, &recording->arena, err))
        return false;
    record->n_rows = rows.n_rows;
    record->n_main = rows.n_main;
    record->box_logits = rows.box_logits;
    record->class_logits = rows.class_logits;
    record->n_logits = rows.n_logits;
    if (!start_features(r, recording, err))
        return false;
    recording->mark = ld_teacher_mark(r->teacher);
    return true;
}

bool ld_recorder_finish(struct ld_recorder *r, struct ld_recording *recording,
                        struct ld_err *err)
{
    return ld_teacher_finish(r->teacher, recording->mark, err);
}
