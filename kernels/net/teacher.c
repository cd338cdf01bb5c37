#include "kernels/net/teacher.h"

/* Rows on their way out, grown to the most that a view has needed. The device
 * works in order: the next view may use them while one is under way. */
struct outlet {
    int room;       /* rows */
    float *rows;    /* (room, width) */
    int32_t *index; /* (room) */
};

struct ld_teacher {
    struct ld_device *dev;
    struct ld_net *net;
    struct outlet boxes, classes, features;
};

static void outlet_free(struct ld_device *dev, struct outlet *out)
{
    dev->ops->release(dev, out->rows);
    dev->ops->release(dev, out->index);
    *out = (struct outlet){0};
}

static bool outlet_reserve(struct ld_device *dev, struct outlet *out, int rows,
                           int width, struct ld_err *err)
{
    size_t room = (size_t)rows + (size_t)rows / 2,
           values = room * (size_t)width;

    if (rows <= out->room)
        return true;
    outlet_free(dev, out);
    out->rows = dev->ops->alloc(dev, values * sizeof(float), err);
    out->index = dev->ops->alloc(dev, room * sizeof(int32_t), err);
    if (err->code != LD_OK) {
        outlet_free(dev, out);
        return false;
    }
    out->room = (int)room;
    return true;
}

/* Sends for the rows at index (n), which may be forgotten; NULL or the arena's
 * (n, width). */
static const float *outlet_fetch(struct ld_device *dev, struct outlet *out,
                                 const float *rows, const int32_t *index, int n,
                                 int width, struct ld_arena *arena,
                                 struct ld_err *err)
{
    float *host =
        ld_arena_room(arena, (size_t)n * (size_t)width, sizeof(*host), err);

    if (!host || !outlet_reserve(dev, out, n, width, err))
        return NULL;
    if (n == 0)
        return host;
    dev->ops->upload(dev, out->index, index, (size_t)n * sizeof(*index));
    dev->ops->rows_gather(dev, out->rows, rows, out->index, n, width);
    dev->ops->download(dev, host, out->rows,
                       (size_t)n * (size_t)width * sizeof(*host));
    return host;
}

struct ld_teacher *ld_teacher_new(struct ld_device *dev,
                                  const struct ld_model *model,
                                  const struct ld_tensor *tensors,
                                  int n_tensors, struct ld_err *err)
{
    struct ld_teacher *teacher = ld_new(1, sizeof(*teacher), err);

    if (!teacher)
        return NULL;
    teacher->dev = dev;
    teacher->net = ld_net_new(dev, model, LD_NET_INFER, err);
    if (!teacher->net ||
        !ld_net_load(teacher->net, tensors, n_tensors, false, err)) {
        ld_teacher_free(teacher);
        return NULL;
    }
    return teacher;
}

void ld_teacher_free(struct ld_teacher *teacher)
{
    if (!teacher)
        return;
    outlet_free(teacher->dev, &teacher->boxes);
    outlet_free(teacher->dev, &teacher->classes);
    outlet_free(teacher->dev, &teacher->features);
    ld_net_free(teacher->net);
    ld_delete(teacher);
}

const struct ld_model *ld_teacher_model(const struct ld_teacher *teacher)
{
    return ld_net_model(teacher->net);
}

static bool fetch_rows(struct ld_teacher *teacher,
                       const struct ld_assignment *assignment, bool all_classes,
                       struct ld_teacher_rows *out, struct ld_arena *arena,
                       struct ld_err *err)
{
    const struct ld_model *model = ld_net_model(teacher->net);
    int n = assignment->n_rows, n_classes = 0; /* rows to fetch */
    int B = 4 * (model->reg_max + 1), K = ld_model_class_logits(model);
    int32_t *all = ld_arena_room(arena, (size_t)n, sizeof(*all), err);
    int32_t *classes = ld_arena_room(arena, (size_t)n, sizeof(*classes), err);

    if (!all || !classes)
        return false;
    for (int i = 0; i < n; i++) {
        const struct ld_row *row = &assignment->rows[i];

        all[i] = row->location;
        if (all_classes || row->kind & LD_ROW_MAIN)
            classes[n_classes++] = row->location;
    }
    *out = (struct ld_teacher_rows){
        .n_rows = n,
        .n_main = n_classes,
        .box_logits =
            outlet_fetch(teacher->dev, &teacher->boxes,
                         ld_net_box_rows(teacher->net), all, n, B, arena, err),
        .class_logits = outlet_fetch(teacher->dev, &teacher->classes,
                                     ld_net_class_rows(teacher->net), classes,
                                     n_classes, K, arena, err),
        .n_logits = K};
    return out->box_logits && out->class_logits;
}

bool ld_teacher_start(struct ld_teacher *teacher, const uint8_t *rgb,
                      const struct ld_draw *d,
                      const struct ld_assignment *assignment, bool all_classes,
                      struct ld_teacher_rows *out, struct ld_arena *arena,
                      struct ld_err *err)
{
    struct ld_net *net = teacher->net;

