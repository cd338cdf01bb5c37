/* imitate.h - where a student imitates the features of its teacher.
 *
 * A region is a list of locations of one image. finegrained, fitnet, main and
 * decouple depend on anchors and boxes alone; gi_teacher on the teacher too, so
 * that a cache can hold its features; gibox on the student as well, so that
 * none can. Sources: Wang et al. 2019 (finegrained), Guo et al. 2021 (decouple,
 * DeFeat), Dai et al. 2021 (general instances: gibox), each as the LD authors'
 * code has it (spec assign 5); gi_teacher is ours. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/net/assign.h"

struct ld_region {
    int n;
    int32_t *location; /* (n) rising; the arena's */
    uint8_t *inside; /* (n) decouple alone, else NULL: 1 inside a box, 0 not */
};

/* The region of one image that boxes and their assignment tell, on the grid of
 * its own padded canvas; all locations for decouple. Not gibox, not gi_teacher.
 * False with LD_ERR_MEMORY only. */
bool ld_region_of(struct ld_region *out, enum ld_imitation imitation,
                  const struct ld_grid *grid, const struct ld_box *boxes,
                  int n_boxes, const struct ld_assignment *assignment,
                  struct ld_arena *arena, struct ld_err *err);

/* Every location of a grid, 0 to A - 1. */
bool ld_region_all(struct ld_region *out, const struct ld_grid *grid,
                   struct ld_arena *arena, struct ld_err *err);

/* What each of the n rows of a level, of all images, counts: im / (n C), so
 * that the sum over |student - teacher|^2 is im times the mean square. decouple
 * (`inside` not NULL) makes two means of it: that of the rows inside boxes, and
 * twice that of the others. */
void ld_region_weights(float *weight, const uint8_t *inside, int n, int C,
                       float im);

enum { LD_INSTANCES = 10 }; /* of a level */

/* A place that may be a general instance. */
struct ld_candidate {
    float score;       /* how much the two networks differ, or the teacher's */
    struct ld_box box; /* of the one that is surer; in strides */
};

float ld_score(float logit); /* its sigmoid */

/* scores (n, K) of n rows of class logits (n, n_logits), of which the first K
 * are classes', and of quality (n), logits too, or NULL: GFL V1. */
void ld_scores_of(float *scores, const float *logits, const float *quality,
                  size_t n, int K, int n_logits);

/* What a network says of one location. */
struct ld_opinion {
    const float *scores; /* (K) 0 to 1 */
    const float *bins;   /* (4, B) box logits */
};

/* The candidate at (x, y), in strides: the largest |teacher - student| of a
 * class as score; the box of whoever scores that class higher, the teacher's if
 * equal. Without a student (scores NULL): the teacher's largest score, its box.
 */
struct ld_candidate ld_candidate_of(const struct ld_opinion *teacher,
                                    const struct ld_opinion *student, int K,
                                    int B, float x, float y);

/* Indices of the best of n candidates, by falling score, none of whose boxes
 * overlaps a better one's with an IoU over 0.3; of equal scores the lower index
 * first. Returns how many, at most LD_INSTANCES. A score that was taken or
 * suppressed is overwritten; a NaN score is never chosen. */
int ld_candidates_choose(int32_t chosen[LD_INSTANCES],
                         struct ld_candidate *candidates, int n);

/* gi_teacher: the chosen locations of each level, all levels in one region.
 * scores (A, K), bins (A, 4, B) are the teacher's, on the host. */
bool ld_region_choose(struct ld_region *out, const struct ld_grid *grid,
                      const float *scores, const float *bins, int K, int B,
                      struct ld_arena *arena, struct ld_err *err);
