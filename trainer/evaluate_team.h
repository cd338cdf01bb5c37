/* evaluate_team.h - detections of all ranks, brought to rank 0. */
#pragma once

#include "trainer/coco_eval.h"
#include "trainer/team.h"

/* Whether an image's detections are this rank's work. `team` NULL: all are. */
bool ld_evaluate_has(const struct ld_team *team, int image);

/* Of `images` (n), each rank has its own; afterwards rank 0 has all, the
 * arena's. LD_ERR_MEMORY. */
bool ld_evaluate_gather(const struct ld_team *team,
                        struct ld_image_detections *images, int n,
                        struct ld_arena *arena, struct ld_err *err);
