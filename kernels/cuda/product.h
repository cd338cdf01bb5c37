/* product.h - matrix products by cuBLASLt.
 *
 * A product is prepared once, for one set of sizes, and run with any matrices
 * of these. Matrices are in column order, as in BLAS: a map of P pixels and C
 * channels is a matrix of C rows and P columns. */
#pragma once

#include <cublasLt.h>

#include "kernels/cuda/cuda.h"

struct ld_cudnn; /* conv_cudnn.h */

struct ld_cuda_math {
    cublasLtHandle_t lt;
    void *workspace;        /* of the products, on the device */
    struct ld_cudnn *cudnn; /* NULL: not on this machine, or of no use */
};

/* LD_ERR_DEVICE or LD_ERR_MEMORY, in one line. Close it in any case. */
bool ld_cuda_math_open(struct ld_cuda *cuda, struct ld_err *err);
void ld_cuda_math_close(struct ld_cuda *cuda);

/* Where a matrix lies: numbers from a column to the next, and from a product of
 * a batch to the next. Both are multiples of LD_CUDA_LANES. */
struct ld_cuda_matrix {
    bool turned; /* memory holds its transpose */
    size_t ld, stride;
};

/* D (m, n) = relu?(A (m, k) B (k, n) + bias + C?), `batch` times. A and B are
 * numbers of maps, and so is D, or float; C lies as D does. */
struct ld_cuda_product_desc {
    size_t m, n, k;
    struct ld_cuda_matrix a, b, d;
    int batch;
    bool to_float;   /* D is float whatever the maps are */
    bool bias, relu; /* if batch is 1 and not to_float */
};

struct ld_cuda_product;

/* The caller frees. NULL with LD_ERR_DEVICE if the library has no such product,
 * with LD_ERR_MEMORY without memory. */
struct ld_cuda_product *
ld_cuda_product_new(struct ld_cuda *cuda,
                    const struct ld_cuda_product_desc *desc,
                    struct ld_err *err);
void ld_cuda_product_free(struct ld_cuda_product *product); /* NULL is fine */

/* What a product reads and writes; all aligned to 16 bytes. */
struct ld_cuda_factors {
    void *d;
    const void *a, *b;
    const void *bias; /* (m) numbers of the type of D, if desc.bias */
    const void *c;    /* may be D; NULL: none */
};
void ld_cuda_product_run(struct ld_cuda *cuda,
                         const struct ld_cuda_product *product,
                         const struct ld_cuda_factors *factors);
