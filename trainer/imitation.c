#include "trainer/imitation.h"

#include <string.h>

/* One image as its teacher sees it. */
struct seen {
    struct ld_grid own;      /* of its own canvas */
    struct ld_region region; /* on it; for gibox every location */
    const float *rows;       /* (region.n, C) */
    struct ld_outputs said;  /* gibox */
};

/* Rows of the batch, level by level; on the host or on the device. */
struct list {
    int32_t *place;
    float *weight, *teacher;
};

struct ld_imitator {
    struct ld_device *dev;
    struct ld_net *student;
    struct ld_teacher *teacher;
    const struct ld_loss_rules *rules;
    int C, K, B;

    struct ld_arena *arena; /* of the batch */
    struct seen *images;
    int n_images;
    int n_main[LD_MAX_LEVELS];

    struct list host, device;
    uint8_t *inside; /* of decouple, else NULL */
    int n, begin[LD_MAX_LEVELS + 1];
    int room; /* rows that the device arrays hold */
};

struct ld_imitator *ld_imitator_new(struct ld_device *dev,
                                    struct ld_net *student,
                                    struct ld_teacher *teacher,
                                    const struct ld_loss_rules *rules,
                                    struct ld_err *err)
{
    const struct ld_model *model = ld_net_model(student);
    struct ld_imitator *m = ld_new(1, sizeof(*m), err);

    if (!m)
        return NULL;
    *m = (struct ld_imitator){.dev = dev,
                              .student = student,
                              .teacher = teacher,
                              .rules = rules,
                              .C = model->fpn_channels,
                              .K = model->n_classes,
                              .B = model->reg_max + 1};
    ld_net_keep_features(student);
    if (teacher)
        ld_teacher_keep_features(teacher);
    return m;
}

static void release_list(struct ld_imitator *m)
{
    m->dev->ops->release(m->dev, m->device.place);
    m->dev->ops->release(m->dev, m->device.weight);
    m->dev->ops->release(m->dev, m->device.teacher);
    m->device = (struct list){0};
    m->room = 0;
}

void ld_imitator_free(struct ld_imitator *m)
{
    if (!m)
        return;
    release_list(m);
    ld_delete(m);
}

/* ---- the teacher's part ---- */

bool ld_imitator_start(struct ld_imitator *m, int N, struct ld_arena *arena,
                       struct ld_err *err)
{
    m->arena = arena;
    m->n_images = 0;
    memset(m->n_main, 0, sizeof(m->n_main));
    m->images = ld_arena_new(arena, (size_t)N, sizeof(*m->images), err);
    return m->images != NULL;
}

static bool ask_teacher(struct ld_imitator *m, struct seen *seen,
                        struct ld_err *err)
{
    enum ld_imitation imitation = m->rules->imitation;

    return (imitation != LD_IMITATE_GIBOX ||
            (ld_region_all(&seen->region, &seen->own, m->arena, err) &&
             ld_teacher_outputs(m->teacher, &seen->said, m->arena, err))) &&
           ld_teacher_features(m->teacher, imitation, &seen->region,
                               &seen->rows, m->arena, err);
}

bool ld_imitator_add(struct ld_imitator *m, const struct ld_batch_image *image,
                     struct ld_err *err)
{
    struct seen *seen = &m->images[m->n_images++];
    const struct ld_assignment *assignment = &image->assignment;

    *seen = (struct seen){
        .own = ld_grid_with_head(
            ld_grid_of_canvas(image->view.canvas_H, image->view.canvas_W),
            ld_net_model(m->student)->head),
        .region = image->region,
        .rows = image->record.features};
    for (int i = 0; i < assignment->n_rows; i++)
        if (assignment->rows[i].kind & LD_ROW_MAIN)
            m->n_main[ld_grid_level(&seen->own,
                                    assignment->rows[i].location)]++;
    return !m->teacher || ask_teacher(m, seen, err);
}

/* ---- rows, level by level ---- */

static bool make_list(struct ld_imitator *m, struct ld_err *err)
{
    struct list *h = &m->host;
    size_t n = 0;

    for (int i = 0; i < m->n_images; i++)
        n += (size_t)m->images[i].region.n;
    if (m->rules->imitation == LD_IMITATE_GIBOX)
        n = LD_MAX_LEVELS * LD_INSTANCES;
    h->place = ld_arena_new(m->arena, n, sizeof(*h->place), err);
    h->weight = ld_arena_new(m->arena, n, sizeof(*h->weight), err);
    h->teacher =
        ld_arena_new(m->arena, n * (size_t)m->C, sizeof(*h->teacher), err);
    m->inside = NULL;
    if (m->rules->imitation == LD_IMITATE_DECOUPLE)
        m->inside = ld_arena_new(m->arena, n, 1, err);
    m->n = 0;
    return err->code == LD_OK;
}

/* Row j of an image's region goes to the end of the list. */
static void add_row(struct ld_imitator *m, const struct ld_grid *grid,
                    int level, int image, int j)
{
    const struct seen *seen = &m->images[image];
    int places = grid->H[level] * grid->W[level];
    int at = ld_grid_move(&seen->own, seen->region.location[j], grid);

    m->host.place[m->n] = image * places + at - grid->start[level];
    memcpy(m->host.teacher + (size_t)m->n * (size_t)m->C,
           seen->rows + (size_t)j * (size_t)m->C, (size_t)m->C * sizeof(float));
    if (m->inside)
        m->inside[m->n] = seen->region.inside[j];
    m->n++;
}

