#include "kernels/cuda/sum_cuda.h"

static __global__ void sum_kernel(double *sum, const double *partial, int n)
{
    __shared__ double room[LD_CUDA_WARP];
    double x = 0;

    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x)
        x += partial[i];
    x = block_sum(x, room);
    if (threadIdx.x == 0)
        *sum = x;
}

void ld_cuda_sum(struct ld_cuda *cuda, double *sum, const double *partial,
                 int n)
{
    launch(cuda, sum_kernel, dim3(1), LD_CUDA_BLOCK, sum, partial, n);
}
