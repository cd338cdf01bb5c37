/* bench-step - times a training step and the teacher's forward pass.
 *
 * usage: bench-step DEPTH SIZE BATCH ROUNDS [THREADS]
 * Prints, for each of three ways of training (plain, rows from a cache in
 * memory, a resident R-101), and for an R-101's inference at batch 1, the
 * median seconds of ROUNDS rounds; the ways take turns in every round, so that
 * a slow minute of the machine hits all of them. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/base/parallel.h"
#include "kernels/base/progress.h"
#include "kernels/base/rng.h"
#include "kernels/net/teacher.h"
#include "trainer/step.h"

enum { N_WAYS = 4, MAX_ROUNDS = 101, N_BOXES = 8, K = 80, BINS = 17 };

static const char *const way_name[N_WAYS] = {
    "train step, plain", "train step, cached rows",
    "train step, resident R-101", "R-101 inference, batch 1"};

struct bench {
    struct ld_device *dev;
    struct ld_net *student;
    struct ld_teacher *teacher;
    struct ld_step *step[2]; /* without and with the resident teacher */
    struct ld_loss_rules rules;
    struct ld_batch batch;
    struct ld_arena arena;
    struct ld_err err;
    double seconds[N_WAYS][MAX_ROUNDS];
};

static struct ld_model model_of(int depth)
{
    return (struct ld_model){.depth = depth,
                             .groups = 1,
                             .base_width = 64,
                             .width = 64,
                             .fpn_channels = 256,
                             .head_convs = 4,
                             .gn_groups = 32,
                             .n_classes = K,
                             .reg_max = BINS - 1,
                             .frozen_stages = 1,
                             .norm_eval = true};
}

/* A resident teacher with random weights: its time does not depend on them. */
static struct ld_teacher *random_teacher(struct bench *b)
{
    struct ld_model model = model_of(101);
    struct ld_net *net = ld_net_new(b->dev, &model, LD_NET_INFER, &b->err);
    struct ld_teacher *teacher = NULL;
    struct ld_tensor *tensors;
    int n;
    struct ld_param *params;

    if (!net)
        return NULL;
    ld_net_init(net, 1);
    params = ld_net_params(net, &n);
    tensors = ld_arena_new(&b->arena, (size_t)n, sizeof(*tensors), &b->err);
    for (int i = 0; tensors && i < n; i++) {
        size_t size = ld_tensor_count(&params[i].value) * sizeof(float);

        tensors[i] = params[i].value;
        tensors[i].data = ld_arena_new(&b->arena, size, 1, &b->err);
        if (!tensors[i].data)
            break;
        b->dev->ops->download(b->dev, tensors[i].data, params[i].value.data,
                              size);
    }
    if (b->err.code == LD_OK)
        teacher = ld_teacher_new(b->dev, &model, tensors, n, &b->err);
    ld_net_free(net);
    return teacher;
}

static bool make_image(struct bench *b, struct ld_batch_image *image, int size,
                       struct ld_rng *rng)
{
    static const struct ld_assign_rules rules = {9, LD_VLR_CODE, 0.25F, false};
    struct ld_grid grid = ld_grid_of_canvas(size, size);
    struct ld_box *boxes =
        ld_arena_new(&b->arena, N_BOXES, sizeof(*boxes), &b->err);
    int32_t *labels =
        ld_arena_new(&b->arena, N_BOXES, sizeof(*labels), &b->err);

    for (int i = 0; boxes && labels && i < N_BOXES; i++) {
        float side = (float)size * (0.05F + 0.4F * ld_rng_uniform(rng));
        float x = ((float)size - side) * ld_rng_uniform(rng);
        float y = ((float)size - side) * ld_rng_uniform(rng);

        boxes[i] = (struct ld_box){x, y, x + side, y + side};
        labels[i] = (int32_t)ld_rng_below(rng, K);
    }
    image->view = (struct ld_view){size, size, size, size, false, 0};
    image->boxes = boxes;
    image->labels = labels;
    image->n_boxes = N_BOXES;
    return boxes && labels &&
           ld_assign(&image->assignment, &grid, boxes, N_BOXES, &rules,
                     &b->arena, &b->err);
}

/* A picture of the view's size, R, G, B of noise. */
static bool make_picture(struct bench *b, struct ld_batch_image *image,
                         struct ld_rng *rng)
{
    static const struct ld_view_rules rules = {.mean = {128, 128, 128},
                                               .std = {128, 128, 128}};
    struct ld_image *picture = &image->picture;
    size_t n = 3 * (size_t)image->view.H * (size_t)image->view.W;

    *picture = (struct ld_image){ld_arena_new(&b->arena, n, 1, &b->err),
                                 image->view.H, image->view.W};
    for (size_t i = 0; picture->rgb && i < n; i++)
        picture->rgb[i] = (uint8_t)ld_rng_below(rng, 256);
    image->draw =
        ld_view_draw(&image->view, &rules, image->view.H, image->view.W);
    return picture->rgb != NULL;
}

