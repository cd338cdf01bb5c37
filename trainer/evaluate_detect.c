#include <stdatomic.h>
#include <string.h>

#include "kernels/base/belt.h"
#include "kernels/base/parallel.h"
#include "kernels/base/progress.h"
#include "trainer/evaluate.h"
#include "trainer/evaluate_team.h"

/* ---- one image ---- */

/* What a network made of an image: rows on the host, and how to read them. */
struct shown {
    struct ld_detect_input in;
    struct ld_grid grid;
    float *rows; /* class logits, box logits, qualities */
    size_t room; /* numbers */
};

static bool reserve(struct shown *out, size_t count, struct ld_err *err)
{
    if (count <= out->room)
        return true;
    ld_delete(out->rows);
    out->room = 0;
    out->rows = ld_new(count, sizeof(*out->rows), err);
    if (!out->rows)
        return false;
    out->room = count;
    return true;
}

static bool run_net(const struct ld_evaluation *e, const struct ld_view *view,
                    const struct ld_image *image, struct ld_err *err)
{
    struct ld_draw draw =
        ld_view_draw(view, &e->config->views.rules, image->H, image->W);

    if (!ld_net_resize(e->net, 1, view->canvas_H, view->canvas_W, err) ||
        !ld_net_show(e->net, 0, image->rgb, &draw, err))
        return false;
    ld_net_forward(e->net);
    return true;
}

static bool download_rows(const struct ld_evaluation *e, struct shown *out,
                          struct ld_err *err)
{
    const struct ld_ops *ops = e->dev->ops;
    const float *quality = ld_net_quality_rows(e->net);
    size_t A = (size_t)out->grid.start[out->grid.n_levels];
    size_t n_class = A * (size_t)out->in.n_logits;
    size_t n_box = A * 4 * (size_t)out->in.B;

    if (!reserve(out, n_class + n_box + A, err))
        return false;
    out->in.class_logits = out->rows;
    out->in.box_logits = out->rows + n_class;
    out->in.quality = quality ? out->rows + n_class + n_box : NULL;
    ops->download(e->dev, out->rows, ld_net_class_rows(e->net),
                  n_class * sizeof(float));
    ops->download(e->dev, out->rows + n_class, ld_net_box_rows(e->net),
                  n_box * sizeof(float));
    if (quality)
        ops->download(e->dev, out->rows + n_class + n_box, quality,
                      A * sizeof(float));
    return true;
}

/* The rows are there once the device has come so far. */
static bool show(const struct ld_evaluation *e, const struct ld_image *image,
                 struct shown *out, struct ld_err *err)
{
    const struct ld_model *model = ld_net_model(e->net);
    struct ld_view view =
        ld_view_of(&e->config->views.rules, image->H, image->W, 0);

    if (!run_net(e, &view, image, err))
        return false;
    out->grid = ld_net_grid(e->net);
    out->in = (struct ld_detect_input){.grid = &out->grid,
                                       .K = model->n_classes,
                                       .B = model->reg_max + 1,
                                       .H = view.H,
                                       .W = view.W,
                                       .n_logits = ld_model_class_logits(model),
                                       .centerness =
                                           ld_head_has_centerness(model->head)};
    ld_view_scale(&view, image->H, image->W, &out->in.scale_x,
                  &out->in.scale_y);
    return download_rows(e, out, err);
}

bool ld_evaluate_image(const struct ld_evaluation *e,
                       const struct ld_image *image, struct ld_arena *arena,
                       struct ld_detections *out, struct ld_err *err)
{
    struct shown shown = {0};
    bool ok = show(e, image, &shown, err) && e->dev->ops->sync(e->dev, err) &&
              ld_detect(out, &shown.in, &e->config->test, arena, err);

    ld_delete(shown.rows);
    return ok;
}

/* ---- all images ----
 *
 * Threads read files ahead of the network and find detections behind it. The
 * thread that was called has the device, and what comes out. */

enum { READ, SHOW, DETECT, COLLECT, N_STAGES };

struct place {
    struct ld_image image;
    struct shown shown;
    uint64_t mark; /* the device is through with it */
    struct ld_detections found;
    struct ld_arena arena; /* theirs */
    struct ld_err err;
};

struct hall {
    const struct ld_evaluation *e;
    const int *own; /* (n_own) the samples that are ours */
    int n_own;
    struct place *places;
    int n_places;
    struct ld_belt *belt;
    atomic_int n_read, n_detected; /* begun */
    struct ld_image_detections *out;
    struct ld_arena *arena; /* of `out` */
    struct ld_progress *progress;
    int n_collected;
};

static struct place *place_of(const struct hall *hall, int i)
{
    return &hall->places[i % hall->n_places];
}

/* Names the image in what went wrong behind its file. */
static bool fail_at(const struct hall *hall, int i)
{
    return ld_fail_in(&place_of(hall, i)->err,
                      hall->e->set->samples[hall->own[i]].name);
}

static void read_file(const struct hall *hall, int i)
{
    const struct ld_dataset *set = hall->e->set;
    struct place *place = place_of(hall, i);
    char path[4096];

    if (ld_dataset_path(set, &set->samples[hall->own[i]], path, &place->err))
        (void)ld_image_read(path, &place->image, &place->err);
}

static void *read_files(void *context)
{
    struct hall *hall = context;

    for (;;) {
        int i = atomic_fetch_add(&hall->n_read, 1);

        if (i >= hall->n_own || !ld_belt_take(hall->belt, READ, i))
            return NULL;
        read_file(hall, i);
        ld_belt_pass(hall->belt, i);
    }
}

