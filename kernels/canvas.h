/* canvas.h - the pixels of a network's input: a picture scaled, maybe flipped,
 * normalised, on a canvas.
 *
 * Scaling is OpenCV's bilinear on 8 bit (the result is rounded to 8 bit before
 * normalisation), normalised is (value - mean) / std in float32, padding is
 * zero after normalisation. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ld_draw {
    int from_H, from_W;     /* of the picture, R, G, B side by side */
    int H, W;               /* of it scaled */
    int canvas_H, canvas_W; /* at least H and W: padded right and below */
    bool flipped;           /* left to right, after scaling */
    bool bgr;               /* planes are B, G, R, and so mean and std */
    float mean[3], std[3];  /* of the planes */
};

/* Rows `begin` to end - 1 of planes (3, canvas_H, canvas_W) on the host, out of
 * rgb (from_H, from_W, 3); writes each number of them. The same bits however
 * the rows are shared out. */
void ld_draw_rows(float *planes, const uint8_t *rgb, const struct ld_draw *d,
                  int begin, int end);
