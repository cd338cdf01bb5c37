/* draw.h - boxes on pictures and curves on axes, by cairo, into PNG or SVG. */
#pragma once

#include "formats/image.h"
#include "kernels/net/detect.h"

/* The image with each detection's box, class name and score, the first on top;
 * `truth` boxes (may be NULL) dashed in white. A picture under 480 pixels is
 * enlarged by a whole factor, to hold its labels. PNG, written whole or not at
 * all. A name that is not UTF-8 is LD_ERR_FORMAT. */
bool ld_draw_detections(const char *path, const struct ld_image *image,
                        const struct ld_detection *items, int n,
                        const struct ld_box *truth, int n_truth,
                        const char *const *class_names, struct ld_err *err);

struct ld_curve {
    const char *label;
    const double *x, *y; /* (n); NaN leaves a gap */
    int n;
};

/* Line plot of 900 x 540; SVG or PNG by the path's ending. Points are marked
 * where a curve has few. LD_ERR_USAGE for another ending. */
bool ld_draw_curves(const char *path, const char *title, const char *x_label,
                    const char *y_label, const struct ld_curve *curves,
                    int n_curves, struct ld_err *err);
