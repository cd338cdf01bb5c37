#include "cache/render.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cache/render_panel.h"
#include "kernels/net/detect.h"

enum {
    LONGEST_SIDE = 720, /* a smaller view is enlarged to it */
    LARGEST_ZOOM = 8,
    GAP = 20,
    LEGEND_H = 56,
    LEAST_W = 960, /* the legend's */
    KEPT = 400     /* boxes of a picture */
};

static const struct ld_colour white = {1, 1, 1}, black = {0, 0, 0},
                              gray = {0.35, 0.35, 0.35};

/* ---- what a row says ---- */

int ld_render_zoom(const struct ld_view *view)
{
    int longest = view->H > view->W ? view->H : view->W;
    int zoom = (LONGEST_SIDE + longest - 1) / longest;

    return zoom < LARGEST_ZOOM ? zoom : LARGEST_ZOOM;
}

struct ld_colour ld_render_colour(int level)
{
    static const struct ld_colour colours[LD_MAX_LEVELS] = {{0.10, 0.55, 1.00},
                                                            {0.05, 0.75, 0.35},
                                                            {1.00, 0.80, 0.00},
                                                            {1.00, 0.40, 0.05},
                                                            {0.90, 0.15, 0.60}};

    return colours[level];
}

struct ld_box ld_render_box(const struct ld_shard_facts *facts,
                            const struct ld_record *record, int row)
{
    struct ld_grid grid = ld_shard_grid(facts, &record->view);
    int at = record->location[row], B = facts->reg_max + 1;
    const float *bins = record->box_logits + (size_t)row * 4 * (size_t)B;
    float side[4], x, y;

    for (int s = 0; s < 4; s++)
        side[s] = ld_side_distance(bins + s * B, B) *
                  (float)grid.stride[ld_grid_level(&grid, at)];
    ld_grid_centre(&grid, at, &x, &y);
    return (struct ld_box){x - side[0], y - side[1], x + side[2], y + side[3]};
}

int ld_render_class(const struct ld_shard_facts *facts,
                    const struct ld_record *record, int row, float *score)
{
    const float *logits = record->class_logits;
    int best = 0;

    if (!ld_shard_all_classes(facts) && !(record->kind[row] & LD_SHARD_MAIN))
        return -1;
    for (int i = 0; i < row; i++)
        if (ld_shard_all_classes(facts) || (record->kind[i] & LD_SHARD_MAIN))
            logits += record->n_logits;
    for (int k = 1; k < facts->n_classes; k++)
        if (logits[k] > logits[best])
            best = k;
    *score = 1 / (1 + expf(-logits[best]));
    return best;
}

/* The best main row that is not taken and overlaps none of those; or -1. */
static int next_best(const struct ld_shard_facts *facts,
                     const struct ld_record *record, float overlap,
                     const int *rows, int n)
{
    int best = -1;
    float best_score = -1;

    for (int i = 0; i < record->n_rows; i++) {
        float score = 0;
        bool overlaps = false;

        if (!(record->kind[i] & LD_SHARD_MAIN) ||
            ld_render_class(facts, record, i, &score) < 0 ||
            score <= best_score)
            continue;
        for (int j = 0; j < n && !overlaps; j++)
            overlaps =
                i == rows[j] ||
                ld_box_iou(ld_render_box(facts, record, i),
                           ld_render_box(facts, record, rows[j])) > overlap;
        if (!overlaps) {
            best = i;
            best_score = score;
        }
    }
    return best;
}

int ld_render_best(const struct ld_shard_facts *facts,
                   const struct ld_record *record, float overlap, int *rows,
                   int most)
{
    int n = 0;

    while (n < most &&
           (rows[n] = next_best(facts, record, overlap, rows, n)) >= 0)
        n++;
    return n;
}

/* ---- the view ---- */

/* The page, and the view's place on it. */
struct drawing {
    struct ld_page page;
    const struct ld_render *render;
    struct ld_grid grid;
    double zoom, W, H;         /* of the view on the page ... */
    double canvas_W, canvas_H; /* ... and of its canvas */
};

static void box_path(struct drawing *d, struct ld_box box, double line)
{
    double x0 = fmax(0, box.x0 * d->zoom), y0 = fmax(0, box.y0 * d->zoom);
    double x1 = fmin(d->W, box.x1 * d->zoom), y1 = fmin(d->H, box.y1 * d->zoom);

    cairo_rectangle(d->page.cr, LD_RENDER_LEFT + x0 + line / 2,
                    LD_RENDER_TOP + y0 + line / 2, fmax(0, x1 - x0 - line),
                    fmax(0, y1 - y0 - line));
}

static int level_of(const struct drawing *d, int row)
{
    return ld_grid_level(&d->grid, d->render->record->location[row]);
}

