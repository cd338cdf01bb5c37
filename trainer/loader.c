#include "trainer/loader.h"

#include <pthread.h>
#include <string.h>

#include "kernels/base/belt.h"
#include "kernels/base/progress.h"
#include "trainer/fit_rows.h"
#include "trainer/order.h"

enum { MAX_THREADS = 64 };

enum { MAKING, GIVEN, N_STAGES };

/* One batch under way, a piece on the belt. */
struct slot {
    struct ld_batch batch;
    struct ld_arena arena; /* everything of the batch but the pictures */
    struct ld_err err;
    struct ld_lane *lane; /* of the thread that fills it */
};

struct worker {
    struct ld_loader *loader;
    struct ld_lane *lane;
    int32_t *places; /* (plan.batch) of its batch */
};

struct ld_loader {
    struct ld_loader_plan plan;
    int32_t *usable; /* (n_usable) samples that are trained on */
    int32_t n_usable;
    int64_t steps_per_epoch;
    struct ld_order *order;
    struct slot *slots;
    int n_slots;
    struct ld_belt *belt;
    struct worker workers[MAX_THREADS]; /* of its threads */
    pthread_mutex_t mutex;              /* of order and n_dealt */
    int64_t first;                      /* batch number, since epoch 0 */
    int64_t n_dealt, n_given; /* the caller holds the last that was given */
    double waited;
};

/* ---- one image ---- */

static bool read_boxes(const struct ld_loader_plan *plan, struct slot *slot,
                       const struct ld_image *picture,
                       struct ld_batch_image *image)
{
    const struct ld_sample *sample = image->sample;
    const struct ld_object *objects = plan->set->objects + sample->first_object;
    size_t n = (size_t)sample->n_objects;
    struct ld_box *boxes =
        ld_arena_new(&slot->arena, n, sizeof(*boxes), &slot->err);
    int32_t *labels =
        ld_arena_new(&slot->arena, n, sizeof(*labels), &slot->err);

    if (!boxes || !labels)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!objects[i].trained)
            continue;
        boxes[image->n_boxes] =
            ld_view_box(&image->view, picture->H, picture->W, objects[i].box);
        labels[image->n_boxes++] = objects[i].class_index;
    }
    image->boxes = boxes;
    image->labels = labels;
    return true;
}

/* gi_teacher's region is what the cache says; any other it must agree with. */
static bool read_features(const struct ld_loader_plan *plan, struct slot *slot,
                          const struct ld_shard *shard, int index,
                          struct ld_batch_image *image)
{
    struct ld_region *region = &image->region;
    struct ld_record *record = &image->record;
    bool same;

    if (!plan->imitate)
        return true;
    if (!ld_shard_read_features(shard, index, &slot->arena, record, &slot->err))
        return false;
    if (plan->imitation == LD_IMITATE_GI_TEACHER) {
        region->n = record->n_features;
        region->location = (int32_t *)record->feature_location;
        return true;
    }
    same = region->n == record->n_features;
    for (int i = 0; same && i < region->n; i++)
        same = region->location[i] == record->feature_location[i];
    return same || ld_fail(&slot->err, LD_ERR_MISMATCH,
                           "image %lld (%s): the cache's %d features are not "
                           "at the %d places its annotations tell: cache it "
                           "again",
                           (long long)image->sample->id, image->sample->name,
                           record->n_features, region->n);
}

static bool read_record(const struct ld_loader_plan *plan, struct slot *slot,
                        struct ld_batch_image *image)
{
    const struct ld_view *view = &image->view;
    const struct ld_shard *shard;
    int index;

    if (!ld_cache_find(plan->cache, image->sample->id, view->number, &shard,
                       &index))
        return ld_fail(&slot->err, LD_ERR_MISMATCH,
                       "the cache lacks view %d of image %lld (%s)",
                       view->number, (long long)image->sample->id,
                       image->sample->name);
    if (!ld_shard_read_kept(shard, index, &slot->arena, &image->record,
                            &slot->err))
        return false;
    if (image->record.view.H != view->H || image->record.view.W != view->W ||
        image->record.view.canvas_H != view->canvas_H ||
        image->record.view.canvas_W != view->canvas_W ||
        image->record.view.flipped != view->flipped)
        return ld_fail(&slot->err, LD_ERR_MISMATCH,
                       "view %d of image %lld (%s): the cache saw it at "
                       "%d x %d pixels%s, now it is %d x %d%s",
                       view->number, (long long)image->sample->id,
                       image->sample->name, image->record.view.W,
                       image->record.view.H,
                       image->record.view.flipped ? ", flipped" : "", view->W,
                       view->H, view->flipped ? ", flipped" : "");
    return ld_fit_rows(image, ld_shard_facts(shard), &slot->arena,
                       &slot->err) &&
           read_features(plan, slot, shard, index, image);
}

static bool find_region(const struct ld_loader_plan *plan, struct slot *slot,
                        const struct ld_grid *grid,
                        struct ld_batch_image *image)
{
    if (!plan->imitate || plan->imitation == LD_IMITATE_GIBOX ||
        plan->imitation == LD_IMITATE_GI_TEACHER)
        return true;
    return ld_region_of(&image->region, plan->imitation, grid, image->boxes,
                        image->n_boxes, &image->assignment, &slot->arena,
                        &slot->err);
}

