#include "trainer/step.h"

#include <string.h>

#include "trainer/buckets.h"
#include "trainer/imitation.h"

/* What the losses read, on the host and on the device. The rows of all images
 * of a batch stand one after the other. */
struct targets {
    int32_t *index, *label;
    struct ld_box *box;
    float *vlr;
    void *teacher_box, *teacher_class; /* logits, or what a cache keeps */
    float *box_step, *class_step;      /* of the latter */
    uint8_t *valid;
};

/* A teacher's rows of one image, either kind. */
struct taught {
    int n_rows, n_main, n_logits;
    const void *box, *class;
    float box_step, class_step;
};

struct ld_step {
    struct ld_device *dev;
    struct ld_net *student;
    struct ld_teacher *teacher;
    const struct ld_loss_rules *rules;
    struct ld_model model;
    int n_logits;          /* the student's class logits */
    bool kept;             /* the batch's teacher rows are whole numbers */
    struct ld_arena arena; /* one step's */
    struct targets host, device;
    struct ld_imitator *imitator; /* NULL unless rules->im > 0 */
    float *weight;                /* device (n_rows) */
    double *sums;                 /* device (LD_N_SUMS) */
    struct ld_buckets buckets;    /* without reducer: one rank */
    int rows_room;                /* rows that device arrays hold */
    size_t valid_room;
    struct ld_lane *lane; /* NULL: not traced */
};

/* Bytes of a number of a teacher's row, and of a box's. */
static size_t number_bytes(const struct ld_step *step)
{
    return step->kept ? sizeof(int16_t) : sizeof(float);
}

static size_t box_bytes(const struct ld_step *step)
{
    size_t side = 4 * ((size_t)step->model.reg_max + 1);
    size_t firsts = step->model.head == LD_HEAD_RETINA ? 1 : 4;

    return (side - (step->kept ? firsts : 0)) * number_bytes(step);
}

/* ---- room on the device ---- */

static void release_rows(struct ld_step *step)
{
    const struct ld_ops *ops = step->dev->ops;
    struct targets *d = &step->device;

    ops->release(step->dev, d->index);
    ops->release(step->dev, d->label);
    ops->release(step->dev, d->box);
    ops->release(step->dev, d->vlr);
    ops->release(step->dev, d->teacher_box);
    ops->release(step->dev, d->teacher_class);
    ops->release(step->dev, d->box_step);
    ops->release(step->dev, d->class_step);
    ops->release(step->dev, step->weight);
    *d = (struct targets){.valid = d->valid};
    step->weight = NULL;
    step->rows_room = 0;
}

static bool make_rows(struct ld_step *step, int n_rows, struct ld_err *err)
{
    struct ld_device *dev = step->dev;
    size_t n = (size_t)n_rows + (size_t)n_rows / 2 + 64;
    size_t side = 4 * ((size_t)step->model.reg_max + 1);
    size_t K = (size_t)step->n_logits;
    struct targets *d = &step->device;

    if (n_rows <= step->rows_room)
        return true;
    release_rows(step);
    d->index = dev->ops->alloc(dev, n * sizeof(*d->index), err);
    d->label = dev->ops->alloc(dev, n * sizeof(*d->label), err);
    d->box = dev->ops->alloc(dev, n * sizeof(*d->box), err);
    d->vlr = dev->ops->alloc(dev, n * sizeof(*d->vlr), err);
    d->teacher_box = dev->ops->alloc(dev, n * side * sizeof(float), err);
    d->teacher_class = dev->ops->alloc(dev, n * K * sizeof(float), err);
    d->box_step = dev->ops->alloc(dev, n * sizeof(float), err);
    d->class_step = dev->ops->alloc(dev, n * sizeof(float), err);
    step->weight = dev->ops->alloc(dev, n * sizeof(float), err);
    if (err->code != LD_OK)
        return false;
    step->rows_room = (int)n;
    return true;
}

static bool make_valid(struct ld_step *step, size_t size, struct ld_err *err)
{
    struct ld_device *dev = step->dev;

    if (size <= step->valid_room)
        return true;
    dev->ops->release(dev, step->device.valid);
    step->valid_room = 0;
    step->device.valid = dev->ops->alloc(dev, size, err);
    if (!step->device.valid)
        return false;
    step->valid_room = size;
    return true;
}

/* ---- targets on the host ---- */

static bool make_host(struct ld_step *step, size_t n_rows, size_t n_places,
                      struct ld_err *err)
{
    size_t K = (size_t)step->n_logits * number_bytes(step);
    struct ld_arena *arena = &step->arena;
    struct targets *h = &step->host;