static void draw_box(struct drawing *d, int row, double line)
{
    const struct ld_record *record = d->render->record;

    box_path(d, ld_render_box(d->render->facts, record, row), line);
    cairo_set_line_width(d->page.cr, line + 2);
    cairo_set_source_rgba(d->page.cr, 0, 0, 0, 0.45);
    cairo_stroke_preserve(d->page.cr);
    cairo_set_line_width(d->page.cr, line);
    ld_page_set_colour(&d->page, ld_render_colour(level_of(d, row)));
    cairo_stroke(d->page.cr);
}

static void draw_boxes(struct drawing *d)
{
    const struct ld_render *r = d->render;
    int kept[KEPT];
    int n = ld_render_best(r->facts, r->record, 0.3F, kept, KEPT);

    for (int i = n - 1; i >= 0; i--)
        draw_box(d, kept[i], 1.5);
    for (int i = r->n_rows - 1; i >= 0; i--)
        draw_box(d, r->rows[i], 3);
    for (int i = 0; i < r->sight->n_truth; i++) {
        box_path(d, r->sight->truth[i], 1.5);
        ld_page_stroke_dashed(&d->page, 1.5);
    }
}

static double marker_radius(int stride, double zoom)
{
    return fmax(3, zoom * 0.6 * sqrt(stride));
}

static void draw_marker(struct ld_page *page, double x, double y, double radius,
                        int level, bool filled)
{
    cairo_t *cr = page->cr;

    cairo_new_path(cr);
    cairo_arc(cr, x, y, radius, 0, 2 * M_PI);
    cairo_set_line_width(cr, filled ? 2 : 3.5);
    cairo_set_source_rgba(cr, 0, 0, 0, 0.6);
    cairo_stroke_preserve(cr);
    ld_page_set_colour(page, ld_render_colour(level));
    cairo_set_line_width(cr, 2);
    if (filled)
        cairo_fill(cr);
    else
        cairo_stroke(cr);
    cairo_new_path(cr);
}

/* Rings first, large ones below: what is small and sure stays in sight. */
static void draw_markers(struct drawing *d)
{
    const struct ld_record *record = d->render->record;

    for (int filled = 0; filled < 2; filled++)
        for (int i = record->n_rows - 1; i >= 0; i--) {
            int level = level_of(d, i);
            float x, y;

            if (record->kind[i] == 0 ||
                (record->kind[i] & LD_SHARD_MAIN) != filled)
                continue;
            ld_grid_centre(&d->grid, record->location[i], &x, &y);
            draw_marker(&d->page, LD_RENDER_LEFT + d->zoom * (double)x,
                        LD_RENDER_TOP + d->zoom * (double)y,
                        marker_radius(d->grid.stride[level], d->zoom), level,
                        filled);
        }
}

/* The letter of a panel, at a corner of its box. */
static void draw_letters(struct drawing *d)
{
    const struct ld_render *r = d->render;

    ld_page_set_font(&d->page, 15, true);
    for (int i = r->n_rows - 1; i >= 0; i--) {
        struct ld_box box = ld_render_box(r->facts, r->record, r->rows[i]);
        char letter[2] = {(char)('A' + i), 0};
        double x = fmax(0, fmin(box.x0 * d->zoom, d->W - 18));
        double y = fmax(0, fmin(box.y0 * d->zoom, d->H - 18));

        cairo_rectangle(d->page.cr, LD_RENDER_LEFT + x, LD_RENDER_TOP + y, 18,
                        18);
        ld_page_set_colour(&d->page, black);
        cairo_fill(d->page.cr);
        ld_page_set_colour(&d->page, white);
        cairo_move_to(d->page.cr, LD_RENDER_LEFT + x + 3.5,
                      LD_RENDER_TOP + y + 14.5);
        cairo_show_text(d->page.cr, letter);
    }
}

static void draw_view(struct drawing *d)
{
    cairo_t *cr = d->page.cr;

    cairo_rectangle(cr, LD_RENDER_LEFT, LD_RENDER_TOP, d->canvas_W,
                    d->canvas_H);
    cairo_set_source_rgb(cr, 0.88, 0.88, 0.88);
    cairo_fill(cr);
    ld_page_image(&d->page, &d->render->sight->image, LD_RENDER_LEFT,
                  LD_RENDER_TOP, d->zoom, LD_PAGE_SQUARES);
    cairo_save(cr);
    cairo_rectangle(cr, LD_RENDER_LEFT, LD_RENDER_TOP, d->W, d->H);
    cairo_clip(cr);
    draw_boxes(d);
    cairo_restore(cr);
    draw_markers(d);
    draw_letters(d);
}

/* ---- what it is ---- */

static void put_text(struct drawing *d, double x, double y, const char *text)
{
    cairo_move_to(d->page.cr, x, y);
    cairo_show_text(d->page.cr, text);
}

