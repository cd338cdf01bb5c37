/* columns.h - what the taps of a convolution read, laid out for a product. */
#pragma once

#include "kernels/cuda/filter.h"

/* Columns of output pixels first, first + 1, .. (n H_out W_out + h W_out + w).
 * x is a map, or the plain image (N, 3, H, W). Overwrites all of them. */
void ld_cuda_columns_make(struct ld_cuda *cuda,
                          const struct ld_cuda_filter *filter, void *columns,
                          const void *x, size_t first, size_t n);

/* A part of a map's gradient: rows [row, row + rows) of n images, from `image`
 * on; and the output's rows that read it, out_rows from out_row on. */
struct ld_cuda_band {
    int image, n, row, rows, out_row, out_rows;
};

/* dx of the band's rows =, or, if the filter's desc adds, +=, what the
 * gradients of its columns (n, out_rows, W_out) say of them, added up. */
void ld_cuda_columns_gather(struct ld_cuda *cuda,
                            const struct ld_cuda_filter *filter, void *dx,
                            const void *dcolumns,
                            const struct ld_cuda_band *band);
