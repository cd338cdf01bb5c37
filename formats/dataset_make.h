/* dataset_make.h - what the readers of COCO and VOC share while they build a
 * data set. Internal to dataset.c, coco.c and voc.c. */
#pragma once

#include <nettle/sha2.h>

#include "formats/dataset.h"
#include "kernels/base/mem.h"

/* A data set and the memory of all its arrays and strings. */
struct ld_dataset_store {
    struct ld_dataset set; /* first: the caller holds its address */
    struct ld_arena arena;
};

/* Each fills `store`, except for what ld_dataset_read sets from the source. */
bool ld_coco_read(const struct ld_dataset_source *source,
                  struct ld_dataset_store *store, struct ld_err *err);
bool ld_voc_read(const struct ld_dataset_source *source,
                 struct ld_dataset_store *store, struct ld_err *err);

/* Room for `n` classes; the names are set by the reader. */
bool ld_dataset_make_classes(struct ld_dataset_store *store, int n,
                             struct ld_err *err);

/* True if some part of the box, in pixels, lies inside an H x W image. */
bool ld_dataset_box_meets_image(struct ld_box box, int H, int W);

void ld_dataset_set_hash(struct ld_dataset *set, struct sha256_ctx *hash);
