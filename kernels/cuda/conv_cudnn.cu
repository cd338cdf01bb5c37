#include "kernels/cuda/conv_cudnn.h"

#include <dlfcn.h>
#include <string.h>

#include "kernels/cuda/conv_graph.h"

extern "C" {
#include "kernels/base/mem.h"
}

enum { MOST_ENGINES = 32, MOST_NOTES = 16 };

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

/* ---- engines ---- */

static cudnnBackendDescriptor_t heuristics_of(struct ld_cudnn_graph *g,
                                              const struct ld_cudnn_question *q)
{
    cudnnBackendDescriptor_t graph = ld_cudnn_graph_of(g, q);
    cudnnBackendDescriptor_t d =
        ld_cudnn_make(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;

    ld_cudnn_set_descriptor(g, d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    ld_cudnn_set(g, d, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1,
                 &mode);
    if (g->c->device)
        ld_cudnn_set_descriptor(g, d, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP,
                                g->c->device);
    ld_cudnn_finish(g, d);
    return d;
}

/* The first `most` of the configurations that cuDNN's heuristics name, the
 * fastest first. Each takes cuDNN the same time again. */
static int configurations(struct ld_cudnn_graph *g,
                          cudnnBackendDescriptor_t heuristics,
                          cudnnBackendDescriptor_t *config, int most)
{
    int64_t count = 0;

    for (int i = 0; i < most; i++)
        config[i] = ld_cudnn_make(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (g->failed || g->c->get(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                               CUDNN_TYPE_BACKEND_DESCRIPTOR, most, &count,
                               config) != CUDNN_STATUS_SUCCESS)
        return 0;
    return count < most ? (int)count : most;
}

/* Whether the engine comes compiled, gives the same bits each time, and sums in
 * fp32 what it is given: what it notes of its numbers may be tensor cores and
 * NaN, not fewer bits of inputs or sums, nor Winograd's or Fourier's way. */
static bool is_welcome(struct ld_cudnn_graph *g,
                       cudnnBackendDescriptor_t config)
{
    cudnnBackendDescriptor_t engine =
        ld_cudnn_make(g, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
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
        if (numbers[i] != CUDNN_NUMERICAL_NOTE_TENSOR_CORE &&
            numbers[i] != CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP)
            return false;
    return true;
}

/* True if the plan is one to take: it belongs to the caller then. */
static bool try_plan(struct ld_cudnn *c, struct ld_cudnn_plan *plan,
                     cudnnBackendDescriptor_t config)
{
    struct ld_cudnn_graph g = {};
    cudnnBackendDescriptor_t d;
    int64_t workspace = 0, got = 0;

    g.c = c;
    d = ld_cudnn_make(&g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    ld_cudnn_set_descriptor(&g, d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                            config);
    if (c->handle)
        ld_cudnn_set(&g, d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE,
                     1, &c->handle);
    if (c->device)
        ld_cudnn_set_descriptor(&g, d, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
                                c->device);
    ld_cudnn_finish(&g, d);
    if (g.failed ||
        c->get(d, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1,
               &got, &workspace) != CUDNN_STATUS_SUCCESS ||
        (uint64_t)workspace > plan->question.most_workspace) {
        ld_cudnn_destroy_all(&g);
        return false;
    }
    plan->plan = d;
    plan->workspace = (size_t)workspace;
    return true;
}

/* The configuration of a plan lives as long as the plan. */
static void keep(struct ld_cudnn_graph *g, struct ld_cudnn_plan *plan,
                 cudnnBackendDescriptor_t config)
{
    plan->config = config;
    for (int i = 0; i < g->n_made; i++)
        if (g->made[i] == config)
            g->made[i] = g->made[--g->n_made];
}

/* Gives the plan this configuration, if it is one to take. */
static void try_configuration(struct ld_cudnn_graph *g,
                              struct ld_cudnn_plan *plan,
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
    struct ld_cudnn_graph g = {};
    cudnnBackendDescriptor_t config[MOST_ENGINES], heuristics;

    g.c = c;
    heuristics = heuristics_of(&g, &plan->question);
    for (int round = 0; round < 2 && !plan->plan; round++) {
        int n = configurations(&g, heuristics, config, most[round]);

        for (int i = 0; i < n && !plan->plan; i++)
            try_configuration(&g, plan, config[i]);
    }
    ld_cudnn_destroy_all(&g);
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
           a->pass == b->pass && a->bf16 == b->bf16 && a->adds == b->adds &&
           a->finishes == b->finishes && a->residual == b->residual &&
           a->relu == b->relu && a->most_workspace == b->most_workspace;
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
                       const struct ld_cudnn_operands *o, struct ld_err *err)
{
    const struct ld_cudnn_question *q = &plan->question;
    cudnnBackendDescriptor_t d = NULL;
    void *data[5] = {o->x, o->w, o->y}, *workspace = o->workspace;
    int64_t id[5] = {LD_CUDNN_X, LD_CUDNN_W, LD_CUDNN_Y}, n = 3;
    cudnnStatus_t status =
        c->create_descriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &d);

    if (q->finishes) {
        data[n] = (void *)o->bias;
        id[n++] = LD_CUDNN_BIAS;
    }
    if (q->finishes && q->residual) {
        data[n] = (void *)o->identity;
        id[n++] = LD_CUDNN_IDENTITY;
    }
    if (status == CUDNN_STATUS_SUCCESS)
        status = c->set(d, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                        CUDNN_TYPE_VOID_PTR, n, data);
    if (status == CUDNN_STATUS_SUCCESS)
        status = c->set(d, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64,
                        n, id);
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
