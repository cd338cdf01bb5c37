/* render.h - a cached view drawn: where it has rows, and what the teacher said
 * of some of them. */
#pragma once

#include "cache/sight.h"
#include "formats/page.h"
#include "kernels/base/mem.h"

/* The view's first pixel is here, and each of its pixels is a square of
 * ld_render_zoom. A row's marker is centred on its location: filled for the
 * main region, a ring for the VLR. Right of the view, a panel for each of the
 * chosen locations: the view around its box and, along its sides, what the
 * teacher thinks of each distance. */
enum {
    LD_RENDER_LEFT = 16,
    LD_RENDER_TOP = 60,
    LD_RENDER_PANELS = 8, /* at most */
    LD_RENDER_SHOWN = 4   /* unless locations are asked for */
};

struct ld_render {
    const struct ld_shard_facts *facts;
    const struct ld_record *record;
    const struct ld_sight *sight;
    int rows[LD_RENDER_PANELS]; /* of the record: the chosen ones */
    int n_rows;
};

int ld_render_zoom(const struct ld_view *view);

/* Of level 0 to 4. */
struct ld_colour ld_render_colour(int level);

/* The box that a row's distributions expect, in pixels of the view. */
struct ld_box ld_render_box(const struct ld_shard_facts *facts,
                            const struct ld_record *record, int row);

/* A row's best class and, in *score, its sigmoid; -1 where the row has no
 * classes. */
int ld_render_class(const struct ld_shard_facts *facts,
                    const struct ld_record *record, int row, float *score);

/* The main rows by falling score, at most `most`, without those whose boxes
 * overlap a better one's by more IoU than `overlap`; returns how many. */
int ld_render_best(const struct ld_shard_facts *facts,
                   const struct ld_record *record, float overlap, int *rows,
                   int most);

/* PNG or SVG by the path's ending. */
bool ld_render_write(const char *path, const struct ld_render *render,
                     struct ld_err *err);
