/* voc_eval.h - VOC mean AP at ten IoU thresholds, as mmdetection prints it. */
#pragma once

#include "trainer/coco_eval.h"

enum { LD_VOC_THRESHOLDS = 10 };

struct ld_voc_result {
    double mean;                   /* of the ten */
    double map[LD_VOC_THRESHOLDS]; /* at IoU .5, .55, .. .95; over the classes
                                      that have an object, 0 if none has */
    double *class_ap;              /* (10, n_classes), the arena's; NaN where a
                                      class has no object */
    int *class_objects;            /* (n_classes), the arena's; not difficult */
};

/* Of two detections of an object the one with the higher score is right, and a
 * detection is compared with the object it overlaps most alone (spec inference
 * 5: not quite the challenge's own rule). `images` as for ld_coco_eval.
 * `eleven_points`: VOC2007's 11-point AP, else the area under the envelope. */
bool ld_voc_eval(struct ld_voc_result *out, const struct ld_dataset *set,
                 const struct ld_image_detections *images, int n_images,
                 bool eleven_points, struct ld_arena *arena,
                 struct ld_err *err);
