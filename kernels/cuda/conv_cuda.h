/* conv_cuda.h - convolutions: the calls of kernels/ops.h.
 *
 * A 1x1 of stride 1 is a matrix product on the map as it lies. Others are
 * cuDNN's where it has them; else columns are laid out for as many pixels at a
 * time as some tens of megabytes hold, and multiplied. */
#pragma once

#include "kernels/cuda/cuda.h"

struct ld_conv *ld_cuda_conv_new(struct ld_device *dev,
                                 const struct ld_conv_desc *desc,
                                 struct ld_err *err);
void ld_cuda_conv_free(struct ld_device *dev, struct ld_conv *conv);
size_t ld_cuda_conv_scratch_bytes(const struct ld_conv *conv);
size_t ld_cuda_conv_weight_bytes(const struct ld_conv *conv);
void ld_cuda_conv_pack(struct ld_device *dev, const struct ld_conv *conv,
                       void *packed, const float *weight, const float *scale);
void ld_cuda_conv_forward(struct ld_device *dev, const struct ld_conv *conv,
                          float *y, const float *x, const void *packed,
                          const float *bias, const float *identity,
                          void *scratch);
void ld_cuda_conv_backward_data(struct ld_device *dev,
                                const struct ld_conv *conv, float *dx,
                                const float *dy, const void *packed,
                                void *scratch);
void ld_cuda_conv_backward_weights(struct ld_device *dev,
                                   const struct ld_conv *conv, float *dweight,
                                   float *dbias, float *dy, const float *y,
                                   const float *x, void *scratch);
