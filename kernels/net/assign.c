#include "kernels/net/assign.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "kernels/net/assign_fcos.h"
#include "kernels/net/assign_parts.h"

static const float EPS = 1e-6F;
static const float INSIDE = 0.01F; /* pixels from a box's edges, as ATSS */

/* One direction of a level against one object: of the anchors [begin, end)
 * that may overlap it, the overlap, and the shares in centre gap and hull. */
struct axis {
    int begin, end;
    float *overlap; /* pixels, at least 0 */
    float *gap2;    /* squared distance of the centres */
    float *hull2;   /* squared length of the enclosing interval */
};

/* What is known of the image so far. */
struct scene {
    const struct ld_grid *grid;
    const struct ld_box *boxes;
    const struct ld_assign_rules *rules;
    int32_t *owner; /* (A) 1 + the object that a location answers for, or 0 */
    float *iou;     /* (A) with the owner */
    float *vlr;     /* (A) */
    struct ld_near *near;       /* scratch: topk candidates of every level */
    float *near_iou;            /* their IoU */
    struct axis axis_x, axis_y; /* scratch: the longest row and column */
};

static float smaller(float a, float b)
{
    return a < b ? a : b;
}

static float larger(float a, float b)
{
    return a > b ? a : b;
}

static int clamped(float x, int low, int high)
{
    return !(x > (float)low) ? low : x < (float)high ? (int)x : high;
}

/* ---- the nearest locations of a level ---- */

/* Puts a location into the k best so far, by distance, then by location. */
static int near_insert(struct ld_near *best, int n, int k, struct ld_near one)
{
    int i;

    if (n == k && !(one.distance < best[k - 1].distance))
        return n; /* locations come in rising order: a tie stays out */
    if (n < k)
        n++;
    for (i = n - 1; i > 0 && one.distance < best[i - 1].distance; i--)
        best[i] = best[i - 1];
    best[i] = one;
    return n;
}

static float distance_of(float x, float y, float cx, float cy)
{
    float dx = x - cx, dy = y - cy;

    return sqrtf(dx * dx + dy * dy);
}

struct window {
    int x0, y0, x1, y1; /* columns and rows, the last one inside */
};

/* A distance that no location outside the window can be below. Holds in float
 * too, for every step of distance_of is monotone. */
static float outside_distance(const struct ld_grid *grid, int level,
                              const struct window *w, float cx, float cy)
{
    float stride = (float)grid->stride[level], least = INFINITY;
    float near_x = (float)clamped(cx / stride + 0.5F, 0, grid->W[level] - 1);
    float near_y = (float)clamped(cy / stride + 0.5F, 0, grid->H[level] - 1);
    float x = near_x * stride, y = near_y * stride;

    if (w->x0 > 0)
        least = distance_of((float)(w->x0 - 1) * stride, y, cx, cy);
    if (w->x1 < grid->W[level] - 1)
        least =
            smaller(least, distance_of((float)(w->x1 + 1) * stride, y, cx, cy));
    if (w->y0 > 0)
        least =
            smaller(least, distance_of(x, (float)(w->y0 - 1) * stride, cx, cy));
    if (w->y1 < grid->H[level] - 1)
        least =
            smaller(least, distance_of(x, (float)(w->y1 + 1) * stride, cx, cy));
    return least;
}

static int window_scan(struct ld_near *best, int k, const struct ld_grid *grid,
                       int level, const struct window *w, float cx, float cy)
{
    float stride = (float)grid->stride[level];
    int n = 0;

    for (int row = w->y0; row <= w->y1; row++) {
        for (int column = w->x0; column <= w->x1; column++) {
            struct ld_near one = {distance_of((float)column * stride,
                                              (float)row * stride, cx, cy),
                                  grid->start[level] + row * grid->W[level] +
                                      column};

            n = near_insert(best, n, k, one);
        }
    }
    return n;
}

/* Looks at a window around the place, and at a larger one until
 * nothing outside can be as near. */
int ld_assign_nearest(struct ld_near *best, int k, const struct ld_grid *grid,
                      int level, float cx, float cy)
{
    float stride = (float)grid->stride[level];
    int W = grid->W[level], H = grid->H[level];
    int x = clamped(cx / stride + 0.5F, 0, W - 1);
    int y = clamped(cy / stride + 0.5F, 0, H - 1);

    for (int reach = 2;; reach *= 2) {
        struct window w = {x > reach ? x - reach : 0, y > reach ? y - reach : 0,
                           x + reach < W ? x + reach : W - 1,
                           y + reach < H ? y + reach : H - 1};
        int n = window_scan(best, k, grid, level, &w, cx, cy);
        bool whole = w.x0 == 0 && w.y0 == 0 && w.x1 == W - 1 && w.y1 == H - 1;

        if (whole || (n == k && best[k - 1].distance <
                                    outside_distance(grid, level, &w, cx, cy)))
            return n;
    }
}

