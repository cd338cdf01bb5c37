/* Whether cuDNN has an engine for every convolution of a detector, asked
 * without a GPU: it plans for one that a text describes. */
#include <stdio.h>

#include "kernels/cuda/conv_cudnn.h"
#include "tests/suite.h"

struct gpu {
    const char *name;
    int capability, processors, clock_khz, memory_clock_khz, l2_bytes,
        shared_bytes;
    long long memory_bytes;
};

static const struct gpu gpus[] = {
    {"NVIDIA H200", 900, 132, 1980000, 3201000, 62914560, 232448, 150754820096},
    {"NVIDIA A100-SXM4-80GB", 800, 108, 1410000, 1593000, 41943040, 166912,
     84987740160},
};

enum { N_GPUS = sizeof(gpus) / sizeof(gpus[0]) };

/* Every field is asked for. */
static void describe(char json[1000], const struct gpu *g)
{
    snprintf(json, 1000,
             "{\"deviceVer\": %d, \"driverVer\": 13000, "
             "\"maxGridSize\": [2147483647, 65535, 65535], "
             "\"maxBlockSize\": [1024, 1024, 64], \"regsPerBlock\": 65536, "
             "\"multiProcessorCount\": %d, \"smClockRateKHz\": %d, "
             "\"memClockRateKHz\": %d, \"l2CacheSize\": %d, "
             "\"warpSize\": 32, \"maxSharedMemoryPerBlock\": 49152, "
             "\"maxSharedMemoryPerBlockOptin\": %d, "
             "\"reservedSharedMemoryPerBlock\": 1024, "
             "\"maxRegistersPerSM\": 65536, \"pciDeviceId\": 0, "
             "\"maxCtasPerSM\": 32, \"maxThreadsPerBlock\": 1024, "
             "\"maxThreadsPerSM\": 2048, \"isTccDriver\": 0, "
             "\"supportCoopLaunch\": 1, \"cudaDeviceId\": 0, "
             "\"totalGlobalMem\": %lld, \"deviceName\": \"%s\", "
             "\"cudnnVersion\": 90800}",
             g->capability, g->processors, g->clock_khz, g->memory_clock_khz,
             g->l2_bytes, g->shared_bytes, g->memory_bytes, g->name);
}

/* NULL, said, where there is no cuDNN that can plan without a GPU. */
static struct ld_cudnn *open_for(const struct gpu *gpu)
{
    struct ld_cudnn *cudnn;
    char json[1000];

    describe(json, gpu);
    cudnn = ld_cudnn_open(json, NULL);
    if (!cudnn)
        note_skipped("no libcudnn.so.9 of version 9.8 or later");
    return cudnn;
}

/* ---- what a detector asks ---- */

struct tally {
    struct ld_cudnn *cudnn;
    bool bf16;
    int n_asked, n_without, n_thin_without; /* the last: strided 1x1 */
    size_t most_workspace;
};

/* The ways in which a convolution is asked for. */
static const struct {
    const char *name;
    struct ld_cudnn_question is;
} ways[] = {
    {"forward", {.pass = LD_CUDNN_FORWARD}},
    {"forward and bias", {.pass = LD_CUDNN_FORWARD, .finishes = true}},
    {"forward, bias and ReLU",
     {.pass = LD_CUDNN_FORWARD, .finishes = true, .relu = true}},
    {"forward, bias, identity and ReLU",
     {.pass = LD_CUDNN_FORWARD,
      .finishes = true,
      .residual = true,
      .relu = true}},
    {"data", {.pass = LD_CUDNN_DATA}},
    {"data, added", {.pass = LD_CUDNN_DATA, .adds = true}},
    {"weights", {.pass = LD_CUDNN_WEIGHTS}},
};

enum { N_WAYS = sizeof(ways) / sizeof(ways[0]) };

