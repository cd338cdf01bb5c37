/* rows.h - the door out: maps as rows of a location; rows and places picked. */
#pragma once

#include "kernels/cuda/cuda.h"

void ld_cuda_rows_forward(struct ld_device *dev, float *rows, const float *map,
                          const struct ld_rows *r);
void ld_cuda_rows_backward(struct ld_device *dev, float *dmap,
                           const float *drows, const float *map,
                           const struct ld_rows *r);
void ld_cuda_rows_gather(struct ld_device *dev, float *out, const float *rows,
                         const int32_t *index, int n, int width);
void ld_cuda_map_gather(struct ld_device *dev, float *out, const float *map,
                        struct ld_shape shape, const int32_t *place, int n);
