#include "kernels/cuda/pool.h"

#include "kernels/cuda/lanes.h"

/* Every window has stride 2. A window reads its numbers from the cache but
 * once, so that forward moves about the bytes of x and y, and backward those of
 * dy (and `from`) and dx. */
static struct ld_shape pooled(struct ld_shape in)
{
    return {in.N, in.C, (in.H - 1) / 2 + 1, (in.W - 1) / 2 + 1};
}

/* ---- max pool 3x3, pad 1 ---- */

struct alignas(LD_CUDA_LANES) winners {
    uint8_t v[LD_CUDA_LANES];
};

/* As torch, the first of equals wins and a NaN beats all. */
static __device__ void take_larger(octet *best, struct winners *won,
                                   const octet &x, int k)
{
    for (int c = 0; c < LD_CUDA_LANES; c++)
        if (x.v[c] > best->v[c] || x.v[c] != x.v[c]) {
            best->v[c] = x.v[c];
            won->v[c] = (uint8_t)k;
        }
}

template <typename T>
static __global__ void maxpool_kernel(T *y, uint8_t *from, const T *x,
                                      struct ld_shape in, struct ld_shape out,
                                      unsigned n)
{
    size_t i = ld_cuda_item();

    if (i >= n)
        return;
    struct spot s = spot_of((unsigned)i, out);
    struct winners won;
    octet best;
    for (int c = 0; c < LD_CUDA_LANES; c++) {
        best.v[c] = -INFINITY;
        won.v[c] = (uint8_t)((s.h == 0) * 3 + (s.w == 0));
    }
    for (int k = 0; k < 9; k++) {
        int h = 2 * s.h - 1 + k / 3, w = 2 * s.w - 1 + k % 3;

        if (h >= 0 && h < in.H && w >= 0 && w < in.W)
            take_larger(&best, &won,
                        read_octet(x + number_at(in, s.n, h, w, s.c)), k);
    }
    write_octet(y + i * LD_CUDA_LANES, best);
    if (from)
        *(struct winners *)(from + i * LD_CUDA_LANES) = won;
}

void ld_cuda_maxpool_forward(struct ld_device *dev, float *y, uint8_t *from,
                             const float *x, struct ld_shape in)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    struct ld_shape out = pooled(in);
    unsigned n = octets_of(out);

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, maxpool_kernel<T>, n, (T *)y, from, (const T *)x, in,
                    out, n);
    });
}

/* dx at a place: the dy of those of its up to four windows that it won. */
template <typename T>
static __global__ void
maxpool_backward_kernel(T *dx, const T *dy, const uint8_t *from,
                        struct ld_shape in, struct ld_shape out, unsigned n)
{
    size_t i = ld_cuda_item();

    if (i >= n)
        return;
    struct spot s = spot_of((unsigned)i, in);
    octet sum = {};
    for (int k = 0; k < 4; k++) {
        int h = s.h / 2 + k / 2, w = s.w / 2 + k % 2;
        int tap = (s.h + 1 - 2 * h) * 3 + s.w + 1 - 2 * w;

        if (h > (s.h + 1) / 2 || w > (s.w + 1) / 2 || h >= out.H || w >= out.W)
            continue;
        size_t at = number_at(out, s.n, h, w, s.c);
        octet slope = read_octet(dy + at);
        struct winners won = *(const struct winners *)(from + at);
        for (int c = 0; c < LD_CUDA_LANES; c++)
            sum.v[c] += won.v[c] == tap ? slope.v[c] : 0;
    }
    write_octet(dx + i * LD_CUDA_LANES, sum);
}

void ld_cuda_maxpool_backward(struct ld_device *dev, float *dx, const float *dy,
                              const uint8_t *from, struct ld_shape in)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    unsigned n = octets_of(in);

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, maxpool_backward_kernel<T>, n, (T *)dx, (const T *)dy,
                    from, in, pooled(in), n);
    });
}

/* ---- means ---- */

/* Indices [first, end) along one side. */
struct range {
    int first, end;
};

static __device__ int pad_of(int kernel)
{
    return (kernel - 1) / 2;
}

/* What window i covers of a side. */
static __device__ struct range covered(int i, int kernel, int side)
{
    int first = 2 * i - pad_of(kernel);

    return {max(first, 0), min(first + kernel, side)};
}

/* The windows, of out_side, that cover i. */
static __device__ struct range covering(int i, int kernel, int out_side)
{
    return {i / 2, min((i + pad_of(kernel)) / 2 + 1, out_side)};
}

/* What a window divides by. */
static __device__ float share_of(struct range rows, struct range columns,
                                 int kernel)
{
    if (pad_of(kernel) > 0)
        return (float)(kernel * kernel);
    return (float)((rows.end - rows.first) * (columns.end - columns.first));
}

template <typename T>
static __global__ void avgpool_kernel(T *y, const T *x, struct ld_shape in,
                                      struct ld_shape out, int kernel,
                                      unsigned n)
{
    size_t i = ld_cuda_item();

    if (i >= n)
        return;
    struct spot s = spot_of((unsigned)i, out);
    struct range rows = covered(s.h, kernel, in.H);
    struct range columns = covered(s.w, kernel, in.W);
    octet sum = {};
    for (int h = rows.first; h < rows.end; h++)
        for (int w = columns.first; w < columns.end; w++) {
            octet value = read_octet(x + number_at(in, s.n, h, w, s.c));

            for (int c = 0; c < LD_CUDA_LANES; c++)
                sum.v[c] += value.v[c];
        }
    for (int c = 0; c < LD_CUDA_LANES; c++)
        sum.v[c] /= share_of(rows, columns, kernel);
    write_octet(y + i * LD_CUDA_LANES, sum);
}

void ld_cuda_avgpool_forward(struct ld_device *dev, float *y, const float *x,
                             struct ld_shape in, int kernel)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    unsigned n = octets_of(pooled(in));

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, avgpool_kernel<T>, n, (T *)y, (const T *)x, in,
                    pooled(in), kernel, n);
    });
}

template <typename T>
static __global__ void
avgpool_backward_kernel(T *dx, const T *dy, struct ld_shape in,
                        struct ld_shape out, int kernel, unsigned n)
{
    size_t i = ld_cuda_item();

    if (i >= n)
        return;
    struct spot s = spot_of((unsigned)i, in);
    struct range rows = covering(s.h, kernel, out.H);
    struct range columns = covering(s.w, kernel, out.W);
    octet sum = {};
    for (int h = rows.first; h < rows.end; h++)
        for (int w = columns.first; w < columns.end; w++) {
            octet slope = read_octet(dy + number_at(out, s.n, h, w, s.c));
            float share = share_of(covered(h, kernel, in.H),
                                   covered(w, kernel, in.W), kernel);

            for (int c = 0; c < LD_CUDA_LANES; c++)
                sum.v[c] += slope.v[c] / share;
        }
    write_octet(dx + i * LD_CUDA_LANES, sum);
}

void ld_cuda_avgpool_backward(struct ld_device *dev, float *dx, const float *dy,
                              struct ld_shape in, int kernel)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    unsigned n = octets_of(in);

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, avgpool_backward_kernel<T>, n, (T *)dx, (const T *)dy,
                    in, pooled(in), kernel, n);
    });
}
