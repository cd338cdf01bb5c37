/* draw_cuda.h - the pixels of a network's input, drawn from a picture on the GPU. */
#pragma once

#include "kernels/cuda/cuda.h"

void ld_cuda_draw(struct ld_device *dev, float *planes, const uint8_t *rgb,
                  const struct ld_draw *d);
