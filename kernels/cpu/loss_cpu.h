/* loss_cpu.h - the losses of a batch and their gradients, on the CPU: the two
 * loss calls of the table in ops.h. `dev` is not looked at and may be NULL. */
#pragma once

#include "kernels/ops.h"

/* As ops.h. A row that is not positive (of FCOS: nor in the VLR), or not valid,
 * gets weight 0. */
void ld_cpu_loss_weights(struct ld_device *dev, float *weight,
                         const struct ld_loss_batch *batch);

/* As ops.h. The gradients are with respect to the logits as given. Every number
 * of d_class_logits (N, A, K), d_box_logits (N, A, 4, B) and d_quality (N, A)
 * is written: 0 at locations that are not valid, and 0 box gradient where no
 * row stands.
 *
 * With w = weight, v = batch->vlr, n_positive = max(sums[LD_SUM_POSITIVES], 1),
 * F = sums[LD_SUM_WEIGHT] + 1e-6, and KL as ld_cpu_kl gives it:
 *   QFL  = qfl / n_positive * sum over valid locations and classes
 *   BOX  = box / F * sum over positives w (1 - GIoU)
 *   DFL  = dfl / (4 F) * sum over positives and sides w DFL
 *   LD   = ld / 4 * norm * sum over positives and sides w KL
 *   VLR  = vlr / 16 * norm * sum over VLR rows and sides v KL
 *   KD   = kd / (positives of the level) * sum over positives KL
 *   VLR_KD = vlr_kd / (VLR rows of the level) * sum over VLR rows KL
 * Heads with a centerness have focal / QFL and the sum over positives of their
 *   CENTERNESS = centerness / n_positive * sum over positives BCE
 * and in BOX and DFL their wanted centerness for w; FCOS w v for v.
 * RetinaNet has focal / QFL, 1 / n_positive for w / F in BOX and DFL, and one
 * KL of its 4 B logits for the sum over sides. norm is 1 (LD_NORM_SUM),
 * norm_images / N (LD_NORM_PER_IMAGE) or 1 / F (LD_NORM_AVG_FACTOR): for VLR
 * the same as for LD, so that their ratio is that of the reference in all
 * three. Without teacher_box LD and VLR are 0; without teacher_class KD and
 * VLR_KD are. Sources: loss.h. */
void ld_cpu_loss_run(struct ld_device *dev, struct ld_loss_terms *out,
                     float *d_class_logits, float *d_box_logits,
                     float *d_quality, const float *weight,
                     const struct ld_loss_batch *batch,
                     const struct ld_loss_rules *rules);
