/* report_html.h - the pieces of HTML that a report is made of.
 *
 * Private to cache/report*.c. */
#pragma once

#include "cache/render.h"

/* The head, with a title; and what ends the page. */
void ld_html_start(struct ld_buf *out, const char *title);
void ld_html_end(struct ld_buf *out);

/* A text, with what HTML would take for its own escaped. */
void ld_html_text(struct ld_buf *out, const char *text);

/* Two counts of each bin, one on the other, as inline SVG; the axis runs from
 * `least` to `most`. */
void ld_html_histogram(struct ld_buf *out, const char *title,
                       const int64_t *dark, const int64_t *light, int n_bins,
                       double least, double most);

/* A picture of at most 220 x 160 pixels, as a data URI: the view, its truth
 * dashed, its main rows, none of them chosen. */
bool ld_html_thumbnail(struct ld_buf *out, const struct ld_render *render,
                       struct ld_err *err);
