/* bench-step - times a training step and the teacher's forward pass.
 *
 * Ways take turns in every round, so that a slow minute of the machine hits all
 * of them; a round of a way is --steps of it, one after the other, and then one
 * wait for the device. What is printed is the median over rounds. */

#include <dlfcn.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/base/parallel.h"
#include "kernels/base/progress.h"
#include "scripts/bench_made.h"
#include "trainer/step.h"

enum way { PLAIN, CACHED, RESIDENT, INFER, INFER_DCN, N_WAYS };
enum { MAX_ROUNDS = 101 };

static const char *const way_key[N_WAYS] = {"plain", "cached", "resident",
                                            "infer", "infer-dcn"};
static const char *const way_name[N_WAYS] = {
    "train step, plain", "train step, cached rows",
    "train step, resident R-101", "R-101 inference, batch 1",
    "R-101-DCN inference, batch 1"};

static const char usage[] =
    "usage: bench-step [OPTION...]\n"
    "\n"
    "Prints the median seconds of a training step and of a teacher's forward\n"
    "pass on made images, the loss of the first step and the memory it took.\n"
    "\n"
    "  --depth N         of the student: 18, 34, 50, 101 [18]\n"
    "  --size HxW        of the images, multiples of 32 [512x512]\n"
    "  --batch N         images a step [2]\n"
    "  --rounds N        of each way [5]\n"
    "  --steps N         of a round, before the device is waited for [1]\n"
    "  --ways LIST       of plain,cached,resident,infer,infer-dcn: a step "
    "without\n"
    "                    a teacher, with rows from a cache in memory, with an\n"
    "                    R-101; an image through an R-101, an R-101-DCN\n"
    "                    [plain,cached,resident,infer]\n"
    "  --device NAME     auto, cpu or cuda [cpu]\n"
    "  --precision NAME  auto, fp32, tf32 or bf16 [auto]\n"
    "  --threads N       of the CPU; 0: all cores [0]\n"
    "  --dump FILE       first writes networks, images and rows there, as\n"
    "                    safetensors: bench_torch.py --from FILE does the "
    "same\n";

struct bench {
    struct ld_device_options options;
    const char *dump;
    int depth, H, W, N, rounds, steps;
    bool asked[N_WAYS];

    struct ld_device *dev;
    struct ld_net *student;
    struct ld_teacher *teacher, *dcn;
    struct ld_step *step[2];     /* without and with the resident teacher */
    struct ld_loss_terms *terms; /* on the device */
    struct ld_loss_rules rules;
    struct ld_batch batch;
    struct ld_record *records;
    struct ld_tensor *teacher_tensors;
    int n_teacher_tensors;
    struct ld_arena views[2]; /* two views' rows under way */
    int64_t n_views;
    uint64_t mark; /* behind the last of them */
    struct ld_arena arena;
    struct ld_err err;
    double seconds[N_WAYS][MAX_ROUNDS];
};

/* ---- one of each ---- */

/* Leaves the losses in b->terms, on the device. */
static bool gradient(struct bench *b, enum way way)
{
    for (int i = 0; i < b->batch.N; i++)
        b->batch.images[i].record =
            way == CACHED ? b->records[i] : (struct ld_record){0};
    return ld_step_gradient(b->step[way == RESIDENT], &b->batch, 1, b->terms,
                            &b->err);
}

/* As ld-cache precompute does: waits for a view when the next one is started.
 */
static bool infer(struct bench *b, struct ld_teacher *teacher)
{
    const struct ld_batch_image *image = &b->batch.images[0];
    struct ld_arena *arena = &b->views[b->n_views++ % 2];
    struct ld_teacher_rows rows;
    uint64_t before = b->mark;

    ld_arena_clear(arena);
    if (!ld_teacher_start(teacher, image->picture.rgb, &image->draw,
                          &image->assignment, false, &rows, arena, &b->err))
        return false;
    b->mark = ld_teacher_mark(teacher);
    return ld_teacher_finish(teacher, before, &b->err);
}

static bool run_once(struct bench *b, enum way way)
{
    /* So slow that it can be gone on with for long. */
    struct ld_sgd sgd = {1e-6F, 0.9F, 0.0001F, 1};

    if (way == INFER || way == INFER_DCN)
        return infer(b, way == INFER ? b->teacher : b->dcn);
    if (!gradient(b, way))
        return false;
    ld_net_sgd(b->student, sgd, sgd);
    return true;
}

