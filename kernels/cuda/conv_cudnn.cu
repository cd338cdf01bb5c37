#include "kernels/cuda/conv_cudnn.h"

#include <cudnn_graph.h>
#include <dlfcn.h>
#include <string.h>

extern "C" {
#include "kernels/base/mem.h"
}

enum { MOST_ENGINES = 32, MOST_NOTES = 16, MOST_DESCRIPTORS = 48 };

enum { X_ID = 1, W_ID, Y_ID }; /* of a graph's tensors */

struct ld_cudnn {
    decltype(&cudnnGetVersion) version;
    decltype(&cudnnCreate) create;
    decltype(&cudnnDestroy) destroy;
    decltype(&cudnnSetStream) set_stream;
    decltype(&cudnnGetErrorString) error_text;
    decltype(&cudnnBackendCreateDescriptor) create_descriptor;
    decltype(&cudnnBackendDestroyDescriptor) destroy_descriptor;
    decltype(&cudnnBackendSetAttribute) set;
    decltype(&cudnnBackendGetAttribute) get;
    decltype(&cudnnBackendFinalize) finalize;
    decltype(&cudnnBackendExecute) execute;
    cudnnHandle_t handle;            /* NULL: it only plans, .. */
    cudnnBackendDescriptor_t device; /* .. for this GPU */
    struct ld_cudnn_plan *plans;     /* of all convolutions */
};

struct ld_cudnn_plan {
    struct ld_cudnn_plan *next;
    struct ld_cudnn_question question;
    int n_users;
    cudnnBackendDescriptor_t plan, config;
    size_t workspace;
};

/* ---- opening ---- */

static bool find_functions(struct ld_cudnn *c)
{
    void *library = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    struct {
        const char *name;
        void *function;
    } all[] = {
        {"cudnnGetVersion", &c->version},
        {"cudnnCreate", &c->create},
        {"cudnnDestroy", &c->destroy},
        {"cudnnSetStream", &c->set_stream},
        {"cudnnGetErrorString", &c->error_text},
        {"cudnnBackendCreateDescriptor", &c->create_descriptor},
        {"cudnnBackendDestroyDescriptor", &c->destroy_descriptor},
        {"cudnnBackendSetAttribute", &c->set},
        {"cudnnBackendGetAttribute", &c->get},
        {"cudnnBackendFinalize", &c->finalize},
        {"cudnnBackendExecute", &c->execute},
    };

    if (!library)
        library = dlopen("libcudnn_graph.so.9", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return false;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        void *symbol = dlsym(library, all[i].name);

        if (!symbol)
            return false;
        memcpy(all[i].function, &symbol, sizeof(symbol));
    }
    return c->version() / 10000 == 9;
}

static bool start(struct ld_cudnn *c, const char *gpu_json, cudaStream_t stream)
{
    if (!gpu_json)
        return c->create(&c->handle) == CUDNN_STATUS_SUCCESS &&
               c->set_stream(c->handle, stream) == CUDNN_STATUS_SUCCESS;
    return c->create_descriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR,
                                &c->device) == CUDNN_STATUS_SUCCESS &&
           c->set(c->device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                  CUDNN_TYPE_CHAR, (int64_t)strlen(gpu_json),
                  gpu_json) == CUDNN_STATUS_SUCCESS &&
           c->finalize(c->device) == CUDNN_STATUS_SUCCESS;
}

struct ld_cudnn *ld_cudnn_open(const char *gpu_json, cudaStream_t stream)
{
    struct ld_err ignored = {};
    struct ld_cudnn *c = (struct ld_cudnn *)ld_new(1, sizeof(*c), &ignored);

    if (!c)
        return NULL;
    if (find_functions(c) && start(c, gpu_json, stream))
        return c;
    ld_cudnn_close(c);
    return NULL;
}

void ld_cudnn_close(struct ld_cudnn *c)
{
    if (!c)
        return;
    if (c->device)
        (void)c->destroy_descriptor(c->device);
    if (c->handle)
        (void)c->destroy(c->handle);
    ld_delete(c);
}

int ld_cudnn_version(const struct ld_cudnn *c)
{
    return (int)c->version();
}

