#include "kernels/cuda/fold.h"

static __global__ void fold_kernel(float *scale, float *shift, struct ld_bn bn,
                                   int C)
{
    int c = (int)ld_cuda_item();

    if (c >= C)
        return;
    scale[c] = bn.gamma[c] / sqrtf(bn.var[c] + bn.eps);
    shift[c] = bn.beta[c] - bn.mean[c] * scale[c];
}

void ld_cuda_bn_fold(struct ld_device *dev, float *scale, float *shift,
                     const struct ld_bn *bn, int C)
{
    launch_flat(ld_cuda_of(dev), fold_kernel, (size_t)C, scale, shift, *bn, C);
}

/* A block for each row of n weights. */
static __global__ void unfold_kernel(float *dweight, const float *dfolded,
                                     const float *dshift, const float *weight,
                                     struct ld_bn bn, int n)
{
    __shared__ double room[LD_CUDA_WARP];
    size_t o = blockIdx.x, row = o * (size_t)n;
    float s = sqrtf(bn.var[o] + bn.eps), scale = bn.gamma[o] / s;
    double dot = 0;

    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) {
        dot += (double)dfolded[row + i] * (double)weight[row + i];
        dweight[row + i] += dfolded[row + i] * scale;
    }
    dot = block_sum(dot, room);
    if (threadIdx.x != 0)
        return;
    if (bn.dgamma)
        bn.dgamma[o] +=
            (float)((dot - (double)bn.mean[o] * (double)dshift[o]) / (double)s);
    if (bn.dbeta)
        bn.dbeta[o] += dshift[o];
}

void ld_cuda_bn_unfold(struct ld_device *dev, float *dweight,
                       const float *dfolded, const float *dshift,
                       const float *weight, const struct ld_bn *bn, int O,
                       int n)
{
    launch(ld_cuda_of(dev), unfold_kernel, dim3((unsigned)O), LD_CUDA_BLOCK,
           dweight, dfolded, dshift, weight, *bn, n);
}
