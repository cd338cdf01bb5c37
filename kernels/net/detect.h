/* detect.h - from a detector's outputs to boxes with scores. */
#pragma once

#include <stdbool.h>

#include "kernels/base/mem.h"
#include "kernels/box.h"
#include "kernels/rules.h"

struct ld_detection {
    struct ld_box box; /* pixels of the image file */
    float score;       /* 0 to 1 */
    int class_index;
};

struct ld_detections {
    int n;
    struct ld_detection *items; /* by falling score; the arena's */
};

/* One image's outputs, on the host, and the way back to its file. */
struct ld_detect_input {
    const struct ld_grid *grid;
    const float *class_logits; /* (A, n_logits) */
    const float *box_logits;   /* (A, 4, B) */
    int K, B;
    int H, W;               /* of the scaled image: boxes are clipped to it */
    float scale_x, scale_y; /* then divided by these */
    int n_logits; /* K, or K + 1: the last is the background, no class */
    const float *quality; /* (A) logits: scores are sigmoid(class)
                             sigmoid(quality). NULL: sigmoid(class) */
    bool centerness; /* that is what quality is: the limit of scores is then
                        one of sigmoid(class) alone */
};

/* How far a side is, in strides: the expectation of softmax(logits) over the
 * bins 0 .. B - 1. */
float ld_side_distance(const float *logits, int B);

/* Detections of one image: of each level the locations with the best class
 * score, of these every class above the limit, of these the best of boxes that
 * overlap within a class. Of equal scores the lower level and class comes
 * first; a NaN score is no candidate. The reference moves the boxes of a class
 * apart by an offset in float32 before it compares them; here they stay where
 * they are, so an overlap within float rounding of the limit may be decided
 * otherwise. With LD_NMS_VOTING kernels/net/detect_vote.h decides the overlap,
 * and moves the boxes that are kept. False with LD_ERR_MEMORY only. */
bool ld_detect(struct ld_detections *out, const struct ld_detect_input *in,
               const struct ld_detect_rules *rules, struct ld_arena *arena,
               struct ld_err *err);
