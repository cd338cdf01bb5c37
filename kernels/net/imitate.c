#include "kernels/net/imitate.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/net/detect.h"

static const float NEAR_BEST = 0.5F;  /* of an object's best IoU */
static const float OVERLAPPED = 0.3F; /* IoU */
static const double AROUND = 2;       /* of DeFeat's background; all three: spec
                                         assign 5 */

/* ---- from boxes ---- */

/* Marks the anchors whose IoU with one box is over half the best of all
 * levels. `iou` is scratch (A). */
static void mark_near(uint8_t *marked, float *iou, const struct ld_grid *grid,
                      struct ld_box box)
{
    int A = grid->start[grid->n_levels];
    float best = 0;

    for (int a = 0; a < A; a++) {
        iou[a] = ld_box_iou(ld_grid_anchor(grid, a), box);
        best = iou[a] > best ? iou[a] : best;
    }
    for (int a = 0; a < A; a++)
        marked[a] |= iou[a] > NEAR_BEST * best;
}

static void mark_inside(uint8_t *marked, const struct ld_grid *grid,
                        struct ld_box box)
{
    for (int a = 0; a < grid->start[grid->n_levels]; a++) {
        float x, y;

        ld_grid_centre(grid, a, &x, &y);
        marked[a] |= x > box.x0 && y > box.y0 && x < box.x1 && y < box.y1;
    }
}

static bool list_marked(struct ld_region *out, const uint8_t *marked, int A,
                        struct ld_arena *arena, struct ld_err *err)
{
    int n = 0;

    for (int a = 0; a < A; a++)
        n += marked[a];
    out->location = ld_arena_new(arena, (size_t)n, sizeof(int32_t), err);
    for (int a = 0; out->location && a < A; a++)
        if (marked[a])
            out->location[out->n++] = a;
    return out->location != NULL;
}

bool ld_region_all(struct ld_region *out, const struct ld_grid *grid,
                   struct ld_arena *arena, struct ld_err *err)
{
    int A = grid->start[grid->n_levels];

    *out = (struct ld_region){
        .location = ld_arena_new(arena, (size_t)A, sizeof(int32_t), err)};
    for (; out->location && out->n < A; out->n++)
        out->location[out->n] = out->n;
    return out->location != NULL;
}

static bool list_main(struct ld_region *out,
                      const struct ld_assignment *assignment,
                      struct ld_arena *arena, struct ld_err *err)
{
    out->location =
        ld_arena_new(arena, (size_t)assignment->n_main, sizeof(int32_t), err);
    for (int i = 0; out->location && i < assignment->n_rows; i++)
        if (assignment->rows[i].kind & LD_ROW_MAIN)
            out->location[out->n++] = assignment->rows[i].location;
    return out->location != NULL;
}

bool ld_region_of(struct ld_region *out, enum ld_imitation imitation,
                  const struct ld_grid *grid, const struct ld_box *boxes,
                  int n_boxes, const struct ld_assignment *assignment,
                  struct ld_arena *arena, struct ld_err *err)
{
    int A = grid->start[grid->n_levels];
    uint8_t *marked;
    float *iou;

    *out = (struct ld_region){0};
    if (imitation == LD_IMITATE_MAIN)
        return list_main(out, assignment, arena, err);
    marked = ld_arena_new(arena, (size_t)A, 1, err);
    iou = ld_arena_new(arena, (size_t)A, sizeof(*iou), err);
    if (!marked || !iou)
        return false;
    for (int i = 0; i < n_boxes; i++) {
        if (imitation == LD_IMITATE_FINEGRAINED)
            mark_near(marked, iou, grid, boxes[i]);
        else
            mark_inside(marked, grid, boxes[i]);
    }
    if (imitation != LD_IMITATE_DECOUPLE)
        return list_marked(out, marked, A, arena, err);
    if (!ld_region_all(out, grid, arena, err))
        return false;
    out->inside = marked;
    return true;
}

