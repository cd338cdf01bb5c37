/* sample.h - the bilinear samples of a deformable convolution, and back.
 *
 * A tap of an output pixel (of one group of offsets) reads four neighbours.
 * Where they are is found once, for all channels. */
#pragma once

#include "kernels/cuda/filter.h"

struct ld_cuda_sampling {
    struct ld_cuda_filter filter;
    struct ld_shape offsets; /* of the map of offsets */
    int deform_groups;
    bool modulated;
};

/* Neighbours, upper left first: pixels of the input's batch, and the bilinear
 * weights, times the factor in v2; 0 outside the map. */
struct alignas(32) ld_cuda_sample {
    int32_t at[4];
    float weight[4];
};

/* Samples a pixel: taps deform_groups. */
size_t ld_cuda_samples(const struct ld_cuda_sampling *s);

/* samples (n, deform_groups, taps) of output pixels first, first + 1, .. */
void ld_cuda_sample_find(struct ld_cuda *cuda, const struct ld_cuda_sampling *s,
                         struct ld_cuda_sample *samples, const void *offset,
                         size_t first, size_t n);

/* The columns of n pixels. */
void ld_cuda_sample_columns(struct ld_cuda *cuda,
                            const struct ld_cuda_sampling *s, void *columns,
                            const void *x, const struct ld_cuda_sample *samples,
                            size_t n);

/* Gradients of x are added up as whole numbers, of 64 bits, so that the order
 * in which threads come does not matter: numbers times 2^k, where k leaves
 * room for 2^24 summands as large as a bound of all. On the device. */
struct ld_cuda_fixed {
    unsigned dy, weight; /* bits of the largest |dy|, and sum_o |weight| */
    float scale;         /* 2^k */
    int poisoned;        /* a summand is not finite: nor is the sum */
};

/* Sets the scale from all of dy and the packed weights. */
void ld_cuda_fixed_set(struct ld_cuda *cuda, const struct ld_cuda_sampling *s,
                       struct ld_cuda_fixed *fixed, const void *dy,
                       const void *packed);

/* What the backward pass of n pixels, from `first` on, reads and writes. */
struct ld_cuda_scatter {
    void *doffset;               /* overwritten */
    unsigned long long *dx;      /* of the batch's images from x_pixel on, added
                                    to; NULL: not wanted */
    size_t x_pixel;              /* first pixel of dx */
    struct ld_cuda_fixed *fixed; /* scales dx */
    const void *dcolumns, *x, *offset;
    const struct ld_cuda_sample *samples;
    size_t first, n;
};
void ld_cuda_sample_scatter(struct ld_cuda *cuda,
                            const struct ld_cuda_sampling *s,
                            const struct ld_cuda_scatter *scatter);

/* dx, `n` pixels of the map from `first` on, = the sums. */
void ld_cuda_fixed_read(struct ld_cuda *cuda, const struct ld_cuda_sampling *s,
                        void *dx, const unsigned long long *sums,
                        const struct ld_cuda_fixed *fixed, size_t first,
                        size_t n);