/* ---- descriptors ---- */

/* The descriptors of one question: made, and destroyed together. The first
 * failure stands; what is made of a failed one fails too. */
struct graph {
    struct ld_cudnn *c;
    cudnnBackendDescriptor_t made[MOST_DESCRIPTORS];
    int n_made;
    bool failed;
};

static cudnnBackendDescriptor_t make(struct graph *g,
                                     cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t d = NULL;

    if (g->n_made == MOST_DESCRIPTORS ||
        g->c->create_descriptor(type, &d) != CUDNN_STATUS_SUCCESS) {
        g->failed = true;
        return NULL;
    }
    g->made[g->n_made++] = d;
    return d;
}

static void set(struct graph *g, cudnnBackendDescriptor_t d,
                cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t count,
                const void *values)
{
    if (!g->failed &&
        g->c->set(d, name, type, count, values) != CUDNN_STATUS_SUCCESS)
        g->failed = true;
}

static void set_descriptor(struct graph *g, cudnnBackendDescriptor_t d,
                           cudnnBackendAttributeName_t name,
                           cudnnBackendDescriptor_t value)
{
    set(g, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void finish(struct graph *g, cudnnBackendDescriptor_t d)
{
    if (!g->failed && g->c->finalize(d) != CUDNN_STATUS_SUCCESS)
        g->failed = true;
}

static void destroy_all(struct graph *g)
{
    for (int i = g->n_made - 1; i >= 0; i--)
        (void)g->c->destroy_descriptor(g->made[i]);
}

/* Of (N, C, H, W) in NHWC order. */
static cudnnBackendDescriptor_t tensor(struct graph *g, int64_t id, bool bf16,
                                       const int64_t dim[4])
{
    cudnnBackendDescriptor_t d = make(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    cudnnDataType_t type = bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    int64_t stride[4] = {dim[1] * dim[2] * dim[3], 1, dim[1] * dim[3], dim[1]};
    int64_t alignment = 16;

    set(g, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(g, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dim);
    set(g, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride);
    set(g, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    set(g, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1,
        &alignment);
    finish(g, d);
    return d;
}

static cudnnBackendDescriptor_t window(struct graph *g,
                                       const struct ld_cudnn_question *q)
{
    cudnnBackendDescriptor_t d = make(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t n = 2, stride[2] = {q->stride, q->stride};
    int64_t pad[2] = {q->pad, q->pad}, dilation[2] = {q->dilation, q->dilation};

    set(g, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1,
        &compute);
    set(g, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1,
        &mode);
    set(g, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &n);
    set(g, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2,
        stride);
    set(g, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pad);
    set(g, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pad);
    set(g, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation);
    finish(g, d);
    return d;
}

/* How an operation's parts are called. */
struct names {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t x, w, y, window, alpha, beta;
};

static const struct names names_of[LD_CUDNN_N_PASSES] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static cudnnBackendDescriptor_t operation(struct graph *g,
                                          const struct ld_cudnn_question *q)
{
    const struct names *names = &names_of[q->pass];
    struct ld_conv_desc desc = {.in = q->in,
                                .O = q->O,
                                .kernel = q->kernel,
                                .stride = q->stride,
                                .pad = q->pad,
                                .dilation = q->dilation};
    struct ld_shape out = ld_conv_out(&desc);
    int64_t x[4] = {q->in.N, q->in.C, q->in.H, q->in.W};
    int64_t w[4] = {q->O, q->in.C / q->groups, q->kernel, q->kernel};
    int64_t y[4] = {out.N, out.C, out.H, out.W};
    cudnnBackendDescriptor_t d = make(g, names->type);
    float alpha = 1, beta = 0;

    set_descriptor(g, d, names->x, tensor(g, X_ID, q->bf16, x));
    set_descriptor(g, d, names->w, tensor(g, W_ID, q->bf16, w));
    set_descriptor(g, d, names->y, tensor(g, Y_ID, q->bf16, y));
    set_descriptor(g, d, names->window, window(g, q));
    set(g, d, names->alpha, CUDNN_TYPE_FLOAT, 1, &alpha);
    set(g, d, names->beta, CUDNN_TYPE_FLOAT, 1, &beta);
    finish(g, d);
    return d;
}

/* ---- engines ---- */

/* What cuDNN advises for a graph of one operation. */
static cudnnBackendDescriptor_t
heuristics_of(struct graph *g, cudnnBackendDescriptor_t operation)
{
    cudnnBackendDescriptor_t graph =
        make(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    cudnnBackendDescriptor_t d = make(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;

    set_descriptor(g, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
    if (g->c->handle)
        set(g, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1,
            &g->c->handle);
    finish(g, graph);
    set_descriptor(g, d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    set(g, d, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (g->c->device)
        set_descriptor(g, d, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, g->c->device);
    finish(g, d);
    return d;
}

/* The first `most` of the configurations that cuDNN's heuristics name, the
 * fastest first. Each takes cuDNN the same time again. */
static int configurations(struct graph *g, cudnnBackendDescriptor_t heuristics,
                          cudnnBackendDescriptor_t *config, int most)
{
    int64_t count = 0;

    for (int i = 0; i < most; i++)
        config[i] = make(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (g->failed || g->c->get(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                               CUDNN_TYPE_BACKEND_DESCRIPTOR, most, &count,
                               config) != CUDNN_STATUS_SUCCESS)
        return 0;
    return count < most ? (int)count : most;
}

/* Whether the engine comes compiled, and gives the same bits each time. */
static bool is_welcome(struct graph *g, cudnnBackendDescriptor_t config)
{
    cudnnBackendDescriptor_t engine = make(g, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendBehaviorNote_t behaviour[MOST_NOTES];
    cudnnBackendNumericalNote_t numbers[MOST_NOTES];
    int64_t got = 0, n_behaviour = 0, n_numbers = 0;

    if (g->failed ||
        g->c->get(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                  CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &got,
                  &engine) != CUDNN_STATUS_SUCCESS ||
        g->c->get(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE,
                  CUDNN_TYPE_BEHAVIOR_NOTE, MOST_NOTES, &n_behaviour,
                  behaviour) != CUDNN_STATUS_SUCCESS ||
        g->c->get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                  CUDNN_TYPE_NUMERICAL_NOTE, MOST_NOTES, &n_numbers,
                  numbers) != CUDNN_STATUS_SUCCESS)
        return false;
    for (int64_t i = 0; i < n_behaviour; i++)
        if (behaviour[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION)
            return false;
    for (int64_t i = 0; i < n_numbers; i++)
        if (numbers[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)
            return false;
    return true;
}

/* True if the plan is one to take: it belongs to the caller then. */
static bool try_plan(struct ld_cudnn *c, struct ld_cudnn_plan *plan,
                     cudnnBackendDescriptor_t config)
{
    struct graph g = {};
    cudnnBackendDescriptor_t d;
    int64_t workspace = 0, got = 0;

    g.c = c;
    d = make(&g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    set_descriptor(&g, d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
    if (c->handle)
        set(&g, d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1,
            &c->handle);
    if (c->device)
        set_descriptor(&g, d, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, c->device);
    finish(&g, d);
    if (g.failed ||
        c->get(d, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1,
               &got, &workspace) != CUDNN_STATUS_SUCCESS ||
        (uint64_t)workspace > plan->question.most_workspace) {
        destroy_all(&g);
        return false;
    }
    plan->plan = d;
    plan->workspace = (size_t)workspace;
    return true;
}

/* The configuration of a plan lives as long as the plan. */
static void keep(struct graph *g, struct ld_cudnn_plan *plan,
                 cudnnBackendDescriptor_t config)
{
    plan->config = config;
    for (int i = 0; i < g->n_made; i++)
        if (g->made[i] == config)
            g->made[i] = g->made[--g->n_made];
}

/* Gives the plan this configuration, if it is one to take. */
static void try_configuration(struct graph *g, struct ld_cudnn_plan *plan,
                              cudnnBackendDescriptor_t config)
{
    int n_made = g->n_made;

    if (is_welcome(g, config) && try_plan(g->c, plan, config))
        keep(g, plan, config);
    else if (g->n_made > n_made) /* the engine's: one at a time */
        (void)g->c->destroy_descriptor(g->made[--g->n_made]);
}

/* Asks for the fastest alone before it asks for all: nearly always that will
 * do, and a canvas of new sizes has a hundred questions. */
static bool find_plan(struct ld_cudnn *c, struct ld_cudnn_plan *plan)
{
    static const int most[] = {1, MOST_ENGINES};
    struct graph g = {};
    cudnnBackendDescriptor_t config[MOST_ENGINES], heuristics;

    g.c = c;
    heuristics = heuristics_of(&g, operation(&g, &plan->question));
    for (int round = 0; round < 2 && !plan->plan; round++) {
        int n = configurations(&g, heuristics, config, most[round]);

        for (int i = 0; i < n && !plan->plan; i++)
            try_configuration(&g, plan, config[i]);
    }
    destroy_all(&g);
    return plan->plan != NULL;
}

/* ---- plans ---- */

static bool same(const struct ld_cudnn_question *a,
                 const struct ld_cudnn_question *b)
{
    return a->in.N == b->in.N && a->in.C == b->in.C && a->in.H == b->in.H &&
           a->in.W == b->in.W && a->O == b->O && a->kernel == b->kernel &&
           a->stride == b->stride && a->pad == b->pad &&
           a->dilation == b->dilation && a->groups == b->groups &&
           a->pass == b->pass && a->bf16 == b->bf16 &&
           a->most_workspace == b->most_workspace;
}

struct ld_cudnn_plan *
ld_cudnn_plan_new(struct ld_cudnn *c, const struct ld_cudnn_question *question)
{
    struct ld_err ignored = {};
    struct ld_cudnn_plan *plan = c->plans;

    while (plan && !same(&plan->question, question))
        plan = plan->next;
    if (plan) {
        plan->n_users++;
        return plan;
    }
    plan = (struct ld_cudnn_plan *)ld_new(1, sizeof(*plan), &ignored);
    if (!plan)
        return NULL;
    plan->question = *question;
    if (!find_plan(c, plan)) {
        ld_delete(plan);
        return NULL;
    }
    plan->n_users = 1;
    plan->next = c->plans;
    c->plans = plan;
    return plan;
}

void ld_cudnn_plan_free(struct ld_cudnn *c, struct ld_cudnn_plan *plan)
{
    struct ld_cudnn_plan **at;

    if (!plan || --plan->n_users > 0)
        return;
    for (at = &c->plans; *at != plan;)
        at = &(*at)->next;
    *at = plan->next;
    (void)c->destroy_descriptor(plan->plan);
    (void)c->destroy_descriptor(plan->config);
    ld_delete(plan);
}

size_t ld_cudnn_plan_workspace(const struct ld_cudnn_plan *plan)
{
    return plan->workspace;
}

bool ld_cudnn_plan_run(struct ld_cudnn *c, const struct ld_cudnn_plan *plan,
                       void *x, void *w, void *y, void *workspace,
                       struct ld_err *err)
{
    cudnnBackendDescriptor_t d = NULL;
    void *data[3] = {x, w, y};
    int64_t id[3] = {X_ID, W_ID, Y_ID};
    cudnnStatus_t status =
        c->create_descriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &d);

    if (status == CUDNN_STATUS_SUCCESS)
        status = c->set(d, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                        CUDNN_TYPE_VOID_PTR, 3, data);
    if (status == CUDNN_STATUS_SUCCESS)
        status = c->set(d, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64,
                        3, id);
    if (status == CUDNN_STATUS_SUCCESS)
        status = c->set(d, CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
                        CUDNN_TYPE_VOID_PTR, 1, &workspace);
    if (status == CUDNN_STATUS_SUCCESS)
        status = c->finalize(d);
    if (status == CUDNN_STATUS_SUCCESS)
        status = c->execute(c->handle, plan->plan, d);
    if (d)
        (void)c->destroy_descriptor(d);
    return status == CUDNN_STATUS_SUCCESS ||
           ld_fail(err, LD_ERR_DEVICE, "cuDNN: a convolution: %s",
                   c->error_text(status));
}
