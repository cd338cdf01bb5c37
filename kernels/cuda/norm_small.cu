#include "kernels/cuda/norm_small.h"

enum {
    HELD = 4, /* places of a thread */
    PLACES = HELD * (int)LD_CUDA_BLOCK,
    SUMS = 2 * (int)LD_CUDA_LANES,
    WARPS = (int)LD_CUDA_BLOCK / (int)LD_CUDA_WARP,
};

bool ld_cuda_norm_is_small(const struct norm *a)
{
    return a->sets > 0 && a->size == LD_CUDA_LANES &&
           a->shape.H * a->shape.W <= PLACES;
}

/* Where the thread's place k of block `i`, a group of an image, is in the map;
 * false: there is no such place. */
static __device__ __forceinline__ bool place_at(const struct norm &a, int k,
                                                size_t *at)
{
    int places = a.shape.H * a.shape.W, set = (int)blockIdx.x;
    int place = (int)threadIdx.x + k * LD_CUDA_BLOCK;
    size_t row = (size_t)(set / a.sets) * (size_t)places + (size_t)place;

    *at = row * (size_t)a.shape.C + (size_t)(set % a.sets * a.size);
    return place < places;
}

/* ---- forward ---- */

template <typename T>
static __global__ void small_forward_kernel(T *y, const T *x, struct norm a)
{
    __shared__ double room[LD_CUDA_WARP];
    octet held[HELD];
    float sum = 0, squares = 0;
    double count = (double)a.shape.H * a.shape.W * a.size;
    size_t at;

    for (int k = 0; k < HELD; k++)
        if (place_at(a, k, &at)) {
            held[k] = read_octet(x + at);
            for (int c = 0; c < LD_CUDA_LANES; c++)
                sum += held[k].v[c];
        }
    double mean = block_sum((double)sum, room) / count;
    for (int k = 0; k < HELD; k++)
        for (int c = 0; place_at(a, k, &at) && c < LD_CUDA_LANES; c++) {
            float gap = held[k].v[c] - (float)mean;

            squares += gap * gap;
        }
    double variance = block_sum((double)squares, room) / count;
    /* Every thread's own copy: the one in memory may not be there yet. */
    struct pair stats = {(float)mean,
                         (float)(1 / sqrt(variance + (double)a.eps))};
    if (threadIdx.x == 0)
        a.stats[blockIdx.x] = stats;
    int first = (int)blockIdx.x % a.sets * a.size;
    for (int k = 0; k < HELD; k++)
        if (place_at(a, k, &at)) {
            for (int c = 0; c < LD_CUDA_LANES; c++) {
                float value =
                    (held[k].v[c] - stats.a) * (stats.b * a.gamma[first + c]) +
                    a.beta[first + c];

                held[k].v[c] = value < 0 ? 0 : value; /* a NaN stays one */
            }
            write_octet(y + at, held[k]);
        }
}

void ld_cuda_norm_small_forward(struct ld_cuda *cuda, float *y, const float *x,
                                const struct norm *a)
{
    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch(cuda, small_forward_kernel<T>,
               dim3((unsigned)(a->shape.N * a->sets)), LD_CUDA_BLOCK, (T *)y,
               (const T *)x, *a);
    });
}

/* ---- backward ---- */

/* The block's sums of each of SUMS numbers, in `total`, in a fixed order. */
static __device__ void sum_all(float total[SUMS], float part[WARPS][SUMS],
                               const float mine[SUMS])
{
    int warp = (int)threadIdx.x / LD_CUDA_WARP;

    for (int i = 0; i < SUMS; i++) {
        float sum = warp_sum(mine[i]);

        if (threadIdx.x % LD_CUDA_WARP == 0)
            part[warp][i] = sum;
    }
    __syncthreads();
    if (threadIdx.x < SUMS) {
        float sum = 0;

        for (int w = 0; w < WARPS; w++)
            sum += part[w][threadIdx.x];
        total[threadIdx.x] = sum;
    }
    __syncthreads();
}

/* Of x - mean, and constant, from the channels' sums of g and g (x - mean). */
static __device__ struct pair slopes_of(const struct norm &a, float r,
                                        const float total[SUMS])
{
    int first = (int)blockIdx.x % a.sets * a.size;
    float count = (float)(a.shape.H * a.shape.W * a.size), g = 0, gx = 0;

    for (int c = 0; c < LD_CUDA_LANES; c++) {
        g += a.gamma[first + c] * total[c];
        gx += a.gamma[first + c] * total[LD_CUDA_LANES + c];
    }
    return {-r * r * r * gx / count, -r * g / count};
}

template <typename T>
static __global__ void small_backward_kernel(T *dx, const T *dy, const T *x,
                                             struct norm a)
{
    __shared__ float part[WARPS][SUMS], total[SUMS];
    octet held[HELD], slope[HELD];
    float mine[SUMS] = {};
    int n = (int)blockIdx.x / a.sets, first = (int)blockIdx.x % a.sets * a.size;
    struct straight l = straight_of(a, n, first);
    size_t at;

    for (int k = 0; k < HELD; k++)
        if (place_at(a, k, &at)) {
            held[k] = read_octet(x + at);
            slope[k] = read_octet(dy + at);
            for (int c = 0; c < LD_CUDA_LANES; c++) {
                held[k].v[c] -= l.mean.v[c];
                if (!(held[k].v[c] * l.scale.v[c] + l.beta.v[c] > 0))
                    slope[k].v[c] = 0;
                mine[c] += slope[k].v[c];
                mine[LD_CUDA_LANES + c] += slope[k].v[c] * held[k].v[c];
            }
        }
    sum_all(total, part, mine);
    if (threadIdx.x < LD_CUDA_LANES)
        a.parts[n * a.shape.C + first + (int)threadIdx.x] = {
            total[threadIdx.x], total[LD_CUDA_LANES + threadIdx.x]};
    struct pair by = slopes_of(a, a.stats[blockIdx.x].b, total);
    for (int k = 0; k < HELD; k++)
        if (place_at(a, k, &at)) {
            for (int c = 0; c < LD_CUDA_LANES; c++)
                slope[k].v[c] =
                    slope[k].v[c] * l.scale.v[c] + held[k].v[c] * by.a + by.b;
            write_octet(dx + at, slope[k]);
        }
}

void ld_cuda_norm_small_backward(struct ld_cuda *cuda, float *dx,
                                 const float *dy, const float *x,
                                 const struct norm *a)
{
    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch(cuda, small_backward_kernel<T>,
               dim3((unsigned)(a->shape.N * a->sets)), LD_CUDA_BLOCK, (T *)dx,
               (const T *)dy, (const T *)x, *a);
    });
}
