/* evaluate.h - a detector over an annotated data set: detections and numbers.
 */
#pragma once

#include "formats/config.h"
#include "formats/dataset.h"
#include "formats/image.h"
#include "kernels/net/net.h"
#include "trainer/coco_eval.h"
#include "trainer/team.h"

struct ld_evaluation {
    const struct ld_config *config; /* view, test, data.format */
    const struct ld_dataset *set;
    struct ld_device *dev;
    struct ld_net *net;         /* LD_NET_INFER */
    const struct ld_team *team; /* shares the images; NULL: all are ours */
};

/* Detections of one picture through a net, in pixels of the picture. */
bool ld_evaluate_image(const struct ld_evaluation *e,
                       const struct ld_image *image, struct ld_arena *arena,
                       struct ld_detections *out, struct ld_err *err);

/* Detections of every image of the set, the arena's; progress on stderr. Of a
 * team rank 0 gets them all. */
bool ld_evaluate_detect(const struct ld_evaluation *e,
                        struct ld_image_detections **out,
                        struct ld_arena *arena, struct ld_err *err);

/* The numbers in short, of either kind of data set: 0 to 1. */
struct ld_scores {
    double ap, ap50, ap75;
};

/* Computes the numbers, prints the full table to stdout if `table`. */
bool ld_evaluate_score(const struct ld_evaluation *e,
                       const struct ld_image_detections *images, bool table,
                       struct ld_scores *out, struct ld_err *err);

/* COCO results JSON: image_id, category_id, bbox (x, y, w, h), score. */
bool ld_evaluate_write_json(const struct ld_evaluation *e,
                            const struct ld_image_detections *images,
                            const char *path, struct ld_err *err);
