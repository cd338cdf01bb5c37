#include <math.h>
#include <string.h>

#include "kernels/net/assign_parts.h"

/* Lin et al. 2017 (focal loss), section 4. */
static const float POSITIVE = 0.5F, NEGATIVE = 0.4F;

/* Half the longest side of an anchor, in strides, rounded up. */
static const float REACH = 5;

/* What is known of the image so far. */
struct anchors {
    const struct ld_grid *grid;
    struct ld_grid places; /* GFL's, of the same canvas */
    const struct ld_box *boxes;
    const struct ld_assign_rules *rules;
    int32_t *owner;       /* (A) 1 + the object of the largest IoU, or 0 */
    float *iou;           /* (A) with it */
    float *vlr;           /* (A) */
    float *best;          /* (n_boxes) an object's largest IoU */
    struct ld_near *near; /* scratch: topk places of a level */
    float *near_iou;      /* scratch: candidates of all levels */
};

/* ATSS's threshold over anchors: those of a place are as near as one another,
 * and the lower location comes first. */
static float threshold_of(struct anchors *s, struct ld_box box)
{
    float cx = (box.x0 + box.x1) / 2, cy = (box.y0 + box.y1) / 2;
    int k = s->rules->topk, n = 0;

    for (int level = 0; level < s->grid->n_levels; level++) {
        int n_near = ld_assign_nearest(s->near, k, &s->places, level, cx, cy);
        int stop = n_near * LD_RETINA_ANCHORS;

        for (int i = 0; i < k && i < stop; i++) {
            int place = s->near[i / LD_RETINA_ANCHORS].location;
            int a = place * LD_RETINA_ANCHORS + i % LD_RETINA_ANCHORS;

            s->near_iou[n++] = ld_box_iou(ld_grid_anchor(s->grid, a), box);
        }
    }
    return ld_assign_threshold(s->near_iou, n);
}

struct window {
    int x0, y0, x1, y1; /* columns and rows, the last one outside */
};

static int clamped(float x, int low, int high)
{
    return !(x > (float)low) ? low : x < (float)high ? (int)x : high;
}

/* The places of a level whose anchors can overlap the box. */
static struct window window_of(const struct ld_grid *grid, int level,
                               struct ld_box box)
{
    float s = (float)grid->stride[level];
    int W = grid->W[level], H = grid->H[level];

    return (struct window){clamped(box.x0 / s - REACH, 0, W),
                           clamped(box.y0 / s - REACH, 0, H),
                           clamped(box.x1 / s + REACH + 1, 0, W),
                           clamped(box.y1 / s + REACH + 1, 0, H)};
}

static struct ld_box moved(struct ld_box b, float x, float y)
{
    return (struct ld_box){x + b.x0, y + b.y0, x + b.x1, y + b.y1};
}

/* Does `visit` for every anchor, number a, that can overlap an object. */
static void visit_anchors(struct anchors *s, int object, float threshold,
                          void visit(struct anchors *s, int object,
                                     float threshold, int a,
                                     struct ld_box anchor))
{
    struct ld_box first[LD_RETINA_ANCHORS]; /* of the place at (0, 0) */

    for (int level = 0; level < s->grid->n_levels; level++) {
        struct window w = window_of(s->grid, level, s->boxes[object]);
        int start = s->grid->start[level], stride = s->grid->stride[level];
        int W = s->grid->W[level];

        for (int k = 0; k < LD_RETINA_ANCHORS; k++)
            first[k] = ld_grid_anchor(s->grid, start + k);
        for (int row = w.y0; row < w.y1; row++)
            for (int column = w.x0; column < w.x1; column++) {
                int a = start + (row * W + column) * LD_RETINA_ANCHORS;
                float x = (float)(column * stride), y = (float)(row * stride);

                for (int k = 0; k < LD_RETINA_ANCHORS; k++)
                    visit(s, object, threshold, a + k, moved(first[k], x, y));
            }
    }
}

/* Compares an anchor with an object, for the main region and for the VLR. */
static void compare(struct anchors *s, int object, float threshold, int a,
                    struct ld_box anchor)
{
    struct ld_box box = s->boxes[object];
    float iou = ld_box_iou(anchor, box), near;