static bool read_image(const struct ld_loader_plan *plan, struct slot *slot,
                       struct ld_batch_image *image,
                       const struct ld_views_moment *moment)
{
    struct ld_image *picture = &image->picture;
    const struct ld_sample *sample = image->sample;
    int64_t t = ld_lane_begin(slot->lane);
    struct ld_grid grid;
    char path[4096];

    if (!ld_dataset_path(plan->set, sample, path, &slot->err) ||
        !ld_image_read(path, picture, &slot->err))
        return false;
    t = ld_lane_end(slot->lane, "decode", t);
    if ((sample->H && sample->H != picture->H) ||
        (sample->W && sample->W != picture->W))
        return ld_fail(&slot->err, LD_ERR_FORMAT,
                       "%s: is %d x %d pixels, its annotation says %d x %d",
                       path, picture->W, picture->H, sample->W, sample->H);

    image->view = ld_views_shown(&plan->views, moment, picture->H, picture->W);
    image->draw =
        ld_view_draw(&image->view, &plan->views.rules, picture->H, picture->W);
    grid = ld_grid_with_head(
        ld_grid_of_canvas(image->view.canvas_H, image->view.canvas_W),
        plan->head);
    if (!read_boxes(plan, slot, picture, image) ||
        !ld_assign(&image->assignment, &grid, image->boxes, image->n_boxes,
                   &plan->assign, &slot->arena, &slot->err) ||
        !find_region(plan, slot, &grid, image))
        return false;
    t = ld_lane_end(slot->lane, "assign", t);
    if (!plan->cache)
        return true;
    if (!read_record(plan, slot, image))
        return false;
    ld_lane_end(slot->lane, "record", t);
    return true;
}

/* ---- one batch ---- */

static void set_canvas(struct ld_batch *batch)
{
    for (int i = 0; i < batch->N; i++) {
        const struct ld_view *view = &batch->images[i].view;

        batch->H = view->canvas_H > batch->H ? view->canvas_H : batch->H;
        batch->W = view->canvas_W > batch->W ? view->canvas_W : batch->W;
    }
}

/* Place p of an epoch is image p % n_usable in pass p / n_usable. */
static const struct ld_sample *sample_at(const struct ld_loader *loader,
                                         int32_t place)
{
    int32_t i = loader->usable[place % loader->n_usable];

    return &loader->plan.set->samples[i];
}

static struct ld_views_moment moment_of(const struct ld_loader *loader,
                                        int64_t epoch, int32_t place)
{
    return (struct ld_views_moment){
        .seed = loader->plan.seed,
        .image_id = sample_at(loader, place)->id,
        .pass = epoch * loader->plan.repeat + place / loader->n_usable,
        .epoch = epoch,
        .place = place,
    };
}

static void make_batch(const struct ld_loader *loader, struct slot *slot,
                       const int32_t *places)
{
    struct ld_batch *batch = &slot->batch;
    size_t N = (size_t)batch->N;
    bool ok = true;

    batch->images =
        ld_arena_new(&slot->arena, N, sizeof(*batch->images), &slot->err);
    if (!batch->images)
        return;
    for (int i = 0; ok && i < batch->N; i++) {
        struct ld_batch_image *image = &batch->images[i];
        struct ld_views_moment moment =
            moment_of(loader, batch->epoch, places[i]);

        image->sample = sample_at(loader, places[i]);
        ok = read_image(&loader->plan, slot, image, &moment);
    }
    if (ok)
        set_canvas(batch);
}

static void free_pictures(struct ld_batch *batch)
{
    for (int i = 0; batch->images && i < batch->N; i++)
        ld_image_free(&batch->images[i].picture);
}

/* ---- threads ---- */

static struct slot *slot_of(struct ld_loader *loader, int64_t piece)
{
    return &loader->slots[piece % loader->n_slots];
}

/* The next batch, in order; returns its piece. */
static int64_t deal(struct ld_loader *loader, struct ld_batch *batch,
                    int32_t *places)
{
    int64_t piece, number;

    pthread_mutex_lock(&loader->mutex);
    piece = loader->n_dealt++;
    number = loader->first + piece;
    *batch =
        (struct ld_batch){.epoch = number / loader->steps_per_epoch,
                          .step_of_epoch = number % loader->steps_per_epoch,
                          .N = loader->plan.batch};
    memcpy(places,
           ld_order_batch(loader->order, batch->epoch, batch->step_of_epoch) +
               loader->plan.rank * loader->plan.batch,
           (size_t)loader->plan.batch * sizeof(*places));
    pthread_mutex_unlock(&loader->mutex);
    return piece;
}