static bool run_round(struct bench *b, enum way way, double *seconds)
{
    double began = ld_seconds();

    for (int i = 0; i < b->steps; i++)
        if (!run_once(b, way))
            return false;
    if (!b->dev->ops->sync(b->dev, &b->err))
        return false;
    *seconds = (ld_seconds() - began) / b->steps;
    return true;
}

static bool run_rounds(struct bench *b)
{
    double warm;

    for (int round = -1; round < b->rounds; round++) /* the first warms up */
        for (int way = 0; way < N_WAYS; way++)
            if (b->asked[way] &&
                !run_round(b, (enum way)way,
                           round < 0 ? &warm : &b->seconds[way][round]))
                return false;
    return true;
}

/* ---- opening ---- */

static bool open_bench(struct bench *b)
{
    struct ld_model model = bench_model(b->depth, false);
    char note[200] = "";

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
    b->dev = ld_device_open(&b->options, note, &b->err);
    if (!b->dev || !ld_model_check(&model, "--depth", &b->err))
        return false;
    printf("%s\n", note);
    b->student = ld_net_new(b->dev, &model, LD_NET_TRAIN, &b->err);
    if (!b->student)
        return false;
    ld_net_init(b->student, 1);
    b->terms = b->dev->ops->alloc(b->dev, sizeof(*b->terms), &b->err);
    b->step[0] = ld_step_new(b->dev, b->student, NULL, &b->rules, &b->err);
    return b->terms && b->step[0] &&
           bench_batch(&b->batch, b->N, b->H, b->W, &b->arena, &b->err) &&
           (b->records = bench_records(&b->batch, &b->arena, &b->err));
}

static bool add_teachers(struct bench *b)
{
    struct ld_model model = bench_model(101, false);
    struct ld_model dcn = bench_model(101, true);
    struct ld_tensor *tensors;
    int n;

    if (b->asked[RESIDENT] || b->asked[INFER] || b->dump) {
        b->teacher = bench_teacher(b->dev, &model, &b->teacher_tensors,
                                   &b->n_teacher_tensors, &b->arena, &b->err);
        if (b->teacher)
            b->step[1] =
                ld_step_new(b->dev, b->student, b->teacher, &b->rules, &b->err);
        if (!b->step[1])
            return false;
    }
    if (b->asked[INFER_DCN])
        b->dcn = bench_teacher(b->dev, &dcn, &tensors, &n, &b->arena, &b->err);
    return b->err.code == LD_OK;
}

static void close_bench(struct bench *b)
{
    ld_step_free(b->step[0]);
    ld_step_free(b->step[1]);
    ld_teacher_free(b->teacher);
    ld_teacher_free(b->dcn);
    ld_net_free(b->student);
    if (b->dev) {
        b->dev->ops->release(b->dev, b->terms);
        b->dev->ops->close(b->dev);
    }
    ld_arena_free(&b->views[0]);
    ld_arena_free(&b->views[1]);
    ld_arena_free(&b->arena);
}

/* ---- what is printed ---- */

/* Bytes of the GPU that are taken, by this process and all others; of the CPU
 * the largest so far of this process. Nothing that a device allocates for a
 * network is given back before the end, so what is taken is the peak. The
 * plug-in has loaded the driver; the programs know nothing of it. */
static double memory_taken(const struct bench *b)
{
    int (*ask)(size_t * free_bytes, size_t * total);
    size_t free_bytes, total;
    void *driver;

    if (strcmp(b->dev->ops->name, "cuda") != 0)
        return ld_peak_memory();
    driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    *(void **)&ask = driver ? dlsym(driver, "cuMemGetInfo_v2") : NULL;
    if (!ask || ask(&free_bytes, &total) != 0)
        return -1;
    return (double)(total - free_bytes);
}

static void print_memory(const struct bench *b, const char *when)
{
    double bytes = memory_taken(b);

    if (bytes < 0)
        printf("%-28s not known: no answer from libcuda.so.1\n", when);
    else
        printf("%-28s %.0f MB\n", when, bytes / 1e6);
}

static bool print_loss(struct bench *b, enum way way)
{
    struct ld_loss_terms terms;

    if (!b->asked[way])
        return true;
    if (!gradient(b, way))
        return false;
    b->dev->ops->download(b->dev, &terms, b->terms, sizeof(terms));
    if (!b->dev->ops->sync(b->dev, &b->err))
        return false;
    printf("loss, %-22s %.7g\n", way_key[way], ld_loss_total(&terms));
    return true;
}

/* Before any parameter moves. Memory without a teacher is that of the cached
 * way, which has none. */