    if (!(iou > 0))
        return;
    if (iou > s->iou[a]) {
        s->iou[a] = iou;
        s->owner[a] = object + 1;
    }
    if (iou > s->best[object])
        s->best[object] = iou;
    near = (s->rules->vlr_mode == LD_VLR_CODE ? ld_box_iof(anchor, box) : iou) -
           ld_box_centre_gap(anchor, box);
    if (near >= s->rules->vlr_gamma * threshold && near < threshold &&
        iou > s->vlr[a])
        s->vlr[a] = iou;
}

/* Gives an object's best anchors to it, however little they overlap. */
static void claim_best(struct anchors *s, int object, float threshold, int a,
                       struct ld_box anchor)
{
    (void)threshold;
    if (s->best[object] > 0 &&
        ld_box_iou(anchor, s->boxes[object]) == s->best[object]) {
        s->owner[a] = object + 1;
        s->vlr[a] = 0;
    }
}

/* Settles what the thresholds say; lists what is to be ignored. */
static bool settle(struct ld_assignment *out, struct anchors *s,
                   struct ld_arena *arena, struct ld_err *err)
{
    int A = s->grid->start[s->grid->n_levels], n = 0;

    for (int a = 0; a < A; a++)
        n += s->iou[a] >= NEGATIVE && s->iou[a] < POSITIVE;
    out->ignored = ld_arena_new(arena, (size_t)n, sizeof(*out->ignored), err);
    for (int a = 0; out->ignored && a < A; a++) {
        if (s->iou[a] >= POSITIVE)
            s->vlr[a] = 0;
        else
            s->owner[a] = 0;
    }
    return out->ignored != NULL;
}

static void list_ignored(struct ld_assignment *out, const struct anchors *s)
{
    int A = s->grid->start[s->grid->n_levels];

    for (int a = 0; a < A; a++)
        if (s->owner[a] == 0 && s->iou[a] >= NEGATIVE)
            out->ignored[out->n_ignored++] = a;
}

static bool anchors_new(struct anchors *s, int n_boxes, struct ld_arena *arena,
                        struct ld_err *err)
{
    const struct ld_grid *grid = s->grid;
    size_t A = (size_t)grid->start[grid->n_levels];
    size_t k = (size_t)s->rules->topk;

    s->owner = ld_arena_new(arena, A, sizeof(*s->owner), err);
    s->iou = ld_arena_new(arena, A, sizeof(*s->iou), err);
    s->vlr = ld_arena_new(arena, A, sizeof(*s->vlr), err);
    s->best = ld_arena_new(arena, (size_t)n_boxes, sizeof(*s->best), err);
    s->near = ld_arena_new(arena, k, sizeof(*s->near), err);
    s->near_iou = ld_arena_new(arena, k * (size_t)grid->n_levels,
                               sizeof(*s->near_iou), err);
    return s->owner && s->iou && s->vlr && s->best && s->near && s->near_iou;
}

bool ld_assign_retina(struct ld_assignment *out, const struct ld_grid *grid,
                      const struct ld_box *boxes, int n_boxes,
                      const struct ld_assign_rules *rules,
                      struct ld_arena *arena, struct ld_err *err)
{
    struct anchors s = {
        .grid = grid, .places = *grid, .boxes = boxes, .rules = rules};

    s.places.head = LD_HEAD_GFL;
    for (int i = 0; i <= grid->n_levels; i++)
        s.places.start[i] /= LD_RETINA_ANCHORS;
    *out = (struct ld_assignment){0};
    out->threshold =
        ld_arena_new(arena, (size_t)n_boxes, sizeof(*out->threshold), err);
    if (!out->threshold || !anchors_new(&s, n_boxes, arena, err))
        return false;
    for (int i = 0; i < n_boxes; i++) {
        out->threshold[i] = threshold_of(&s, boxes[i]);
        visit_anchors(&s, i, out->threshold[i], compare);
    }
    if (!settle(out, &s, arena, err))
        return false;
    for (int i = 0; i < n_boxes; i++) /* the last one keeps it */
        visit_anchors(&s, i, 0, claim_best);
    list_ignored(out, &s);
    return ld_assign_rows(out, grid, s.owner, s.vlr, arena, err);
}
