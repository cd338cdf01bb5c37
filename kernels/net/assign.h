/* assign.h - which locations answer for which object, and how much.
 *
 * Depends on anchors and boxes only, never on a network's output: the cache
 * and the trainer get the same answer. Sources: ATSS (Zhang et al. 2020) for
 * the main region; Zheng et al. 2022 for the valuable localization region, in
 * the form of the paper (DIoU) and as the authors coded it. */
#pragma once

#include <stdint.h>

#include "kernels/base/mem.h"
#include "kernels/box.h"
#include "kernels/rules.h"

enum {
    LD_ROW_MAIN = 1, /* a positive location */
    LD_ROW_VLR = 2,  /* in the valuable localization region */
};

struct ld_row {
    int32_t location; /* on the grid */
    int32_t object;   /* of a MAIN row: index into boxes; -1 otherwise */
    float vlr;        /* of a VLR row: the largest IoU with a box whose band
                         holds it, of FCOS 1; 0 otherwise */
    uint8_t kind;     /* LD_ROW_MAIN | LD_ROW_VLR */
};

struct ld_assignment {
    int n_rows, n_main;
    struct ld_row *rows; /* (n_rows) by rising location; the arena's */
    float *threshold;    /* (n_boxes) mean + deviation of the candidates' IoU;
                            NULL for FCOS */
    int n_ignored;       /* RetinaNet's: no object's, and not background */
    int32_t *ignored;    /* (n_ignored) locations, rising; the arena's */
};

/* One image: boxes in pixels of its view, on the grid of its own padded canvas
 * (every location valid), by the rules of the grid's head. No boxes: no rows.
 * False with LD_ERR_MEMORY only. */
bool ld_assign(struct ld_assignment *out, const struct ld_grid *grid,
               const struct ld_box *boxes, int n_boxes,
               const struct ld_assign_rules *rules, struct ld_arena *arena,
               struct ld_err *err);
