/* inspect.h - what ld-inspect finds out about shards, and how it says it.
 *
 * Private to ld-inspect (cache/inspect*.c). Text and JSON go to a buffer that
 * main prints. */
#pragma once

#include "formats/shard.h"
#include "kernels/base/mem.h"

/* The sum over the shards of one path: a file, or all of a folder. */
struct ld_inspection {
    const char *path;                   /* as the user gave it; borrowed */
    const struct ld_shard_facts *facts; /* of the first shard; borrowed */
    int n_shards;
    int64_t n_images, n_views, n_flipped, n_empty;
    struct ld_shard_sizes sizes;
    int64_t rows[LD_MAX_LEVELS][4];   /* by level and kind */
    int32_t median_rows, most_rows;   /* of a view */
    struct ld_view smallest, largest; /* by area, before padding */
    int32_t sides[5];      /* shorter side of a view: least, quartiles, most */
    struct ld_buf shorter; /* int32_t of each view, then sorted */
    struct ld_buf ids;     /* int64_t of each view, then sorted */
    struct ld_buf n_rows;  /* int32_t of each view, then sorted */
    struct ld_buf skipped; /* struct ld_inspect_skipped */
};

struct ld_inspect_skipped {
    int64_t image_id;
    const char *reason; /* the shard's */
};

void ld_inspect_start(struct ld_inspection *sum, const char *path);
/* The shard must outlive the inspection. LD_ERR_FORMAT names a damaged view. */
bool ld_inspect_add(struct ld_inspection *sum, const struct ld_shard *shard,
                    struct ld_err *err);
/* After the last shard. */
bool ld_inspect_settle(struct ld_inspection *sum, struct ld_err *err);
void ld_inspect_free(struct ld_inspection *sum);

/* The names of kinds 0 to 3: "-", "main", "VLR", "both". */
const char *ld_inspect_kind(int kind);

/* One side of a box as its distribution tells it. */
struct ld_inspect_side {
    float distance; /* expected, in pixels of the view */
    float entropy;  /* bits: 0 is certain, log2(B) knows nothing */
    int top_bin;
    float top_share; /* probability of that bin */
};
struct ld_inspect_side ld_inspect_side(const float *bins, int B, int stride);

/* The `count` best of K classes, by falling logit. */
void ld_inspect_best(const float *logits, int K, int count, int *best);

/* What --verify found in one shard. */
struct ld_inspect_verdict {
    const char *path;
    int64_t n_views, bytes;
    double seconds;
    struct ld_buf damage; /* texts, each ended by a zero; empty: it is whole */
};

void ld_inspect_text(struct ld_buf *out, const struct ld_inspection *sum);
void ld_inspect_json(struct ld_buf *out, const struct ld_inspection *sum);
void ld_inspect_record_text(struct ld_buf *out, const struct ld_shard *shard,
                            const struct ld_record *record);
void ld_inspect_record_json(struct ld_buf *out, const struct ld_shard *shard,
                            const struct ld_record *record);
void ld_inspect_verdict_text(struct ld_buf *out,
                             const struct ld_inspect_verdict *verdict);
void ld_inspect_verdict_json(struct ld_buf *out,
                             const struct ld_inspect_verdict *verdict);
