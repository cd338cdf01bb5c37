#include "kernels/cuda/sample.h"

#include "kernels/cuda/memory.h"

/* V neighbouring channels. */
template <typename T, int V> struct alignas(sizeof(T) * V) some {
    T v[V];
};

size_t ld_cuda_samples(const struct ld_cuda_sampling *s)
{
    return (size_t)s->filter.taps * s->deform_groups;
}

/* Whether eight neighbouring channels always follow the same offsets. */
static bool in_lanes(const struct ld_cuda_sampling *s)
{
    return s->deform_groups == 1 ||
           s->filter.desc.in.C / s->deform_groups % LD_CUDA_LANES == 0;
}

static __device__ int padded_C(const struct ld_cuda_sampling &s)
{
    return s.filter.group_C * s.filter.groups;
}

/* Where channel c of tap `tap` stands in a column. */
static __device__ size_t place_in_column(const struct ld_cuda_filter &f, int c,
                                         int tap)
{
    return (size_t)(c / f.group_C * f.taps + tap) * f.group_C + c % f.group_C;
}

/* ---- where a tap reads ---- */

/* A tap: its neighbours, their weights and the weights' derivatives; without
 * the factor. */
struct tap {
    int32_t at[4];
    float weight[4], by_y[4], by_x[4];
};

/* Position (y, x) on image n. A NaN there must not end as a plain zero. */
static __device__ void set_tap(const struct ld_shape &in, struct tap *t,
                               size_t n, float y, float x)
{
    bool inside = y > -1 && x > -1 && y < (float)in.H && x < (float)in.W;
    float none = y + x != y + x ? NAN : 0.0F;
    float row = inside ? floorf(y) : 0, column = inside ? floorf(x) : 0;
    float part_y = y - row, part_x = x - column;

    for (int q = 0; q < 4; q++) {
        int h = (int)row + q / 2, w = (int)column + q % 2;
        bool real = inside && h >= 0 && h < in.H && w >= 0 && w < in.W;
        float by_h = q / 2 ? part_y : 1 - part_y;
        float by_w = q % 2 ? part_x : 1 - part_x;

        t->at[q] = real ? (int32_t)((n * in.H + h) * in.W + w) : 0;
        t->weight[q] = real ? by_h * by_w : none;
        t->by_y[q] = real ? (q / 2 ? by_w : -by_w) : none;
        t->by_x[q] = real ? (q % 2 ? by_h : -by_h) : none;
    }
}

/* Tap i of an output pixel; returns its factor, 1 in v1. */
template <typename T>
static __device__ float find_tap(const struct ld_cuda_sampling &s,
                                 struct tap *t, const T *offset, size_t pixel,
                                 int i)
{
    const struct ld_cuda_filter &f = s.filter;
    const struct ld_conv_desc &d = f.desc;
    const T *of_pixel = offset + pixel * ld_cuda_padded(s.offsets.C);
    int column = (int)(pixel % f.out.W), row = (int)(pixel / f.out.W % f.out.H);
    int k = i % f.taps, logits = 2 * f.taps * s.deform_groups;
    int h = row * d.stride - d.pad + k / d.kernel * d.dilation;
    int w = column * d.stride - d.pad + k % d.kernel * d.dilation;

    set_tap(d.in, t, pixel / f.out.W / f.out.H,
            (float)h + to_float(of_pixel[2 * i]),
            (float)w + to_float(of_pixel[2 * i + 1]));
    return s.modulated ? 1 / (1 + expf(-to_float(of_pixel[logits + i]))) : 1;
}

template <typename T>
static __global__ void find_kernel(struct ld_cuda_sample *samples,
                                   const T *offset, size_t first, size_t n,
                                   struct ld_cuda_sampling s)
{
    size_t i = ld_cuda_item(), of_pixel = s.filter.taps * s.deform_groups;
    struct ld_cuda_sample sample;
    struct tap t;
    float factor;

    if (i >= n * of_pixel)
        return;
    factor = find_tap(s, &t, offset, first + i / of_pixel, (int)(i % of_pixel));
    for (int q = 0; q < 4; q++) {
        sample.at[q] = t.at[q];
        sample.weight[q] = t.weight[q] * factor;
    }
    samples[i] = sample;
}

void ld_cuda_sample_find(struct ld_cuda *cuda, const struct ld_cuda_sampling *s,
                         struct ld_cuda_sample *samples, const void *offset,
                         size_t first, size_t n)
{
    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, find_kernel<T>, n * ld_cuda_samples(s), samples,
                    (const T *)offset, first, n, *s);
    });
}

/* ---- reading there ---- */

