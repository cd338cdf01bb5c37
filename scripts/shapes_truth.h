/* shapes_truth.h - the truth about made-up images, in COCO's and in VOC's form.
 *
 * A box is the extent of the whole figure, cut at the image's edge: where the
 * border is blurred, faded or hidden, the box still says where it is. */
#pragma once

#include "kernels/base/mem.h"
#include "scripts/shapes_paint.h"

/* Of a shape less than this is in sight: a crowd for COCO, difficult for VOC.
 */
#define LD_TRUTH_IGNORED 0.25
/* Less than this: it is left out. */
#define LD_TRUTH_UNSEEN 0.02

struct ld_truth_image {
    int64_t id;         /* of all splits */
    char name[32];      /* "train_000001" */
    const char *ending; /* "jpg", "png" */
};

struct ld_truth_split {
    const char *name;                  /* "train", "val" */
    bool one_class;                    /* every shape is called "shape" */
    struct ld_buf images, annotations; /* COCO's arrays, element by element */
    struct ld_buf names;               /* VOC's image set */
    int64_t n_objects;                 /* of all splits so far: the last id */
};

/* Adds an image to its split and writes OUT/voc/Annotations/<name>.xml. */
bool ld_truth_add(struct ld_truth_split *split, const char *out_folder,
                  const struct ld_truth_image *image,
                  const struct ld_scene *scene, const struct ld_sight *sights,
                  struct ld_err *err);

/* Writes OUT/coco/<split>.json and OUT/voc/ImageSets/Main/<split>.txt. */
bool ld_truth_write(const struct ld_truth_split *split, const char *out_folder,
                    struct ld_err *err);
