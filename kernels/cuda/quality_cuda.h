/* quality_cuda.h - the quality of a location, read off its box distributions,
 * on CUDA. */
#pragma once

#include "kernels/cuda/cuda.h"

/* As ops.h. */
void ld_cuda_quality_forward(struct ld_device *dev, float *logit,
                             const float *box_rows, const struct ld_quality *q);
void ld_cuda_quality_backward(struct ld_device *dev, float *d_box_rows,
                              const float *dlogit, const float *box_rows,
                              const struct ld_quality *q);