    if (d->canvas_H % 32 || d->canvas_W % 32)
        return ld_fail(err, LD_ERR_USAGE,
                       "teacher: a canvas of %d x %d pixels, expected "
                       "multiples of 32",
                       d->canvas_W, d->canvas_H);
    if (!ld_net_resize(net, 1, d->canvas_H, d->canvas_W, err) ||
        !ld_net_show(net, 0, rgb, d, err))
        return ld_fail_in(err, "teacher");
    ld_net_forward(net);
    return fetch_rows(teacher, assignment, all_classes, out, arena, err) ||
           ld_fail_in(err, "teacher");
}

uint64_t ld_teacher_mark(struct ld_teacher *teacher)
{
    return teacher->dev->ops->mark(teacher->dev);
}

bool ld_teacher_finish(struct ld_teacher *teacher, uint64_t mark,
                       struct ld_err *err)
{
    return teacher->dev->ops->reach(teacher->dev, mark, err) ||
           ld_fail_in(err, "teacher");
}

bool ld_teacher_run(struct ld_teacher *teacher, const uint8_t *rgb,
                    const struct ld_draw *d,
                    const struct ld_assignment *assignment, bool all_classes,
                    struct ld_teacher_rows *out, struct ld_arena *arena,
                    struct ld_err *err)
{
    return ld_teacher_start(teacher, rgb, d, assignment, all_classes, out,
                            arena, err) &&
           ld_teacher_finish(teacher, ld_teacher_mark(teacher), err);
}

/* ---- features ---- */

void ld_teacher_keep_features(struct ld_teacher *teacher)
{
    ld_net_keep_features(teacher->net);
}

bool ld_teacher_outputs(struct ld_teacher *teacher, struct ld_outputs *out,
                        struct ld_arena *arena, struct ld_err *err)
{
    return ld_outputs_of(out, teacher->dev, teacher->net, 1, arena, err) ||
           ld_fail_in(err, "teacher");
}

static bool choose_region(struct ld_teacher *teacher, struct ld_region *region,
                          struct ld_arena *arena, struct ld_err *err)
{
    const struct ld_model *model = ld_net_model(teacher->net);
    struct ld_grid grid = ld_net_grid(teacher->net);
    struct ld_outputs outputs;

    return ld_teacher_outputs(teacher, &outputs, arena, err) &&
           ld_region_choose(region, &grid, outputs.scores, outputs.bins,
                            model->n_classes, model->reg_max + 1, arena, err);
}

/* Rows begin .. end of the region, all of one level. */
static void gather_level(struct ld_teacher *teacher, int level, int begin,
                         int end, int C)
{
    struct ld_device *dev = teacher->dev;
    struct outlet *out = &teacher->features;
    struct ld_shape shape;
    const float *map = ld_net_feature(teacher->net, level, &shape);

    dev->ops->map_gather(dev, out->rows + (size_t)begin * (size_t)C, map, shape,
                         out->index + begin, end - begin);
}

static const float *fetch_features(struct ld_teacher *teacher,
                                   const struct ld_region *region,
                                   struct ld_arena *arena, struct ld_err *err)
{
    struct ld_device *dev = teacher->dev;
    struct outlet *out = &teacher->features;
    struct ld_grid grid = ld_net_grid(teacher->net);
    int C = ld_net_model(teacher->net)->fpn_channels, begin = 0, end = 0;
    size_t n = (size_t)region->n;
    int32_t *index = ld_arena_room(arena, n, sizeof(*index), err);
    float *host = ld_arena_room(arena, n * (size_t)C, sizeof(*host), err);

    if (!index || !host || !outlet_reserve(dev, out, region->n, C, err))
        return NULL;
    for (int i = 0; i < region->n; i++) {
        int level = ld_grid_level(&grid, region->location[i]);

        index[i] = region->location[i] - grid.start[level];
    }
    dev->ops->upload(dev, out->index, index, n * sizeof(*index));
    for (int level = 0; level < grid.n_levels; level++, begin = end) {
        while (end < region->n && region->location[end] < grid.start[level + 1])
            end++;
        if (end > begin)
            gather_level(teacher, level, begin, end, C);
    }
    dev->ops->download(dev, host, out->rows, n * (size_t)C * sizeof(*host));
    return host;
}

bool ld_teacher_features(struct ld_teacher *teacher,
                         enum ld_imitation imitation, struct ld_region *region,
                         const float **rows, struct ld_arena *arena,
                         struct ld_err *err)
{
    if (imitation == LD_IMITATE_GI_TEACHER &&
        !choose_region(teacher, region, arena, err))
        return ld_fail_in(err, "teacher");
    *rows = fetch_features(teacher, region, arena, err);
    return *rows != NULL || ld_fail_in(err, "teacher");
}
