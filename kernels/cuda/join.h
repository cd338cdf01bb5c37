/* join.h - maps that meet: channels of the one in the other, a coarse one on a
 * finer one. */
#pragma once

#include "kernels/cuda/cuda.h"

void ld_cuda_channels_copy(struct ld_device *dev, float *to, const float *from,
                           const struct ld_channels *c);
void ld_cuda_channels_add(struct ld_device *dev, float *to, const float *from,
                          const struct ld_channels *c);
void ld_cuda_upsample_add(struct ld_device *dev, float *y, const float *x,
                          struct ld_shape in, int out_H, int out_W);
void ld_cuda_upsample_add_backward(struct ld_device *dev, float *dx,
                                   const float *dy, struct ld_shape in,
                                   int out_H, int out_W);
