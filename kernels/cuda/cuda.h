/* cuda.h - the CUDA device, and what its kernels share: numbers, launches,
 * maps.
 *
 * A map lies in NHWC order, its channels padded to a multiple of LD_CUDA_LANES,
 * in the numbers of the device's precision: float (fp32, tf32) or bf16. All
 * work goes to one stream; no math call waits for it. */
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

extern "C" {
#include "kernels/ops.h"
}

typedef __nv_bfloat16 bf16;

enum {
    LD_CUDA_LANES = 8,   /* channels of a map that are worked on together */
    LD_CUDA_BLOCK = 256, /* threads of a flat launch */
    LD_CUDA_WARP = 32,
    LD_CUDA_MAX_GRID = 1 << 30,
    LD_CUDA_WORKSPACE = 8 << 20,
};

struct ld_cuda_math;    /* matrix products and convolutions: product.h */
struct ld_cuda_staging; /* the host's bytes on their way: memory.h */
struct ld_cuda_alarm;   /* what went wrong on the device: memory.h */

struct ld_cuda {
    struct ld_device device; /* first: a struct ld_device * is one of these */
    enum ld_precision precision; /* fp32, tf32 or bf16 */
    cudaStream_t stream;
    struct ld_cuda_math *math;
    struct ld_cuda_staging *staging;
    struct ld_cuda_alarm *alarm; /* on the device */
    void *workspace;     /* LD_CUDA_WORKSPACE bytes on the device: of one
                            call of the table, while its kernels run */
    struct ld_err fault; /* the first of the host's calls that failed */
    int n_processors;
};

static inline struct ld_cuda *ld_cuda_of(struct ld_device *dev)
{
    return (struct ld_cuda *)dev;
}

static inline bool ld_cuda_is_bf16(const struct ld_cuda *cuda)
{
    return cuda->precision == LD_PRECISION_BF16;
}

/* Keeps the first failure, with what was being done, until sync(). */
void ld_cuda_keep(struct ld_cuda *cuda, cudaError_t status, const char *doing);

/* ---- numbers ---- */

static __host__ __device__ __forceinline__ float to_float(float x)
{
    return x;
}

static __host__ __device__ __forceinline__ float to_float(bf16 x)
{
    return __bfloat162float(x);
}

/* Rounds to the nearest number of a map. */
template <typename T> __host__ __device__ __forceinline__ T to_number(float x);

template <> __host__ __device__ __forceinline__ float to_number<float>(float x)
{
    return x;
}

template <> __host__ __device__ __forceinline__ bf16 to_number<bf16>(float x)
{
    return __float2bfloat16(x);
}

/* Neighbouring channels, read and written at once. */
template <typename T> struct alignas(sizeof(T) * LD_CUDA_LANES) lanes {
    T v[LD_CUDA_LANES];
};

/* ---- maps ---- */

static __host__ __device__ __forceinline__ int ld_cuda_padded(int C)
{
    return (C + LD_CUDA_LANES - 1) / LD_CUDA_LANES * LD_CUDA_LANES;
}

/* Numbers of a map, its padding channels included. */
static __host__ __device__ __forceinline__ size_t
ld_cuda_values(struct ld_shape s)
{
    return (size_t)s.N * (size_t)s.H * (size_t)s.W *
           (size_t)ld_cuda_padded(s.C);
}

/* ---- launches ---- */

/* kernel<<<grid, block>>>(args...) on the device's stream; nothing if the grid
 * is empty. */
template <typename... P, typename... A>
inline void launch(struct ld_cuda *cuda, void (*kernel)(P...), dim3 grid,
                   int block, A... args)
{
    cudaLaunchConfig_t config = {};

    if (grid.x == 0 || grid.y == 0 || grid.z == 0)
        return;
    config.gridDim = grid;
    config.blockDim = dim3((unsigned)block);
    config.stream = cuda->stream;
    ld_cuda_keep(cuda, cudaLaunchKernelEx(&config, kernel, P(args)...),
                 "starting a kernel");
}

/* One thread for each of `count` items: a kernel asks ld_cuda_item() for its
 * own. */
template <typename... P, typename... A>
inline void launch_flat(struct ld_cuda *cuda, void (*kernel)(P...),
                        size_t count, A... args)
{
    size_t blocks = (count + LD_CUDA_BLOCK - 1) / LD_CUDA_BLOCK;

    launch(cuda, kernel, dim3((unsigned)blocks), LD_CUDA_BLOCK, args...);
}

__device__ __forceinline__ size_t ld_cuda_item()
{
    return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}

/* Calls work(T()) with the number type of the device's maps: the host's side of
 * a kernel template is then
 *     with_numbers(cuda, [&](auto zero) {
 *         using T = decltype(zero);
 *         launch_flat(cuda, some_kernel<T>, n, (T *)y, (const T *)x, n);
 *     }); */
template <typename F> inline void with_numbers(struct ld_cuda *cuda, F work)
{
    if (ld_cuda_is_bf16(cuda))
        work(bf16());
    else
        work(0.0F);
}

/* ---- sums ---- */

/* The sum over a warp, in every lane. */
template <typename T> __device__ __forceinline__ T warp_sum(T x)
{
    for (int lane = LD_CUDA_WARP / 2; lane > 0; lane /= 2)
        x += __shfl_xor_sync(0xffffffff, x, lane);
    return x;
}

/* The sum over a block of a multiple of 32 threads, at most 1024, in every
 * thread, in a fixed order. All threads call it; `room` is shared memory of
 * LD_CUDA_WARP numbers that nothing else uses. */
template <typename T> __device__ T block_sum(T x, T *room)
{
    int warp = (int)threadIdx.x / LD_CUDA_WARP;
    int n_warps = (int)blockDim.x / LD_CUDA_WARP;

    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % LD_CUDA_WARP == 0)
        room[warp] = x;
    __syncthreads();
    x = 0;
    for (int i = 0; i < n_warps; i++)
        x += room[i];
    return x;
}
