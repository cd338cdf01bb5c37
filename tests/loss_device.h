/* loss_device.h - a batch of losses on a device. */
#pragma once

#include "kernels/ops.h"
#include "tests/loss_batch.h"

/* Sends the batch to the device, runs the two calls there, and brings weights,
 * sums, terms and gradients back; what the calls overwrite held NaNs. */
void loss_batch_run_on(struct loss_batch *t, struct ld_device *dev,
                       const struct ld_loss_rules *rules);

/* The same on the device that LD_TEST_DEVICE names: the CPU, if none. */
void loss_batch_run_there(struct loss_batch *t,
                          const struct ld_loss_rules *rules);
