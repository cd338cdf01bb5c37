/* dataset.h - annotated images, whatever file they came from.
 *
 * Plain arrays, read-only once made. Crowds (COCO) and difficult boxes (VOC)
 * are kept and marked: training leaves them out, evaluation treats them by its
 * own rules. */
#pragma once

#include <stdint.h>

#include "kernels/base/error.h"
#include "kernels/box.h"

struct ld_object {
    struct ld_box box; /* pixels of the image file */
    float area; /* COCO's `area` (of the mask); of the box where the file has
                   none, and in VOC */
    int32_t class_index; /* 0 to n_classes - 1 */
    bool ignored;        /* crowd or difficult */
    bool trained;        /* passes the training filter of spec training 1 */
};

struct ld_sample {
    int64_t id;       /* COCO's image id; VOC: index in the split */
    const char *name; /* file name inside `folder` */
    int32_t H, W;     /* as the annotation says; VOC may lack it: 0 */
    int32_t first_object, n_objects; /* a run of ld_dataset.objects */
    bool trained; /* passes the image filter: min side >= 32, some annotation
                     of a wanted class */
};

enum ld_dataset_kind { LD_DATASET_COCO, LD_DATASET_VOC };

struct ld_dataset {
    enum ld_dataset_kind kind;
    const char *folder; /* of the images; VOC: the parent of every source
                           folder, so that a name is unique */
    /* COCO: by rising id; VOC: by the split's order */
    struct ld_sample *samples;
    int n_samples;
    struct ld_object *objects;
    int n_objects;
    const char **class_names;
    int64_t *category_id; /* (n_classes) of the COCO file; VOC: 1.. */
    int n_classes;
    int n_dropped;   /* boxes that training leaves out, beside the ignored ones:
                        of no wanted class (not in `objects`), degenerate or
                        outside the image (in `objects`, not trained) */
    char sha256[65]; /* of the annotations: file, or every XML in order */
};

struct ld_dataset_source {
    enum ld_dataset_kind kind;
    const char *annotations; /* COCO: the JSON. VOC: the folder that holds
                                Annotations, ImageSets, JPEGImages; several
                                are joined by ':' */
    const char *images;      /* COCO: folder of the images. VOC: NULL */
    const char *split;       /* VOC: name in ImageSets/Main; several joined by
                                ':' belong to the folders in order, one
                                serves all */
    const char *const *class_names; /* n_classes 0: all of the file, COCO by
                                       rising id, VOC in alphabetical order */
    int n_classes;
};

/* NULL with LD_ERR_IO or LD_ERR_FORMAT, which names file, line and column (or
 * the image and the object) and what was expected. Frees with
 * ld_dataset_free. */
struct ld_dataset *ld_dataset_read(const struct ld_dataset_source *source,
                                   struct ld_err *err);
void ld_dataset_free(struct ld_dataset *set); /* NULL is fine */

/* "folder/name" of a sample. */
bool ld_dataset_path(const struct ld_dataset *set,
                     const struct ld_sample *sample, char out[4096],
                     struct ld_err *err);
