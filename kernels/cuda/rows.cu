#include "kernels/cuda/rows.h"

#include "kernels/cuda/lanes.h"

/* Blocks of backward, each with a part of dscale. */
enum { MOST_PARTS = 1024 };

/* Number of the rows at which location `place` of the level begins, counted
 * over the images. */
static __device__ size_t row_at(const struct ld_rows &r, unsigned place)
{
    unsigned level = (unsigned)r.shape.H * (unsigned)r.shape.W;
    size_t row = (size_t)(place / level) * (unsigned)r.A + (unsigned)r.start +
                 place % level;

    return row * (unsigned)r.shape.C;
}

/* A thread for each number of the rows: they are written in runs, 4 bytes for
 * the 2 or 4 that are read. */
template <typename T>
static __global__ void rows_kernel(float *rows, const T *map, struct ld_rows r,
                                   unsigned n)
{
    size_t i = ld_cuda_item();

    if (i >= n)
        return;
    unsigned place = (unsigned)i / (unsigned)r.shape.C;
    unsigned c = (unsigned)i % (unsigned)r.shape.C;
    float x = to_float(map[(size_t)place * ld_cuda_padded(r.shape.C) + c]);
    rows[row_at(r, place) + c] = (r.scale ? *r.scale : 1) * x;
}

static unsigned places_of(const struct ld_rows *r)
{
    return (unsigned)r->shape.N * (unsigned)r->shape.H * (unsigned)r->shape.W;
}

void ld_cuda_rows_forward(struct ld_device *dev, float *rows, const float *map,
                          const struct ld_rows *r)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    unsigned n = places_of(r) * (unsigned)r->shape.C;

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, rows_kernel<T>, n, rows, (const T *)map, *r, n);
    });
}

/* Writes group i of dmap; returns its part of <drows, map>. */
template <typename T>
static __device__ float rows_back(T *dmap, const float *drows, const T *map,
                                  const struct ld_rows &r, unsigned i)
{
    unsigned groups = (unsigned)ld_cuda_padded(r.shape.C) / LD_CUDA_LANES;
    int first = (int)(i % groups) * LD_CUDA_LANES;
    const float *drow = drows + row_at(r, i / groups) + first;
    float scale = r.scale ? *r.scale : 1, sum = 0;
    octet slope = {}, x = {};

    if (r.dscale)
        x = read_octet(map + (size_t)i * LD_CUDA_LANES);
    for (int c = 0; c < LD_CUDA_LANES; c++)
        if (first + c < r.shape.C) {
            sum += drow[c] * x.v[c];
            slope.v[c] = scale * drow[c];
        }
    write_octet(dmap + (size_t)i * LD_CUDA_LANES, slope);
    return sum;
}

template <typename T>
static __global__ void rows_backward_kernel(T *dmap, double *part,
                                            const float *drows, const T *map,
                                            struct ld_rows r, unsigned n)
{
    __shared__ double room[LD_CUDA_WARP];
    double sum = 0;

    for (size_t i = ld_cuda_item(); i < n; i += (size_t)gridDim.x * blockDim.x)
        sum += (double)rows_back(dmap, drows, map, r, (unsigned)i);
    if (!r.dscale)
        return;
    sum = block_sum(sum, room);
    if (threadIdx.x == 0)
        part[blockIdx.x] = sum;
}

static __global__ void dscale_kernel(float *dscale, const double *part, int n)
{
    __shared__ double room[LD_CUDA_WARP];
    double sum = 0;

    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x)
        sum += part[i];
    sum = block_sum(sum, room);
    if (threadIdx.x == 0)
        *dscale += (float)sum;
}

void ld_cuda_rows_backward(struct ld_device *dev, float *dmap,
                           const float *drows, const float *map,
                           const struct ld_rows *r)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    unsigned n = octets_of(r->shape);
    unsigned blocks = (n + LD_CUDA_BLOCK - 1) / LD_CUDA_BLOCK;
    unsigned parts = blocks < MOST_PARTS ? blocks : MOST_PARTS;
    double *part = (double *)cuda->workspace;

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch(cuda, rows_backward_kernel<T>, dim3(parts), LD_CUDA_BLOCK,
               (T *)dmap, part, drows, (const T *)map, *r, n);
    });
    if (r->dscale)
        launch(cuda, dscale_kernel, dim3(1), LD_CUDA_BLOCK, r->dscale, part,
               (int)parts);
}

/* ---- picking ---- */

static __global__ void rows_gather_kernel(float *out, const float *rows,
                                          const int32_t *index, unsigned width,
                                          unsigned n)
{
    size_t i = ld_cuda_item();

    if (i < n)
        out[i] = rows[(size_t)index[(unsigned)i / width] * width +
                      (unsigned)i % width];
}

void ld_cuda_rows_gather(struct ld_device *dev, float *out, const float *rows,
                         const int32_t *index, int n, int width)
{
    unsigned count = (unsigned)n * (unsigned)width;

    launch_flat(ld_cuda_of(dev), rows_gather_kernel, count, out, rows, index,
                (unsigned)width, count);
}

template <typename T>
static __global__ void map_gather_kernel(float *out, const T *map,
                                         struct ld_shape shape,
                                         const int32_t *place, unsigned n)
{
    size_t i = ld_cuda_item();
    unsigned C = (unsigned)shape.C;

    if (i < n)
        out[i] = to_float(
            map[(size_t)place[(unsigned)i / C] * ld_cuda_padded(shape.C) +
                (unsigned)i % C]);
}

void ld_cuda_map_gather(struct ld_device *dev, float *out, const float *map,
                        struct ld_shape shape, const int32_t *place, int n)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    unsigned count = (unsigned)n * (unsigned)shape.C;

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, map_gather_kernel<T>, count, out, (const T *)map,
                    shape, place, count);
    });
}
