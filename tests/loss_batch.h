/* loss_batch.h - a batch of losses for tests, with everything it points to. */
#pragma once

#include "kernels/base/mem.h"
#include "kernels/loss.h"

/* Weights and temperatures of the reference's recipes. */
extern const struct ld_loss_rules reference_rules;

struct loss_batch {
    struct ld_arena arena;
    struct ld_loss_batch b;
    double sums[LD_N_SUMS];       /* b.sums: the batch is not to be copied */
    float *z, *r;                 /* the student's logits, to be written */
    float *teacher_z, *teacher_r; /* of all locations */
    uint8_t *valid;
    int32_t *index, *label;
    struct ld_box *box;
    float *vlr, *row_box, *row_class;
    float *weight, *dz, *dr;
    float *u, *du; /* quality logits, their gradients; for b.quality = u */
    struct ld_loss_terms terms;
};

/* Room for N images on `grid`: logits 0, every location invalid, no rows. The
 * caller writes the logits, adds the images, and frees the arena. */
void loss_batch_start(struct loss_batch *t, struct ld_grid grid, int N, int K,
                      int B);

/* Adds an image's rows, with the teacher's logits there; `own` is the grid of
 * its canvas. */
void loss_batch_image(struct loss_batch *t, int image,
                      const struct ld_grid *own, const struct ld_box *boxes,
                      const int64_t *labels, int n_boxes);

/* Two images, the second on a smaller canvas, random logits and boxes; 3
 * classes, 17 bins, weights. */
void loss_batch_random(struct loss_batch *t, uint64_t seed);

/* Weights, terms and gradients. */
void loss_batch_run(struct loss_batch *t, const struct ld_loss_rules *rules);

/* Compares every `step`-th of the numbers x, of the `width` of each row:
 * (f(x + h) - f(x - h)) / 2h against the gradient g made before. h leaves an
 * error of h^2 times the third derivative and of a float32 term's rounding over
 * h: both below 1e-3 of the largest. */
void loss_batch_slopes(struct loss_batch *t, const struct ld_loss_rules *rules,
                       float *x, const float *g, size_t width, int step);

/* Room from the batch's arena. */
void *loss_batch_new(struct loss_batch *t, size_t count, size_t size);
