/* box.h - a rectangle in pixels, x to the right, y down; and a grid of places.
 *
 * Everything the method calls an anchor, a centre, a level or a location is
 * defined here, so that the cache and the trainer cannot disagree. */
#pragma once

#include <stdbool.h>

#include "kernels/rules.h"

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

enum { LD_MAX_LEVELS = 5, LD_RETINA_ANCHORS = 9 };

/* The locations of a padded canvas: level-major, row-major inside a level. Of
 * RetinaNet each place has nine, one an anchor: location = 9 place + anchor,
 * so that a place's are neighbours. */
struct ld_grid {
    enum ld_head head; /* whose locations these are */
    int n_levels;
    int H[LD_MAX_LEVELS], W[LD_MAX_LEVELS];
    int stride[LD_MAX_LEVELS];    /* pixels */
    int start[LD_MAX_LEVELS + 1]; /* first location; start[n_levels] is A */
};

/* Locations a place: 9 of RetinaNet, 1 of the others. */
int ld_head_anchors(enum ld_head head);

/* GFL's grid of a canvas of H x W pixels, multiples of 32: P3, P4, P5 at
 * strides 8, 16, 32; each further level is half the one before, rounded up. */
struct ld_grid ld_grid_of_canvas(int H, int W);

/* The same places for another head; `grid` is GFL's. */
struct ld_grid ld_grid_with_head(struct ld_grid grid, enum ld_head head);

int ld_grid_level(const struct ld_grid *grid, int location);

/* Centre of a location in pixels: (column * stride, row * stride), with no half
 * stride (spec: the reference's AnchorGenerator with centre offset 0); of
 * FCOS half a stride further, both ways. */
void ld_grid_centre(const struct ld_grid *grid, int location, float *x,
                    float *y);

/* The anchor of a location: a square of 8 strides around its centre. Of
 * RetinaNet (Lin et al. 2017, focal loss, section 4) the sides are
 * 4 * 2^(s / 3) strides, s = 0, 1, 2, for h / w = 0.5, then for 1, then for 2,
 * at the same area. */
struct ld_box ld_grid_anchor(const struct ld_grid *grid, int location);

/* The same place on a larger canvas; both grids have the same strides. */
int ld_grid_move(const struct ld_grid *from, int location,
                 const struct ld_grid *to);
