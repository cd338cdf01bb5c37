#include "kernels/cuda/feature_cuda.h"

#include "kernels/cuda/sum_cuda.h"

enum { WARPS = (int)LD_CUDA_BLOCK / (int)LD_CUDA_WARP, MAX_BLOCKS = 1024 };

/* Writes the gradient of a place; gives this lane's part of
 * |student - teacher|^2. */
template <typename T>
static __device__ double place_loss(T *dmap, const T *map, const float *teacher,
                                    float weight, int C)
{
    float sum = 0;

    for (int c = (int)threadIdx.x % LD_CUDA_WARP; c < C; c += LD_CUDA_WARP) {
        float difference = to_float(map[c]) - teacher[c];

        sum += difference * difference;
        dmap[c] = to_number<T>(2 * weight * difference);
    }
    return (double)sum;
}

/* A warp a place; a number a block. */
template <typename T>
static __global__ void places_kernel(double *partial, T *dmap, const T *map,
                                     const struct ld_feature_rows rows)
{
    __shared__ double room[LD_CUDA_WARP];
    int warp = (int)(ld_cuda_item() / LD_CUDA_WARP);
    size_t C = (size_t)rows.shape.C, padded = ld_cuda_padded(rows.shape.C);
    double sum = 0;

    for (int i = warp; i < rows.n; i += (int)gridDim.x * WARPS) {
        size_t at = (size_t)rows.place[i] * padded;

        sum += (double)rows.weight[i] * place_loss(dmap + at, map + at,
                                                   rows.teacher + (size_t)i * C,
                                                   rows.weight[i], (int)C);
    }
    sum = block_sum(sum, room);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

void ld_cuda_feature_loss(struct ld_device *dev, double *sum, float *dmap,
                          const float *map, const struct ld_feature_rows *rows)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    double *partial = (double *)cuda->workspace;
    int n = (rows->n + WARPS - 1) / WARPS;

    n = n < MAX_BLOCKS ? n : MAX_BLOCKS;
    dev->ops->zero(dev, dmap, dev->ops->map_bytes(dev, rows->shape));
    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);

        launch(cuda, places_kernel<T>, dim3((unsigned)n), LD_CUDA_BLOCK,
               partial, (T *)dmap, (const T *)map, *rows);
    });
    ld_cuda_sum(cuda, sum, partial, n);
}
