#include "tests/lesson.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/shard.h"
#include "kernels/backend.h"
#include "kernels/base/rng.h"

enum { N = LESSON_N, K = LESSON_K, BINS = 17, H = 96, W = 128 };

static const int own_H[N] = {96, 64}, own_W[N] = {96, 128};

const struct ld_model lesson_model = {.depth = 18,
                                      .width = 16,
                                      .groups = 1,
                                      .base_width = 64,
                                      .fpn_channels = 32,
                                      .head_convs = 1,
                                      .gn_groups = 8,
                                      .n_classes = K,
                                      .reg_max = BINS - 1,
                                      .frozen_stages = 1,
                                      .norm_eval = true};

static struct ld_teacher *make_teacher(struct lesson *l,
                                       const struct ld_model *model)
{
    struct ld_net *net = ld_net_new(l->dev, model, LD_NET_INFER, &l->err);
    struct ld_teacher *teacher;
    struct ld_tensor *tensors;
    struct ld_param *params;
    int n;

    ck_assert_msg(net != NULL, "%s", l->err.text);
    ld_net_init(net, 99);
    params = ld_net_params(net, &n);
    tensors = ld_arena_new(&l->arena, (size_t)n, sizeof(*tensors), &l->err);
    for (int i = 0; i < n; i++) {
        size_t size = ld_tensor_count(&params[i].value) * sizeof(float);

        tensors[i] = params[i].value;
        tensors[i].data = ld_arena_new(&l->arena, size, 1, &l->err);
        l->dev->ops->download(l->dev, tensors[i].data, params[i].value.data,
                              size);
    }
    ck_assert_msg(l->dev->ops->sync(l->dev, &l->err), "%s", l->err.text);
    teacher = ld_teacher_new(l->dev, model, tensors, n, &l->err);
    ck_assert_msg(teacher != NULL, "%s", l->err.text);
    ld_net_free(net);
    return teacher;
}

static void make_image(struct lesson *l, int i)
{
    static const struct ld_assign_rules rules = {9, LD_VLR_CODE, 0.25F, false};
    static const struct ld_box boxes[2] = {{5, 8, 60, 50}, {40, 20, 90, 62}};
    static const int32_t labels[2] = {1, 4};
    struct ld_grid grid = ld_grid_with_head(
        ld_grid_of_canvas(own_H[i], own_W[i]), ld_net_model(l->student)->head);
    struct ld_batch_image *image = &l->images[i];

    image->view = (struct ld_view){own_H[i] - 3, own_W[i] - 5, own_H[i],
                                   own_W[i],     i == 1,       i == 1};
    image->boxes = boxes;
    image->labels = labels;
    image->n_boxes = 2;
    ck_assert(ld_assign(&image->assignment, &grid, boxes, 2, &rules, &l->arena,
                        &l->err));
    ck_assert_int_gt(image->assignment.n_main, 0);
}

/* Noise of mean 0 and deviation 1, on the picture's own canvas. */
static void make_picture(struct lesson *l, int i, struct ld_rng *rng)
{
    static const struct ld_view_rules rules = {.mean = {127.5F, 127.5F, 127.5F},
                                               .std = {74, 74, 74}};
    struct ld_batch_image *image = &l->images[i];
    const struct ld_view *view = &image->view;
    size_t n = 3 * (size_t)view->H * (size_t)view->W;
    uint8_t *rgb = ld_arena_new(&l->arena, n, 1, &l->err);

    for (size_t k = 0; k < n; k++)
        rgb[k] = (uint8_t)ld_rng_below(rng, 256);
    image->picture = (struct ld_image){rgb, view->H, view->W};
    image->draw = ld_view_draw(view, &rules, view->H, view->W);
}

void lesson_open(struct lesson *l, const struct ld_model *student,
                 const struct ld_model *teacher)
{
    struct ld_err err = {0};
    struct ld_device *dev = ld_device_open(
        &(struct ld_device_options){.name = "cpu", .n_threads = 2}, NULL, &err);

    ck_assert_msg(dev != NULL, "%s", err.text);
    lesson_open_on(l, dev, student, teacher);
}

