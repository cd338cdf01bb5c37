/* cuda_runtime.h - stands in for CUDA's own, so that kernels run on the CPU.
 *
 * The kernels' sources are compiled against this header by the C++ compiler and
 * tested without a GPU. Blocks run one after the other. The threads of a block
 * are fibres, each of which runs until it waits for the others; their order is
 * shuffled by a seed, so that what relies on an order shows. Copies and kernels
 * are done when the call returns, unless they are captured into a graph. Fresh
 * device memory is full of NaNs. Functions that CUDA rounds worse than the C
 * library are as bad here. */
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static /* of the one block that runs */
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned nx = 1, unsigned ny = 1, unsigned nz = 1)
        : x(nx), y(ny), z(nz)
    {
    }
};

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

/* ---- what threads of a block do together ---- */

void __syncthreads();

/* Hands over `bytes` of a lane and gets those of lane `from` of the warp. */
void emulate_shuffle(void *value, size_t bytes, int from);
int emulate_lane();

static inline void __syncwarp(unsigned = 0xffffffff)
{
    int nothing = 0;

    emulate_shuffle(&nothing, sizeof(nothing), emulate_lane());
}

template <typename T> static inline T __shfl_sync(unsigned, T x, int from)
{
    emulate_shuffle(&x, sizeof(x), from % 32);
    return x;
}

template <typename T> static inline T __shfl_xor_sync(unsigned, T x, int with)
{
    emulate_shuffle(&x, sizeof(x), emulate_lane() ^ with);
    return x;
}

template <typename T> static inline T __shfl_down_sync(unsigned, T x, int by)
{
    int from = emulate_lane() + by;

    emulate_shuffle(&x, sizeof(x), from < 32 ? from : emulate_lane());
    return x;
}

template <typename T> static inline T atomicAdd(T *to, T x)
{
    T before = *to;

    *to = before + x;
    return before;
}

template <typename T> static inline T atomicMax(T *to, T x)
{
    T before = *to;

    *to = x > before ? x : before;
    return before;
}

template <typename T> static inline T atomicCAS(T *to, T expected, T x)
{
    T before = *to;

    if (before == expected)
        *to = x;
    return before;
}

static inline void __threadfence()
{
}

template <typename T> static inline T __ldg(const T *from)
{
    return *from;
}

/* ---- functions that CUDA has without a header ---- */

template <typename T> static inline T min(T a, T b)
{
    return b < a ? b : a;
}

template <typename T> static inline T max(T a, T b)
{
    return a < b ? b : a;
}

/* Up to two of the last places off, always alike; 0 and 1 stay. */
float emulate_off(float x);

static inline float emulate_expf(float x)
{
    return emulate_off(expf(x));
}

static inline float emulate_logf(float x)
{
    return emulate_off(logf(x));
}

static inline float emulate_log1pf(float x)
{
    return emulate_off(log1pf(x));
}

#define expf emulate_expf
#define logf emulate_logf
#define log1pf emulate_log1pf

static inline int __float2int_rn(float x)
{
    return (int)lrintf(x);
}

/* Without contraction to a fused multiply-add. */
static inline float __fmul_rn(float a, float b)
{
    volatile float product = a * b;

    return product;
}

static inline double __dmul_rn(double a, double b)
{
    volatile double product = a * b;

    return product;
}

static inline double __dadd_rn(double a, double b)
{
    volatile double sum = a + b;

    return sum;
}

static inline float __fdiv_rn(float a, float b)
{
    return a / b;
}

/* ---- the runtime ---- */

typedef enum {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
} cudaError_t;

typedef struct emulate_stream *cudaStream_t;
typedef struct emulate_event *cudaEvent_t;
typedef struct emulate_graph *cudaGraph_t;
typedef struct emulate_graph *cudaGraphExec_t;

typedef enum {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault,
} cudaMemcpyKind;

typedef enum {
    cudaStreamCaptureModeGlobal,
    cudaStreamCaptureModeThreadLocal,
} cudaStreamCaptureMode;

enum {
    cudaStreamNonBlocking = 1,
    cudaEventDisableTiming = 2,
};

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor, multiProcessorCount;
};

typedef struct {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
} cudaLaunchConfig_t;

const char *cudaGetErrorString(cudaError_t status);
const char *cudaGetErrorName(cudaError_t status);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *out, int device);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);

/* Full of NaNs if it is the device's. */
cudaError_t emulate_malloc(void **memory, size_t bytes, bool of_device);
template <typename T>
static inline cudaError_t cudaMalloc(T **memory, size_t bytes)
{
    return emulate_malloc((void **)memory, bytes, true);
}
template <typename T>
static inline cudaError_t cudaMallocHost(T **memory, size_t bytes)
{
    return emulate_malloc((void **)memory, bytes, false);
}
cudaError_t cudaFree(void *memory);
cudaError_t cudaFreeHost(void *memory);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes,
                            cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes,
                            cudaStream_t stream);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event,
                                unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);

cudaError_t cudaStreamBeginCapture(cudaStream_t stream,
                                   cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);

/* Every copy, kernel and library's call comes through here: it is done now, or,
 * while a graph is captured, by each launch of that. Ends the program where it
 * is on no stream: that would not wait for the others. */
cudaError_t emulate_enqueue(cudaStream_t stream,
                            const std::function<cudaError_t()> &work);

/* What is done while it lives is an activity for the stand-in for CUPTI, where
 * the device has opened that: of a kind of cupti.h; of a copy its kind, of a
 * kernel its symbol. */
struct emulate_activity {
    int kind, detail;
    const char *symbol;
    uint64_t began;
    emulate_activity(int kind, int detail, const char *symbol);
    ~emulate_activity();
};

/* Runs `work` once for every thread of the grid. */
cudaError_t emulate_launch(dim3 grid, dim3 block, void (*work)(void *),
                           void *task);

template <typename... P, typename... A>
static inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config,
                                             void (*kernel)(P...), A... args)
{
    dim3 grid = config->gridDim, block = config->blockDim;

    return emulate_enqueue(config->stream, [=]() {
        auto call = [=]() { kernel(args...); };

        return emulate_launch(
            grid, block, [](void *task) { (*(decltype(call) *)task)(); },
            (void *)&call);
    });
}
