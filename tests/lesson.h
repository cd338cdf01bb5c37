/* lesson.h - a small student, its teacher, and a batch of two images whose
 * canvases differ: what a test of training steps needs. */
#pragma once

#include "trainer/step.h"

enum { LESSON_N = 2, LESSON_K = 5 };

/* R-18 of width 16, FPN 32, GFL V1. */
extern const struct ld_model lesson_model;

struct lesson {
    struct ld_device *dev;
    struct ld_net *student;
    struct ld_teacher *teacher;
    struct ld_loss_rules rules; /* the reference's, without imitation */
    struct ld_batch batch;
    struct ld_batch_image images[LESSON_N];
    bool restored; /* lesson_cache reads logits where the loader would read what
                      is kept */
    struct ld_arena arena;
    struct ld_err err;
};

/* On the CPU, or on `dev`, which lesson_close then closes. */
void lesson_open(struct lesson *l, const struct ld_model *student,
                 const struct ld_model *teacher);
void lesson_open_on(struct lesson *l, struct ld_device *dev,
                    const struct ld_model *student,
                    const struct ld_model *teacher);
void lesson_close(struct lesson *l);

/* From now on features are imitated. */
void lesson_imitate(struct lesson *l, enum ld_imitation imitation);

/* Runs the teacher over one image on its own canvas. Its rows are borrowed. */
struct ld_teacher_rows lesson_run_teacher(struct lesson *l, int image);

/* Runs the student, which has the batch's size, over the batch. */
void lesson_show(struct lesson *l);

/* Caches the batch's views as ld-cache would, and reads them back. */
void lesson_cache(struct lesson *l, enum ld_storage storage);

/* Losses and the gradients of all trained parameters, end to end; the arena's.
 */
float *lesson_gradient(struct lesson *l, bool resident, size_t *count,
                       struct ld_loss_terms *terms);
