/* report_count.h - what a report counts in the rows of a cache. */
#pragma once

#include "formats/shard.h"

enum {
    LD_REPORT_BINS = 24,
    LD_REPORT_SIZES = 3, /* of an expected box: sides below 32, 96 pixels */
    LD_REPORT_GROUPS = LD_MAX_LEVELS + LD_REPORT_SIZES,
    LD_REPORT_WORST = 8
};

struct ld_report_view {
    const struct ld_shard *shard;
    int index; /* in the shard */
    int64_t image_id;
    double value; /* what it stands out by */
};

struct ld_report_views {
    struct ld_report_view is[LD_REPORT_WORST]; /* by falling value; one view an
                                                  image */
    int n;
};

/* [0] of rows of the VLR alone, [1] of main rows. */
struct ld_report_histogram {
    int64_t counts[2][LD_REPORT_BINS];
};

struct ld_report_count {
    int B;
    /* of levels, then of sizes: of each side the entropy, 0 to log2(B) bits,
     * and the probability of its likeliest bin, 0 to 1 */
    struct ld_report_histogram entropy[LD_REPORT_GROUPS];
    struct ld_report_histogram sharpness[LD_REPORT_GROUPS];
    double entropy_sum[2]; /* over all sides */
    int64_t n_sides[2];
    /* of views: the share of their locations that have a row, in steps of 1 %
     */
    int64_t region[LD_REPORT_BINS];
    struct ld_report_views largest;   /* most rows */
    struct ld_report_views uncertain; /* most bits a side of the main rows */
    struct ld_report_views empty;
};

/* Adds a shard, which must outlive the count. LD_ERR_FORMAT names a damaged
 * view. */
bool ld_report_add(struct ld_report_count *count, const struct ld_shard *shard,
                   struct ld_err *err);
