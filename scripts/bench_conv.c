/* bench-conv [threads [repetitions]]: direct convolution against Winograd, and
 * what kernels/cpu/conv_cpu.c would choose, in the shapes of detectors.
 *
 * The two are run in turn, repetition by repetition, because a shared machine's
 * speed changes by the minute: read the ratio. One thread is measured by its
 * processor time, several by the clock on the wall: on a busy machine only the
 * former means much. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/base/mem.h"
#include "kernels/base/parallel.h"
#include "kernels/cpu/conv_cpu.h"
#include "kernels/cpu/onednn.h"

static const struct {
    const char *where;
    struct ld_conv_desc desc;
} shapes[] = {
#define CONV(where, N, C, side, O, kernel)                                 \
    {                                                                      \
        where,                                                             \
        {                                                                  \
            {N, C, side, side}, O, kernel, 1, kernel / 2, 1, .train = true \
        }                                                                  \
    }
    CONV("head, FPN P3", 2, 256, 64, 256, 3),
    CONV("head, FPN P4", 2, 256, 32, 256, 3),
    CONV("head, FPN P5", 2, 256, 16, 256, 3),
    CONV("head P6", 2, 256, 8, 256, 3),
    CONV("head P7", 2, 256, 4, 256, 3),
    CONV("head P3", 1, 256, 64, 256, 3),
    CONV("head P4", 1, 256, 32, 256, 3),
    CONV("head P5", 1, 256, 16, 256, 3),
    CONV("class logits P3", 2, 256, 64, 80, 3),
    CONV("class logits P4", 2, 256, 32, 80, 3),
    CONV("box logits P3", 2, 256, 64, 68, 3),
    CONV("layer1", 2, 64, 128, 64, 3),
    CONV("layer2", 2, 128, 64, 128, 3),
    CONV("layer3", 2, 256, 32, 256, 3),
    CONV("layer4", 2, 512, 16, 512, 3),
    CONV("layer1", 1, 64, 128, 64, 3),
    CONV("layer2", 1, 128, 64, 128, 3),
    CONV("layer3", 1, 256, 32, 256, 3),
    CONV("layer4", 1, 512, 16, 512, 3),
    CONV("demo head", 8, 64, 32, 64, 3),
    CONV("demo head", 8, 64, 16, 64, 3),
    CONV("demo head", 8, 64, 8, 64, 3),
    CONV("layer2 1x1", 1, 512, 64, 128, 1),
    CONV("layer3 1x1", 1, 1024, 32, 256, 1),
    CONV("layer3 1x1", 1, 256, 32, 1024, 1),
    CONV("layer4 1x1", 1, 512, 16, 2048, 1),
#undef CONV
};

enum { MAX_REPETITIONS = 101 };

struct bench {
    struct ld_dnn *dnn;
    struct ld_arena arena;
    struct ld_err err;
    int repetitions;
};

struct run {
    struct ld_dnn_conv *conv;
    struct ld_dnn_operands operands;
    double seconds[MAX_REPETITIONS];
};

static void stop(const struct ld_err *err)
{
    fprintf(stderr, "bench-conv: %s\n", err->text);
    exit(err->code);
}

static void *room(struct bench *b, size_t bytes)
{
    float *memory = ld_arena_new(&b->arena, bytes + 64, 1, &b->err);

    if (!memory)
        stop(&b->err);
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        memory[i] = (float)(i % 17) / 17 - 0.5F; /* denormals would be slow */
    return memory;
}

static size_t map_bytes(struct ld_shape s)
{
    size_t C = (size_t)(s.C + 15) / 16 * 16;

    return s.N * C * s.H * s.W * sizeof(float);
}

