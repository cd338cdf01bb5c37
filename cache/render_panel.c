#include "cache/render_panel.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    CHART = 56, /* height of a chart above, width of one beside */
    CROP = LD_PANEL_W - CHART,
    MOST_BINS = 1025 /* a shard's bound */
};

/* Of the left and upper, and of the right and lower side. */
static const struct ld_colour near_side = {0.16, 0.38, 0.75},
                              far_side = {0.80, 0.30, 0.08};

struct panel {
    struct ld_page *page;
    const struct ld_render *render;
    int row, level, stride, B;
    float at_x, at_y; /* the location, in pixels of the view */
    struct ld_box box;
    double x, y;                    /* of the crop on the page */
    double view_x, view_y;          /* the view's pixel at its corner */
    double zoom;                    /* of it */
    float share[4][MOST_BINS], top; /* probabilities; the largest of all */
};

static const struct ld_record *record_of(const struct panel *p)
{
    return p->render->record;
}

static void find_shares(struct panel *p)
{
    const float *bins =
        record_of(p)->box_logits + (size_t)p->row * 4 * (size_t)p->B;

    for (int s = 0; s < 4; s++, bins += p->B) {
        float sum = 0, most = bins[0];

        for (int b = 1; b < p->B; b++)
            most = fmaxf(most, bins[b]);
        for (int b = 0; b < p->B; b++)
            sum += p->share[s][b] = expf(bins[b] - most);
        for (int b = 0; b < p->B; b++) {
            p->share[s][b] /= sum;
            p->top = fmaxf(p->top, p->share[s][b]);
        }
    }
}

/* How far from the location a side's bins matter, in pixels of the view. */
static double reach(const struct panel *p)
{
    double most = 1;

    for (int s = 0; s < 4; s++)
        for (int b = 0; b < p->B; b++)
            if (p->share[s][b] > 0.02F)
                most = fmax(most, b + 1);
    return most * p->stride;
}

/* The truth that the box overlaps most; -1 if none. */
static int nearest_truth(const struct panel *p, float *iou)
{
    const struct ld_sight *sight = p->render->sight;
    int nearest = -1;

    *iou = 0;
    for (int i = 0; i < sight->n_truth; i++) {
        float one = ld_box_iou(p->box, sight->truth[i]);

        if (one > *iou) {
            *iou = one;
            nearest = i;
        }
    }
    return nearest;
}

static double page_x(const struct panel *p, double view_x)
{
    return p->x + p->zoom * (view_x - p->view_x);
}

static double page_y(const struct panel *p, double view_y)
{
    return p->y + p->zoom * (view_y - p->view_y);
}

static void start(struct panel *p, const struct ld_render *render, int index,
                  double x, double y)
{
    struct ld_grid grid = ld_shard_grid(render->facts, &render->record->view);
    double half;

    p->row = render->rows[index];
    p->level = ld_grid_level(&grid, render->record->location[p->row]);
    p->stride = grid.stride[p->level];
    p->B = render->facts->reg_max + 1;
    ld_grid_centre(&grid, render->record->location[p->row], &p->at_x, &p->at_y);
    p->box = ld_render_box(render->facts, render->record, p->row);
    find_shares(p);
    half = reach(p);
    p->x = x + CHART;
    p->y = y + CHART;
    p->view_x = p->at_x - half;
    p->view_y = p->at_y - half;
    p->zoom = CROP / (2 * half);
}

static void box_path(const struct panel *p, struct ld_box box)
{
    cairo_rectangle(p->page->cr, page_x(p, box.x0), page_y(p, box.y0),
                    p->zoom * (double)(box.x1 - box.x0),
                    p->zoom * (double)(box.y1 - box.y0));
}

static void draw_crop(struct panel *p)
{
    cairo_t *cr = p->page->cr;
    float iou;
    int truth = nearest_truth(p, &iou);

    cairo_save(cr);
    cairo_rectangle(cr, p->x, p->y, CROP, CROP);
    cairo_clip(cr);
    cairo_set_source_rgb(cr, 0.9, 0.9, 0.9);
    cairo_paint(cr);
    ld_page_image(p->page, &p->render->sight->image, page_x(p, 0), page_y(p, 0),
                  p->zoom, LD_PAGE_BLENDED);
    box_path(p, p->box);
    cairo_set_line_width(cr, 2.5);
    ld_page_set_colour(p->page, ld_render_colour(p->level));
    cairo_stroke(cr);
    if (truth >= 0) {
        box_path(p, p->render->sight->truth[truth]);
        ld_page_stroke_dashed(p->page, 1.5);
    }
    cairo_arc(cr, page_x(p, p->at_x), page_y(p, p->at_y), 4.5, 0, 2 * M_PI);
    ld_page_set_colour(p->page, ld_render_colour(p->level));
    cairo_fill_preserve(cr);
    cairo_set_line_width(cr, 1.5);
    cairo_set_source_rgb(cr, 0, 0, 0);
    cairo_stroke(cr);
    cairo_restore(cr);
}

