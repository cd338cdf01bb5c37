#include "cache/projection.h"

#include <stdio.h>

#include "kernels/base/progress.h"

enum { TRAIN2017 = 117266 }; /* of its 118,287 images those with a box */

void ld_projection_add(struct ld_shard_sizes *sum, const struct ld_shard *shard)
{
    struct ld_shard_sizes one;

    ld_shard_sizes(shard, &one);
    sum->file += one.file;
    sum->location += one.location;
    sum->kind += one.kind;
    sum->box += one.box;
    sum->class_rows += one.class_rows;
    sum->features += one.features;
    sum->index += one.index;
    sum->n_rows += one.n_rows;
    sum->n_main += one.n_main;
    sum->n_features += one.n_features;
}

static int views_each(const struct ld_shard_facts *facts)
{
    return facts->seeded_views > 0 ? facts->seeded_views : 1 + facts->view_flip;
}

double ld_projection_bytes(const struct ld_shard_facts *facts,
                           const struct ld_shard_sizes *sum, int64_t n_views)
{
    return (double)sum->file / (double)n_views * TRAIN2017 * views_each(facts);
}

void ld_projection_text(char out[100], const struct ld_shard_facts *facts,
                        const struct ld_shard_sizes *sum, int64_t n_views)
{
    int views = views_each(facts);
    char bytes[16];

    ld_bytes_text(bytes, ld_projection_bytes(facts, sum, n_views));
    snprintf(out, 100, "COCO train2017 (%d,%d images, %d view%s each): %s",
             TRAIN2017 / 1000, TRAIN2017 % 1000, views, views == 1 ? "" : "s",
             bytes);
}
