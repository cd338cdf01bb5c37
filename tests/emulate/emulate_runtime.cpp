/* CUDA's runtime on the CPU: cuda_runtime.h beside this file says how. */
#include "cuda_runtime.h"
#include "cupti.h"

#include <cstdio>
#include <vector>

float emulate_off(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    if (x == 0 || x == 1 || !std::isfinite(x))
        return x;
    bits += (bits * 2654435761u >> 24) % 5 - 2;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* ---- streams and graphs ---- */

struct emulate_stream {
};

struct emulate_graph {
    std::vector<std::function<cudaError_t()>> work;
};

namespace
{

struct emulate_graph *captured; /* NULL: none is */
bool spoilt;

/* What must not be called meanwhile. */
cudaError_t forbidden()
{
    if (!captured)
        return cudaSuccess;
    spoilt = true;
    return cudaErrorStreamCaptureUnsupported;
}

} // namespace

cudaError_t emulate_enqueue(cudaStream_t stream,
                            const std::function<cudaError_t()> &work)
{
    if (!stream) {
        fprintf(stderr, "emulated CUDA: work is on no stream\n");
        abort();
    }
    if (!captured)
        return work();
    captured->work.push_back(work);
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode)
{
    if (captured)
        return forbidden();
    captured = new emulate_graph;
    spoilt = false;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t *graph)
{
    *graph = captured;
    captured = NULL;
    if (!*graph)
        return cudaErrorInvalidValue;
    if (!spoilt)
        return cudaSuccess;
    delete *graph;
    *graph = NULL;
    return cudaErrorStreamCaptureInvalidated;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long)
{
    *exec = new emulate_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    return emulate_enqueue(stream, [=]() {
        cudaError_t status = cudaSuccess;

        for (const auto &work : exec->work)
            if (status == cudaSuccess)
                status = work();
        return status;
    });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return forbidden();
}

/* ---- the runtime ---- */

const char *cudaGetErrorString(cudaError_t status)
{
    switch (status) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidValue:
        return "invalid argument";
    default:
        return "unknown error";
    }
}

const char *cudaGetErrorName(cudaError_t status)
{
    return cudaGetErrorString(status);
}

cudaError_t cudaGetLastError()
{
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    return device == 0 ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *out, int)
{
    *out = cudaDeviceProp{};
    snprintf(out->name, sizeof(out->name), "a CPU that emulates one");
    out->totalGlobalMem = (size_t)1 << 34;
    out->major = 8;
    out->multiProcessorCount = 4;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *free_bytes = *total = (size_t)1 << 34;
    return cudaSuccess;
}

cudaError_t emulate_malloc(void **memory, size_t bytes, bool of_device)
{
    *memory = NULL;
    if (forbidden() != cudaSuccess)
        return cudaErrorStreamCaptureUnsupported;
    if (bytes > (size_t)1 << 34 ||
        posix_memalign(memory, 256, bytes ? bytes : 1) != 0)
        return cudaErrorMemoryAllocation;
    if (of_device)
        memset(*memory, 0xff, bytes);
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory)
{
    free(memory);
    return forbidden();
}

cudaError_t cudaFreeHost(void *memory)
{
    free(memory);
    return forbidden();
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes,
                            cudaMemcpyKind kind, cudaStream_t stream)
{
    return emulate_enqueue(stream, [=]() {
        emulate_activity activity(
            CUPTI_ACTIVITY_KIND_MEMCPY,
            kind == cudaMemcpyHostToDevice   ? CUPTI_ACTIVITY_MEMCPY_KIND_HTOD
            : kind == cudaMemcpyDeviceToHost ? CUPTI_ACTIVITY_MEMCPY_KIND_DTOH
                                             : CUPTI_ACTIVITY_MEMCPY_KIND_DTOD,
            NULL);

        memmove(to, from, bytes);
        return cudaSuccess;
    });
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes,
                            cudaStream_t stream)
{
    return emulate_enqueue(stream, [=]() {
        emulate_activity activity(CUPTI_ACTIVITY_KIND_MEMSET, 0, NULL);

        memset(memory, value, bytes);
        return cudaSuccess;
    });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    *stream = new emulate_stream;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    return forbidden();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned)
{
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = NULL;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t)
{
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t)
{
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t)
{
    return forbidden();
}
