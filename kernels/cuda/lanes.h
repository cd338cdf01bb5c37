/* lanes.h - eight neighbouring channels of a map, read and written at once.
 *
 * A kernel over a map has a thread for each such group, channels fastest, so
 * that a warp reads and writes what lies side by side. Groups are counted in 32
 * bits: a map of more would take 64 GB. */
#pragma once

#include "kernels/cuda/cuda.h"

struct octet {
    float v[LD_CUDA_LANES];
};

/* `from` is at a multiple of 8 channels. */
template <typename T> __device__ __forceinline__ octet read_octet(const T *from)
{
    lanes<T> x = *(const lanes<T> *)from;
    octet out;

    for (int i = 0; i < LD_CUDA_LANES; i++)
        out.v[i] = to_float(x.v[i]);
    return out;
}

template <typename T>
__device__ __forceinline__ void write_octet(T *to, const octet &from)
{
    lanes<T> x;

    for (int i = 0; i < LD_CUDA_LANES; i++)
        x.v[i] = to_number<T>(from.v[i]);
    *(lanes<T> *)to = x;
}

static inline unsigned octets_of(struct ld_shape shape)
{
    return (unsigned)(ld_cuda_values(shape) / LD_CUDA_LANES);
}

/* Where group i of a map stands. */
struct spot {
    int n, h, w, c; /* c: its first channel */
};

static __device__ __forceinline__ struct spot spot_of(unsigned i,
                                                      struct ld_shape shape)
{
    unsigned groups = (unsigned)ld_cuda_padded(shape.C) / LD_CUDA_LANES;
    unsigned place = i / groups, row = place / (unsigned)shape.W;

    return {(int)(row / (unsigned)shape.H), (int)(row % (unsigned)shape.H),
            (int)(place % (unsigned)shape.W),
            (int)(i % groups) * LD_CUDA_LANES};
}

/* The number that a map keeps at (n, h, w, c). */
static __device__ __forceinline__ size_t number_at(struct ld_shape shape, int n,
                                                   int h, int w, int c)
{
    size_t place =
        ((size_t)n * (unsigned)shape.H + (unsigned)h) * (unsigned)shape.W +
        (unsigned)w;

    return place * (unsigned)ld_cuda_padded(shape.C) + (unsigned)c;
}
