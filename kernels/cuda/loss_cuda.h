/* loss_cuda.h - the losses of a batch and their gradients, on CUDA: the calls
 * of the table in ops.h. The terms and all normalisers are those that
 * kernels/cpu/loss_cpu.h writes down. */
#pragma once

#include "kernels/cuda/cuda.h"

void ld_cuda_loss_weights(struct ld_device *dev, float *weight,
                          const struct ld_loss_batch *batch);

/* One pass over the locations, of which each block has a tile: the class loss
 * as if all were background, and zeros for the other gradients; then one over
 * the rows, a warp each, which add theirs to it. */
void ld_cuda_loss_run(struct ld_device *dev, struct ld_loss_terms *out,
                      float *d_class_logits, float *d_box_logits,
                      float *d_quality, const float *weight,
                      const struct ld_loss_batch *batch,
                      const struct ld_loss_rules *rules);

void ld_cuda_loss_check(struct ld_device *dev,
                        const struct ld_loss_terms *terms, int64_t step);