/* A thread has V channels of a tap of a pixel. */
template <typename T, int V>
static __global__ void columns_kernel(T *columns, const T *x,
                                      const struct ld_cuda_sample *samples,
                                      size_t n, struct ld_cuda_sampling s)
{
    const struct ld_cuda_filter &f = s.filter;
    int C = padded_C(s), share = f.desc.in.C / s.deform_groups;
    size_t i = ld_cuda_item(), pixel = i / (C / V) / f.taps;
    int c = (int)(i % (C / V)) * V, tap = (int)(i / (C / V) % f.taps);
    some<T, V> to;
    float sum[V] = {};

    if (pixel >= n)
        return;
    if (c < f.desc.in.C) {
        struct ld_cuda_sample sample =
            samples[(pixel * s.deform_groups + c / share) * f.taps + tap];

        for (int q = 0; q < 4; q++) {
            some<T, V> from =
                *(const some<T, V> *)&x[(size_t)sample.at[q] * C + c];

            for (int j = 0; j < V; j++)
                sum[j] += sample.weight[q] * to_float(from.v[j]);
        }
    }
    for (int j = 0; j < V; j++)
        to.v[j] = to_number<T>(sum[j]);
    *(some<T, V> *)&columns[pixel * f.row + place_in_column(f, c, tap)] = to;
}

void ld_cuda_sample_columns(struct ld_cuda *cuda,
                            const struct ld_cuda_sampling *s, void *columns,
                            const void *x, const struct ld_cuda_sample *samples,
                            size_t n)
{
    size_t count = n * s->filter.row;

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        if (in_lanes(s))
            launch_flat(cuda, columns_kernel<T, LD_CUDA_LANES>,
                        count / LD_CUDA_LANES, (T *)columns, (const T *)x,
                        samples, n, *s);
        else
            launch_flat(cuda, columns_kernel<T, 1>, count, (T *)columns,
                        (const T *)x, samples, n, *s);
    });
}

/* ---- back ---- */

/* A warp has a tap of a pixel, its lanes the channels. */
template <typename T> struct back {
    T *doffset;
    unsigned long long *dx;
    size_t x_pixel;
    struct ld_cuda_fixed *fixed;
    const T *dcolumns, *x, *offset;
    const struct ld_cuda_sample *samples;
    size_t first, n;
};

static __device__ void add_fixed(unsigned long long *to, float value,
                                 float scale, struct ld_cuda_fixed *fixed)
{
    if (value - value != 0)
        fixed->poisoned = 1;
    else
        atomicAdd(to, (unsigned long long)llrintf(value * scale));
}

/* V channels, from c on: their part of <dcolumn, neighbour q>, and what they
 * add to dx. */
template <typename T, int V>
static __device__ void
take_channels(const struct back<T> &b, const struct ld_cuda_sample &sample,
              const T *dcolumn, int c, int C, float product[4])
{
    some<T, V> d = *(const some<T, V> *)dcolumn;

    for (int q = 0; q < 4; q++) {
        size_t at = (size_t)sample.at[q];
        some<T, V> x = *(const some<T, V> *)&b.x[at * C + c];

        for (int j = 0; j < V; j++)
            product[q] += to_float(d.v[j]) * to_float(x.v[j]);
        if (!b.dx || sample.weight[q] == 0)
            continue;
        for (int j = 0; j < V; j++)
            add_fixed(&b.dx[(at - b.x_pixel) * C + c + j],
                      sample.weight[q] * to_float(d.v[j]), b.fixed->scale,
                      b.fixed);
    }
}

template <typename T>
static __device__ void set_offsets(const struct ld_cuda_sampling &s,
                                   const struct back<T> &b, size_t pixel, int i,
                                   const float product[4])
{
    int n = s.filter.taps * s.deform_groups,
        padded = ld_cuda_padded(s.offsets.C);
    T *to = b.doffset + pixel * padded;
    float by_y = 0, by_x = 0, by_factor = 0, factor;
    struct tap t;

    factor = find_tap(s, &t, b.offset, pixel, i);
    for (int q = 0; q < 4; q++) {
        by_y += factor * t.by_y[q] * product[q];
        by_x += factor * t.by_x[q] * product[q];
        by_factor += t.weight[q] * product[q];
    }
    to[2 * i] = to_number<T>(by_y);
    to[2 * i + 1] = to_number<T>(by_x);
    if (s.modulated)
        to[2 * n + i] = to_number<T>(by_factor * factor * (1 - factor));
    for (int c = s.offsets.C; i == 0 && c < padded; c++)
        to[c] = to_number<T>(0);
}

template <typename T, int V>
static __global__ void scatter_kernel(struct back<T> b,
                                      struct ld_cuda_sampling s)
{
    const struct ld_cuda_filter &f = s.filter;
    size_t n_samples = (size_t)f.taps * s.deform_groups;
    size_t item = ld_cuda_item() / LD_CUDA_WARP, pixel = item / n_samples;
    int lane = (int)threadIdx.x % LD_CUDA_WARP, i = (int)(item % n_samples);
    int share = f.desc.in.C / s.deform_groups, first = i / f.taps * share;
    float product[4] = {};

