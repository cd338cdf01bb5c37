#include "kernels/net/assign_fcos.h"

#include <math.h>

static const float RADIUS = 1.5F; /* strides */

/* Pixels to the farthest side that a level is meant for, both ends inclusive.
 */
static const float reach[LD_MAX_LEVELS + 1] = {-1, 64, 128, 256, 512, 1e8F};

/* What is known of a location so far. */
struct claim {
    int32_t object; /* that it answers for; -1 */
    float area;     /* of this object */
    bool inside;    /* some box */
};

static float larger(float a, float b)
{
    return a > b ? a : b;
}

static float smaller(float a, float b)
{
    return a < b ? a : b;
}

static bool is_inside(struct ld_box b, float x, float y)
{
    return x > b.x0 && y > b.y0 && x < b.x1 && y < b.y1;
}

/* The part of a box where centre sampling wants a level's centres. */
static struct ld_box middle_of(struct ld_box b, float radius)
{
    float x = (b.x0 + b.x1) / 2, y = (b.y0 + b.y1) / 2;

    return (struct ld_box){larger(x - radius, b.x0), larger(y - radius, b.y0),
                           smaller(x + radius, b.x1),
                           smaller(y + radius, b.y1)};
}

static float farthest(struct ld_box b, float x, float y)
{
    return larger(larger(x - b.x0, b.x1 - x), larger(y - b.y0, b.y1 - y));
}

/* First row or column whose centre may lie beyond an edge. */
static int first_beyond(float edge, int stride, int n)
{
    float first = edge / (float)stride - 1;

    return !(first > 0) ? 0 : first < (float)n ? (int)first : n;
}

static void claim_level(struct claim *claims, const struct ld_grid *grid,
                        int level, struct ld_box b, int32_t object)
{
    int stride = grid->stride[level], W = grid->W[level];
    struct ld_box middle = middle_of(b, RADIUS * (float)stride);
    float area = (b.x1 - b.x0) * (b.y1 - b.y0);

    for (int row = first_beyond(b.y0, stride, grid->H[level]);
         row < grid->H[level]; row++) {
        float y = (float)(row * stride + stride / 2);

        if (y >= b.y1)
            break;
        for (int column = first_beyond(b.x0, stride, W); column < W; column++) {
            struct claim *claim =
                &claims[grid->start[level] + row * W + column];
            float x = (float)(column * stride + stride / 2);
            float side = farthest(b, x, y);

            if (x >= b.x1)
                break;
            claim->inside |= is_inside(b, x, y);
            if (!is_inside(middle, x, y) || side < reach[level] ||
                side > reach[level + 1] || !(area < claim->area))
                continue;
            claim->object = object;
            claim->area = area;
        }
    }
}

static bool collect(struct ld_assignment *out, const struct claim *claims,
                    int A, struct ld_arena *arena, struct ld_err *err)
{
    int n = 0;

    for (int a = 0; a < A; a++)
        n += claims[a].inside;
    out->rows = ld_arena_new(arena, (size_t)n, sizeof(*out->rows), err);
    if (!out->rows)
        return false;
    for (int a = 0; a < A; a++) {
        bool is_main = claims[a].object >= 0;

        if (!claims[a].inside)
            continue;
        out->n_main += is_main;
        out->rows[out->n_rows++] =
            (struct ld_row){.location = a,
                            .object = claims[a].object,
                            .vlr = is_main ? 0 : 1,
                            .kind = is_main ? LD_ROW_MAIN : LD_ROW_VLR};
    }
    return true;
}

bool ld_assign_fcos(struct ld_assignment *out, const struct ld_grid *grid,
                    const struct ld_box *boxes, int n_boxes,
                    struct ld_arena *arena, struct ld_err *err)
{
    int A = grid->start[grid->n_levels];
    struct claim *claims = ld_arena_new(arena, (size_t)A, sizeof(*claims), err);

    *out = (struct ld_assignment){0};
    if (!claims)
        return false;
    for (int a = 0; a < A; a++)
        claims[a] = (struct claim){.object = -1, .area = INFINITY};
    for (int i = 0; i < n_boxes; i++)
        for (int level = 0; level < grid->n_levels; level++)
            claim_level(claims, grid, level, boxes[i], i);
    return collect(out, claims, A, arena, err);
}
