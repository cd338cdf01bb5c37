/* bench-deform [threads [repetitions]]: deformable convolutions of R-101-DCN at
 * 800x1344, batch 1, beside the plain ones in their place, which take Winograd
 * where they can. "products" is the time of the matrix products alone: what is
 * left is sampling.
 *
 * All are run in turn, repetition by repetition: read the ratios. One thread is
 * measured by its processor time, several by the clock on the wall. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/backend.h"
#include "kernels/base/mem.h"
#include "kernels/base/parallel.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/deform_cpu.h"

enum { MAX_REPETITIONS = 101 };

static const struct {
    const char *where;
    struct ld_conv_desc desc;
} shapes[] = {
    {"C3",
     {{1, 128, 100, 168}, 128, 3, 1, 1, 1, false, true, false, true, 1, false}},
    {"C4",
     {{1, 256, 50, 84}, 256, 3, 1, 1, 1, false, true, false, true, 1, false}},
    {"C5",
     {{1, 512, 25, 42}, 512, 3, 1, 1, 1, false, true, false, true, 1, false}},
    {"C4 of X-101-64x4d",
     {{1, 1024, 50, 84}, 1024, 3, 1, 1, 1, false, true, false, true, 64, 0}},
};

enum { PLAIN, PLAIN_BACK, FORWARD, PRODUCTS, BACK, N_WAYS };

struct bench {
    struct ld_device *dev;
    struct ld_arena arena;
    struct ld_err err;
    struct ld_rng rng;
    struct ld_deform *deform;
    struct ld_conv *conv;
    float *x, *y, *dx, *offset, *doffset, *dw, *dbias;
    void *packed, *conv_packed, *scratch;
    double seconds[N_WAYS][MAX_REPETITIONS];
};

static void stop(const struct ld_err *err)
{
    fprintf(stderr, "bench-deform: %s\n", err->text);
    exit(err->code);
}

/* Numbers from N(0, 1): offsets of a trained net are of about that size. */
static float *room(struct bench *b, size_t bytes)
{
    float *memory = ld_arena_new(&b->arena, bytes + 64, 1, &b->err);

    if (!memory)
        stop(&b->err);
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        memory[i] = ld_rng_normal(&b->rng);
    return memory;
}

static void prepare(struct bench *b, const struct ld_conv_desc *desc)
{
    const struct ld_deform_desc deform = {*desc, 1, false};
    const struct ld_ops *ops = b->dev->ops;
    struct ld_shape offsets = ld_deform_offsets(&deform);
    size_t conv_scratch, scratch;

    b->conv = ops->conv_new(b->dev, desc, &b->err);
    b->deform = ops->deform_new(b->dev, &deform, &b->err);
    if (!b->conv || !b->deform)
        stop(&b->err);
    conv_scratch = ops->conv_scratch_bytes(b->conv);
    scratch = ops->deform_scratch_bytes(b->deform);
    b->x = room(b, ops->map_bytes(b->dev, desc->in));
    b->dx = room(b, ops->map_bytes(b->dev, desc->in));
    b->y = room(b, ops->map_bytes(b->dev, ld_conv_out(desc)));
    b->offset = room(b, ops->map_bytes(b->dev, offsets));
    b->doffset = room(b, ops->map_bytes(b->dev, offsets));
    b->dw = room(b, (size_t)desc->O * desc->in.C * 9 * sizeof(float));
    b->dbias = room(b, (size_t)desc->O * sizeof(float));
    b->packed = room(b, ops->deform_weight_bytes(b->deform));
    b->conv_packed = room(b, ops->conv_weight_bytes(b->conv));
    b->scratch = room(b, conv_scratch > scratch ? conv_scratch : scratch);
}

