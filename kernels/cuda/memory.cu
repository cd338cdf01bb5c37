#include "kernels/cuda/memory.h"

#include <stdio.h>
#include <string.h>

extern "C" {
#include "kernels/base/mem.h"
#include "kernels/fault.h"
}

/* Bytes go up through pinned memory, so that the caller may forget them at once
 * and the copy waits for nobody. The ring is cut into pieces; a piece is free
 * again when the GPU has passed the event behind its last copy. */
enum { N_PIECES = 8 };

static const size_t PIECE_BYTES = (size_t)8 << 20;

struct ld_cuda_staging {
    unsigned char *ring; /* (N_PIECES, PIECE_BYTES) */
    cudaEvent_t passed[N_PIECES];
    int piece;   /* the one that is filled now */
    size_t used; /* bytes of it */
};

void ld_cuda_keep(struct ld_cuda *cuda, cudaError_t status, const char *doing)
{
    if (status == cudaSuccess)
        return;
    ld_fail(&cuda->fault,
            status == cudaErrorMemoryAllocation ? LD_ERR_MEMORY : LD_ERR_DEVICE,
            "cuda: %s: %s", doing, cudaGetErrorString(status));
    (void)cudaGetLastError();
}

bool ld_cuda_memory_open(struct ld_cuda *cuda, struct ld_err *err)
{
    struct ld_cuda_staging *s =
        (struct ld_cuda_staging *)ld_new(1, sizeof(*s), err);
    cudaError_t status;

    if (!s)
        return false;
    cuda->staging = s;
    status = cudaMallocHost(&s->ring, N_PIECES * PIECE_BYTES);
    if (status != cudaSuccess)
        return ld_fail(err, LD_ERR_MEMORY,
                       "cuda: %zu bytes of pinned host memory: %s",
                       N_PIECES * PIECE_BYTES, cudaGetErrorString(status));
    for (int i = 0; status == cudaSuccess && i < N_PIECES; i++)
        status =
            cudaEventCreateWithFlags(&s->passed[i], cudaEventDisableTiming);
    if (status != cudaSuccess)
        return ld_fail(err, LD_ERR_DEVICE, "cuda: making an event: %s",
                       cudaGetErrorString(status));
    cuda->alarm = (struct ld_cuda_alarm *)ld_cuda_alloc(
        &cuda->device, sizeof(*cuda->alarm), err);
    if (!cuda->alarm)
        return false;
    cuda->workspace = ld_cuda_alloc(&cuda->device, LD_CUDA_WORKSPACE, err);
    return cuda->workspace != NULL;
}

void ld_cuda_memory_close(struct ld_cuda *cuda)
{
    struct ld_cuda_staging *s = cuda->staging;

    (void)cudaFree(cuda->alarm);
    (void)cudaFree(cuda->workspace);
    if (!s)
        return;
    for (int i = 0; i < N_PIECES; i++)
        if (s->passed[i])
            (void)cudaEventDestroy(s->passed[i]);
    (void)cudaFreeHost(s->ring);
    ld_delete(s);
}

void *ld_cuda_alloc(struct ld_device *dev, size_t bytes, struct ld_err *err)
{
    void *memory = NULL;
    cudaError_t status = cudaMalloc(&memory, bytes ? bytes : 1);
    size_t left = 0, total = 0;

    if (status == cudaSuccess) {
        ld_cuda_zero(dev, memory, bytes);
        return memory;
    }
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&left, &total);
    if (status == cudaErrorMemoryAllocation)
        ld_fail(err, LD_ERR_MEMORY,
                "cuda: asked for %.1f MB of the GPU's memory, %.1f of %.1f MB "
                "are free: lower train.batch or the views' size, or choose "
                "precision bf16",
                1e-6 * (double)bytes, 1e-6 * (double)left,
                1e-6 * (double)total);
    else
        ld_fail(err, LD_ERR_DEVICE, "cuda: %zu bytes of the GPU's memory: %s",
                bytes, cudaGetErrorString(status));
    return NULL;
}

/* Work under way may still use it; cudaFree waits for that. */
void ld_cuda_release(struct ld_device *dev, void *memory)
{
    ld_cuda_keep(ld_cuda_of(dev), cudaFree(memory), "freeing memory");
}

/* ---- copies ---- */

/* The next piece of the ring, once the GPU is through with what was in it. */
static void turn(struct ld_cuda *cuda)
{
    struct ld_cuda_staging *s = cuda->staging;

    ld_cuda_keep(cuda, cudaEventRecord(s->passed[s->piece], cuda->stream),
                 "recording an event");
    s->piece = (s->piece + 1) % N_PIECES;
    s->used = 0;
    ld_cuda_keep(cuda, cudaEventSynchronize(s->passed[s->piece]),
                 "waiting for an upload");
}

void ld_cuda_upload(struct ld_device *dev, void *to, const void *from,
                    size_t bytes)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    struct ld_cuda_staging *s = cuda->staging;

    for (size_t at = 0; at < bytes;) {
        size_t room = PIECE_BYTES - s->used;
        size_t n = bytes - at < room ? bytes - at : room;
        unsigned char *place =
            s->ring + (size_t)s->piece * PIECE_BYTES + s->used;

        memcpy(place, (const unsigned char *)from + at, n);
        ld_cuda_keep(cuda,
                     cudaMemcpyAsync((unsigned char *)to + at, place, n,
                                     cudaMemcpyHostToDevice, cuda->stream),
                     "copying to the GPU");
        at += n;
        s->used += (n + 63) / 64 * 64;
        if (s->used >= PIECE_BYTES)
            turn(cuda);
    }
}

void ld_cuda_download(struct ld_device *dev, void *to, const void *from,
                      size_t bytes)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);

    if (bytes == 0)
        return;
    ld_cuda_keep(
        cuda,
        cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, cuda->stream),
        "copying from the GPU");
    ld_cuda_keep(cuda, cudaStreamSynchronize(cuda->stream),
                 "copying from the GPU");
}

void ld_cuda_zero(struct ld_device *dev, void *memory, size_t bytes)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);

    if (bytes)
        ld_cuda_keep(cuda, cudaMemsetAsync(memory, 0, bytes, cuda->stream),
                     "clearing memory");
}

void ld_cuda_copy(struct ld_device *dev, void *to, const void *from,
                  size_t bytes)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);

    if (bytes)
        ld_cuda_keep(cuda,
                     cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice,
                                     cuda->stream),
                     "copying on the GPU");
}

/* ---- faults ---- */

bool ld_cuda_sync(struct ld_device *dev, struct ld_err *err)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    struct ld_cuda_alarm alarm = {};

    ld_cuda_download(dev, &alarm, cuda->alarm, sizeof(alarm));
    if (cuda->fault.code != LD_OK) {
        ld_fail(err, cuda->fault.code, "%s", cuda->fault.text);
        cuda->fault = (struct ld_err){};
        return false;
    }
    if (alarm.raised == LD_CUDA_CALM)
        return true;
    ld_cuda_zero(dev, cuda->alarm, sizeof(alarm));
    if (alarm.raised == LD_CUDA_LOSS)
        return ld_loss_fault(err, (enum ld_term)alarm.term, alarm.step);
    return ld_velocity_fault(err, alarm.step);
}
