/* steps.h - rows of logits as whole numbers of a step, and how they are kept.
 *
 * A row is `groups` runs of `width` logits: the 4 sides of a box of B bins, or
 * one run of K classes. A softmax over bins knows differences only, so a box is
 * kept relative to the first bin of each side, which is then 0 and not kept.
 * Column i of what is kept is number (i / groups + relative) of run
 * (i % groups): bins of all four sides side by side, which tell most of each
 * other.
 *
 *   kept = round((logit - first of its run, if relative) / step)    int16
 *
 * The step is as long as the gradient's error allows (formats/codec.h), and the
 * columns are foretold from each other (formats/predict.h). */
#pragma once

#include "formats/predict.h"

struct ld_steps {
    int groups, width;
    bool relative;
    int n_columns; /* groups * (width - relative) */
    double step;
    struct ld_predictor predictor;
};

/* Steps of 1 that foretell 0; the arena's. */
bool ld_steps_make(struct ld_steps *out, int groups, int width, bool relative,
                   struct ld_arena *arena, struct ld_err *err);

/* Sets step and predictor by n_rows rows (n_rows, groups, width) that stand for
 * all: the longest step at which the gradient at temperature T is off by at
 * most `grad_error` late in training. Chunks will have chunk_rows rows. */
bool ld_steps_fit(struct ld_steps *s, const float *rows, size_t n_rows,
                  double T, double grad_error, size_t chunk_rows,
                  struct ld_err *err);

/* What is kept of n_rows rows: (n_rows, n_columns). */
void ld_steps_keep(const struct ld_steps *s, int16_t *kept, const float *rows,
                   size_t n_rows);

/* And what comes back: (n_rows, groups, width). */
void ld_steps_restore(const struct ld_steps *s, float *rows,
                      const int16_t *kept, size_t n_rows);

/* What a strip keeps (ld_predict_decode) of n_rows rows from row `first` on. */
void ld_steps_strip_kept(const struct ld_steps *s, int16_t *kept,
                         const int32_t *strip, size_t first, size_t n_rows);

/* And what comes back of them. */
void ld_steps_restore_strip(const struct ld_steps *s, float *rows,
                            const int32_t *strip, size_t first, size_t n_rows);