void lesson_open_on(struct lesson *l, struct ld_device *dev,
                    const struct ld_model *student,
                    const struct ld_model *teacher)
{
    struct ld_rng rng = ld_rng_seed(3, 1);

    *l = (struct lesson){.dev = dev,
                         .rules = {.qfl = 1,
                                   .centerness = 1,
                                   .box = 2,
                                   .dfl = 0.25F,
                                   .ld = 0.25F,
                                   .ld_T = 10,
                                   .vlr = 0.25F,
                                   .vlr_T = 10,
                                   .kd = 10,
                                   .kd_T = 2,
                                   .norm_images = 2}};
    l->student = ld_net_new(l->dev, student, LD_NET_TRAIN, &l->err);
    ck_assert_msg(l->student != NULL, "%s", l->err.text);
    ld_net_init(l->student, 1);
    l->teacher = make_teacher(l, teacher);
    for (int i = 0; i < N; i++) {
        make_image(l, i);
        make_picture(l, i, &rng);
    }
    l->batch = (struct ld_batch){.N = N, .H = H, .W = W, .images = l->images};
}

void lesson_close(struct lesson *l)
{
    ld_teacher_free(l->teacher);
    ld_net_free(l->student);
    l->dev->ops->close(l->dev);
    ld_arena_free(&l->arena);
}

static void add_features(struct lesson *l, int i, struct ld_record *record)
{
    struct ld_region region = l->images[i].region;

    if (l->rules.im == 0)
        return;
    ck_assert(ld_teacher_features(l->teacher, l->rules.imitation, &region,
                                  &record->features, &l->arena, &l->err));
    record->n_features = region.n;
    record->feature_location = region.location;
}

struct ld_teacher_rows lesson_run_teacher(struct lesson *l, int i)
{
    const struct ld_batch_image *image = &l->images[i];
    struct ld_teacher_rows rows;

    ck_assert(ld_teacher_run(l->teacher, image->picture.rgb, &image->draw,
                             &image->assignment, false, &rows, &l->arena,
                             &l->err));
    return rows;
}

void lesson_show(struct lesson *l)
{
    for (int i = 0; i < N; i++)
        ck_assert(ld_net_show(l->student, i, l->images[i].picture.rgb,
                              &l->images[i].draw, &l->err));
    ld_net_forward(l->student);
}

/* What ld-cache would keep of an image; the arena's. */
static struct ld_record record_of(struct lesson *l, int i)
{
    const struct ld_assignment *a = &l->images[i].assignment;
    int32_t *location = ld_arena_new(&l->arena, (size_t)a->n_rows, 4, &l->err);
    uint8_t *kind = ld_arena_new(&l->arena, (size_t)a->n_rows, 1, &l->err);
    struct ld_teacher_rows rows = lesson_run_teacher(l, i);
    struct ld_record record;

    for (int r = 0; r < a->n_rows; r++) {
        location[r] = a->rows[r].location;
        kind[r] = a->rows[r].kind;
    }
    record = (struct ld_record){.image_id = i,
                                .view = l->images[i].view,
                                .n_rows = rows.n_rows,
                                .n_main = rows.n_main,
                                .location = location,
                                .kind = kind,
                                .box_logits = rows.box_logits,
                                .class_logits = rows.class_logits,
                                .n_logits = rows.n_logits};
    add_features(l, i, &record);
    ck_assert_msg(l->dev->ops->sync(l->dev, &l->err), "%s", l->err.text);
    return record;
}

/* As the loader does. */
static void read_back(struct lesson *l, const struct ld_shard *shard, int i)
{
    struct ld_batch_image *image = &l->images[i];
    struct ld_record *record = &image->record;

    ck_assert_msg((l->restored ? ld_shard_read : ld_shard_read_kept)(
                      shard, i, &l->arena, record, &l->err),
                  "%s", l->err.text);
    ck_assert_msg(ld_shard_read_features(shard, i, &l->arena, record, &l->err),
                  "%s", l->err.text);
    if (l->rules.imitation == LD_IMITATE_GI_TEACHER)
        image->region =
            (struct ld_region){.n = record->n_features,
                               .location = (int32_t *)record->feature_location};
}

