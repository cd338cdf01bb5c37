#include "cache/sight.h"

#include <inttypes.h>
#include <string.h>

bool ld_sights_open(struct ld_sights *sights, const char *config,
                    const struct ld_shard_facts *facts, struct ld_err *err)
{
    const struct ld_settings none = {0};

    *sights = (struct ld_sights){0};
    if (!ld_setup_config(&sights->config, config, &none, &sights->arena, err))
        return false;
    sights->set = ld_setup_dataset(&sights->config, LD_SPLIT_TRAIN, err);
    if (!sights->set)
        return false;
    return strcmp(sights->set->sha256, facts->annotations_sha256) == 0 ||
           ld_fail(err, LD_ERR_MISMATCH,
                   "%s: the cache is of other annotations: SHA-256 %s, "
                   "expected %s",
                   config, facts->annotations_sha256, sights->set->sha256);
}

void ld_sights_close(struct ld_sights *sights)
{
    ld_dataset_free(sights->set);
    ld_arena_free(&sights->arena);
}

static const struct ld_sample *find_sample(const struct ld_dataset *set,
                                           int64_t id)
{
    for (int i = 0; i < set->n_samples; i++)
        if (set->samples[i].id == id)
            return &set->samples[i];
    return NULL;
}

/* Without a mean and a deviation normalised pixels are the pixels. */
static bool see_view(struct ld_image *out, const struct ld_view *view,
                     const struct ld_image *file, struct ld_arena *arena,
                     struct ld_err *err)
{
    const struct ld_view_rules plain = {.divisor = 1, .std = {1, 1, 1}};
    size_t n = (size_t)view->H * (size_t)view->W;
    float *planes = ld_arena_new(arena, 3 * n, sizeof(*planes), err);
    uint8_t *rgb = ld_new(n, 3, err);
    struct ld_draw draw = ld_view_draw(view, &plain, file->H, file->W);
    bool ok = planes && rgb;

    draw.canvas_H = view->H;
    draw.canvas_W = view->W;
    if (ok)
        ld_draw_rows(planes, file->rgb, &draw, 0, view->H);
    for (size_t i = 0; ok && i < n; i++)
        for (size_t c = 0; c < 3; c++)
            rgb[3 * i + c] = (uint8_t)planes[c * n + i];
    if (ok)
        *out = (struct ld_image){rgb, view->H, view->W};
    else
        ld_delete(rgb);
    return ok;
}

static bool see_truth(struct ld_sight *out, const struct ld_dataset *set,
                      const struct ld_sample *sample,
                      const struct ld_view *view, const struct ld_image *file,
                      struct ld_arena *arena, struct ld_err *err)
{
    const struct ld_object *objects = set->objects + sample->first_object;
    size_t n = (size_t)sample->n_objects;

    out->truth = ld_arena_new(arena, n, sizeof(*out->truth), err);
    out->truth_class = ld_arena_new(arena, n, sizeof(int), err);
    if (!out->truth || !out->truth_class)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!objects[i].trained)
            continue;
        out->truth[out->n_truth] =
            ld_view_box(view, file->H, file->W, objects[i].box);
        out->truth_class[out->n_truth++] = objects[i].class_index;
    }
    return true;
}

bool ld_sight_read(struct ld_sight *out, const struct ld_sights *sights,
                   const struct ld_record *record, struct ld_arena *arena,
                   struct ld_err *err)
{
    const struct ld_sample *sample = find_sample(sights->set, record->image_id);
    struct ld_image file = {0};
    char path[4096];
    bool ok;

    *out = (struct ld_sight){0};
    if (!sample)
        return ld_fail(err, LD_ERR_MISMATCH,
                       "image %" PRId64 " is not in the config's data",
                       record->image_id);
    out->name = sample->name;
    ok =
        ld_dataset_path(sights->set, sample, path, err) &&
        ld_image_read(path, &file, err) &&
        see_truth(out, sights->set, sample, &record->view, &file, arena, err) &&
        see_view(&out->image, &record->view, &file, arena, err);
    ld_image_free(&file);
    return ok;
}
