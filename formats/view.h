/* view.h - how an image becomes a network's input: scaled, maybe flipped.
 *
 * A view is a few integers, so a shard stores it and the trainer shows the
 * student the very pixels the teacher saw. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kernels/box.h"
#include "kernels/canvas.h"

struct ld_view_rules {
    int long_edge, short_edge; /* 1333, 800 */
    int divisor;               /* 32: the canvas is padded to multiples */
    float mean[3], std[3];     /* of the planes, R, G, B */
    bool bgr;                  /* planes are B, G, R, and so mean and std */
};

struct ld_view {
    int32_t H, W;               /* of the scaled image */
    int32_t canvas_H, canvas_W; /* padded right and below with zeros */
    bool flipped;               /* left to right, after scaling */
    int32_t number; /* among the image's views in a cache (formats/views.h) */
};

/* The view of an image of H x W pixels: scale = min(long/max(H, W),
 * short/min(H, W)); a side is int(side * scale + 0.5), never less than 1. Its
 * number is 0, or 1 if flipped. */
struct ld_view ld_view_of(const struct ld_view_rules *rules, int H, int W,
                          bool flipped);

/* How the view of an image of this size is drawn, on its own canvas. */
struct ld_draw ld_view_draw(const struct ld_view *view,
                            const struct ld_view_rules *rules, int image_H,
                            int image_W);

/* A box of the image file (image_H x image_W), in pixels of the view: scaled by
 * float32 factors, clipped to the scaled image, then flipped. */
struct ld_box ld_view_box(const struct ld_view *view, int image_H, int image_W,
                          struct ld_box box);

/* What follows "image 7" in a message: "", ", flipped", or of a seeded view
 * ", view 3" and ", view 3, flipped". */
void ld_view_name(const struct ld_view *view, bool seeded, char out[32]);

/* The scale factors W / image_W and H / image_H in float32. */
void ld_view_scale(const struct ld_view *view, int image_H, int image_W,
                   float *scale_x, float *scale_y);