void lesson_cache(struct lesson *l, enum ld_storage storage)
{
    static const char *names[K] = {"a", "b", "c", "d", "e"};
    struct ld_shard_facts facts = {
        .format = LD_SHARD_FORMAT,
        .program = "test",
        .teacher_sha256 = "0",
        .teacher_model = "small",
        .annotations_sha256 = "0",
        .class_names = names,
        .n_classes = K,
        .n_logits = ld_model_class_logits(ld_teacher_model(l->teacher)),
        .reg_max = BINS - 1,
        .n_anchors = ld_head_anchors(ld_net_model(l->student)->head),
        .assigner = "ATSS topk 9",
        .vlr_mode = "code",
        .imitation = l->rules.im > 0 ? "some" : "none",
        .feature_channels = l->rules.im > 0 ? lesson_model.fpn_channels : 0,
        .storage = storage,
        .asked_gradient_error = storage == LD_STORAGE_PREDICTED ? 0.01 : 0,
        .n_parts = 1};
    char folder[] = "/tmp/ld-step-XXXXXX", path[64];
    struct ld_shard_writer *writer;
    struct ld_shard *shard;

    if (l->rules.im > 0)
        ld_teacher_keep_features(l->teacher);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/part.h5", folder);
    writer = ld_shard_create(path, &facts, &l->err);
    ck_assert_msg(writer != NULL, "%s", l->err.text);
    for (int i = 0; i < N; i++) {
        struct ld_record record = record_of(l, i);

        ck_assert_msg(ld_shard_append(writer, &record, &l->err), "%s",
                      l->err.text);
    }
    ck_assert_msg(ld_shard_finish(writer, &l->err), "%s", l->err.text);

    shard = ld_shard_open(path, &l->err);
    ck_assert_msg(shard != NULL, "%s", l->err.text);
    for (int i = 0; i < N; i++)
        read_back(l, shard, i);
    ld_shard_close(shard);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(folder), 0);
}

float *lesson_gradient(struct lesson *l, bool resident, size_t *count,
                       struct ld_loss_terms *terms)
{
    struct ld_step *step = ld_step_new(
        l->dev, l->student, resident ? l->teacher : NULL, &l->rules, &l->err);
    size_t at = 0;
    int n;
    struct ld_param *params = ld_net_params(l->student, &n);
    float *out;

    *count = 0;
    for (int i = 0; i < n; i++)
        *count += params[i].trained ? ld_tensor_count(&params[i].value) : 0;
    out = ld_arena_new(&l->arena, *count, sizeof(float), &l->err);
    ck_assert_msg(ld_step_gradient(step, &l->batch, 1, terms, &l->err), "%s",
                  l->err.text);
    for (int i = 0; i < n; i++) {
        size_t size = ld_tensor_count(&params[i].value);

        if (!params[i].trained)
            continue;
        l->dev->ops->download(l->dev, out + at, params[i].grad,
                              size * sizeof(float));
        at += size;
    }
    ck_assert_msg(l->dev->ops->sync(l->dev, &l->err), "%s", l->err.text);
    ld_step_free(step);
    return out;
}

void lesson_imitate(struct lesson *l, enum ld_imitation imitation)
{
    bool boxes_tell =
        imitation != LD_IMITATE_GIBOX && imitation != LD_IMITATE_GI_TEACHER;

    l->rules.im = 2;
    l->rules.imitation = imitation;
    for (int i = 0; i < N; i++) {
        struct ld_grid grid = ld_grid_of_canvas(own_H[i], own_W[i]);
        struct ld_batch_image *image = &l->images[i];

        image->region = (struct ld_region){0};
        ck_assert(!boxes_tell ||
                  ld_region_of(&image->region, imitation, &grid, image->boxes,
                               image->n_boxes, &image->assignment, &l->arena,
                               &l->err));
    }
}
