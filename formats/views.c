#include "formats/views.h"

#include <stdio.h>

#include "kernels/base/rng.h"

/* What is drawn of a run's seed beside the order of an epoch. */
enum { DRAW_FLIP = 1, DRAW_SCALE = 2, DRAW_TURN = 3 };

/* ---- what a config may ask for ---- */

static bool edges_fit(const struct ld_views *views, struct ld_err *err)
{
    const int *edges = views->short_edges;

    if (views->multi_scale == LD_SCALE_NONE && views->n_short_edges > 0)
        return ld_fail(err, LD_ERR_USAGE,
                       "view.short_edges: set, but view.multi_scale is none: "
                       "expected range or value, or no short_edges");
    if (views->multi_scale == LD_SCALE_RANGE &&
        (views->n_short_edges != 2 || edges[0] > edges[1]))
        return ld_fail(err, LD_ERR_USAGE,
                       "view.short_edges: view.multi_scale is range: expected "
                       "the least and the most, as in [480, 800]");
    if (views->multi_scale == LD_SCALE_VALUE && views->n_short_edges == 0)
        return ld_fail(err, LD_ERR_USAGE,
                       "view.short_edges: view.multi_scale is value: expected "
                       "the edges to choose from, as in [640, 800]");
    for (int i = 0; i < views->n_short_edges; i++)
        if (edges[i] > views->rules.long_edge)
            return ld_fail(err, LD_ERR_USAGE,
                           "view.short_edges: %d is above view.long_edge, %d",
                           edges[i], views->rules.long_edge);
    return true;
}

bool ld_views_check(const struct ld_views *views, bool cached,
                    struct ld_err *err)
{
    const char *mode = ld_views_scale_name(views->multi_scale);

    if (!edges_fit(views, err))
        return false;
    if (views->n_seeded > 0 && views->multi_scale == LD_SCALE_NONE)
        return ld_fail(err, LD_ERR_USAGE,
                       "cache.views: %d, but view.multi_scale is none: of one "
                       "scale the plain and the mirrored view are all there "
                       "is: expected 0",
                       views->n_seeded);
    if (views->n_seeded == 1)
        return ld_fail(err, LD_ERR_USAGE,
                       "cache.views: 1 would show each image at one scale in "
                       "every epoch: expected 2 or more");
    return !cached || views->n_seeded > 0 ||
           views->multi_scale == LD_SCALE_NONE ||
           ld_fail(err, LD_ERR_USAGE,
                   "cache.views: not set, but view.multi_scale is %s: expected "
                   "how many views of each image a cache holds, such as the "
                   "epochs of the run",
                   mode);
}

int ld_views_per_image(const struct ld_views *views)
{
    return views->n_seeded > 0 ? views->n_seeded : views->flip ? 2 : 1;
}

/* ---- draws ---- */

/* One of 0 to n - 1, by the upper half of 64 random bits. */
static int pick(uint64_t bits, int n)
{
    return (int)((bits >> 32) * (uint64_t)n >> 32);
}

static int drawn_edge(const struct ld_views *views, uint64_t bits)
{
    const int *edges = views->short_edges;

    switch (views->multi_scale) {
    case LD_SCALE_RANGE:
        return edges[0] + pick(bits, edges[1] - edges[0] + 1);
    case LD_SCALE_VALUE:
        return edges[pick(bits, views->n_short_edges)];
    case LD_SCALE_NONE:
        break;
    }
    return views->rules.short_edge;
}

static struct ld_view view_at(const struct ld_views *views, int short_edge,
                              int H, int W, bool flipped)
{
    struct ld_view_rules rules = views->rules;

    rules.short_edge = short_edge;
    return ld_view_of(&rules, H, W, flipped);
}

struct ld_view ld_views_cached(const struct ld_views *views, int64_t image_id,
                               int number, int H, int W)
{
    uint64_t bits = ld_rng_hash((uint64_t)views->seed, (uint64_t)image_id,
                                (uint64_t)number);
    struct ld_view view;

    if (views->n_seeded == 0)
        return ld_view_of(&views->rules, H, W, number == 1);
    view =
        view_at(views, drawn_edge(views, bits), H, W, views->flip && bits % 2);
    view.number = number;
    return view;
}

/* Which seeded view the pass shows: each K passes are a permutation. */
static int turn(int n_seeded, const struct ld_views_moment *moment)
{
    int32_t order[LD_MAX_SEEDED_VIEWS];
    uint64_t own =
        ld_rng_hash(moment->seed + DRAW_TURN, (uint64_t)moment->image_id, 0);

    ld_rng_permutation(own, (uint64_t)(moment->pass / n_seeded), order,
                       n_seeded);
    return order[moment->pass % n_seeded];
}

struct ld_view ld_views_shown(const struct ld_views *views,
                              const struct ld_views_moment *moment, int H,
                              int W)
{
    uint64_t epoch = (uint64_t)moment->epoch, place = (uint64_t)moment->place;

    if (views->n_seeded > 0)
        return ld_views_cached(views, moment->image_id,
                               turn(views->n_seeded, moment), H, W);
    return view_at(
        views,
        drawn_edge(views, ld_rng_hash(moment->seed + DRAW_SCALE, epoch, place)),
        H, W,
        views->flip && ld_rng_hash(moment->seed + DRAW_FLIP, epoch, place) % 2);
}

/* ---- in words ---- */

void ld_views_edges_text(const struct ld_views *views, char out[96])
{
    const char *between = views->multi_scale == LD_SCALE_RANGE ? " to " : ", ";
    int at = 0;

    if (views->multi_scale == LD_SCALE_NONE)
        snprintf(out, 96, "%d", views->rules.short_edge);
    for (int i = 0; i < views->n_short_edges; i++)
        at += snprintf(out + at, (size_t)(96 - at), "%s%d", i ? between : "",
                       views->short_edges[i]);
}

const char *ld_views_scale_name(enum ld_multi_scale multi_scale)
{
    static const char *const names[] = {"none", "range", "value"};

    return names[multi_scale];
}
