/* teacher.h - the teacher: one view in, the rows that a loss reads out.
 *
 * Always one image at a time on the image's own padded canvas: GroupNorm sees
 * the padding, so a record must not depend on its batch. The cache and the
 * trainer with a resident teacher both come through here, so their numbers are
 * the same bits. */
#pragma once

#include "kernels/net/assign.h"
#include "kernels/net/imitate.h"
#include "kernels/net/net.h"
#include "kernels/net/outputs.h"

struct ld_teacher_rows {
    int n_rows, n_main;        /* n_main class rows: MAIN rows, or all if
                                  all_classes was asked */
    const float *box_logits;   /* (n_rows, 4, B) on the host */
    const float *class_logits; /* (n_main, n_logits) */
    int n_logits;              /* of the teacher: its classes, and a background
                                  if it has one */
};

struct ld_teacher;

struct ld_teacher *ld_teacher_new(struct ld_device *dev,
                                  const struct ld_model *model,
                                  const struct ld_tensor *tensors,
                                  int n_tensors, struct ld_err *err);
void ld_teacher_free(struct ld_teacher *teacher); /* NULL is fine */
const struct ld_model *ld_teacher_model(const struct ld_teacher *teacher);

/* Of a picture on the host, rgb (from_H, from_W, 3), on the canvas that `d`
 * says, whose sides are multiples of 32. What `out` points to is the arena's,
 * and there once ld_teacher_finish has returned: several views may be under
 * way, and the picture may be forgotten. */
bool ld_teacher_start(struct ld_teacher *teacher, const uint8_t *rgb,
                      const struct ld_draw *d,
                      const struct ld_assignment *assignment, bool all_classes,
                      struct ld_teacher_rows *out, struct ld_arena *arena,
                      struct ld_err *err);

/* A place behind all that was started, for ld_teacher_finish, which waits until
 * the device has come so far. */
uint64_t ld_teacher_mark(struct ld_teacher *teacher);
bool ld_teacher_finish(struct ld_teacher *teacher, uint64_t mark,
                       struct ld_err *err);

/* All of it: starts a view and waits for it. */
bool ld_teacher_run(struct ld_teacher *teacher, const uint8_t *rgb,
                    const struct ld_draw *d,
                    const struct ld_assignment *assignment, bool all_classes,
                    struct ld_teacher_rows *out, struct ld_arena *arena,
                    struct ld_err *err);

/* Of the view that was started last; waits for it. */
bool ld_teacher_outputs(struct ld_teacher *teacher, struct ld_outputs *out,
                        struct ld_arena *arena, struct ld_err *err);

/* To be called before the first view, for the function below. */
void ld_teacher_keep_features(struct ld_teacher *teacher);

/* Of the view that was started last: the features (region->n, C) of a region's
 * locations on the host, the arena's, there after ld_teacher_finish of a later
 * mark. For gi_teacher the region is an output, the arena's, and the view is
 * waited for. */
bool ld_teacher_features(struct ld_teacher *teacher,
                         enum ld_imitation imitation, struct ld_region *region,
                         const float **rows, struct ld_arena *arena,
                         struct ld_err *err);
