#include "kernels/cuda/reduce_nccl.h"

#include <dlfcn.h>
#include <string.h>

#include "kernels/cuda/nccl_api.h"

extern "C" {
#include "kernels/base/mem.h"
}

/* NCCL works on a stream of its own beside the device's; events tell each what
 * of the other it has to wait for. */
struct reducer {
    struct ld_reducer
        reducer; /* first: a struct ld_reducer * is one of these */
    struct ld_cuda *cuda;
    struct ld_nccl nccl;
    struct ld_nccl_comm *comm;
    cudaStream_t stream;
    cudaEvent_t given, done; /* last recorded on the device's, on our stream */
};

static_assert(sizeof(struct ld_nccl_id) == LD_REDUCER_ID, "sizes of one thing");

static struct reducer *reducer_of(struct ld_reducer *reducer)
{
    return (struct reducer *)reducer;
}

/* ---- the library ---- */

static bool find(void *library, const char *name, void *function,
                 struct ld_err *err)
{
    void *found = dlsym(library, name);

    memcpy(function, &found, sizeof(found));
    return found || ld_fail(err, LD_ERR_DEVICE,
                            "cuda: libnccl.so.2 lacks %s: expected NCCL 2.10 "
                            "or newer",
                            name);
}

/* The library stays open for the life of the program. */
static bool open_nccl(struct ld_nccl *nccl, struct ld_err *err)
{
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);

    if (!library)
        return ld_fail(err, LD_ERR_DEVICE,
                       "cuda: several ranks need NCCL: %s (put the folder of "
                       "libnccl.so.2 into LD_LIBRARY_PATH, or train with "
                       "device cpu)",
                       dlerror());
    return find(library, "ncclGetUniqueId", &nccl->get_id, err) &&
           find(library, "ncclCommInitRank", &nccl->join, err) &&
           find(library, "ncclCommDestroy", &nccl->leave, err) &&
           find(library, "ncclAllReduce", &nccl->all_reduce, err) &&
           find(library, "ncclBroadcast", &nccl->broadcast, err) &&
           find(library, "ncclCommGetAsyncError", &nccl->get_async_error,
                err) &&
           find(library, "ncclGetErrorString", &nccl->error_text, err);
}

static bool check(const struct ld_nccl *nccl, int status, const char *doing,
                  struct ld_err *err)
{
    return status == LD_NCCL_OK ||
           ld_fail(err, LD_ERR_DEVICE, "cuda: NCCL: %s: %s", doing,
                   nccl->error_text(status));
}

/* As ld_cuda_keep, of NCCL's calls. */
static void keep(struct reducer *r, int status, const char *doing)
{
    (void)check(&r->nccl, status, doing, &r->cuda->fault);
}

/* ---- order ---- */

/* Our stream's next work comes after what the device was given. */
static void follow(struct reducer *r)
{
    ld_cuda_keep(r->cuda, cudaEventRecord(r->given, r->cuda->stream),
                 "recording an event");
    ld_cuda_keep(r->cuda, cudaStreamWaitEvent(r->stream, r->given, 0),
                 "waiting for an event");
}

/* The device's next work comes after what our stream was given. */
static void lead(struct reducer *r)
{
    ld_cuda_keep(r->cuda, cudaEventRecord(r->done, r->stream),
                 "recording an event");
    ld_cuda_keep(r->cuda, cudaStreamWaitEvent(r->cuda->stream, r->done, 0),
                 "waiting for an event");
}

/* ---- the table ---- */

static void start(struct ld_reducer *reducer, float *buffer, size_t count)
{
    struct reducer *r = reducer_of(reducer);

    follow(r);
    keep(r,
         r->nccl.all_reduce(buffer, buffer, count, LD_NCCL_FLOAT32,
                            LD_NCCL_MEAN, r->comm, r->stream),
         "the mean of gradients");
}

static void progress(struct ld_reducer *reducer)
{
    (void)reducer; /* the GPU needs no help */
}

/* NCCL tells here, too, what went wrong behind its calls. */
static void wait(struct ld_reducer *reducer)
{
    struct reducer *r = reducer_of(reducer);
    int error = LD_NCCL_OK;

    lead(r);
    keep(r, r->nccl.get_async_error(r->comm, &error), "asking for errors");
    keep(r, error, "the mean of gradients");
}

static void mean(struct ld_reducer *reducer, double *values, size_t n)
{
    struct reducer *r = reducer_of(reducer);

    follow(r);
    keep(r,
         r->nccl.all_reduce(values, values, n, LD_NCCL_FLOAT64, LD_NCCL_MEAN,
                            r->comm, r->stream),
         "the mean of sums");
    lead(r);
}

static void broadcast(struct ld_reducer *reducer, void *memory, size_t bytes)
{
    struct reducer *r = reducer_of(reducer);

    follow(r);
    keep(r,
         r->nccl.broadcast(memory, memory, bytes, LD_NCCL_INT8, 0, r->comm,
                           r->stream),
         "sending rank 0's parameters");
    lead(r);
}

static void free_reducer(struct ld_reducer *reducer)
{
    struct reducer *r = reducer_of(reducer);

    if (r->comm)
        (void)r->nccl.leave(r->comm);
    if (r->done)
        (void)cudaEventDestroy(r->done);
    if (r->given)
        (void)cudaEventDestroy(r->given);
    if (r->stream)
        (void)cudaStreamDestroy(r->stream);
    ld_delete(r);
}

static const struct ld_reducer_ops nccl_ops = {
    .free = free_reducer,
    .start = start,
    .progress = progress,
    .wait = wait,
    .mean = mean,
    .broadcast = broadcast,
};

/* ---- meeting ---- */

bool ld_cuda_reducer_id(struct ld_device *dev, char id[LD_REDUCER_ID],
                        struct ld_err *err)
{
    struct ld_nccl nccl = {};

    (void)dev;
    return open_nccl(&nccl, err) &&
           check(&nccl, nccl.get_id((struct ld_nccl_id *)id),
                 "choosing where to meet", err);
}

static bool make_streams(struct reducer *r, struct ld_err *err)
{
    cudaError_t status =
        cudaStreamCreateWithFlags(&r->stream, cudaStreamNonBlocking);

    if (status == cudaSuccess)
        status = cudaEventCreateWithFlags(&r->given, cudaEventDisableTiming);
    if (status == cudaSuccess)
        status = cudaEventCreateWithFlags(&r->done, cudaEventDisableTiming);
    return status == cudaSuccess ||
           ld_fail(err, LD_ERR_DEVICE, "cuda: making a stream for NCCL: %s",
                   cudaGetErrorString(status));
}

struct ld_reducer *ld_cuda_reducer_new(struct ld_device *dev,
                                       const char id[LD_REDUCER_ID], int rank,
                                       int n_ranks, struct ld_err *err)
{
    struct reducer *r = (struct reducer *)ld_new(1, sizeof(*r), err);
    struct ld_nccl_id where;

    if (!r)
        return NULL;
    r->reducer.ops = &nccl_ops;
    r->reducer.rank = rank;
    r->reducer.n_ranks = n_ranks;
    r->cuda = ld_cuda_of(dev);
    memcpy(where.bytes, id, sizeof(where.bytes));
    if (open_nccl(&r->nccl, err) && make_streams(r, err) &&
        check(&r->nccl, r->nccl.join(&r->comm, n_ranks, where, rank),
              "meeting the other ranks", err))
        return &r->reducer;
    free_reducer(&r->reducer);
    return NULL;
}
