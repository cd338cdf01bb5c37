#include "trainer/step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/shard.h"
#include "kernels/backend.h"
#include "kernels/base/rng.h"
#include "tests/suite.h"

/* A student, a teacher and a batch of two images of different canvases. */

enum { N = 2, K = 5, BINS = 17, H = 96, W = 128 };

static const int own_H[N] = {96, 64}, own_W[N] = {96, 128};

struct scene {
    struct ld_device *dev;
    struct ld_net *student;
    struct ld_teacher *teacher;
    struct ld_batch batch;
    struct ld_batch_image images[N];
    struct ld_arena arena;
    struct ld_err err;
};

static const struct ld_model small = {.depth = 18,
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

/* `small` with the head of GFL V2, and a background logit or none. */
static struct ld_model small_v2(bool background)
{
    struct ld_model model = small;

    model.head = LD_HEAD_GFLV2;
    model.background_logit = background;
    return model;
}

static struct ld_teacher *make_teacher(struct scene *s,
                                       const struct ld_model *model)
{
    struct ld_net *net = ld_net_new(s->dev, model, LD_NET_INFER, &s->err);
    struct ld_teacher *teacher;
    struct ld_tensor *tensors;
    struct ld_param *params;
    int n;

    ck_assert_msg(net != NULL, "%s", s->err.text);
    ld_net_init(net, 99);
    params = ld_net_params(net, &n);
    tensors = ld_arena_new(&s->arena, (size_t)n, sizeof(*tensors), &s->err);
    for (int i = 0; i < n; i++) {
        size_t size = ld_tensor_count(&params[i].value) * sizeof(float);

        tensors[i] = params[i].value;
        tensors[i].data = ld_arena_new(&s->arena, size, 1, &s->err);
        s->dev->ops->download(s->dev, tensors[i].data, params[i].value.data,
                              size);
    }
    teacher = ld_teacher_new(s->dev, model, tensors, n, &s->err);
    ck_assert_msg(teacher != NULL, "%s", s->err.text);
    ld_net_free(net);
    return teacher;
}

static void make_image(struct scene *s, int i)
{
    static const struct ld_assign_rules rules = {9, LD_VLR_CODE, 0.25F, false};
    static const struct ld_box boxes[2] = {{5, 8, 60, 50}, {40, 20, 90, 62}};
    static const int32_t labels[2] = {1, 4};
    struct ld_grid grid = ld_grid_of_canvas(own_H[i], own_W[i]);
    struct ld_batch_image *image = &s->images[i];

    image->view = (struct ld_view){own_H[i] - 3, own_W[i] - 5, own_H[i],
                                   own_W[i],     i == 1,       i == 1};
    image->boxes = boxes;
    image->labels = labels;
    image->n_boxes = 2;
    ck_assert(ld_assign(&image->assignment, &grid, boxes, 2, &rules, &s->arena,
                        &s->err));
    ck_assert_int_gt(image->assignment.n_main, 0);
}

static void make_pixels(struct scene *s)
{
    struct ld_rng rng = ld_rng_seed(3, 1);
    float *pixels =
        ld_arena_new(&s->arena, (size_t)N * 3 * H * W, sizeof(float), &s->err);

    for (int i = 0; i < N; i++)
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < s->images[i].view.H; y++)
                for (int x = 0; x < s->images[i].view.W; x++)
                    pixels[((i * 3 + c) * H + y) * W + x] = ld_rng_normal(&rng);
    s->batch = (struct ld_batch){
        .N = N, .H = H, .W = W, .pixels = pixels, .images = s->images};
}

static void open_pair(struct scene *s, const struct ld_model *student,
                      const struct ld_model *teacher)
{
    *s = (struct scene){0};
    s->dev = ld_device_open("cpu", 2, NULL, &s->err);
    ck_assert_msg(s->dev != NULL, "%s", s->err.text);
    s->student = ld_net_new(s->dev, student, LD_NET_TRAIN, &s->err);
    ck_assert_msg(s->student != NULL, "%s", s->err.text);
    ld_net_init(s->student, 1);
    s->teacher = make_teacher(s, teacher);
    for (int i = 0; i < N; i++)
        make_image(s, i);
    make_pixels(s);
}

static void open_scene(struct scene *s)
{
    open_pair(s, &small, &small);
}

static void close_scene(struct scene *s)
{
    ld_teacher_free(s->teacher);
    ld_net_free(s->student);
    s->dev->ops->close(s->dev);
    ld_arena_free(&s->arena);
}

/* What ld-cache would keep of an image; the arena's and the teacher's. */
static struct ld_record record_of(struct scene *s, int i)
{
    const struct ld_assignment *a = &s->images[i].assignment;
    size_t size = 3 * (size_t)own_H[i] * (size_t)own_W[i];
    float *planes = ld_arena_new(&s->arena, size, sizeof(float), &s->err);
    int32_t *location = ld_arena_new(&s->arena, (size_t)a->n_rows, 4, &s->err);
    uint8_t *kind = ld_arena_new(&s->arena, (size_t)a->n_rows, 1, &s->err);
    struct ld_teacher_rows rows;