static void ask(struct tally *t, struct ld_cudnn_question q)
{
    q.dilation = 1;
    q.pad = q.kernel / 2;
    q.groups = q.groups ? q.groups : 1;
    q.bf16 = t->bf16;
    q.most_workspace = (size_t)320 << 20;
    for (int i = 0; i < N_WAYS; i++) {
        struct ld_cudnn_plan *plan;
        size_t workspace;

        q.pass = ways[i].is.pass;
        q.adds = ways[i].is.adds;
        q.finishes = ways[i].is.finishes;
        q.residual = ways[i].is.residual;
        q.relu = ways[i].is.relu;
        plan = ld_cudnn_plan_new(t->cudnn, &q);
        t->n_asked++;
        if (!plan) {
            printf("# no plan: %s, %s, C %d -> %d, %dx%d, kernel %d, stride "
                   "%d, groups %d\n",
                   q.bf16 ? "bf16" : "tf32", ways[i].name, q.in.C, q.O, q.in.H,
                   q.in.W, q.kernel, q.stride, q.groups);
            t->n_without += q.kernel > 1;
            t->n_thin_without += q.kernel == 1;
            continue;
        }
        workspace = ld_cudnn_plan_workspace(plan);
        if (workspace > t->most_workspace)
            t->most_workspace = workspace;
        ld_cudnn_plan_free(t->cudnn, plan);
    }
}

static void ask_one(struct tally *t, struct ld_shape in, int O, int kernel,
                    int stride)
{
    ask(t, (struct ld_cudnn_question){
               .in = in, .O = O, .kernel = kernel, .stride = stride});
}

static struct ld_shape map_of(int C, int stride)
{
    return (struct ld_shape){16, C, (800 + stride - 1) / stride,
                             (1344 + stride - 1) / stride};
}

/* ResNet-18 and 34's blocks, and the strided parts of 50's and 101's. */
static void ask_backbones(struct tally *t)
{
    ask_one(t, map_of(64, 4), 64, 3, 1);
    for (int C = 128, stride = 4; C <= 512; C *= 2, stride *= 2) {
        ask_one(t, map_of(C / 2, stride), C, 3, 2);
        ask_one(t, map_of(C / 2, stride), C, 1, 2);
        ask_one(t, map_of(C, stride * 2), C, 3, 1);
        ask_one(t, map_of(C, stride), C, 3, 2);
        ask_one(t, map_of(2 * C, stride), 4 * C, 1, 2);
    }
}

/* FPN and the head of GFL; 80 classes, 4 sides of 17 bins, padded. */
static void ask_heads(struct tally *t)
{
    for (int stride = 8; stride <= 128; stride *= 2) {
        ask_one(t, map_of(256, stride), 256, 3, 1);
        ask_one(t, map_of(256, stride), 80, 3, 1);
        ask_one(t, map_of(256, stride), 72, 3, 1);
    }
    ask_one(t, map_of(256, 32), 256, 3, 2);
    ask_one(t, map_of(256, 64), 256, 3, 2);
}

/* ResNeXt's 3x3, in the groups of 64 channels that its own are joined to. */
static void ask_groups(struct tally *t)
{
    for (int C = 128, stride = 4; C <= 1024; C *= 2, stride *= 2) {
        ask(t, (struct ld_cudnn_question){.in = map_of(C, stride),
                                          .O = C,
                                          .kernel = 3,
                                          .stride = 1,
                                          .groups = C / 64});
        ask(t, (struct ld_cudnn_question){.in = map_of(C, stride),
                                          .O = C,
                                          .kernel = 3,
                                          .stride = 2,
                                          .groups = C / 64});
    }
}

static void report(const struct tally *t, const struct gpu *gpu)
{
    printf("# %s, %s: of %d questions %d without a plan; workspace %.1f MB at "
           "most\n",
           gpu->name, t->bf16 ? "bf16" : "tf32", t->n_asked,
           t->n_without + t->n_thin_without, 1e-6 * (double)t->most_workspace);
}

/* In tf32 an A100 turns the map of a strided 1x1's gradient into another order,
 * in more workspace than we give: 551 MB. It goes without cuDNN, added or not.
 */
START_TEST(every_convolution_of_a_detector_has_a_compiled_engine)
{
    const struct gpu *gpu = &gpus[_i / 2];
    struct tally t = {.cudnn = open_for(gpu), .bf16 = _i % 2};

    if (!t.cudnn)
        return;
    ask_backbones(&t);
    ask_heads(&t);
    report(&t, gpu);
    ck_assert_int_eq(t.n_asked, N_WAYS * 33);
    ck_assert_int_eq(t.n_without, 0);
    ck_assert_int_le(t.n_thin_without,
                     gpu->capability < 900 && !t.bf16 ? 2 : 0);
    ld_cudnn_close(t.cudnn);
}
END_TEST

