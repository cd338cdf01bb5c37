/* box.h - a rectangle in pixels, x to the right, y down; and a grid of places.
 *
 * Everything the method calls an anchor, a centre, a level or a location is
 * defined here, so that the cache and the trainer cannot disagree. */
#pragma once

#include <stdbool.h>

struct ld_box {
    float x0, y0, x1, y1; /* the far edge is outside: width is x1 - x0 */
};

/* Intersection over union; the union is clamped below at 1e-6. 0 to 1. */
float ld_box_iou(struct ld_box a, struct ld_box b);

/* Intersection over the area of `a`, clamped below at 1e-6. 0 to 1. */
float ld_box_iof(struct ld_box a, struct ld_box b);

/* Squared distance of the centres over the squared diagonal of the enclosing
 * box (clamped below at 1e-6). 0 to 1. */
float ld_box_centre_gap(struct ld_box a, struct ld_box b);

enum { LD_MAX_LEVELS = 5 };

/* The locations of a padded canvas: level-major, row-major inside a level. */
struct ld_grid {
    int n_levels;
    int H[LD_MAX_LEVELS], W[LD_MAX_LEVELS];
    int stride[LD_MAX_LEVELS];    /* pixels */
    int start[LD_MAX_LEVELS + 1]; /* first location; start[n_levels] is A */
};

/* The grid of a canvas of H x W pixels, multiples of 32: P3, P4, P5 at strides
 * 8, 16, 32; each further level is half the one before, rounded up. */
struct ld_grid ld_grid_of_canvas(int H, int W);

int ld_grid_level(const struct ld_grid *grid, int location);

/* Centre of a location in pixels: (column * stride, row * stride), with no half
 * stride (spec: the reference's AnchorGenerator with centre offset 0). */
void ld_grid_centre(const struct ld_grid *grid, int location, float *x,
                    float *y);

/* The square anchor of a location: centre +- 4 strides. */
struct ld_box ld_grid_anchor(const struct ld_grid *grid, int location);

/* The same place on a larger canvas; both grids have the same strides. */
int ld_grid_move(const struct ld_grid *from, int location,
                 const struct ld_grid *to);