static void list_regions(struct ld_imitator *m, const struct ld_grid *grid,
                         int level)
{
    for (int i = 0; i < m->n_images; i++) {
        const struct ld_region *region = &m->images[i].region;
        const struct ld_grid *own = &m->images[i].own;

        for (int j = 0; j < region->n; j++)
            if (region->location[j] >= own->start[level] &&
                region->location[j] < own->start[level + 1])
                add_row(m, grid, level, i, j);
    }
}

/* ---- gibox ---- */

static struct ld_candidate candidate_at(const struct ld_imitator *m,
                                        const struct ld_outputs *student,
                                        const struct ld_grid *grid, int image,
                                        int location)
{
    const struct seen *seen = &m->images[image];
    size_t K = (size_t)m->K, bins = 4 * (size_t)m->B, from = (size_t)location;
    size_t to = (size_t)image * (size_t)grid->start[grid->n_levels] +
                (size_t)ld_grid_move(&seen->own, location, grid);
    float stride = (float)grid->stride[ld_grid_level(&seen->own, location)];
    struct ld_opinion of_teacher = {seen->said.scores + from * K,
                                    seen->said.bins + from * bins};
    struct ld_opinion of_student = {student->scores + to * K,
                                    student->bins + to * bins};
    float x, y;

    ld_grid_centre(&seen->own, location, &x, &y);
    return ld_candidate_of(&of_teacher, &of_student, m->K, m->B, x / stride,
                           y / stride);
}

/* One choice over the level of all images, their boxes mixed, as in the
 * reference; of each image the locations of its own canvas. */
static bool list_instances(struct ld_imitator *m, const struct ld_grid *grid,
                           int level, const struct ld_outputs *student,
                           struct ld_err *err)
{
    size_t most =
        (size_t)m->n_images * (size_t)(grid->H[level] * grid->W[level]);
    struct ld_candidate *all = ld_arena_new(m->arena, most, sizeof(*all), err);
    int32_t chosen[LD_INSTANCES];
    int n = 0;

    if (!all)
        return false;
    for (int i = 0; i < m->n_images; i++) {
        const struct ld_grid *own = &m->images[i].own;

        for (int a = own->start[level]; a < own->start[level + 1]; a++)
            all[n++] = candidate_at(m, student, grid, i, a);
    }
    n = ld_candidates_choose(chosen, all, n);
    for (int c = 0; c < n; c++) {
        int at = chosen[c], image = 0;

        for (;; image++) {
            const struct ld_grid *own = &m->images[image].own;
            int places = own->H[level] * own->W[level];

            if (at < places)
                break;
            at -= places;
        }
        add_row(m, grid, level, image, m->images[image].own.start[level] + at);
    }
    return true;
}

/* ---- the loss ---- */

static bool make_rows(struct ld_imitator *m, const struct ld_grid *grid,
                      struct ld_err *err)
{
    bool gibox = m->rules->imitation == LD_IMITATE_GIBOX && m->n_images > 0;
    struct ld_outputs student;

    if (!make_list(m, err) ||
        (gibox && !ld_outputs_of(&student, m->dev, m->student, m->n_images,
                                 m->arena, err)))
        return false;
    for (int level = 0; level < grid->n_levels; level++) {
        int begin = m->begin[level] = m->n;

        if (m->n_main[level] == 0)
            continue;
        if (!gibox)
            list_regions(m, grid, level);
        else if (!list_instances(m, grid, level, &student, err))
            return false;
        ld_region_weights(m->host.weight + begin,
                          m->inside ? m->inside + begin : NULL, m->n - begin,
                          m->C, m->rules->im);
    }
    m->begin[grid->n_levels] = m->n;
    return true;
}

static bool upload(struct ld_imitator *m, struct ld_err *err)
{
    struct ld_device *dev = m->dev;
    size_t n = (size_t)m->n, room = n + n / 2 + 64, C = (size_t)m->C;
    struct list *d = &m->device;

    if (m->n > m->room) {
        release_list(m);
        d->place = dev->ops->alloc(dev, room * sizeof(*d->place), err);
        d->weight = dev->ops->alloc(dev, room * sizeof(*d->weight), err);
        d->teacher = dev->ops->alloc(dev, room * C * sizeof(*d->teacher), err);
        if (err->code != LD_OK)
            return false;
        m->room = (int)room;
    }
    dev->ops->upload(dev, d->place, m->host.place, n * sizeof(*d->place));
    dev->ops->upload(dev, d->weight, m->host.weight, n * sizeof(*d->weight));
    dev->ops->upload(dev, d->teacher, m->host.teacher,
                     n * C * sizeof(*d->teacher));
    return true;
}

bool ld_imitator_run(struct ld_imitator *m, struct ld_loss_terms *terms,
                     struct ld_err *err)
{
    struct ld_grid grid = ld_net_grid(m->student);

    if (!make_rows(m, &grid, err) || !upload(m, err))
        return false;
    for (int level = 0; level < grid.n_levels; level++) {
        int begin = m->begin[level];
        struct ld_feature_rows rows = {
            .n = m->begin[level + 1] - begin,
            .place = m->device.place + begin,
            .weight = m->device.weight + begin,
            .teacher = m->device.teacher + (size_t)begin * (size_t)m->C,
        };
        const float *map = ld_net_feature(m->student, level, &rows.shape);

        m->dev->ops->feature_loss(m->dev, &terms->value[LD_TERM_IM][level],
                                  ld_net_feature_grad(m->student, level), map,
                                  &rows);
    }
    return true;
}