    for (int c = 0; c < 3; c++)
        for (int y = 0; y < own_H[i]; y++)
            memcpy(planes + (c * own_H[i] + y) * own_W[i],
                   s->batch.pixels + ((i * 3 + c) * H + y) * W,
                   (size_t)own_W[i] * sizeof(float));
    for (int r = 0; r < a->n_rows; r++) {
        location[r] = a->rows[r].location;
        kind[r] = a->rows[r].kind;
    }
    ck_assert(ld_teacher_run(s->teacher, planes, own_H[i], own_W[i], a, false,
                             &rows, &s->err));
    return (struct ld_record){.image_id = i,
                              .view = s->images[i].view,
                              .n_rows = rows.n_rows,
                              .n_main = rows.n_main,
                              .location = location,
                              .kind = kind,
                              .box_logits = rows.box_logits,
                              .class_logits = rows.class_logits,
                              .n_logits = rows.n_logits};
}

/* Caches the batch's views as ld-cache would, and reads them back. */
static void cache_rows(struct scene *s, enum ld_storage storage)
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
        .n_logits = ld_model_class_logits(ld_teacher_model(s->teacher)),
        .reg_max = BINS - 1,
        .assigner = "ATSS topk 9",
        .vlr_mode = "code",
        .storage = storage,
        .n_parts = 1};
    char folder[] = "/tmp/ld-step-XXXXXX", path[64];
    struct ld_shard_writer *writer;
    struct ld_shard *shard;

    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/part.h5", folder);
    writer = ld_shard_create(path, &facts, &s->err);
    ck_assert_msg(writer != NULL, "%s", s->err.text);
    for (int i = 0; i < N; i++) {
        struct ld_record record = record_of(s, i);

        ck_assert_msg(ld_shard_append(writer, &record, &s->err), "%s",
                      s->err.text);
    }
    ck_assert_msg(ld_shard_finish(writer, &s->err), "%s", s->err.text);

    shard = ld_shard_open(path, &s->err);
    ck_assert_msg(shard != NULL, "%s", s->err.text);
    for (int i = 0; i < N; i++)
        ck_assert_msg(
            ld_shard_read(shard, i, &s->arena, &s->images[i].record, &s->err),
            "%s", s->err.text);
    ld_shard_close(shard);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(folder), 0);
}

/* Losses and all gradients, end to end; the arena's. */
static float *gradient(struct scene *s, bool resident, size_t *count,
                       struct ld_loss_terms *terms)
{
    static const struct ld_loss_rules rules = {.qfl = 1,
                                               .box = 2,
                                               .dfl = 0.25F,
                                               .ld = 0.25F,
                                               .ld_T = 10,
                                               .vlr = 0.25F,
                                               .vlr_T = 10,
                                               .kd = 10,
                                               .kd_T = 2,
                                               .norm_images = 2};
    struct ld_step *step = ld_step_new(
        s->dev, s->student, resident ? s->teacher : NULL, &rules, &s->err);
    size_t at = 0;
    int n;
    struct ld_param *params = ld_net_params(s->student, &n);
    float *out;

    *count = 0;
    for (int i = 0; i < n; i++)
        *count += params[i].trained ? ld_tensor_count(&params[i].value) : 0;
    out = ld_arena_new(&s->arena, *count, sizeof(float), &s->err);
    ck_assert_msg(ld_step_gradient(step, &s->batch, terms, &s->err), "%s",
                  s->err.text);
    for (int i = 0; i < n; i++) {
        size_t size = ld_tensor_count(&params[i].value);

        if (!params[i].trained)
            continue;
        s->dev->ops->download(s->dev, out + at, params[i].grad,
                              size * sizeof(float));
        at += size;
    }
    ld_step_free(step);
    return out;
}

static void compare_ways(const struct ld_model *student,
                         const struct ld_model *teacher)
{
    struct ld_loss_terms resident_terms, cached_terms;
    struct scene s;
    size_t count;
    float *resident, *cached;

    open_pair(&s, student, teacher);
    resident = gradient(&s, true, &count, &resident_terms);
    ck_assert(ld_loss_term(&resident_terms, LD_TERM_LD) > 0);
    ck_assert(ld_loss_term(&resident_terms, LD_TERM_VLR) > 0);
    ck_assert(ld_loss_term(&resident_terms, LD_TERM_KD) > 0);

    cache_rows(&s, LD_STORAGE_FP32);
    cached = gradient(&s, false, &count, &cached_terms);
    ck_assert_int_eq(
        memcmp(&resident_terms, &cached_terms, sizeof(cached_terms)), 0);
    ck_assert_int_eq(memcmp(resident, cached, count * sizeof(float)), 0);
    close_scene(&s);
}

