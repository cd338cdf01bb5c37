/* step.h - one training step: a batch in, losses out, parameters moved. */
#pragma once

#include "kernels/base/trace.h"
#include "kernels/net/net.h"
#include "kernels/net/teacher.h"
#include "trainer/loader.h"

struct ld_step;

/* `teacher` is NULL unless it is resident. All are borrowed. If rules->im > 0,
 * neither network has seen a canvas yet. */
struct ld_step *ld_step_new(struct ld_device *dev, struct ld_net *student,
                            struct ld_teacher *teacher,
                            const struct ld_loss_rules *rules,
                            struct ld_err *err);
void ld_step_free(struct ld_step *step); /* NULL is fine */

/* From now on gradients are means over the reducer's ranks. */
bool ld_step_join(struct ld_step *step, struct ld_reducer *reducer,
                  struct ld_err *err);

/* From now on a step's parts are spans of the calling thread's lane; NULL: they
 * are not. */
void ld_step_trace(struct ld_step *step, struct ld_lane *lane);

/* Forward, losses, backward: leaves the gradients in the student's parameters
 * (zeroed first) and moves nothing. `terms`, on the device, are overwritten.
 * Unless the teacher is resident this does not wait for the device: a term that
 * is not finite is a fault of its (LD_ERR_NUMBER), which names it and the step,
 * `number`, from 1. */
bool ld_step_gradient(struct ld_step *step, const struct ld_batch *batch,
                      int64_t number, struct ld_loss_terms *terms,
                      struct ld_err *err);
