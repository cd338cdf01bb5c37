/* thin_cpu.h - every stride-th row and column of a map, and back.
 *
 * A 1x1 convolution with a stride is one without on the thinned map. The
 * library has none of its own for backward data on every size: on maps of
 * 50 x 84 it falls back to plain loops, a hundred times slower. */
#pragma once

#include "kernels/ops.h"

/* The size of a thinned map. */
struct ld_shape ld_thin_shape(struct ld_shape in, int stride);

/* y := the values of x at rows and columns that are multiples of `stride`. */
void ld_thin_gather(struct ld_device *dev, float *y, const float *x,
                    struct ld_shape in, int stride);

/* The other way: dx := dy at those places and 0 elsewhere. */
void ld_thin_scatter(struct ld_device *dev, float *dx, const float *dy,
                     struct ld_shape in, int stride);
