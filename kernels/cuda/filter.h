/* filter.h - the weights of a convolution as matrices, and their products.
 *
 * A convolution is a product of its weights and of columns: a pixel of the
 * output has the numbers that its taps read, one after the other. Groups of few
 * channels are joined until they have some tens, their weights along the
 * diagonal, since tensor cores multiply no smaller matrices. In a joined group
 *
 *     packed weights   (groups, group_O, K)    numbers of maps
 *     columns          (pixels, groups, K)     numbers of maps
 *     gradient         (groups, group_O, K)    float
 *
 * where K is (taps, group_C), rounded up to LD_CUDA_LANES; O's padding rows and
 * C's padding channels have weights of zero. */
#pragma once

#include "kernels/cuda/product.h"

struct ld_cuda_filter {
    struct ld_conv_desc desc; /* groups is not 0 */
    struct ld_shape out;
    int groups;  /* joined */
    int group_C; /* of the map, padding included; of the image, 3 */
    int group_O; /* padding included */
    int taps;
    size_t K;
    size_t row; /* numbers of a column: groups K */
};

struct ld_cuda_filter ld_cuda_filter_of(const struct ld_conv_desc *desc);

/* Numbers of the packed weights, and of their gradient. */
size_t ld_cuda_filter_values(const struct ld_cuda_filter *filter);

/* Sizes of a map's numbers, or of float; bytes rounded up so that what follows
 * is aligned. */
size_t ld_cuda_aligned(size_t bytes);
size_t ld_cuda_number_bytes(const struct ld_cuda *cuda);

/* Overwrites; row o times scale[o] (NULL: 1). */
void ld_cuda_filter_pack(struct ld_cuda *cuda,
                         const struct ld_cuda_filter *filter, void *packed,
                         const float *weight, const float *scale);

/* dweight (O, C / groups, k, k) += the packed gradient, which is of float or,
 * if `of_maps`, of the numbers of maps. */
void ld_cuda_filter_unpack_add(struct ld_cuda *cuda,
                               const struct ld_cuda_filter *filter,
                               float *dweight, const void *gradient,
                               bool of_maps);

/* The products for n pixels. */
struct ld_cuda_products {
    struct ld_cuda_product *forward, *data, *weights;
    bool whole; /* forward does bias and ReLU too */
};

enum {
    LD_CUDA_FORWARD = 1,
    LD_CUDA_DATA = 2,
    LD_CUDA_WEIGHTS = 4,
};

/* Prepares those of `wanted`, flags of above; nothing if n is 0. The caller
 * frees, in any case. */
bool ld_cuda_products_make(struct ld_cuda *cuda,
                           struct ld_cuda_products *products,
                           const struct ld_cuda_filter *filter, size_t n,
                           int wanted, struct ld_err *err);
void ld_cuda_products_free(struct ld_cuda_products *products);

/* bias (O) as a product reads it, in the call's workspace; NULL of NULL. */
const void *ld_cuda_bias_pack(struct ld_cuda *cuda, const float *bias, int O);

/* y = relu?(from + bias + identity?); bias (O) and identity may be NULL; either
 * map may be y. */
struct ld_cuda_finish {
    void *y;
    const void *from, *identity;
    const float *bias;
    struct ld_shape shape;
    bool relu;
};
void ld_cuda_finish_run(struct ld_cuda *cuda, const struct ld_cuda_finish *f);

/* dbias (C) += the sums of dy over pixels, in an order that depends on the
 * shape alone; before, unless `y` is NULL, dy *= (y > 0), in place. Uses the
 * call's workspace. */
void ld_cuda_bias_add(struct ld_cuda *cuda, float *dbias, void *dy,
                      const void *y, struct ld_shape shape);
