/* by_class.h - detections and objects of many images, class by class: the order
 * in which an evaluation reads them. */
#pragma once

#include "trainer/coco_eval.h"

struct ld_class_detection {
    struct ld_detection item;
    int sample;
    int order; /* in the lists as given: the last word between equals */
};

struct ld_class_object {
    const struct ld_object *item;
    int sample;
};

struct ld_by_class {
    /* By class, then sample, then falling score. */
    struct ld_class_detection *detections;
    /* By class, then sample, then as in the data set. */
    struct ld_class_object *objects;
    int n_detections, n_objects, n_classes;
};

/* The detections and objects of one image and one class, and of no other. */
struct ld_class_group {
    int class_index, sample;
    int detection, n_detections; /* a run of ld_by_class.detections */
    int object, n_objects;       /* a run of ld_by_class.objects */
};

/* Copies detections, borrows objects; only the samples in `images`, each of
 * which stands there once. Arrays are the arena's. */
bool ld_by_class_gather(struct ld_by_class *out, const struct ld_dataset *set,
                        const struct ld_image_detections *images, int n_images,
                        struct ld_arena *arena, struct ld_err *err);

/* Steps to the next group that has a detection or an object, by rising class,
 * then sample. `group` starts as zeros; false after the last. */
bool ld_by_class_next(const struct ld_by_class *by,
                      struct ld_class_group *group);