/* ---- the main region ---- */

float ld_assign_threshold(const float *iou, int n)
{
    double mean = 0, square = 0;

    for (int i = 0; i < n; i++)
        mean += (double)iou[i];
    mean /= n;
    for (int i = 0; i < n; i++)
        square += ((double)iou[i] - mean) * ((double)iou[i] - mean);
    return (float)mean + (float)sqrt(n > 1 ? square / (n - 1) : 0);
}

static bool inside(struct ld_box box, float x, float y)
{
    return smaller(smaller(x - box.x0, y - box.y0),
                   smaller(box.x1 - x, box.y1 - y)) > INSIDE;
}

/* ATSS for one object: gives its threshold and claims its positives. */
static float claim(struct scene *s, int object)
{
    struct ld_box box = s->boxes[object];
    float cx = (box.x0 + box.x1) / 2, cy = (box.y0 + box.y1) / 2, limit;
    int n = 0;

    for (int level = 0; level < s->grid->n_levels; level++)
        n += ld_assign_nearest(s->near + n, s->rules->topk, s->grid, level, cx,
                               cy);
    for (int i = 0; i < n; i++)
        s->near_iou[i] =
            ld_box_iou(ld_grid_anchor(s->grid, s->near[i].location), box);
    limit = ld_assign_threshold(s->near_iou, n);
    for (int i = 0; i < n; i++) {
        int a = s->near[i].location;
        float x, y;

        ld_grid_centre(s->grid, a, &x, &y);
        if (s->near_iou[i] < limit || !inside(box, x, y))
            continue;
        if (s->owner[a] == 0 || s->near_iou[i] > s->iou[a]) {
            s->owner[a] = object + 1;
            s->iou[a] = s->near_iou[i];
        }
    }
    return limit;
}

/* ---- the valuable localization region ---- */

/* Anchors at i * stride +- 4 stride, i below n, against [low, high]. Rounds as
 * box.c does, step by step, so that both give the same numbers. */
static void axis_fill(struct axis *axis, float low, float high, int n,
                      int stride)
{
    float s = (float)stride, half = 4 * s;

    axis->begin = clamped((low - half) / s, 0, n);
    axis->end = clamped((high + half) / s + 1, axis->begin, n);
    for (int i = axis->begin; i < axis->end; i++) {
        float from = (float)i * s - half, to = (float)i * s + half;
        float overlap = smaller(to, high) - larger(from, low);
        float hull = larger(to, high) - smaller(from, low);
        float gap = (low + high) - (from + to);

        axis->overlap[i] = larger(overlap, 0);
        axis->hull2[i] = hull * hull;
        axis->gap2[i] = gap * gap / 4;
    }
}

struct band {
    float low, high;
    enum ld_vlr_mode mode;
    float anchor_area, box_area;
};

/* vlr = max(vlr, IoU where the band holds the anchor), along one row. */
static void row_mark(float *restrict vlr, const struct axis *x,
                     const struct axis *y, int row, const struct band *band)
{
    float height = y->overlap[row], gap2 = y->gap2[row], hull2 = y->hull2[row];
    float both = band->anchor_area + band->box_area;
    bool code = band->mode == LD_VLR_CODE;

    for (int i = x->begin; i < x->end; i++) {
        float inter = x->overlap[i] * height;
        float iou = inter / larger(both - inter, EPS);
        float share = code ? inter / band->anchor_area : iou;
        float near =
            share - (x->gap2[i] + gap2) / larger(x->hull2[i] + hull2, EPS);
        float held = (near >= band->low) & (near < band->high) ? iou : 0;

        vlr[i] = larger(vlr[i], held);
    }
}