void ld_region_weights(float *weight, const uint8_t *inside, int n, int C,
                       float im)
{
    double part[2], count[2] = {0};

    for (int i = 0; i < n; i++)
        count[!inside || inside[i]]++;
    part[1] = (double)im / (count[1] * C);
    part[0] = AROUND * (double)im / (count[0] * C);
    for (int i = 0; i < n; i++)
        weight[i] = (float)part[!inside || inside[i]];
}

/* ---- general instances ---- */

float ld_score(float logit)
{
    return 1 / (1 + expf(-logit));
}

void ld_scores_of(float *scores, const float *logits, const float *quality,
                  size_t n, int K, int n_logits)
{
    for (size_t i = 0; i < n; i++, scores += K, logits += n_logits) {
        float sure = quality ? ld_score(quality[i]) : 1;

        for (int k = 0; k < K; k++)
            scores[k] = ld_score(logits[k]) * sure;
    }
}

static struct ld_box decoded(const float *bins, int B, float x, float y)
{
    float side[4];

    for (int s = 0; s < 4; s++)
        side[s] = ld_side_distance(bins + s * B, B);
    return (struct ld_box){x - side[0], y - side[1], x + side[2], y + side[3]};
}

struct ld_candidate ld_candidate_of(const struct ld_opinion *teacher,
                                    const struct ld_opinion *student, int K,
                                    int B, float x, float y)
{
    float most = -1, difference = 0;

    for (int k = 0; k < K; k++) {
        float one =
            teacher->scores[k] - (student->scores ? student->scores[k] : 0);

        if (fabsf(one) > most) {
            most = fabsf(one);
            difference = one;
        }
    }
    return (struct ld_candidate){most, decoded(difference >= 0 || !student->bins
                                                   ? teacher->bins
                                                   : student->bins,
                                               B, x, y)};
}

int ld_candidates_choose(int32_t chosen[LD_INSTANCES],
                         struct ld_candidate *candidates, int n)
{
    int n_chosen = 0;

    while (n_chosen < LD_INSTANCES) {
        float best = -1;
        int at = -1;

        for (int i = 0; i < n; i++) {
            if (candidates[i].score > best) {
                best = candidates[i].score;
                at = i;
            }
        }
        if (at < 0)
            break;
        chosen[n_chosen++] = at;
        for (int i = 0; i < n; i++)
            if (ld_box_iou(candidates[at].box, candidates[i].box) > OVERLAPPED)
                candidates[i].score = -1;
        candidates[at].score = -1; /* its box may be empty */
    }
    return n_chosen;
}

static int by_location(const void *a, const void *b)
{
    int32_t p = *(const int32_t *)a, q = *(const int32_t *)b;

    return (p > q) - (p < q);
}

bool ld_region_choose(struct ld_region *out, const struct ld_grid *grid,
                      const float *scores, const float *bins, int K, int B,
                      struct ld_arena *arena, struct ld_err *err)
{
    size_t A = (size_t)grid->start[grid->n_levels];
    struct ld_candidate *candidates =
        ld_arena_new(arena, A, sizeof(*candidates), err);

    *out = (struct ld_region){
        .location = ld_arena_new(arena, (size_t)grid->n_levels * LD_INSTANCES,
                                 sizeof(int32_t), err)};
    if (!candidates || !out->location)
        return false;
    for (int a = 0; a < (int)A; a++) {
        struct ld_opinion teacher = {scores + (size_t)a * (size_t)K,
                                     bins + (size_t)a * 4 * (size_t)B};
        float stride = (float)grid->stride[ld_grid_level(grid, a)], x, y;

        ld_grid_centre(grid, a, &x, &y);
        candidates[a] = ld_candidate_of(&teacher, &(struct ld_opinion){0}, K, B,
                                        x / stride, y / stride);
    }
    for (int level = 0; level < grid->n_levels; level++) {
        int start = grid->start[level];
        int32_t *chosen = out->location + out->n;
        int n = ld_candidates_choose(chosen, candidates + start,
                                     grid->start[level + 1] - start);

        for (int i = 0; i < n; i++)
            chosen[i] += start;
        qsort(chosen, (size_t)n, sizeof(*chosen), by_location);
        out->n += n;
    }
    return true;
}
