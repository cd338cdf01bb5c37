/* deform_cuda.h - deformable convolutions: the calls of kernels/ops.h.
 *
 * Columns are sampled as the offsets say, and multiplied as a convolution's. */
#pragma once

#include "kernels/cuda/cuda.h"

struct ld_deform *ld_cuda_deform_new(struct ld_device *dev,
                                     const struct ld_deform_desc *desc,
                                     struct ld_err *err);
void ld_cuda_deform_free(struct ld_device *dev, struct ld_deform *deform);
size_t ld_cuda_deform_scratch_bytes(const struct ld_deform *deform);
size_t ld_cuda_deform_weight_bytes(const struct ld_deform *deform);
void ld_cuda_deform_pack(struct ld_device *dev, const struct ld_deform *deform,
                         void *packed, const float *weight, const float *scale);
void ld_cuda_deform_forward(struct ld_device *dev,
                            const struct ld_deform *deform, float *y,
                            const float *x, const float *offset,
                            const void *packed, const float *bias,
                            void *scratch);
void ld_cuda_deform_backward(struct ld_device *dev,
                             const struct ld_deform *deform,
                             const struct ld_deform_gradients *to,
                             const float *dy, const float *x,
                             const float *offset, const void *packed,
                             void *scratch);