    h->index = ld_arena_new(arena, n_rows, sizeof(*h->index), err);
    h->label = ld_arena_new(arena, n_rows, sizeof(*h->label), err);
    h->box = ld_arena_new(arena, n_rows, sizeof(*h->box), err);
    h->vlr = ld_arena_new(arena, n_rows, sizeof(*h->vlr), err);
    h->teacher_box = ld_arena_new(arena, n_rows, box_bytes(step), err);
    h->teacher_class = ld_arena_new(arena, n_rows, K, err);
    h->box_step = ld_arena_new(arena, n_rows, sizeof(float), err);
    h->class_step = ld_arena_new(arena, n_rows, sizeof(float), err);
    h->valid = ld_arena_new(arena, n_places, 1, err);
    return err->code == LD_OK;
}

/* Rows of one image into the batch's arrays, from row `at` on. */
static void place_rows(struct ld_step *step, const struct ld_batch_image *image,
                       int first, const struct ld_grid *canvas, int at)
{
    const struct ld_assignment *assignment = &image->assignment;
    struct ld_grid own = ld_grid_with_head(
        ld_grid_of_canvas(image->view.canvas_H, image->view.canvas_W),
        step->model.head);
    struct targets *h = &step->host;

    for (int a = 0; a < own.start[own.n_levels]; a++)
        h->valid[first + ld_grid_move(&own, a, canvas)] = LD_VALID;
    for (int i = 0; i < assignment->n_ignored; i++) {
        int a = assignment->ignored[i];

        h->valid[first + ld_grid_move(&own, a, canvas)] = LD_IGNORED;
    }
    for (int i = 0; i < assignment->n_rows; i++) {
        const struct ld_row *row = &assignment->rows[i];
        bool main = row->kind & LD_ROW_MAIN;

        h->index[at + i] = first + ld_grid_move(&own, row->location, canvas);
        h->label[at + i] = main ? image->labels[row->object] : -1;
        if (main)
            h->box[at + i] = image->boxes[row->object];
        h->vlr[at + i] = row->vlr;
    }
}

/* The class logits that student and teacher both have: with a background logit
 * in one of them only, those of the classes. */
static int common_logits(const struct ld_step *step,
                         const struct ld_batch *batch)
{
    int n = step->teacher
                ? ld_model_class_logits(ld_teacher_model(step->teacher))
                : batch->images[0].record.n_logits;

    return n < step->n_logits ? n : step->n_logits;
}

/* The teacher's numbers of one image's rows; class rows come for the MAIN rows
 * only, or for all, and are spread to the rows they belong to, K of each. */
static void place_teacher(struct ld_step *step,
                          const struct ld_assignment *assignment,
                          const struct taught *rows, int at, size_t K)
{
    struct targets *h = &step->host;
    size_t side = box_bytes(step), number = number_bytes(step);
    const char *from = rows->class;
    bool all = rows->n_main == rows->n_rows;

    if (rows->n_rows == 0)
        return;
    memcpy((char *)h->teacher_box + (size_t)at * side, rows->box,
           (size_t)rows->n_rows * side);
    for (int i = 0; i < assignment->n_rows; i++) {
        h->box_step[at + i] = rows->box_step;
        h->class_step[at + i] = rows->class_step;
        if (!all && !(assignment->rows[i].kind & LD_ROW_MAIN))
            continue;
        memcpy((char *)h->teacher_class + (size_t)(at + i) * K * number, from,
               K * number);
        from += (size_t)rows->n_logits * number;
    }
}

static struct taught resident_rows(const struct ld_teacher_rows *r)
{
    return (struct taught){.n_rows = r->n_rows,
                           .n_main = r->n_main,
                           .n_logits = r->n_logits,
                           .box = r->box_logits,
                           .class = r->class_logits};
}

static struct taught cached_rows(const struct ld_record *r)
{
    return (struct taught){
        .n_rows = r->n_rows,
        .n_main = r->n_main,
        .n_logits = r->n_logits,
        .box = r->box_kept ? (const void *)r->box_kept : r->box_logits,
        .class = r->box_kept ? (const void *)r->class_kept : r->class_logits,
        .box_step = r->box_step,
        .class_step = r->class_step};
}

/* What a teacher says of each image, (N) in `out`: all are started before the
 * first is waited for. */
static bool ask_teacher(struct ld_step *step, const struct ld_batch *batch,
                        struct taught *out, struct ld_err *err)
{
    struct ld_teacher *teacher = step->teacher;
    int64_t t = ld_lane_begin(step->lane);

