/* feature_cuda.h - the loss of feature imitation, on CUDA. */
#pragma once

#include "kernels/cuda/cuda.h"

/* As ops.h. */
void ld_cuda_feature_loss(struct ld_device *dev, double *sum, float *dmap,
                          const float *map, const struct ld_feature_rows *rows);
