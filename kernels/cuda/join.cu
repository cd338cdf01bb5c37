#include "kernels/cuda/join.h"

#include "kernels/cuda/lanes.h"

/* ---- channels ---- */

/* The eight numbers of `from` that meet channels c and up of `to`; those before
 * to_at and after the last are not read. */
template <typename T>
static __device__ octet read_met(const T *from, const struct ld_channels &m,
                                 struct spot s)
{
    int first = s.c - m.to_at + m.from_at;
    octet out = {};

    if (first % LD_CUDA_LANES == 0 && first >= 0 &&
        first < ld_cuda_padded(m.from.C))
        return read_octet(from + number_at(m.from, s.n, s.h, s.w, first));
    for (int c = 0; c < LD_CUDA_LANES; c++)
        if (s.c + c >= m.to_at && s.c + c < m.to_at + m.C)
            out.v[c] =
                to_float(from[number_at(m.from, s.n, s.h, s.w, 0) + first + c]);
    return out;
}

/* Threads for the groups of `to` that are written to, [first, first + groups)
 * of each place. */
template <typename T, bool ADDS>
static __global__ void channels_kernel(T *to, const T *from,
                                       struct ld_channels m, int first,
                                       int groups, unsigned n)
{
    size_t i = ld_cuda_item();

    if (i >= n)
        return;
    struct ld_shape written = m.to;
    written.C = groups * LD_CUDA_LANES;
    struct spot s = spot_of((unsigned)i, written);
    s.c += first * LD_CUDA_LANES;
    T *at = to + number_at(m.to, s.n, s.h, s.w, s.c);
    bool whole = s.c >= m.to_at && s.c + LD_CUDA_LANES <= m.to_at + m.C;
    octet was = {}, more = read_met(from, m, s);
    if (ADDS || !whole)
        was = read_octet(at);
    for (int c = 0; c < LD_CUDA_LANES; c++) {
        bool met = s.c + c >= m.to_at && s.c + c < m.to_at + m.C;

        if (met)
            was.v[c] = ADDS ? was.v[c] + more.v[c] : more.v[c];
        else if (s.c + c >= m.to.C)
            was.v[c] = 0;
    }
    write_octet(at, was);
}

template <bool ADDS>
static void move_channels(struct ld_device *dev, float *to, const float *from,
                          const struct ld_channels *m)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    int first = m->to_at / LD_CUDA_LANES;
    int groups = (m->to_at + m->C - 1) / LD_CUDA_LANES + 1 - first;
    unsigned n = (unsigned)m->to.N * (unsigned)m->to.H * (unsigned)m->to.W *
                 (unsigned)groups;

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, channels_kernel<T, ADDS>, n, (T *)to, (const T *)from,
                    *m, first, groups, n);
    });
}

void ld_cuda_channels_copy(struct ld_device *dev, float *to, const float *from,
                           const struct ld_channels *c)
{
    move_channels<false>(dev, to, from, c);
}

void ld_cuda_channels_add(struct ld_device *dev, float *to, const float *from,
                          const struct ld_channels *c)
{
    move_channels<true>(dev, to, from, c);
}

/* ---- nearest neighbours; sides are below 65536 ---- */

static __device__ int source(int i, int size, int out_size)
{
    return (int)((unsigned)i * (unsigned)size / (unsigned)out_size);
}

/* First output index whose source is i. */
static __device__ int first_copy(int i, int size, int out_size)
{
    return (int)(((unsigned)i * (unsigned)out_size + (unsigned)size - 1) /
                 (unsigned)size);
}

template <typename T>
static __global__ void upsample_kernel(T *y, const T *x, struct ld_shape in,
                                       struct ld_shape out, unsigned n)
{
    size_t i = ld_cuda_item(), at = i * LD_CUDA_LANES;

    if (i >= n)
        return;
    struct spot s = spot_of((unsigned)i, out);
    octet sum = read_octet(y + at);
    octet more = read_octet(x + number_at(in, s.n, source(s.h, in.H, out.H),
                                          source(s.w, in.W, out.W), s.c));
    for (int c = 0; c < LD_CUDA_LANES; c++)
        sum.v[c] += more.v[c];
    write_octet(y + at, sum);
}

void ld_cuda_upsample_add(struct ld_device *dev, float *y, const float *x,
                          struct ld_shape in, int out_H, int out_W)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    struct ld_shape out = {in.N, in.C, out_H, out_W};
    unsigned n = octets_of(out);

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, upsample_kernel<T>, n, (T *)y, (const T *)x, in, out,
                    n);
    });
}

template <typename T>
static __global__ void upsample_backward_kernel(T *dx, const T *dy,
                                                struct ld_shape in,
                                                struct ld_shape out, unsigned n)
{
    size_t i = ld_cuda_item(), at = i * LD_CUDA_LANES;

    if (i >= n)
        return;
    struct spot s = spot_of((unsigned)i, in);
    int end_h = first_copy(s.h + 1, in.H, out.H);
    int end_w = first_copy(s.w + 1, in.W, out.W);
    octet sum = read_octet(dx + at);
    for (int h = first_copy(s.h, in.H, out.H); h < end_h; h++)
        for (int w = first_copy(s.w, in.W, out.W); w < end_w; w++) {
            octet more = read_octet(dy + number_at(out, s.n, h, w, s.c));

            for (int c = 0; c < LD_CUDA_LANES; c++)
                sum.v[c] += more.v[c];
        }
    write_octet(dx + at, sum);
}

void ld_cuda_upsample_add_backward(struct ld_device *dev, float *dx,
                                   const float *dy, struct ld_shape in,
                                   int out_H, int out_W)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    struct ld_shape out = {in.N, in.C, out_H, out_W};
    unsigned n = octets_of(in);

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, upsample_backward_kernel<T>, n, (T *)dx,
                    (const T *)dy, in, out, n);
    });
}
