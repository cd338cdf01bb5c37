/* shapes_paint.h - from a scene to pixels, and what of each figure is seen. */
#pragma once

#include "formats/image.h"
#include "kernels/base/mem.h"
#include "scripts/shapes_scene.h"

/* What of a figure is in sight once all is painted. */
struct ld_sight {
    double visible_area; /* pixels inside the image and before all others */
    double visible;      /* the same as a part of the whole figure, 0 to 1 */
};

/* Paints the scene; `image` is the caller's to free. `sights` is of the scene's
 * n_figures. Draws texture and noise from rng; scratch is the arena's. */
bool ld_scene_paint(const struct ld_scene *scene, struct ld_rng *rng,
                    struct ld_image *image, struct ld_sight *sights,
                    struct ld_arena *arena, struct ld_err *err);
