/* assign_fcos.h - which locations answer for which object, as FCOS has it. */
#pragma once

#include "kernels/net/assign.h"

/* MAIN: centres strictly inside the middle 3 x 3 strides of a box, and inside
 * the box, whose farthest side is as far as their level is meant for; of
 * several boxes the smallest. VLR, value 1: all others strictly inside a box.
 * False with LD_ERR_MEMORY only. Source: Tian et al. 2019 (FCOS), with the
 * centre sampling of its authors' code; spec: model 10, assign 4. */
bool ld_assign_fcos(struct ld_assignment *out, const struct ld_grid *grid,
                    const struct ld_box *boxes, int n_boxes,
                    struct ld_arena *arena, struct ld_err *err);
