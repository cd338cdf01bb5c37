/* sgd_cuda.h - the optimizer's step, on CUDA. */
#pragma once

#include "kernels/cuda/cuda.h"

/* As ops.h. */
void ld_cuda_sgd(struct ld_device *dev, float *param, float *momentum,
                 const float *grad, size_t count, struct ld_sgd s);