static bool print_first(struct bench *b)
{
    int n_rows = 0;

    for (int i = 0; i < b->N; i++)
        n_rows += b->batch.images[i].assignment.n_rows;
    printf("%-28s %d\n", "rows an image", n_rows / b->N);
    if (!print_loss(b, PLAIN) || !print_loss(b, CACHED))
        return false;
    if (b->asked[PLAIN] || b->asked[CACHED])
        print_memory(b, "memory, no teacher");
    if (!add_teachers(b) || !print_loss(b, RESIDENT))
        return false;
    return !b->dump ||
           bench_dump(b->dump, b->dev, b->student, b->teacher_tensors,
                      b->n_teacher_tensors, &b->batch, b->records, &b->err);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_times(struct bench *b)
{
    for (int way = 0; way < N_WAYS; way++) {
        if (!b->asked[way])
            continue;
        qsort(b->seconds[way], (size_t)b->rounds, sizeof(double), by_value);
        printf("%-28s %.4f s\n", way_name[way], b->seconds[way][b->rounds / 2]);
    }
    if (b->asked[RESIDENT])
        print_memory(b, "memory, resident R-101");
}

/* ---- the command line ---- */

static bool parse_ways(struct bench *b, char *list)
{
    char *rest = list, *word;

    memset(b->asked, 0, sizeof(b->asked));
    while ((word = strsep(&rest, ","))) {
        int way = 0;

        while (way < N_WAYS && strcmp(word, way_key[way]) != 0)
            way++;
        if (way == N_WAYS)
            return false;
        b->asked[way] = true;
    }
    return true;
}

static bool parse_precision(struct bench *b, const char *name)
{
    static const char *const names[] = {"auto", "fp32", "tf32", "bf16"};

    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0) {
            b->options.precision = (enum ld_precision)i;
            return true;
        }
    return false;
}

static bool parse_one(struct bench *b, int option, char *value)
{
    char rest;

    switch (option) {
    case 'd':
        return sscanf(value, "%d%c", &b->depth, &rest) == 1;
    case 's':
        return sscanf(value, "%dx%d%c", &b->H, &b->W, &rest) == 2 && b->H > 0 &&
               b->W > 0 && b->H % 32 == 0 && b->W % 32 == 0;
    case 'b':
        return sscanf(value, "%d%c", &b->N, &rest) == 1 && b->N > 0;
    case 'r':
        return sscanf(value, "%d%c", &b->rounds, &rest) == 1 && b->rounds > 0 &&
               b->rounds <= MAX_ROUNDS;
    case 'n':
        return sscanf(value, "%d%c", &b->steps, &rest) == 1 && b->steps > 0;
    case 'w':
        return parse_ways(b, value);
    case 't':
        return sscanf(value, "%d%c", &b->options.n_threads, &rest) == 1 &&
               b->options.n_threads >= 0;
    case 'D':
        b->options.name = value;
        return true;
    case 'p':
        return parse_precision(b, value);
    case 'o':
        b->dump = value;
        return true;
    default:
        return false;
    }
}

static bool parse(struct bench *b, int argc, char **argv)
{
    static const struct option options[] = {
        {"depth", required_argument, NULL, 'd'},
        {"size", required_argument, NULL, 's'},
        {"batch", required_argument, NULL, 'b'},
        {"rounds", required_argument, NULL, 'r'},
        {"steps", required_argument, NULL, 'n'},
        {"ways", required_argument, NULL, 'w'},
        {"device", required_argument, NULL, 'D'},
        {"precision", required_argument, NULL, 'p'},
        {"threads", required_argument, NULL, 't'},
        {"dump", required_argument, NULL, 'o'},
        {"help", no_argument, NULL, 'h'},
        {0}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            exit(0);
        }
        if (option == '?')
            return false;
        if (!parse_one(b, option, optarg)) {
            fprintf(stderr,
                    "bench-step: %s: not a value of that option; see "
                    "bench-step --help\n",
                    optarg);
            return false;
        }
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    static struct bench b = {.options = {.name = "cpu"},
                             .depth = 18,
                             .H = 512,
                             .W = 512,
                             .N = 2,
                             .rounds = 5,
                             .steps = 1,
                             .asked = {true, true, true, true, false}};
    bool ok;

    ld_parallel_start(argv);
    if (!parse(&b, argc, argv))
        return 2;
    ok = open_bench(&b) && print_first(&b) && run_rounds(&b);
    if (ok)
        print_times(&b);
    else
        fprintf(stderr, "bench-step: %s\n", b.err.text);
    close_bench(&b);
    return ok ? 0 : 1;
}