START_TEST(the_groups_of_resnext_have_compiled_engines_on_hopper)
{
    struct tally t = {.cudnn = open_for(&gpus[0]), .bf16 = _i};

    if (!t.cudnn)
        return;
    ask_groups(&t);
    report(&t, &gpus[0]);
    ck_assert_int_eq(t.n_asked, N_WAYS * 8);
    ck_assert_int_eq(t.n_without, 0);
    ld_cudnn_close(t.cudnn);
}
END_TEST

START_TEST(those_who_ask_for_the_same_share_a_plan)
{
    struct ld_cudnn_question q = {.in = {2, 64, 32, 32},
                                  .O = 64,
                                  .kernel = 3,
                                  .stride = 1,
                                  .pad = 1,
                                  .dilation = 1,
                                  .groups = 1,
                                  .bf16 = true,
                                  .most_workspace = 1 << 20};
    struct ld_cudnn *cudnn = open_for(&gpus[0]);
    struct ld_cudnn_plan *a, *b, *other;

    if (!cudnn)
        return;
    a = ld_cudnn_plan_new(cudnn, &q);
    b = ld_cudnn_plan_new(cudnn, &q);
    q.pass = LD_CUDNN_DATA;
    other = ld_cudnn_plan_new(cudnn, &q);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_eq(a, b);
    ck_assert_ptr_nonnull(other);
    ck_assert_ptr_ne(a, other);
    ld_cudnn_plan_free(cudnn, a);
    ld_cudnn_plan_free(cudnn, other);
    ck_assert_uint_le(ld_cudnn_plan_workspace(b), 1 << 20);
    ld_cudnn_plan_free(cudnn, b);
    ld_cudnn_close(cudnn);
}
END_TEST

START_TEST(a_plan_with_too_large_a_workspace_gives_way_to_a_slower_one)
{
    struct ld_cudnn_question q = {.in = {16, 128, 100, 168},
                                  .O = 128,
                                  .kernel = 3,
                                  .stride = 1,
                                  .pad = 1,
                                  .dilation = 1,
                                  .groups = 1,
                                  .pass = LD_CUDNN_WEIGHTS,
                                  .bf16 = true,
                                  .most_workspace = (size_t)320 << 20};
    struct ld_cudnn *cudnn = open_for(&gpus[0]);
    struct ld_cudnn_plan *fastest, *smaller;

    if (!cudnn)
        return;
    fastest = ld_cudnn_plan_new(cudnn, &q);
    ck_assert_ptr_nonnull(fastest);
    ck_assert_uint_gt(ld_cudnn_plan_workspace(fastest), 0);
    q.most_workspace = ld_cudnn_plan_workspace(fastest) - 1;
    smaller = ld_cudnn_plan_new(cudnn, &q);
    ck_assert_ptr_nonnull(smaller);
    ck_assert_uint_le(ld_cudnn_plan_workspace(smaller), q.most_workspace);
    ld_cudnn_plan_free(cudnn, fastest);
    ld_cudnn_plan_free(cudnn, smaller);
    ld_cudnn_close(cudnn);
}
END_TEST

START_TEST(what_is_no_convolution_has_no_plan)
{
    struct ld_cudnn_question q = {.in = {2, 64, 2, 2},
                                  .O = 64,
                                  .kernel = 7,
                                  .stride = 1,
                                  .dilation = 1,
                                  .groups = 1,
                                  .most_workspace = 1 << 20};
    struct ld_cudnn *cudnn = open_for(&gpus[0]);

    if (!cudnn)
        return;
    ck_assert_ptr_null(ld_cudnn_plan_new(cudnn, &q));
    ld_cudnn_close(cudnn);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("plans of cuDNN");
    TCase *c = tcase_create("plans");

    tcase_add_loop_test(c,
                        every_convolution_of_a_detector_has_a_compiled_engine,
                        0, 2 * N_GPUS);
    tcase_add_loop_test(
        c, the_groups_of_resnext_have_compiled_engines_on_hopper, 0, 2);
    tcase_add_test(c, those_who_ask_for_the_same_share_a_plan);
    tcase_add_test(c,
                   a_plan_with_too_large_a_workspace_gives_way_to_a_slower_one);
    tcase_add_test(c, what_is_no_convolution_has_no_plan);
    suite_add_tcase(s, c);
    return s;
}