/* False: the library has no such convolution. */
static bool run_new(struct bench *b, struct run *r, struct ld_dnn_ask ask)
{
    struct ld_err none = {0};
    size_t scratch;

    r->conv = ld_dnn_conv_new(b->dnn, &ask, &none);
    if (!r->conv)
        return false;
    scratch = ld_dnn_conv_scratch_bytes(r->conv);
    r->operands = (struct ld_dnn_operands){
        .x = room(b, map_bytes(ask.desc->in)),
        .w = room(b, ask.form->bytes),
        .bias = room(b, (size_t)ask.desc->O * sizeof(float)),
        .y = room(b, map_bytes(ld_conv_out(ask.desc))),
        .scratch = room(b, scratch)};
    return true;
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

static double median(struct run *r, int n)
{
    qsort(r->seconds, (size_t)n, sizeof(double), ascending);
    return r->seconds[n / 2];
}

struct rivals {
    struct ld_dnn_form *form, *forward_form;
    struct run direct, winograd;
    bool both; /* false: the library has no Winograd for it */
};

static void rivals_free(struct rivals *r)
{
    ld_dnn_conv_free(r->direct.conv);
    ld_dnn_conv_free(r->winograd.conv);
    ld_dnn_form_free(r->form);
    ld_dnn_form_free(r->forward_form);
}

static void rivals_new(struct bench *b, struct rivals *r, struct ld_dnn_ask ask)
{
    struct ld_dnn_ask forward = ask;

    forward.pass = LD_DNN_FORWARD;
    r->form = ld_dnn_form_new(b->dnn, &ask, &b->err);
    r->forward_form = ld_dnn_form_new(b->dnn, &forward, &b->err);
    if (!r->form || !r->forward_form)
        stop(&b->err);
    ask.form = r->form;
    if (!run_new(b, &r->direct, ask)) {
        ld_fail(&b->err, LD_ERR_DEVICE, "no direct convolution");
        stop(&b->err);
    }
    ask.winograd = true;
    ask.form = r->forward_form;
    r->both = run_new(b, &r->winograd, ask);
}

static void rivals_race(struct bench *b, struct rivals *r)
{
    for (int i = -1; i < b->repetitions; i++) { /* -1: to warm up */
        double begin = now(), between;

        ld_dnn_conv_run(b->dnn, r->direct.conv, &r->direct.operands, &b->err);
        between = now();
        if (r->both)
            ld_dnn_conv_run(b->dnn, r->winograd.conv, &r->winograd.operands,
                            &b->err);
        if (i >= 0) {
            r->direct.seconds[i] = between - begin;
            r->winograd.seconds[i] = now() - between;
        }
    }
}

/* One row of the table: both algorithms in one pass of one convolution. */
static void bench_pass(struct bench *b, const char *where,
                       struct ld_dnn_ask ask)
{
    static const char *const passes[] = {"forward", "data", "weights"};
    const struct ld_conv_desc *d = ask.desc;
    double flop = 2.0 * d->in.N * d->in.C * d->O * d->in.H * d->in.W *
                  d->kernel * d->kernel;
    struct rivals r = {0};
    double one, two;

    rivals_new(b, &r, ask);
    rivals_race(b, &r);
    one = median(&r.direct, b->repetitions);
    two = median(&r.winograd, b->repetitions);
    printf("| %s | %d | %dx%d %d->%d %dx%d | %s | %.2f (%.0f) |", where,
           d->in.N, d->kernel, d->kernel, d->in.C, d->O, d->in.H, d->in.W,
           passes[ask.pass], 1e3 * one, flop / one / 1e9);
    if (r.both)
        printf(" %.2f (%.0f) | %.2f | %s |\n", 1e3 * two, flop / two / 1e9,
               one / two, ld_conv_prefers_winograd(d) ? "Winograd" : "direct");
    else
        printf(" - | - | direct |\n");
    rivals_free(&r);
    ld_arena_clear(&b->arena);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 2;
    struct bench b = {.repetitions = argc > 2 ? atoi(argv[2]) : 11};

    if (threads < 1 || b.repetitions < 1 || b.repetitions > MAX_REPETITIONS) {
        fprintf(stderr, "usage: bench-conv [threads [repetitions 1..%d]]\n",
                MAX_REPETITIONS);
        return LD_ERR_USAGE;
    }
    ld_parallel_set_threads(threads);
    b.dnn = ld_dnn_open(&b.err);
    if (!b.dnn)
        stop(&b.err);
    printf("%d threads, median of %d\n\n| where | N | convolution | pass | "
           "direct ms (GFLOP/s) | Winograd ms (GFLOP/s) | ratio | chosen |\n"
           "|---|---|---|---|---|---|---|---|\n",
           threads, b.repetitions);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        for (int pass = 0; pass < LD_DNN_N_PASSES; pass++)
            bench_pass(&b, shapes[i].where,
                       (struct ld_dnn_ask){.desc = &shapes[i].desc,
                                           .block = ld_dnn_block(),
                                           .pass = pass});
    ld_dnn_close(b.dnn);
    ld_arena_free(&b.arena);
    return b.err.code;
}
