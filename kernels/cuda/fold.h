/* fold.h - batch norms on stored statistics, as scales of weights. */
#pragma once

#include "kernels/cuda/cuda.h"

void ld_cuda_bn_fold(struct ld_device *dev, float *scale, float *shift,
                     const struct ld_bn *bn, int C);
void ld_cuda_bn_unfold(struct ld_device *dev, float *dweight,
                       const float *dfolded, const float *dshift,
                       const float *weight, const struct ld_bn *bn, int O,
                       int n);