    if (pixel >= b.n) /* the whole warp */
        return;
    for (int c = lane * V; c < share; c += LD_CUDA_WARP * V)
        take_channels<T, V>(b, b.samples[item],
                            b.dcolumns + pixel * f.row +
                                place_in_column(f, first + c, i % f.taps),
                            first + c, padded_C(s), product);
    for (int q = 0; q < 4; q++)
        product[q] = warp_sum(product[q]);
    if (lane == 0)
        set_offsets(s, b, b.first + pixel, i, product);
}

void ld_cuda_sample_scatter(struct ld_cuda *cuda,
                            const struct ld_cuda_sampling *s,
                            const struct ld_cuda_scatter *c)
{
    size_t count = c->n * ld_cuda_samples(s) * LD_CUDA_WARP;

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        struct back<T> b = {
            (T *)c->doffset, c->dx, c->x_pixel, c->fixed,
                (const T *)c->dcolumns, (const T *)c->x,
                (const T *)c->offset, c->samples, c->first, c->n
        };

        if (in_lanes(s))
            launch_flat(cuda, scatter_kernel<T, LD_CUDA_LANES>, count, b, *s);
        else
            launch_flat(cuda, scatter_kernel<T, 1>, count, b, *s);
    });
}

/* ---- sums that do not depend on an order ---- */

/* Bits of numbers that are not negative are in the numbers' order, and NaN
 * comes last. */
static __device__ unsigned bits_of(float x)
{
    unsigned bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits & 0x7fffffff;
}

static __device__ float number_of(unsigned bits)
{
    float x;

    memcpy(&x, &bits, sizeof(x));
    return x;
}

enum { PER_THREAD = 16 };

/* to = max(to, |x[i]|). */
template <typename T>
static __global__ void largest_kernel(unsigned *to, const T *x, size_t n)
{
    size_t all = (size_t)gridDim.x * blockDim.x;
    unsigned most = 0;

    for (size_t i = ld_cuda_item(); i < n; i += all)
        most = max(most, bits_of(to_float(x[i])));
    for (int lane = LD_CUDA_WARP / 2; lane > 0; lane /= 2)
        most = max(most, __shfl_xor_sync(0xffffffff, most, lane));
    if (threadIdx.x % LD_CUDA_WARP == 0)
        atomicMax(to, most);
}

/* to = max(to, sum over o of |weight[group, o, k]|). */
template <typename T>
static __global__ void largest_sum_kernel(unsigned *to, const T *packed,
                                          struct ld_cuda_filter f)
{
    size_t i = ld_cuda_item();
    float sum = 0;

    if (i >= f.row)
        return;
    packed += i / f.K * f.K * f.group_O + i % f.K;
    for (int o = 0; o < f.group_O; o++)
        sum += fabsf(to_float(packed[(size_t)o * f.K]));
    atomicMax(to, bits_of(sum));
}

/* Room for 2^24 summands beside the sign, and for rounding. */
enum { FIXED_BITS = 62 - 24, MOST_BITS = 126 };

static __global__ void scale_kernel(struct ld_cuda_fixed *fixed)
{
    float bound = number_of(fixed->dy) * number_of(fixed->weight);
    int k = FIXED_BITS;

    fixed->poisoned = bound - bound != 0;
    if (!fixed->poisoned && bound > 0)
        k = FIXED_BITS - 1 - ilogbf(bound);
    fixed->scale = ldexpf(1, min(k, (int)MOST_BITS));
}

void ld_cuda_fixed_set(struct ld_cuda *cuda, const struct ld_cuda_sampling *s,
                       struct ld_cuda_fixed *fixed, const void *dy,
                       const void *packed)
{
    const struct ld_cuda_filter *f = &s->filter;
    size_t n = ld_cuda_values(f->out);

    ld_cuda_zero(&cuda->device, fixed, sizeof(*fixed));
    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, largest_kernel<T>, (n + PER_THREAD - 1) / PER_THREAD,
                    &fixed->dy, (const T *)dy, n);
        launch_flat(cuda, largest_sum_kernel<T>, f->row, &fixed->weight,
                    (const T *)packed, *f);
    });
    launch(cuda, scale_kernel, dim3(1), 1, fixed);
}

template <typename T>
static __global__ void read_kernel(T *dx, const unsigned long long *sums,
                                   const struct ld_cuda_fixed *fixed, size_t n)
{
    size_t i = ld_cuda_item();

    if (i < n)
        dx[i] = to_number<T>(
            fixed->poisoned ? NAN : (float)(long long)sums[i] / fixed->scale);
}

void ld_cuda_fixed_read(struct ld_cuda *cuda, const struct ld_cuda_sampling *s,
                        void *dx, const unsigned long long *sums,
                        const struct ld_cuda_fixed *fixed, size_t first,
                        size_t n)
{
    size_t C = (size_t)s->filter.group_C * s->filter.groups;

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, read_kernel<T>, n * C, (T *)dx + first * C, sums,
                    fixed, n * C);
    });
}
