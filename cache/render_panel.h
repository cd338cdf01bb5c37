/* render_panel.h - one location of a cached view: its box, and above and beside
 * it the distributions of the box's sides.
 *
 * Private to cache/render*.c. */
#pragma once

#include "cache/render.h"

enum { LD_PANEL_W = 306, LD_PANEL_H = 344 };

/* The panel of render->rows[index], with its upper left corner at (x, y). */
void ld_render_panel(struct ld_page *page, const struct ld_render *render,
                     int index, double x, double y);
