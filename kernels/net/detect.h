/* detect.h - from a detector's outputs to boxes with scores. */
#pragma once

#include "kernels/base/mem.h"
#include "kernels/box.h"

struct ld_detection {
    struct ld_box box; /* pixels of the image file */
    float score;       /* 0 to 1 */
    int class_index;
};

struct ld_detect_rules {
    float score_limit; /* 0.05: a candidate's score is above it */
    float iou_limit;   /* 0.6: suppressed above it */
    int per_level;     /* 1000 locations of a level go on, by best score */
    int per_image;     /* 100 */
};

struct ld_detections {
    int n;
    struct ld_detection *items; /* by falling score; the arena's */
};

/* What is needed of the view to come back to the pixels of the file. */
struct ld_detect_view {
    int H, W;               /* of the scaled image: boxes are clipped to it */
    float scale_x, scale_y; /* boxes are divided by these */
};

/* One image's logits on the host, class_logits (A, K) and box_logits (A, 4, B),
 * to detections: spec inference, sections 1 and 2. */
bool ld_detect(struct ld_detections *out, const struct ld_grid *grid,
               const float *class_logits, const float *box_logits, int K, int B,
               const struct ld_detect_view *view,
               const struct ld_detect_rules *rules, struct ld_arena *arena,
               struct ld_err *err);

/* Keeps the best of overlapping boxes of one class, in place, by falling
 * score; equal scores keep their order. Returns how many are left. */
int ld_detect_suppress(struct ld_detection *items, int n, float iou_limit);
