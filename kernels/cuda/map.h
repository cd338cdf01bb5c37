/* map.h - maps from and to the plain order, and number by number. */
#pragma once

#include "kernels/cuda/cuda.h"

size_t ld_cuda_map_bytes(struct ld_device *dev, struct ld_shape shape);
size_t ld_cuda_map_values(struct ld_device *dev, struct ld_shape shape);
void ld_cuda_map_pack(struct ld_device *dev, float *map, const float *plain,
                      struct ld_shape shape);
void ld_cuda_map_unpack(struct ld_device *dev, float *plain, const float *map,
                        struct ld_shape shape);
void ld_cuda_relu_backward(struct ld_device *dev, float *dy, const float *y,
                           struct ld_shape shape);
void ld_cuda_add(struct ld_device *dev, float *y, const float *x,
                 struct ld_shape shape);
void ld_cuda_add_relu(struct ld_device *dev, float *y, const float *x,
                      struct ld_shape shape);
