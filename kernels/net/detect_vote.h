/* detect_vote.h - suppression by centre distance as well, and boxes that the
 * suppressed vote on: the reference's voting_cluster_diounms.
 *
 * M(a, b) = IoU - (rho^2 / c^2)^0.8, where rho is the distance of the centres
 * and c the diagonal of the enclosing box (DIoU-NMS: Zheng et al. 2020). In the
 * order of scores a box stays unless one that stayed has M above the limit with
 * it: the fixed point of Cluster-NMS (Zheng et al. 2021). A box that stays then
 * becomes the mean of itself and of the boxes of its class scored no higher
 * with M above 0.7, weighted by score * exp(-(1 - M)^2 / 0.025) (spec inference
 * 3).
 *
 * The reference compares boxes of all classes after moving class k away by 4000
 * k pixels in float32. Here only boxes of one class are compared, so that above
 * 4000 pixels the classes do not run into each other; they are moved all the
 * same, since at 76000 pixels a float holds 1/128 of one and what that does to
 * M, a vote multiplies: unmoved boxes ended up to 0.003 pixels elsewhere. Its
 * weight of e^-40 at least for every other box, of any class, moves none by
 * more than 1e-10 and is left out. */
#pragma once

#include <stdbool.h>

#include "kernels/box.h"

/* M of two boxes of a class. At most the IoU; may be negative. */
float ld_vote_overlap(struct ld_box a, struct ld_box b, int class_index);

/* True if M is above `limit`, 0 or more. */
bool ld_vote_suppresses(struct ld_box a, struct ld_box b, int class_index,
                        float limit);

/* The votes on one box. */
struct ld_vote {
    struct ld_box own;
    int class_index;
    double weight, x0, y0, x1, y1; /* sums */
};

struct ld_vote ld_vote_start(struct ld_box own, int class_index, float score);
/* A box of the class, scored no higher; it may be too far to have a vote. */
void ld_vote_add(struct ld_vote *vote, struct ld_box other, float score);
/* The mean. */
struct ld_box ld_vote_result(const struct ld_vote *vote);