static void draw_title(struct drawing *d)
{
    const struct ld_record *record = d->render->record;
    char name[32], text[512];

    ld_view_name(&record->view, d->render->facts->seeded_views > 0, name);
    snprintf(text, sizeof(text), "Image %" PRId64 "%s: %.300s",
             record->image_id, name, d->render->sight->name);
    ld_page_set_colour(&d->page, black);
    ld_page_set_font(&d->page, 17, true);
    put_text(d, LD_RENDER_LEFT, 28, text);
    snprintf(text, sizeof(text),
             "view of %d x %d pixels on a canvas of %d x %d; %d rows, %d with "
             "classes; %s",
             record->view.W, record->view.H, record->view.canvas_W,
             record->view.canvas_H, record->n_rows, record->n_main,
             d->render->facts->teacher_model);
    ld_page_set_colour(&d->page, gray);
    ld_page_set_font(&d->page, 12, false);
    put_text(d, LD_RENDER_LEFT, 48, text);
}

static void draw_legend(struct drawing *d, double y)
{
    const struct ld_record *record = d->render->record;
    int rows[LD_MAX_LEVELS][2] = {0};
    char text[64];

    for (int i = 0; i < record->n_rows; i++)
        if (record->kind[i] != 0)
            rows[level_of(d, i)][record->kind[i] & LD_SHARD_MAIN]++;
    ld_page_set_font(&d->page, 12, false);
    for (int l = 0; l < LD_MAX_LEVELS; l++) {
        double x = LD_RENDER_LEFT + 7 + 182 * l;

        draw_marker(&d->page, x, y, 6, l, true);
        draw_marker(&d->page, x + 17, y, 6, l, false);
        ld_page_set_colour(&d->page, black);
        snprintf(text, sizeof(text), "P%d: %d main, %d VLR", l + 3, rows[l][1],
                 rows[l][0]);
        put_text(d, x + 28, y + 4, text);
    }
    ld_page_set_colour(&d->page, gray);
    put_text(d, LD_RENDER_LEFT, y + 28,
             "filled: main region, ring: VLR only; lines: the teacher's boxes, "
             "of the best main rows; dashed: the truth");
}

/* ---- the page ---- */

/* Panels stand in even columns, about as high as the view. */
static int panels_of_column(const struct drawing *d)
{
    int room = (int)((d->canvas_H + LD_PANEL_H / 3 + GAP) / (LD_PANEL_H + GAP));
    int n = d->render->n_rows, columns;

    room = room < 1 ? 1 : room;
    columns = (n + room - 1) / room;
    return n > 0 ? (n + columns - 1) / columns : 1;
}

static void page_size(const struct drawing *d, int *H, int *W)
{
    int n = d->render->n_rows, rows = panels_of_column(d);
    int columns = (n + rows - 1) / rows;
    int highest = n < rows ? n : rows;
    double panels = highest * (LD_PANEL_H + GAP) - GAP;

    *W = LD_RENDER_LEFT + (int)d->canvas_W + columns * (GAP + LD_PANEL_W) +
         LD_RENDER_LEFT;
    *W = *W < LEAST_W ? LEAST_W : *W;
    *H = LD_RENDER_TOP + (int)fmax(d->canvas_H + LEGEND_H, panels + 8);
}

static void draw_page(struct drawing *d)
{
    int rows = panels_of_column(d);

    ld_page_set_colour(&d->page, white);
    cairo_paint(d->page.cr);
    draw_title(d);
    draw_view(d);
    for (int i = 0; i < d->render->n_rows; i++)
        ld_render_panel(&d->page, d->render, i,
                        LD_RENDER_LEFT + d->canvas_W + GAP +
                            i / rows * (GAP + LD_PANEL_W),
                        LD_RENDER_TOP + i % rows * (GAP + LD_PANEL_H));
    draw_legend(d, LD_RENDER_TOP + d->canvas_H + 20);
}

bool ld_render_write(const char *path, const struct ld_render *render,
                     struct ld_err *err)
{
    const struct ld_view *view = &render->record->view;
    struct drawing d = {
        .render = render,
        .grid = ld_shard_grid(render->facts, &render->record->view)};
    int H, W;
    bool ok;

    d.zoom = ld_render_zoom(view);
    d.W = d.zoom * view->W;
    d.canvas_W = d.zoom * view->canvas_W;
    d.canvas_H = d.zoom * view->canvas_H;
    d.H = d.zoom * view->H;
    page_size(&d, &H, &W);
    if (!ld_page_start(&d.page, path, H, W, err))
        return false;
    draw_page(&d);
    ok = ld_page_publish(&d.page, path, err);
    ld_page_free(&d.page);
    return ok;
}
