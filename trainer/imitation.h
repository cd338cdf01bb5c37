/* imitation.h - the feature rows of a batch, and the loss over them. */
#pragma once

#include "kernels/net/net.h"
#include "kernels/net/teacher.h"
#include "trainer/loader.h"

struct ld_imitator;

/* From now on student and teacher (NULL: rows come from a cache, or from
 * nowhere) keep their features: neither has seen a canvas yet. All are
 * borrowed. */
struct ld_imitator *ld_imitator_new(struct ld_device *dev,
                                    struct ld_net *student,
                                    struct ld_teacher *teacher,
                                    const struct ld_loss_rules *rules,
                                    struct ld_err *err);
void ld_imitator_free(struct ld_imitator *imitator); /* NULL is fine */

/* Begins a batch of at most N images. What it and the next calls need comes
 * from the arena until the batch is done. */
bool ld_imitator_start(struct ld_imitator *imitator, int N,
                       struct ld_arena *arena, struct ld_err *err);

/* Takes the teacher's part of the batch's next image: from its record or, right
 * after ld_teacher_start, from the resident teacher, which is to be finished
 * before ld_imitator_run. */
bool ld_imitator_add(struct ld_imitator *imitator,
                     const struct ld_batch_image *image, struct ld_err *err);

/* After the student's forward pass: fills in the term, on the device, and
 * writes the gradients of its features. A level without a positive in the batch
 * counts for nothing, as in the reference. */
bool ld_imitator_run(struct ld_imitator *imitator, struct ld_loss_terms *terms,
                     struct ld_err *err);
