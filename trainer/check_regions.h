/* check_regions.h - how many locations the losses of a sample of images read.
 */
#pragma once

#include "kernels/base/mem.h"
#include "trainer/loader.h"

/* Regions as they are counted: main and VLR overlap, imitation both. */
enum {
    LD_REGION_MAIN,
    LD_REGION_VLR,
    LD_REGION_EITHER,
    LD_REGION_IMITATED, /* empty unless boxes or a cache tell it */
    LD_N_REGIONS,
};

struct ld_check_regions {
    enum ld_head head; /* the student's */
    int64_t count[LD_N_REGIONS][LD_MAX_LEVELS];
    struct ld_buf per_image[LD_N_REGIONS]; /* int32_t of each image */
    int64_t n_images, n_boxes;
    int64_t n_imitated;
    int64_t n_missed; /* boxes that no location answers for */
};

/* Adds the images of a batch. */
bool ld_check_regions_add(struct ld_check_regions *sum,
                          const struct ld_batch *batch, struct ld_err *err);

/* Prints the table. */
void ld_check_regions_print(struct ld_check_regions *sum);
void ld_check_regions_free(struct ld_check_regions *sum);
