/* projection.h - what a view takes in a cache, and what all of COCO would. */
#pragma once

#include "formats/shard.h"

/* Adds a shard's bytes and rows to those of others. */
void ld_projection_add(struct ld_shard_sizes *sum,
                       const struct ld_shard *shard);

/* Bytes of train2017's 117,266 images with boxes, as many views of each as the
 * cache has of its own, at the mean of its n_views > 0 views. */
double ld_projection_bytes(const struct ld_shard_facts *facts,
                           const struct ld_shard_sizes *sum, int64_t n_views);

/* "COCO train2017 (117,266 images, 2 views each): 24.0 GB" */
void ld_projection_text(char out[100], const struct ld_shard_facts *facts,
                        const struct ld_shard_sizes *sum, int64_t n_views);