/* The products of all strips, on one strip's numbers. */
static void multiply(size_t begin, size_t end, void *task)
{
    struct bench *b = task;
    const struct ld_deform *d = b->deform;
    size_t lane_numbers = (size_t)d->strip * (d->group_K + d->out.C);

    for (size_t lane = begin; lane < end; lane++)
        for (size_t i = lane; i < d->n_strips * d->groups; i += d->lanes) {
            float *columns = (float *)b->scratch + lane * lane_numbers;
            size_t left = d->area - i / d->groups * d->strip;
            struct ld_dnn_product run = {
                .M = left < (size_t)d->strip ? (int)left : d->strip,
                .N = d->group_O,
                .K = d->group_K,
                .a = columns,
                .lda = d->group_K,
                .b = b->packed,
                .ldb = d->group_O,
                .c = columns + (size_t)d->strip * d->group_K,
                .ldc = d->out.C};

            ld_dnn_product_run(&run);
        }
}

static void run_way(struct bench *b, int way)
{
    const struct ld_ops *ops = b->dev->ops;
    struct ld_deform_gradients to = {b->dx, b->doffset, b->dw, b->dbias};

    if (way == FORWARD)
        ops->deform_forward(b->dev, b->deform, b->y, b->x, b->offset, b->packed,
                            b->dbias, b->scratch);
    else if (way == PRODUCTS)
        ld_parallel((size_t)b->deform->lanes, 1, multiply, b);
    else if (way == BACK)
        ops->deform_backward(b->dev, b->deform, &to, b->y, b->x, b->offset,
                             b->packed, b->scratch);
    else if (way == PLAIN)
        ops->conv_forward(b->dev, b->conv, b->y, b->x, b->conv_packed, b->dbias,
                          NULL, b->scratch);
    if (way != PLAIN_BACK)
        return;
    ops->conv_backward_data(b->dev, b->conv, b->dx, b->y, b->conv_packed,
                            b->scratch);
    ops->conv_backward_weights(b->dev, b->conv, b->dw, b->dbias, b->y, NULL,
                               b->x, b->scratch);
}

static double now(void)
{
    bool alone = ld_parallel_threads() == 1;
    struct timespec t;

    clock_gettime(alone ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void bench_shape(struct bench *b, int shape, int repetitions)
{
    const struct ld_conv_desc *d = &shapes[shape].desc;
    double ms[N_WAYS];

    prepare(b, d);
    for (int i = -1; i < repetitions; i++) /* -1: to warm up */
        for (int way = 0; way < N_WAYS; way++) {
            double begin = now();

            run_way(b, way);
            if (i >= 0)
                b->seconds[way][i] = now() - begin;
        }
    for (int way = 0; way < N_WAYS; way++) {
        qsort(b->seconds[way], (size_t)repetitions, sizeof(double), ascending);
        ms[way] = 1e3 * b->seconds[way][repetitions / 2];
    }
    printf("| %s, %d channels, %dx%d | %.1f | %.1f | %.0f %% | %.1f | %.1f | "
           "%.1f |\n",
           shapes[shape].where, d->in.C, d->in.H, d->in.W, ms[FORWARD],
           ms[PRODUCTS], 100 * (1 - ms[PRODUCTS] / ms[FORWARD]), ms[BACK],
           ms[PLAIN], ms[PLAIN_BACK]);
    b->dev->ops->conv_free(b->dev, b->conv);
    b->dev->ops->deform_free(b->dev, b->deform);
    ld_arena_clear(&b->arena);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 2;
    int repetitions = argc > 2 ? atoi(argv[2]) : 11;
    struct bench b = {.rng = ld_rng_seed(1, 0)};

    ld_parallel_start(argv);
    if (threads < 1 || repetitions < 1 || repetitions > MAX_REPETITIONS) {
        fprintf(stderr, "usage: bench-deform [threads [repetitions 1..%d]]\n",
                MAX_REPETITIONS);
        return LD_ERR_USAGE;
    }
    b.dev = ld_device_open(
        &(struct ld_device_options){.name = "cpu", .n_threads = threads}, NULL,
        &b.err);
    if (!b.dev)
        stop(&b.err);
    printf("%d threads, median of %d, ms\n\n| where | forward | products | "
           "sampling | backward | plain forward | plain backward |\n"
           "|---|---|---|---|---|---|---|\n",
           threads, repetitions);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        bench_shape(&b, (int)i, repetitions);
    b.dev->ops->close(b.dev);
    ld_arena_free(&b.arena);
    return b.err.code;
}