static void *detect_all(void *context)
{
    struct hall *hall = context;

    for (;;) {
        int i = atomic_fetch_add(&hall->n_detected, 1);
        struct place *place = place_of(hall, i);

        if (i >= hall->n_own || !ld_belt_take(hall->belt, DETECT, i))
            return NULL;
        ld_arena_clear(&place->arena);
        if (place->err.code == LD_OK)
            (void)(ld_detect(&place->found, &place->shown.in,
                             &hall->e->config->test, &place->arena,
                             &place->err) ||
                   fail_at(hall, i));
        ld_belt_pass(hall->belt, i);
    }
}

/* Gives image i to the device. */
static void show_one(struct hall *hall, int i)
{
    struct place *place = place_of(hall, i);
    struct ld_device *dev = hall->e->dev;

    if (place->err.code == LD_OK)
        (void)(show(hall->e, &place->image, &place->shown, &place->err) ||
               fail_at(hall, i));
    place->mark = dev->ops->mark(dev);
}

/* Waits for the device to be through with image i. */
static void finish_one(struct hall *hall, int i)
{
    struct place *place = place_of(hall, i);
    struct ld_device *dev = hall->e->dev;

    if (place->err.code == LD_OK)
        (void)(dev->ops->reach(dev, place->mark, &place->err) ||
               fail_at(hall, i));
    ld_belt_pass(hall->belt, i);
}

static bool collect_one(struct hall *hall, struct ld_err *err)
{
    int i = hall->n_collected, sample = hall->own[i];
    struct ld_image_detections *out = &hall->out[sample];
    struct place *place = place_of(hall, i);
    size_t bytes;

    (void)ld_belt_take(hall->belt, COLLECT, i); /* nobody stops it but us */
    if (place->err.code != LD_OK) {
        *err = place->err;
        return false;
    }
    bytes = (size_t)place->found.n * sizeof(*place->found.items);
    out->sample = sample;
    out->detections.n = place->found.n;
    out->detections.items = ld_arena_new(hall->arena, bytes, 1, err);
    if (!out->detections.items)
        return false;
    memcpy(out->detections.items, place->found.items, bytes);
    ld_image_free(&place->image);
    ld_belt_pass(hall->belt, i);
    hall->n_collected++;
    if (hall->progress)
        ld_progress_show(hall->progress, sample + 1, "");
    return true;
}

/* The device has the next image before the last one is waited for. */
static bool run_hall(struct hall *hall, struct ld_err *err)
{
    for (int i = 0; i < hall->n_own; i++) {
        while (hall->n_collected <= i - hall->n_places)
            if (!collect_one(hall, err))
                return false;
        (void)ld_belt_take(hall->belt, SHOW, i);
        show_one(hall, i);
        if (i > 0)
            finish_one(hall, i - 1);
    }
    if (hall->n_own > 0)
        finish_one(hall, hall->n_own - 1);
    while (hall->n_collected < hall->n_own)
        if (!collect_one(hall, err))
            return false;
    return true;
}

/* A network on the CPU needs the cores itself. */
static int count_threads(const struct ld_device *dev)
{
    int cores = ld_parallel_threads();

    if (strcmp(dev->ops->name, "cpu") == 0 || cores < 4)
        return 1;
    return cores < 8 ? 2 : 4;
}

static bool detect_own(struct hall *hall, struct ld_err *err)
{
    int n = count_threads(hall->e->dev);
    bool ok;

    hall->n_places = 2 * n;
    hall->places = ld_new((size_t)hall->n_places, sizeof(*hall->places), err);
    hall->belt = ld_belt_new(hall->n_places, N_STAGES, err);
    ok = hall->places && hall->belt &&
         ld_belt_start(hall->belt, n, read_files, hall, err) &&
         ld_belt_start(hall->belt, n, detect_all, hall, err) &&
         run_hall(hall, err);
    ld_belt_free(hall->belt);
    if (hall->places && !ok) /* downloads may be under way */
        (void)hall->e->dev->ops->sync(hall->e->dev, &(struct ld_err){0});
    for (int i = 0; hall->places && i < hall->n_places; i++) {
        ld_image_free(&hall->places[i].image);
        ld_delete(hall->places[i].shown.rows);
        ld_arena_free(&hall->places[i].arena);
    }
    ld_delete(hall->places);
    return ok;
}

bool ld_evaluate_detect(const struct ld_evaluation *e,
                        struct ld_image_detections **out,
                        struct ld_arena *arena, struct ld_err *err)
{
    size_t n = (size_t)e->set->n_samples;
    bool tells = !e->team || e->team->rank == 0;
    struct ld_progress progress;
    struct hall hall = {.e = e, .arena = arena};
    int *own = ld_arena_new(arena, n, sizeof(*own), err);
    bool ok;

    hall.own = own;
    hall.out = *out = ld_arena_new(arena, n, sizeof(**out), err);
    hall.progress = tells ? &progress : NULL;
    if (!own || !hall.out)
        return false;
    for (int i = 0; i < e->set->n_samples; i++)
        if (ld_evaluate_has(e->team, i))
            own[hall.n_own++] = i;
    ld_progress_start(&progress, "evaluating", "images", 0, e->set->n_samples);
    ok = detect_own(&hall, err) &&
         ld_evaluate_gather(e->team, hall.out, e->set->n_samples, arena, err);
    if (ok && tells)
        ld_progress_end(&progress, e->set->n_samples, "");
    return ok;
}
