#include "kernels/cuda/map.h"

#include "kernels/cuda/lanes.h"

size_t ld_cuda_map_bytes(struct ld_device *dev, struct ld_shape shape)
{
    return ld_cuda_values(shape) *
           (ld_cuda_is_bf16(ld_cuda_of(dev)) ? sizeof(bf16) : sizeof(float));
}

size_t ld_cuda_map_values(struct ld_device *, struct ld_shape shape)
{
    return ld_cuda_values(shape);
}

/* ---- one number after the other ---- */

static __device__ float masked(float dy, float y)
{
    return y > 0 ? dy : 0;
}

static __device__ float sum(float y, float x)
{
    return y + x;
}

static __device__ float clamped_sum(float y, float x)
{
    float both = y + x;

    return both < 0 ? 0 : both; /* a NaN stays one */
}

/* y = work(y, x): three times the map's bytes are moved. */
template <typename T, float work(float, float)>
static __global__ void each_kernel(T *y, const T *x, unsigned n)
{
    size_t i = ld_cuda_item(), at = i * LD_CUDA_LANES;

    if (i >= n)
        return;
    octet a = read_octet(y + at), b = read_octet(x + at);
    for (int c = 0; c < LD_CUDA_LANES; c++)
        a.v[c] = work(a.v[c], b.v[c]);
    write_octet(y + at, a);
}

template <float work(float, float)>
static void each(struct ld_device *dev, float *y, const float *x,
                 struct ld_shape shape)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    unsigned n = octets_of(shape);

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, each_kernel<T, work>, n, (T *)y, (const T *)x, n);
    });
}

void ld_cuda_relu_backward(struct ld_device *dev, float *dy, const float *y,
                           struct ld_shape shape)
{
    each<masked>(dev, dy, y, shape);
}

void ld_cuda_add(struct ld_device *dev, float *y, const float *x,
                 struct ld_shape shape)
{
    each<sum>(dev, y, x, shape);
}

void ld_cuda_add_relu(struct ld_device *dev, float *y, const float *x,
                      struct ld_shape shape)
{
    each<clamped_sum>(dev, y, x, shape);
}

/* ---- from and to the plain order ---- */

/* Neighbouring threads have neighbouring places: the plain side is read and
 * written in runs. */
struct reorder {
    size_t map, plain; /* of the group's first channel */
    int channels;      /* of the group that are no padding */
};

static __device__ struct reorder reorder_of(unsigned i, struct ld_shape shape)
{
    unsigned places = (unsigned)(shape.H * shape.W), place = i % places;
    unsigned padded = (unsigned)ld_cuda_padded(shape.C);
    unsigned groups = padded / LD_CUDA_LANES;
    unsigned c = i / places % groups * LD_CUDA_LANES, n = i / places / groups;

    return {((size_t)n * places + place) * padded + c,
            ((size_t)n * (unsigned)shape.C + c) * places + place,
            min((int)LD_CUDA_LANES, shape.C - (int)c)};
}

template <typename T>
static __global__ void pack_kernel(T *map, const float *plain,
                                   struct ld_shape shape, unsigned n)
{
    size_t i = ld_cuda_item(), places = (size_t)shape.H * (size_t)shape.W;

    if (i >= n)
        return;
    struct reorder r = reorder_of((unsigned)i, shape);
    octet x;
    for (int c = 0; c < LD_CUDA_LANES; c++)
        x.v[c] = c < r.channels ? plain[r.plain + (size_t)c * places] : 0;
    write_octet(map + r.map, x);
}

template <typename T>
static __global__ void unpack_kernel(float *plain, const T *map,
                                     struct ld_shape shape, unsigned n)
{
    size_t i = ld_cuda_item(), places = (size_t)shape.H * (size_t)shape.W;

    if (i >= n)
        return;
    struct reorder r = reorder_of((unsigned)i, shape);
    octet x = read_octet(map + r.map);
    for (int c = 0; c < r.channels; c++)
        plain[r.plain + (size_t)c * places] = x.v[c];
}

void ld_cuda_map_pack(struct ld_device *dev, float *map, const float *plain,
                      struct ld_shape shape)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    unsigned n = octets_of(shape);

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, pack_kernel<T>, n, (T *)map, plain, shape, n);
    });
}

void ld_cuda_map_unpack(struct ld_device *dev, float *plain, const float *map,
                        struct ld_shape shape)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    unsigned n = octets_of(shape);

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, unpack_kernel<T>, n, plain, (const T *)map, shape, n);
    });
}