START_TEST(a_resident_and_an_exactly_cached_teacher_give_the_same_bits)
{
    compare_ways(&small, &small);
}
END_TEST

START_TEST(every_pair_of_heads_and_class_rows_distils)
{
    struct ld_model plain = small_v2(false), background = small_v2(true);

    compare_ways(&background, &background);
    compare_ways(&small, &background);
    compare_ways(&background, &small);
    compare_ways(&plain, &background);
}
END_TEST

/* KD is over the classes alone where one of the two has no background: then
 * that logit gets the gradient of QFL only. */
START_TEST(kd_leaves_a_background_logit_that_only_one_has_alone)
{
    static const struct ld_loss_rules rules = {.kd = 10, .kd_T = 2};
    struct ld_model student = small_v2(true);
    const struct ld_model *teacher[2] = {&small, &student};
    struct ld_loss_terms terms;

    for (int both = 0; both < 2; both++) {
        struct scene s;
        struct ld_step *step;
        struct ld_param *params;
        float grad[K + 1] = {0};
        int n;

        open_pair(&s, &student, teacher[both]);
        step = ld_step_new(s.dev, s.student, s.teacher, &rules, &s.err);
        ck_assert(ld_step_gradient(step, &s.batch, &terms, &s.err));
        params = ld_net_params(s.student, &n);
        for (int i = 0; i < n; i++)
            if (strcmp(params[i].value.name, "bbox_head.gfl_cls.bias") == 0)
                s.dev->ops->download(s.dev, grad, params[i].grad, sizeof(grad));
        ck_assert(grad[0] != 0);
        ck_assert((grad[K] != 0) == both);
        ld_step_free(step);
        close_scene(&s);
    }
}
END_TEST

START_TEST(fp16_storage_moves_the_gradient_by_less_than_half_a_percent)
{
    struct ld_loss_terms terms;
    double difference = 0, norm = 0;
    struct scene s;
    size_t count;
    float *resident, *cached;

    open_scene(&s);
    resident = gradient(&s, true, &count, &terms);
    cache_rows(&s, LD_STORAGE_FP16);
    cached = gradient(&s, false, &count, &terms);
    for (size_t i = 0; i < count; i++) {
        double d = (double)cached[i] - (double)resident[i];

        difference += d * d;
        norm += (double)resident[i] * (double)resident[i];
    }
    /* fp16 rounds a logit by 2.4e-4 of itself on average; the gradient, a
     * difference of distributions, feels it a few times over */
    ck_assert_double_le(difference, 2.5e-5 * norm);
    ck_assert_double_gt(difference, 0);
    close_scene(&s);
}
END_TEST

START_TEST(without_a_teacher_the_ld_terms_are_zero)
{
    struct ld_loss_terms terms;
    struct scene s;
    size_t count;

    open_scene(&s);
    gradient(&s, false, &count, &terms);
    ck_assert(ld_loss_term(&terms, LD_TERM_QFL) > 0);
    ck_assert(ld_loss_term(&terms, LD_TERM_LD) == 0);
    ck_assert(ld_loss_term(&terms, LD_TERM_KD) == 0);
    close_scene(&s);
}
END_TEST

START_TEST(a_nan_names_the_term)
{
    static const struct ld_loss_rules rules = {.qfl = 1, .box = 2, .dfl = 1};
    const float nan = NAN;
    struct ld_loss_terms terms;
    struct ld_param *params;
    struct ld_step *step;
    struct scene s;
    int n;

    open_scene(&s);
    params = ld_net_params(s.student, &n);
    for (int i = 0; i < n; i++)
        if (strcmp(params[i].value.name, "bbox_head.gfl_cls.bias") == 0)
            s.dev->ops->upload(s.dev, params[i].value.data, &nan, sizeof(nan));
    ld_net_changed(s.student);
    step = ld_step_new(s.dev, s.student, NULL, &rules, &s.err);
    ck_assert(!ld_step_gradient(step, &s.batch, &terms, &s.err));
    ck_assert_int_eq(s.err.code, LD_ERR_NUMBER);
    ck_assert_ptr_nonnull(strstr(s.err.text, "loss_cls"));
    ld_step_free(step);
    close_scene(&s);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("step");
    TCase *c = tcase_create("step");

    tcase_add_test(c,
                   a_resident_and_an_exactly_cached_teacher_give_the_same_bits);
    tcase_add_test(c, every_pair_of_heads_and_class_rows_distils);
    tcase_add_test(c, kd_leaves_a_background_logit_that_only_one_has_alone);
    tcase_add_test(c,
                   fp16_storage_moves_the_gradient_by_less_than_half_a_percent);
    tcase_add_test(c, without_a_teacher_the_ld_terms_are_zero);
    tcase_add_test(c, a_nan_names_the_term);
    suite_add_tcase(s, c);
    return s;
}
