/* coco_eval.h - COCO's twelve numbers, as pycocotools computes them for boxes.
 */
#pragma once

#include "formats/dataset.h"
#include "kernels/base/mem.h"
#include "kernels/net/detect.h"

/* All detections of one image, by falling score. */
struct ld_image_detections {
    int sample; /* index into ld_dataset.samples */
    struct ld_detections detections;
};

enum {
    LD_COCO_AP,
    LD_COCO_AP50,
    LD_COCO_AP75,
    LD_COCO_AP_SMALL,
    LD_COCO_AP_MEDIUM,
    LD_COCO_AP_LARGE,
    LD_COCO_AR1,
    LD_COCO_AR10,
    LD_COCO_AR100,
    LD_COCO_AR_SMALL,
    LD_COCO_AR_MEDIUM,
    LD_COCO_AR_LARGE,
    LD_COCO_N,
};

struct ld_coco_result {
    double value[LD_COCO_N]; /* 0 to 1; -1 where there is no object */
    double *class_ap;        /* (n_classes), the arena's; -1 likewise */
    double *class_ap50;      /* (n_classes), the arena's; -1 likewise */
};

/* Areas all, to 32^2, 32^2 to 96^2, above, by the annotation's `area`; IoU .50
 * to .95; 101 recall points; at most 1, 10, 100 detections an image and class.
 * Only the samples in `images` count, each of which stands there once: one
 * without detections must be there too. Equal scores rank by sample, then as
 * given. Numbers are stock pycocotools' (spec inference 4). */
bool ld_coco_eval(struct ld_coco_result *out, const struct ld_dataset *set,
                  const struct ld_image_detections *images, int n_images,
                  struct ld_arena *arena, struct ld_err *err);