    for (int i = 0; i < batch->N; i++) {
        const struct ld_batch_image *image = &batch->images[i];
        struct ld_teacher_rows rows;

        out[i] = cached_rows(&image->record);
        if (teacher) {
            if (!ld_teacher_start(teacher, image->picture.rgb, &image->draw,
                                  &image->assignment, step->rules->vlr_kd > 0,
                                  &rows, &step->arena, err))
                return false;
            out[i] = resident_rows(&rows);
        }
        if (step->imitator && !ld_imitator_add(step->imitator, image, err))
            return false;
    }
    if (!teacher)
        return true;
    if (!ld_teacher_finish(teacher, ld_teacher_mark(teacher), err))
        return false;
    ld_lane_end(step->lane, "teacher", t);
    return true;
}

/* All records are of one cache, whose storage is one. */
static bool is_kept(const struct ld_step *step, const struct ld_batch *batch)
{
    return !step->teacher && batch->images[0].record.box_kept;
}

static bool has_teacher(const struct ld_step *step,
                        const struct ld_batch *batch)
{
    bool cached = false;

    for (int i = 0; i < batch->N; i++)
        cached |= batch->images[i].record.box_logits ||
                  batch->images[i].record.box_kept;
    return cached || step->teacher != NULL;
}

/* Also the batch's sums, as far as they are known. */
static bool fill_host(struct ld_step *step, const struct ld_batch *batch,
                      const struct ld_loss_batch *out, double *sums,
                      struct ld_err *err)
{
    bool teacher = has_teacher(step, batch);
    struct taught *taught =
        ld_arena_new(&step->arena, (size_t)batch->N, sizeof(*taught), err);
    int at = 0;

    if (!taught ||
        (step->imitator &&
         !ld_imitator_start(step->imitator, batch->N, &step->arena, err)) ||
        (teacher && !ask_teacher(step, batch, taught, err)))
        return false;
    for (int i = 0; i < batch->N; i++) {
        const struct ld_batch_image *image = &batch->images[i];
        int n_main = image->assignment.n_main;

        place_rows(step, image, i * out->A, &out->grid, at);
        if (teacher)
            place_teacher(step, &image->assignment, &taught[i], at,
                          (size_t)common_logits(step, batch));
        sums[LD_SUM_POSITIVES] +=
            out->head == LD_HEAD_FCOS || n_main > 1 ? n_main : 1;
        at += image->assignment.n_rows;
    }
    return true;
}

/* Without a teacher K is 0. */
static void upload_rows(struct ld_step *step, int n_rows, int K)
{
    struct ld_device *dev = step->dev;
    size_t n = (size_t)n_rows;
    const struct targets *h = &step->host;
    struct targets *d = &step->device;

    dev->ops->upload(dev, d->index, h->index, n * sizeof(*h->index));
    dev->ops->upload(dev, d->label, h->label, n * sizeof(*h->label));
    dev->ops->upload(dev, d->box, h->box, n * sizeof(*h->box));
    dev->ops->upload(dev, d->vlr, h->vlr, n * sizeof(*h->vlr));
    if (!K)
        return;
    dev->ops->upload(dev, d->teacher_box, h->teacher_box, n * box_bytes(step));
    dev->ops->upload(dev, d->teacher_class, h->teacher_class,
                     n * (size_t)K * number_bytes(step));
    if (!step->kept)
        return;
    dev->ops->upload(dev, d->box_step, h->box_step, n * sizeof(float));
    dev->ops->upload(dev, d->class_step, h->class_step, n * sizeof(float));
}

static void point_at_teacher(const struct ld_step *step,
                             struct ld_loss_batch *out)
{
    const struct targets *d = &step->device;

    if (step->kept) {
        out->teacher_box_kept = d->teacher_box;
        out->teacher_class_kept = d->teacher_class;
        out->teacher_box_step = d->box_step;
        out->teacher_class_step = d->class_step;
    } else {
        out->teacher_box = d->teacher_box;
        out->teacher_class = d->teacher_class;
    }
}

static bool make_targets(struct ld_step *step, const struct ld_batch *batch,
                         struct ld_loss_batch *out, struct ld_err *err)
{
    bool teacher = has_teacher(step, batch);
    double sums[LD_N_SUMS] = {0};
    size_t n_places;
    int64_t t;
    int n_rows = 0;

    *out = (struct ld_loss_batch){.head = step->model.head,
                                  .N = batch->N,
                                  .K = step->n_logits,
                                  .B = step->model.reg_max + 1,
                                  .grid = ld_net_grid(step->student)};
    out->A = out->grid.start[out->grid.n_levels];
    step->kept = is_kept(step, batch);
    n_places = (size_t)batch->N * (size_t)out->A;
    for (int i = 0; i < batch->N; i++)
        n_rows += batch->images[i].assignment.n_rows;

