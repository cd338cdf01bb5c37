/* norm_small.h - group norms of small maps, one block for a group of an image.
 *
 * Its numbers are read once and kept in registers: forward is one kernel that
 * moves twice the map's bytes, backward one that moves three times, and the
 * settling of dgamma and dbeta. The upper levels of a pyramid are so small that
 * starting kernels is what they cost. */
#pragma once

#include "kernels/cuda/norm_parts.h"

/* Groups of 8 channels, and at most 1024 places. */
bool ld_cuda_norm_is_small(const struct norm *a);

/* y, and the statistics. */
void ld_cuda_norm_small_forward(struct ld_cuda *cuda, float *y, const float *x,
                                const struct norm *a);

/* dx, which may be dy, and the channels' parts, of one piece an image. */
void ld_cuda_norm_small_backward(struct ld_cuda *cuda, float *dx,
                                 const float *dy, const float *x,
                                 const struct norm *a);