static bool make_batch(struct bench *b, int size, int N)
{
    struct ld_rng rng = ld_rng_seed(1, 1);

    b->batch.N = N;
    b->batch.H = b->batch.W = size;
    b->batch.images =
        ld_arena_new(&b->arena, (size_t)N, sizeof(*b->batch.images), &b->err);
    if (!b->batch.images)
        return false;
    for (int i = 0; i < N; i++)
        if (!make_image(b, &b->batch.images[i], size, &rng) ||
            !make_picture(b, &b->batch.images[i], &rng))
            return false;
    return true;
}

/* Rows as a cache gives them: any numbers do. */
static bool add_records(struct bench *b, bool cached)
{
    for (int i = 0; i < b->batch.N; i++) {
        struct ld_batch_image *image = &b->batch.images[i];
        struct ld_record *r = &image->record;
        size_t n = (size_t)image->assignment.n_rows;

        *r = (struct ld_record){0};
        if (!cached)
            continue;
        r->n_rows = image->assignment.n_rows;
        r->n_main = image->assignment.n_main;
        r->box_logits =
            ld_arena_new(&b->arena, n * 4 * BINS, sizeof(float), &b->err);
        r->class_logits =
            ld_arena_new(&b->arena, n * K, sizeof(float), &b->err);
        r->n_logits = K;
        if (!r->box_logits || !r->class_logits)
            return false;
    }
    return true;
}

static bool train_once(struct bench *b, bool cached, bool resident)
{
    struct ld_sgd sgd = {0.001F, 0.9F, 0.0001F, 1};
    struct ld_loss_terms terms;

    if (!add_records(b, cached) ||
        !ld_step_gradient(b->step[resident], &b->batch, 1, &terms, &b->err))
        return false;
    ld_net_sgd(b->student, sgd, sgd);
    return b->dev->ops->sync(b->dev, &b->err);
}

static bool teach_once(struct bench *b)
{
    const struct ld_batch_image *image = &b->batch.images[0];
    struct ld_teacher_rows rows;

    return ld_teacher_run(b->teacher, image->picture.rgb, &image->draw,
                          &image->assignment, false, &rows, &b->err);
}

static bool run_way(struct bench *b, int way)
{
    return way == 3 ? teach_once(b) : train_once(b, way == 1, way == 2);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static bool run_rounds(struct bench *b, int rounds)
{
    for (int round = -1; round < rounds; round++) /* the first warms up */
        for (int way = 0; way < N_WAYS; way++) {
            double began = ld_seconds();

            if (!run_way(b, way))
                return false;
            if (round >= 0)
                b->seconds[way][round] = ld_seconds() - began;
        }
    return true;
}

static bool open_bench(struct bench *b, int depth, int n_threads)
{
    struct ld_model model = model_of(depth);

    b->rules = (struct ld_loss_rules){.qfl = 1,
                                      .box = 2,
                                      .dfl = 0.25F,
                                      .ld = 0.25F,
                                      .ld_T = 10,
                                      .vlr = 0.25F,
                                      .vlr_T = 10,
                                      .kd = 10,
                                      .kd_T = 2,
                                      .norm_images = 2};
    b->dev = ld_device_open(
        &(struct ld_device_options){.name = "cpu", .n_threads = n_threads},
        NULL, &b->err);
    if (!b->dev)
        return false;
    b->student = ld_net_new(b->dev, &model, LD_NET_TRAIN, &b->err);
    if (!b->student)
        return false;
    ld_net_init(b->student, 1);
    b->step[0] = ld_step_new(b->dev, b->student, NULL, &b->rules, &b->err);
    return b->step[0] != NULL;
}

/* Made after the first rounds' memory was read: the cached way has none. */
static bool add_teacher(struct bench *b)
{
    b->teacher = random_teacher(b);
    if (b->teacher)
        b->step[1] =
            ld_step_new(b->dev, b->student, b->teacher, &b->rules, &b->err);
    return b->step[1] != NULL;
}

static void close_bench(struct bench *b)
{
    ld_step_free(b->step[0]);
    ld_step_free(b->step[1]);
    ld_teacher_free(b->teacher);
    ld_net_free(b->student);
    if (b->dev)
        b->dev->ops->close(b->dev);
    ld_arena_free(&b->arena);
}

int main(int argc, char **argv)
{
    struct bench *b = calloc(1, sizeof(*b));
    int rounds = argc > 4 ? atoi(argv[4]) : 0;
    int status = 1;

    ld_parallel_start(argv);
    if (!b || rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr,
                "usage: bench-step DEPTH SIZE BATCH ROUNDS [THREADS]\n");
        free(b);
        return 2;
    }
    if (open_bench(b, atoi(argv[1]), argc > 5 ? atoi(argv[5]) : 0) &&
        make_batch(b, atoi(argv[2]), atoi(argv[3])) &&
        train_once(b, true, false)) {
        printf("peak memory of a cached step: %.0f MB\n",
               ld_peak_memory() / 1e6);
        status = !add_teacher(b) || !run_rounds(b, rounds);
    }
    for (int way = 0; !status && way < N_WAYS; way++) {
        qsort(b->seconds[way], (size_t)rounds, sizeof(double), by_value);
        printf("%-28s %.3f s\n", way_name[way], b->seconds[way][rounds / 2]);
    }
    if (status)
        fprintf(stderr, "bench-step: %s\n", b->err.text);
    close_bench(b);
    free(b);
    return status;
}