    if (!make_host(step, (size_t)n_rows, n_places, err) ||
        !fill_host(step, batch, out, sums, err) ||
        !make_rows(step, n_rows, err) || !make_valid(step, n_places, err))
        return false;
    out->teacher_K = teacher ? common_logits(step, batch) : 0;
    t = ld_lane_begin(step->lane);
    upload_rows(step, n_rows, out->teacher_K);
    step->dev->ops->upload(step->dev, step->device.valid, step->host.valid,
                           n_places);
    step->dev->ops->upload(step->dev, step->sums, sums, sizeof(sums));
    ld_lane_end(step->lane, "upload", t);

    out->n_rows = n_rows;
    out->index = step->device.index;
    out->label = step->device.label;
    out->box = step->device.box;
    out->vlr = step->device.vlr;
    out->valid = step->device.valid;
    out->sums = step->sums;
    if (teacher)
        point_at_teacher(step, out);
    return true;
}

/* ---- the step ---- */

bool ld_step_gradient(struct ld_step *step, const struct ld_batch *batch,
                      int64_t number, struct ld_loss_terms *terms,
                      struct ld_err *err)
{
    struct ld_device *dev = step->dev;
    struct ld_net *student = step->student;
    struct ld_reducer *reducer = step->buckets.reducer;
    struct ld_loss_batch targets;
    int64_t t = ld_lane_begin(step->lane);

    ld_arena_clear(&step->arena);
    if (!ld_net_resize(student, batch->N, batch->H, batch->W, err))
        return false;
    t = ld_lane_end(step->lane, "plan", t);
    if (!make_targets(step, batch, &targets, err))
        return false;
    t = ld_lane_end(step->lane, "targets", t);

    for (int i = 0; i < batch->N; i++)
        if (!ld_net_show(student, i, batch->images[i].picture.rgb,
                         &batch->images[i].draw, err))
            return false;
    t = ld_lane_end(step->lane, "upload", t);
    ld_net_forward(student);
    t = ld_lane_end(step->lane, "forward", t);

    targets.class_logits = ld_net_class_rows(student);
    targets.box_logits = ld_net_box_rows(student);
    targets.quality = ld_net_quality_rows(student);
    dev->ops->loss_weights(dev, step->weight, &targets);
    if (reducer)
        reducer->ops->mean(reducer, step->sums, LD_N_SUMS);
    dev->ops->loss_run(dev, terms, ld_net_class_rows_grad(student),
                       ld_net_box_rows_grad(student),
                       ld_net_quality_rows_grad(student), step->weight,
                       &targets, step->rules);
    if (step->imitator && !ld_imitator_run(step->imitator, terms, err))
        return false;
    dev->ops->loss_check(dev, terms, number);
    t = ld_lane_end(step->lane, "loss", t);

    ld_net_zero_grad(student);
    ld_net_backward(student);
    t = ld_lane_end(step->lane, "backward", t);
    if (reducer) {
        ld_buckets_wait(&step->buckets);
        ld_lane_end(step->lane, "reduce", t);
    }
    return true;
}

struct ld_step *ld_step_new(struct ld_device *dev, struct ld_net *student,
                            struct ld_teacher *teacher,
                            const struct ld_loss_rules *rules,
                            struct ld_err *err)
{
    struct ld_step *step = ld_new(1, sizeof(*step), err);

    if (!step)
        return NULL;
    step->dev = dev;
    step->student = student;
    step->teacher = teacher;
    step->rules = rules;
    step->model = *ld_net_model(student);
    step->n_logits = ld_model_class_logits(&step->model);
    step->sums = dev->ops->alloc(dev, LD_N_SUMS * sizeof(*step->sums), err);
    if (step->sums && rules->im > 0)
        step->imitator = ld_imitator_new(dev, student, teacher, rules, err);
    if (!step->sums || (rules->im > 0 && !step->imitator)) {
        ld_step_free(step);
        return NULL;
    }
    return step;
}

bool ld_step_join(struct ld_step *step, struct ld_reducer *reducer,
                  struct ld_err *err)
{
    return ld_buckets_open(&step->buckets, step->student, reducer, err);
}

void ld_step_trace(struct ld_step *step, struct ld_lane *lane)
{
    step->lane = lane;
}

void ld_step_free(struct ld_step *step)
{
    if (!step)
        return;
    release_rows(step);
    ld_imitator_free(step->imitator);
    step->dev->ops->release(step->dev, step->device.valid);
    step->dev->ops->release(step->dev, step->sums);
    ld_arena_free(&step->arena);
    ld_delete(step);
}
