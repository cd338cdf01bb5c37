/* assign_parts.h - what the assigners of several heads share. */
#pragma once

#include "kernels/net/assign.h"

/* A location near an object's centre. */
struct ld_near {
    float distance; /* pixels */
    int location;
};

/* The k places of a level nearest to (cx, cy), on GFL's grid: smaller
 * distance, then lower location. `best` has room for k; returns how many
 * there are. */
int ld_assign_nearest(struct ld_near *best, int k, const struct ld_grid *grid,
                      int level, float cx, float cy);

/* An object's threshold in ATSS: mean + deviation (over n - 1) of its
 * candidates' IoU. Source: Zhang et al. 2020, algorithm 1. */
float ld_assign_threshold(const float *iou, int n);

/* Fills the rows of `out`: a location a is in the main region where owner[a],
 * 1 + its object, is not 0, in the VLR where vlr[a] > 0. LD_ERR_MEMORY. */
bool ld_assign_rows(struct ld_assignment *out, const struct ld_grid *grid,
                    const int32_t *owner, const float *vlr,
                    struct ld_arena *arena, struct ld_err *err);

/* ld_assign for RetinaNet's anchors (assign_retina.c): an anchor answers for
 * the object of its largest IoU from 0.5 on and is ignored from 0.4 on; each
 * object's best anchors answer for it in any case. The VLR is ATSS's, its
 * thresholds from the topk nearest anchors of a level, without the main
 * region. Sources: Lin et al. 2017 (focal loss), section 4; spec: assign,
 * section 4. */
bool ld_assign_retina(struct ld_assignment *out, const struct ld_grid *grid,
                      const struct ld_box *boxes, int n_boxes,
                      const struct ld_assign_rules *rules,
                      struct ld_arena *arena, struct ld_err *err);
