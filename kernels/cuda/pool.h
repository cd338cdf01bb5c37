/* pool.h - windows of a map: their largest numbers, their means. */
#pragma once

#include "kernels/cuda/cuda.h"

void ld_cuda_maxpool_forward(struct ld_device *dev, float *y, uint8_t *from,
                             const float *x, struct ld_shape in);
void ld_cuda_maxpool_backward(struct ld_device *dev, float *dx, const float *dy,
                              const uint8_t *from, struct ld_shape in);
void ld_cuda_avgpool_forward(struct ld_device *dev, float *y, const float *x,
                             struct ld_shape in, int kernel);
void ld_cuda_avgpool_backward(struct ld_device *dev, float *dx, const float *dy,
                              struct ld_shape in, int kernel);