static void mark(struct scene *s, int object, float threshold)
{
    struct ld_box box = s->boxes[object];
    struct band band = {
        .low = s->rules->vlr_gamma * threshold,
        .high = threshold,
        .mode = s->rules->vlr_mode,
        .box_area = (box.x1 - box.x0) * (box.y1 - box.y0),
    };

    for (int level = 0; level < s->grid->n_levels; level++) {
        int stride = s->grid->stride[level], W = s->grid->W[level];

        band.anchor_area = 64 * (float)stride * (float)stride;
        axis_fill(&s->axis_x, box.x0, box.x1, W, stride);
        axis_fill(&s->axis_y, box.y0, box.y1, s->grid->H[level], stride);
        for (int row = s->axis_y.begin; row < s->axis_y.end; row++)
            row_mark(s->vlr + s->grid->start[level] + row * W, &s->axis_x,
                     &s->axis_y, row, &band);
    }
}

/* ---- rows ---- */

static bool axis_new(struct axis *axis, const int *length, int n_levels,
                     struct ld_arena *arena, struct ld_err *err)
{
    int longest = 0;
    float *memory;

    for (int i = 0; i < n_levels; i++)
        longest = length[i] > longest ? length[i] : longest;
    memory = ld_arena_new(arena, 3 * (size_t)longest, sizeof(*memory), err);
    if (!memory)
        return false;
    axis->overlap = memory;
    axis->gap2 = memory + longest;
    axis->hull2 = memory + 2 * longest;
    return true;
}

static bool scene_new(struct scene *s, struct ld_arena *arena,
                      struct ld_err *err)
{
    const struct ld_grid *grid = s->grid;
    size_t A = (size_t)grid->start[grid->n_levels];
    size_t near = (size_t)s->rules->topk * (size_t)grid->n_levels;

    s->owner = ld_arena_new(arena, A, sizeof(*s->owner), err);
    s->iou = ld_arena_new(arena, A, sizeof(*s->iou), err);
    s->vlr = ld_arena_new(arena, A, sizeof(*s->vlr), err);
    s->near = ld_arena_new(arena, near, sizeof(*s->near), err);
    s->near_iou = ld_arena_new(arena, near, sizeof(*s->near_iou), err);
    return s->owner && s->iou && s->vlr && s->near && s->near_iou &&
           axis_new(&s->axis_x, grid->W, grid->n_levels, arena, err) &&
           axis_new(&s->axis_y, grid->H, grid->n_levels, arena, err);
}

bool ld_assign_rows(struct ld_assignment *out, const struct ld_grid *grid,
                    const int32_t *owner, const float *vlr,
                    struct ld_arena *arena, struct ld_err *err)
{
    int A = grid->start[grid->n_levels], n = 0;

    for (int a = 0; a < A; a++)
        n += (owner[a] != 0) | (vlr[a] > 0);
    out->rows = ld_arena_new(arena, (size_t)n, sizeof(*out->rows), err);
    if (!out->rows)
        return false;
    for (int a = 0; a < A; a++) {
        bool is_main = owner[a] != 0, is_vlr = vlr[a] > 0;

        if (!is_main && !is_vlr)
            continue;
        out->n_main += is_main;
        out->rows[out->n_rows++] = (struct ld_row){
            .location = a,
            .object = owner[a] - 1,
            .vlr = vlr[a],
            .kind = (uint8_t)((is_main ? LD_ROW_MAIN : 0) |
                              (is_vlr ? LD_ROW_VLR : 0)),
        };
    }
    return true;
}

/* Takes the main region out of the VLR. */
static void exclude_main(struct scene *s)
{
    int A = s->grid->start[s->grid->n_levels];

    for (int a = 0; a < A; a++)
        if (s->owner[a])
            s->vlr[a] = 0;
}

bool ld_assign(struct ld_assignment *out, const struct ld_grid *grid,
               const struct ld_box *boxes, int n_boxes,
               const struct ld_assign_rules *rules, struct ld_arena *arena,
               struct ld_err *err)
{
    struct scene s = {.grid = grid, .boxes = boxes, .rules = rules};

    if (grid->head == LD_HEAD_RETINA)
        return ld_assign_retina(out, grid, boxes, n_boxes, rules, arena, err);
    if (grid->head == LD_HEAD_FCOS)
        return ld_assign_fcos(out, grid, boxes, n_boxes, arena, err);
    *out = (struct ld_assignment){0};
    out->threshold =
        ld_arena_new(arena, (size_t)n_boxes, sizeof(*out->threshold), err);
    if (!out->threshold || !scene_new(&s, arena, err))
        return false;
    for (int i = 0; i < n_boxes; i++) {
        out->threshold[i] = claim(&s, i);
        mark(&s, i, out->threshold[i]);
    }
    if (rules->vlr_exclude_main)
        exclude_main(&s);
    return ld_assign_rows(out, grid, s.owner, s.vlr, arena, err);
}
