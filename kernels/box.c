#include "kernels/box.h"

static const float EPS = 1e-6F; /* the reference clamps with max(), not + */

/* fminf and fmaxf would be calls: they must choose the number beside a NaN. */
static float smaller(float a, float b)
{
    return a < b ? a : b;
}

static float larger(float a, float b)
{
    return a > b ? a : b;
}

static float area(struct ld_box b)
{
    return (b.x1 - b.x0) * (b.y1 - b.y0);
}

static float intersection(struct ld_box a, struct ld_box b)
{
    float w = smaller(a.x1, b.x1) - larger(a.x0, b.x0);
    float h = smaller(a.y1, b.y1) - larger(a.y0, b.y0);

    return larger(w, 0) * larger(h, 0);
}

float ld_box_iou(struct ld_box a, struct ld_box b)
{
    float inter = intersection(a, b);

    return inter / larger(area(a) + area(b) - inter, EPS);
}

float ld_box_iof(struct ld_box a, struct ld_box b)
{
    return intersection(a, b) / larger(area(a), EPS);
}

float ld_box_centre_gap(struct ld_box a, struct ld_box b)
{
    float w = larger(a.x1, b.x1) - smaller(a.x0, b.x0);
    float h = larger(a.y1, b.y1) - smaller(a.y0, b.y0);
    float dx = (b.x0 + b.x1) - (a.x0 + a.x1);
    float dy = (b.y0 + b.y1) - (a.y0 + a.y1);

    return (dx * dx / 4 + dy * dy / 4) / larger(w * w + h * h, EPS);
}

int ld_head_anchors(enum ld_head head)
{
    return head == LD_HEAD_RETINA ? LD_RETINA_ANCHORS : 1;
}

struct ld_grid ld_grid_of_canvas(int H, int W)
{
    struct ld_grid grid = {.n_levels = LD_MAX_LEVELS};

    for (int i = 0; i < grid.n_levels; i++) {
        grid.stride[i] = 8 << i;
        grid.H[i] = i < 3 ? H / grid.stride[i] : (grid.H[i - 1] + 1) / 2;
        grid.W[i] = i < 3 ? W / grid.stride[i] : (grid.W[i - 1] + 1) / 2;
        grid.start[i + 1] = grid.start[i] + grid.H[i] * grid.W[i];
    }
    return grid;
}

struct ld_grid ld_grid_with_head(struct ld_grid grid, enum ld_head head)
{
    grid.head = head;
    for (int i = 0; i <= grid.n_levels; i++)
        grid.start[i] *= ld_head_anchors(head);
    return grid;
}

int ld_grid_level(const struct ld_grid *grid, int location)
{
    int level = 0;

    while (location >= grid->start[level + 1])
        level++;
    return level;
}

void ld_grid_centre(const struct ld_grid *grid, int location, float *x,
                    float *y)
{
    int level = ld_grid_level(grid, location);
    int place = (location - grid->start[level]) / ld_head_anchors(grid->head);
    int first = grid->head == LD_HEAD_FCOS ? grid->stride[level] / 2 : 0;

    *x = (float)(place % grid->W[level] * grid->stride[level] + first);
    *y = (float)(place / grid->W[level] * grid->stride[level] + first);
}

/* Half the sides of RetinaNet's anchors for a stride of 1, (width, height), as
 * mmdetection's AnchorGenerator makes them: ratios outside, scales inside. The
 * scales are 4 * 2^(0, 1/3, 2/3). */
static void retina_half(int anchor, float half[2])
{
    static const float side[3] = {4, 5.03968420F, 6.34960421F};
    static const float root[3] = {0.707106781F, 1, 1.41421356F};
    int ratio = anchor / 3, scale = anchor % 3;

    half[0] = side[scale] * root[2 - ratio] / 2;
    half[1] = side[scale] * root[ratio] / 2;
}

struct ld_box ld_grid_anchor(const struct ld_grid *grid, int location)
{
    int level = ld_grid_level(grid, location);
    float half[2] = {4, 4}, x, y;

    if (grid->head == LD_HEAD_RETINA)
        retina_half((location - grid->start[level]) % LD_RETINA_ANCHORS, half);
    half[0] *= (float)grid->stride[level];
    half[1] *= (float)grid->stride[level];
    ld_grid_centre(grid, location, &x, &y);
    return (struct ld_box){x - half[0], y - half[1], x + half[0], y + half[1]};
}

int ld_grid_move(const struct ld_grid *from, int location,
                 const struct ld_grid *to)
{
    int level = ld_grid_level(from, location);
    int n = ld_head_anchors(from->head);
    int place = (location - from->start[level]) / n;
    int row = place / from->W[level], column = place % from->W[level];

    return to->start[level] + (row * to->W[level] + column) * n +
           (location - from->start[level]) % n;
}
