/* norm.h - normalisation by the statistics of groups or of the batch. */
#pragma once

#include "kernels/cuda/cuda.h"

void ld_cuda_gn_relu_forward(struct ld_device *dev, float *y, const float *x,
                             const struct ld_group_norm *gn);
void ld_cuda_gn_relu_backward(struct ld_device *dev, float *dx, const float *dy,
                              const float *x, const struct ld_group_norm *gn);
void ld_cuda_bn_train_forward(struct ld_device *dev, float *y, const float *x,
                              const struct ld_bn_train *bn);
void ld_cuda_bn_train_backward(struct ld_device *dev, float *dx,
                               const float *dy, const float *x,
                               const struct ld_bn_train *bn);