static void *work(void *argument)
{
    const struct worker *worker = argument;
    struct ld_loader *loader = worker->loader;
    struct ld_batch batch;

    for (;;) {
        int64_t piece = deal(loader, &batch, worker->places);
        struct slot *slot = slot_of(loader, piece);

        if (!ld_belt_take(loader->belt, MAKING, piece))
            return NULL;
        free_pictures(&slot->batch);
        ld_arena_clear(&slot->arena);
        slot->batch = batch;
        slot->lane = worker->lane;
        make_batch(loader, slot, worker->places);
        ld_belt_pass(loader->belt, piece);
    }
}

/* ---- the caller's side ---- */

static bool choose_usable(struct ld_loader *loader, struct ld_err *err)
{
    const struct ld_loader_plan *plan = &loader->plan;

    loader->usable =
        ld_new((size_t)plan->set->n_samples, sizeof(*loader->usable), err);
    if (!loader->usable)
        return false;
    for (int32_t i = 0; i < plan->set->n_samples; i++) {
        const struct ld_sample *sample = &plan->set->samples[i];

        if (sample->trained &&
            !(plan->cache && ld_cache_skipped(plan->cache, sample->id)))
            loader->usable[loader->n_usable++] = i;
    }
    if (loader->n_usable == 0)
        return ld_fail(err, LD_ERR_MISMATCH,
                       "no image with an object to train on");

    return true;
}

/* Wide images and the others; an annotation that lacks its image's size leaves
 * it with the others. */
static bool make_order(struct ld_loader *loader, struct ld_err *err)
{
    const struct ld_loader_plan *plan = &loader->plan;
    uint8_t *groups = ld_new((size_t)loader->n_usable, 1, err);

    if (!groups)
        return false;
    for (int32_t i = 0; plan->group_by_aspect && i < loader->n_usable; i++) {
        const struct ld_sample *sample = &plan->set->samples[loader->usable[i]];

        groups[i] = sample->W > sample->H;
    }
    loader->order = ld_order_new(loader->n_usable, groups, plan->repeat,
                                 plan->n_ranks * plan->batch, plan->seed, err);
    ld_delete(groups);
    if (loader->order)
        loader->steps_per_epoch = ld_order_steps(loader->order);
    return loader->order != NULL;
}

static bool start_threads(struct ld_loader *loader, struct ld_err *err)
{
    const struct ld_loader_plan *plan = &loader->plan;
    int n = plan->n_threads;

    n = n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
    loader->n_slots = n + 1;
    loader->slots =
        ld_new((size_t)loader->n_slots, sizeof(*loader->slots), err);
    loader->belt = ld_belt_new(loader->n_slots, N_STAGES, err);
    for (int i = 0; loader->slots && loader->belt && i < n; i++) {
        struct worker *worker = &loader->workers[i];

        worker->loader = loader;
        worker->lane = ld_trace_lane(plan->trace, "loader");
        worker->places =
            ld_new((size_t)plan->batch, sizeof(*worker->places), err);
        if (!worker->places ||
            !ld_belt_start(loader->belt, 1, work, worker, err))
            return false;
    }
    return err->code == LD_OK;
}

struct ld_loader *ld_loader_start(const struct ld_loader_plan *plan,
                                  int64_t epoch, int64_t step_of_epoch,
                                  struct ld_err *err)
{
    struct ld_loader *loader = ld_new(1, sizeof(*loader), err);

    if (!loader)
        return NULL;
    loader->plan = *plan;
    pthread_mutex_init(&loader->mutex, NULL);
    if (!choose_usable(loader, err) || !make_order(loader, err)) {
        ld_loader_stop(loader);
        return NULL;
    }
    loader->first = epoch * loader->steps_per_epoch + step_of_epoch;
    if (!start_threads(loader, err)) {
        ld_loader_stop(loader);
        return NULL;
    }
    return loader;
}

void ld_loader_stop(struct ld_loader *loader)
{
    if (!loader)
        return;
    ld_belt_free(loader->belt);
    for (int i = 0; i < MAX_THREADS; i++)
        ld_delete(loader->workers[i].places);
    for (int i = 0; loader->slots && i < loader->n_slots; i++) {
        free_pictures(&loader->slots[i].batch);
        ld_arena_free(&loader->slots[i].arena);
    }
    pthread_mutex_destroy(&loader->mutex);
    ld_delete(loader->slots);
    ld_order_free(loader->order);
    ld_delete(loader->usable);
    ld_delete(loader);
}

int64_t ld_loader_steps_per_epoch(const struct ld_loader *loader)
{
    return loader->steps_per_epoch;
}

const struct ld_batch *ld_loader_next(struct ld_loader *loader,
                                      struct ld_err *err)
{
    double begin = ld_seconds();
    int64_t piece = loader->n_given++;
    const struct slot *slot = slot_of(loader, piece);

    if (piece > 0)
        ld_belt_pass(loader->belt, piece - 1);
    ld_belt_take(loader->belt, GIVEN, piece); /* nobody else stops it */
    loader->waited += ld_seconds() - begin;
    if (slot->err.code != LD_OK) {
        ld_fail(err, slot->err.code, "%s", slot->err.text);
        return NULL;
    }
    return &slot->batch;
}

double ld_loader_waited(const struct ld_loader *loader)
{
    return loader->waited;
}
