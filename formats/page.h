/* page.h - a picture being drawn by cairo, which reaches its file whole or not
 * at all. */
#pragma once

#include <cairo.h>

#include "formats/image.h"
#include "kernels/base/mem.h"

struct ld_page {
    cairo_t *cr;
    struct ld_buf svg; /* what an SVG page has written of itself so far */
};

struct ld_colour {
    double r, g, b; /* 0 to 1 */
};

/* A page in memory, H x W pixels, black; published as PNG. Like all of cairo it
 * takes note of a failure, and ld_page_publish reports it. */
void ld_page_start_png(struct ld_page *page, int H, int W);

/* A page of H x W points; published as SVG. The page may not be moved. */
void ld_page_start_svg(struct ld_page *page, int H, int W);

/* One or the other by the ending of `path`; LD_ERR_USAGE for another ending. */
bool ld_page_start(struct ld_page *page, const char *path, int H, int W,
                   struct ld_err *err);

/* Adds the finished page's PNG or SVG to `out`; `name` is for errors.
 * LD_ERR_FORMAT if a text was not UTF-8. */
bool ld_page_encode(struct ld_page *page, const char *name, struct ld_buf *out,
                    struct ld_err *err);

/* Writes the page to `path`. LD_ERR_FORMAT if a text was not UTF-8. */
bool ld_page_publish(struct ld_page *page, const char *path,
                     struct ld_err *err);
void ld_page_free(struct ld_page *page);

/* The image with its upper left corner at (x, y), its pixels `zoom` of the
 * page's wide: squares, or blended into each other. */
enum ld_page_pixels { LD_PAGE_SQUARES, LD_PAGE_BLENDED };
void ld_page_image(struct ld_page *page, const struct ld_image *image, double x,
                   double y, double zoom, enum ld_page_pixels pixels);

/* Strokes the current path with white dashes on a black line: visible on any
 * ground. */
void ld_page_stroke_dashed(struct ld_page *page, double line);

void ld_page_set_colour(struct ld_page *page, struct ld_colour colour);

/* A sans-serif typeface; `size` in pixels. */
void ld_page_set_font(struct ld_page *page, double size, bool bold);

double ld_page_text_width(struct ld_page *page, const char *text);
