/* shapes_scene.h - what stands where in a made-up image: figures, back to
 * front.
 *
 * Everything in a scene is a figure: a closed outline with a look. The shapes
 * to be detected are figures with a class; bars and strokes are figures
 * without. */
#pragma once

#include <stdint.h>

#include "kernels/base/rng.h"
#include "kernels/box.h"

enum ld_shape_class {
    LD_SHAPE_CLUTTER = -1, /* nothing to detect */
    LD_SHAPE_DISC,
    LD_SHAPE_BOX,
    LD_SHAPE_TRIANGLE,
    LD_SHAPE_RING,
    LD_SHAPE_STAR,
    LD_N_SHAPE_CLASSES,
};

/* (LD_N_SHAPE_CLASSES) */
extern const char *const ld_shape_class_names[];

enum ld_pattern { LD_PATTERN_CLOUDS, LD_PATTERN_STRIPES, LD_PATTERN_CHECKS };

/* How a figure is filled, and how its border is lost. Lengths in pixels. */
struct ld_look {
    float color[3]; /* R, G, B; 0 to 255 */
    enum ld_pattern pattern;
    float period, turn; /* of the pattern; radians */
    float strength;     /* of the pattern, 0 to 1 of the colour */
    float sharp, soft; /* deviation of the border's blur: it grows from sharp */
    float soft_turn;   /* to soft in this direction, radians */
    float fade;        /* opacity lost in that direction, 0 to 1 */
    float trail[2];    /* motion: a ghost that dies away over this vector */
    float shadow[2];   /* where the shadow falls */
    float shadow_blur, shadow_opacity;
};

enum { LD_FIGURE_MAX_POINTS = 64, LD_SCENE_MAX_FIGURES = 24 };

struct ld_figure {
    enum ld_shape_class class_index;
    int n_points;
    float point[LD_FIGURE_MAX_POINTS][2]; /* x, y; closed; pixels */
    float hole;        /* size of a hole of the same outline; 0: none */
    struct ld_box box; /* the outline's extent, not clipped to the image */
    struct ld_look look;
};

struct ld_scene {
    int H, W;
    struct ld_look ground; /* colour and pattern of the background */
    float noise;           /* deviation of the sensor's noise, 0 to 255 */
    int n_figures;
    struct ld_figure figures[LD_SCENE_MAX_FIGURES]; /* back to front */
};

/* Draws a scene for an image of about H x W pixels: its ratio varies a little,
 * its area stays. 1 to 8 shapes, each of 16 pixels to 5/8 of the short side. */
void ld_scene_draw(struct ld_scene *scene, int H, int W, struct ld_rng *rng);

/* Pixels inside the outline, the hole left out. */
double ld_figure_area(const struct ld_figure *figure);
