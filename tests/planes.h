/* planes.h - batches of numbers that no picture gives: of a reference's
 * tensors.
 *
 * Their bytes take a picture's place, and a draw that copies these takes that
 * of the device's. */
#pragma once

#include "kernels/ops.h"
#include "trainer/loader.h"

/* From now on the device draws so. `ops`, overwritten, lives as long as it. */
void planes_instead(struct ld_ops *ops, struct ld_device *dev);

/* Makes planes (3, H, W), borrowed, the image of which the batch is made. */
void planes_show(struct ld_batch_image *image, const float *planes, int H,
                 int W);
