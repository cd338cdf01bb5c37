/* views.h - which views of an image a run shows.
 *
 * Three schemes. One scale: each image plain or mirrored, a coin for each time
 * it is shown; a cache holds both. Several scales, without a cache: scale and
 * coin are drawn afresh each time. K seeded views: scale and coin of an image's
 * view 0 to K - 1 are a hash of (seed, image, view), so that ld-cache on any
 * machine and the trainer agree; K passes over the data show each view once, in
 * an order of the image's own. With K the passes of the whole run, each is
 * shown once and the draws are those of a run without a cache. */
#pragma once

#include "formats/view.h"
#include "kernels/base/error.h"

enum { LD_MAX_SHORT_EDGES = 8, LD_MAX_SEEDED_VIEWS = 1000 };

enum ld_multi_scale {
    LD_SCALE_NONE,  /* rules.short_edge */
    LD_SCALE_RANGE, /* any whole number from short_edges[0] to [1], inclusive */
    LD_SCALE_VALUE, /* one of short_edges */
};

struct ld_views {
    struct ld_view_rules rules;
    enum ld_multi_scale multi_scale;
    int short_edges[LD_MAX_SHORT_EDGES], n_short_edges;
    bool flip;    /* half of the views are mirrored */
    int n_seeded; /* K; 0: the other schemes */
    int seed;     /* of the seeded views; not the run's */
};

/* False with LD_ERR_USAGE naming the config's key: edges that do not fit the
 * mode or exceed the long edge, seeded views of one scale, or several scales to
 * be `cached` that are not seeded. */
bool ld_views_check(const struct ld_views *views, bool cached,
                    struct ld_err *err);

/* How many views of an image a cache holds: K, 2 or 1. */
int ld_views_per_image(const struct ld_views *views);

/* View `number` of the image (H x W pixels) in a cache: seeded, or 0 plain and
 * 1 mirrored. */
struct ld_view ld_views_cached(const struct ld_views *views, int64_t image_id,
                               int number, int H, int W);

/* The view that a run of this `seed` shows of the image in its `pass` over the
 * data (from 0), at `place` of `epoch`: without seeded views pass and image do
 * not matter, with them epoch and place do not. */
struct ld_views_moment {
    uint64_t seed;
    int64_t image_id, pass, epoch, place;
};
struct ld_view ld_views_shown(const struct ld_views *views,
                              const struct ld_views_moment *moment, int H,
                              int W);

/* "800", "480 to 800", "640, 800": the short edges, as a shard keeps them. */
void ld_views_edges_text(const struct ld_views *views, char out[96]);

/* "none", "range", "value" */
const char *ld_views_scale_name(enum ld_multi_scale multi_scale);
