/* view.h - how an image becomes a network's input: scaled, maybe flipped.
 *
 * A view is a few integers, so a shard stores it and the trainer shows the
 * student the very pixels the teacher saw. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "formats/image.h"
#include "kernels/base/mem.h"
#include "kernels/box.h"

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

/* Writes normalised planes (3, H, W), RGB or BGR, of a canvas of H x W pixels,
 * at least the view's own. Scaling is OpenCV's bilinear on 8 bit (the result is
 * rounded to 8 bit before normalisation), normalised is (value - mean) / std in
 * float32, padding is zero after normalisation. `scratch` is reused between
 * calls and takes 24 bytes a column. LD_ERR_MISMATCH if the canvas is too
 * small. */
bool ld_view_pixels(const struct ld_view *view,
                    const struct ld_view_rules *rules,
                    const struct ld_image *image, float *planes, int H, int W,
                    struct ld_buf *scratch, struct ld_err *err);

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