/* A bar a bin, at the distance it stands for: of the left (0) and right side
 * (2) above the crop, of the upper (1) and lower (3) beside it. */
static void draw_side(struct panel *p, int side)
{
    cairo_t *cr = p->page->cr;
    bool across = side % 2 == 0;
    double sign = side < 2 ? -1 : 1;
    double thick = fmax(1, 0.8 * p->zoom * p->stride);

    cairo_set_source_rgba(cr, side < 2 ? near_side.r : far_side.r,
                          side < 2 ? near_side.g : far_side.g,
                          side < 2 ? near_side.b : far_side.b, 0.8);
    for (int b = 0; b < p->B; b++) {
        double length = (CHART - 6) * (double)(p->share[side][b] / p->top);
        double away = sign * b * p->stride;

        if (across)
            cairo_rectangle(cr, page_x(p, p->at_x + away) - thick / 2,
                            p->y - 2 - length, thick, length);
        else
            cairo_rectangle(cr, p->x - 2 - length,
                            page_y(p, p->at_y + away) - thick / 2, length,
                            thick);
    }
    cairo_fill(cr);
}

/* The bins' axes, and through bars and crop the distance that is expected. */
static void draw_axes(struct panel *p)
{
    cairo_t *cr = p->page->cr;
    double dots = 2;

    cairo_set_source_rgb(cr, 0.6, 0.6, 0.6);
    cairo_set_line_width(cr, 1);
    cairo_rectangle(cr, p->x - 0.5, p->y - 0.5, CROP + 1, CROP + 1);
    cairo_stroke(cr);
    cairo_set_dash(cr, &dots, 1, 0);
    cairo_set_source_rgb(cr, 0, 0, 0);
    for (int far = 0; far < 2; far++) {
        double x = page_x(p, far ? p->box.x1 : p->box.x0);
        double y = page_y(p, far ? p->box.y1 : p->box.y0);

        cairo_move_to(cr, x, p->y - CHART + 2);
        cairo_line_to(cr, x, p->y);
        cairo_move_to(cr, p->x - CHART + 2, y);
        cairo_line_to(cr, p->x, y);
    }
    cairo_stroke(cr);
    cairo_set_dash(cr, NULL, 0, 0);
}

static double bits(const struct panel *p, int side)
{
    double sum = 0;

    for (int b = 0; b < p->B; b++)
        if (p->share[side][b] > 0)
            sum -= (double)p->share[side][b] * log2((double)p->share[side][b]);
    return sum;
}

static void draw_caption(struct panel *p, int index)
{
    const struct ld_render *r = p->render;
    float score = 0, iou;
    int class = ld_render_class(r->facts, record_of(p), p->row, &score);
    double x = p->x - CHART, y = p->y + CROP;
    int kind = record_of(p)->kind[p->row];
    char text[256];

    nearest_truth(p, &iou);
    ld_page_set_font(p->page, 12, true);
    ld_page_set_colour(p->page, (struct ld_colour){0, 0, 0});
    snprintf(text, sizeof(text), "%c  P%d, location %d, %s", 'A' + index,
             p->level + 3, record_of(p)->location[p->row],
             kind & LD_SHARD_MAIN ? "main"
             : kind               ? "VLR"
                                  : "neither region");
    if (class >= 0)
        snprintf(text + strlen(text), sizeof(text) - strlen(text),
                 ", %.60s %.2f", r->facts->class_names[class], (double)score);
    cairo_move_to(p->page->cr, x, y + 16);
    cairo_show_text(p->page->cr, text);
    ld_page_set_font(p->page, 11, false);
    snprintf(text, sizeof(text),
             "bits: left %.1f, top %.1f, right %.1f, bottom %.1f; IoU %.2f",
             bits(p, 0), bits(p, 1), bits(p, 2), bits(p, 3), (double)iou);
    cairo_move_to(p->page->cr, x, y + 32);
    cairo_show_text(p->page->cr, text);
}

void ld_render_panel(struct ld_page *page, const struct ld_render *render,
                     int index, double x, double y)
{
    struct panel p = {.page = page, .render = render};

    start(&p, render, index, x, y);
    draw_crop(&p);
    cairo_save(page->cr);
    cairo_rectangle(page->cr, x, y, LD_PANEL_W, LD_PANEL_W);
    cairo_clip(page->cr);
    for (int side = 0; side < 4; side++)
        draw_side(&p, side);
    draw_axes(&p);
    cairo_restore(page->cr);
    draw_caption(&p, index);
}
