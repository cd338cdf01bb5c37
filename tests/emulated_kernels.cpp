#include "kernels/cuda/cuda.h"

extern "C" {
#include "tests/emulated_kernels.h"
}

template <typename... P, typename... A>
static void run(void (*kernel)(P...), dim3 grid, dim3 block, A... args)
{
    cudaLaunchConfig_t config = {};

    config.gridDim = grid;
    config.blockDim = block;
    (void)cudaStreamCreateWithFlags(&config.stream, cudaStreamNonBlocking);
    (void)cudaLaunchKernelEx(&config, kernel, P(args)...);
    (void)cudaStreamDestroy(config.stream);
}

static __global__ void sum_kernel(double *to, const double *from)
{
    __shared__ double room[LD_CUDA_WARP];
    double sum = block_sum(from[threadIdx.x], room);

    if (threadIdx.x == 0)
        to[0] = sum;
    __syncthreads();
    if (sum == to[0])
        atomicAdd(to + 1, 1.0);
}

void tried_sum(double *to, const double *from)
{
    run(sum_kernel, dim3(1), dim3(TRIED_THREADS), to, from);
}

static __global__ void number_kernel(int *to)
{
    unsigned block =
        (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned thread =
        (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    unsigned i = block * blockDim.x * blockDim.y * blockDim.z + thread;

    to[i] = (int)i;
}

void tried_numbers(int *to)
{
    run(number_kernel, dim3(3, 2, 2), dim3(4, 2, 2), to);
}

static __global__ void deadlock_kernel()
{
    if (threadIdx.x % 2)
        __syncthreads();
    else
        (void)warp_sum(1);
}

void tried_deadlock()
{
    run(deadlock_kernel, dim3(1), dim3(64));
}

static __global__ void gone_kernel()
{
    if (threadIdx.x < 16)
        (void)warp_sum(1);
}

void tried_gone()
{
    run(gone_kernel, dim3(1), dim3(32));
}
