#include <math.h>
#include <stdio.h>

#include "formats/page.h"
#include "trainer/draw.h"

enum {
    PLOT_W = 900,
    PLOT_H = 540,
    LEFT = 84,
    RIGHT = 28,
    TITLE_H = 44,
    LEGEND_H = 22, /* one row of it */
    BOTTOM = 64,
    MOST_TICKS = 8,
    MOST_DOTS = 40 /* points of a curve that are marked one by one */
};

struct axis {
    double low, high; /* what the plot's two ends stand for */
    double step;      /* between ticks: 1, 2 or 5 times a power of ten */
};

struct plot {
    struct ld_page page;
    double left, top, W, H; /* the frame that the curves lie in */
    struct axis x, y;
};

/* Okabe and Ito's colours, which the colour-blind tell apart too; dashed when
 * they come round again. */
static void set_pen(struct ld_page *page, int i_curve, double width)
{
    static const struct ld_colour colours[] = {
        {0, 0.45, 0.70},    {0.84, 0.37, 0}, {0, 0.62, 0.45},
        {0.80, 0.47, 0.65}, {0.90, 0.62, 0}, {0.34, 0.71, 0.91},
        {0.35, 0.35, 0.35},
    };
    const int n_colours = sizeof(colours) / sizeof(colours[0]);
    double dash = 6;

    ld_page_set_colour(page, colours[i_curve % n_colours]);
    cairo_set_dash(page->cr, &dash, i_curve >= n_colours, 0);
    cairo_set_line_width(page->cr, width);
}

static void widen(struct axis *axis, double value)
{
    if (isfinite(value)) {
        axis->low = fmin(axis->low, value);
        axis->high = fmax(axis->high, value);
    }
}

/* Ends on ticks where `whole`; a range of nothing becomes a small one. */
static void set_ticks(struct axis *axis, bool whole)
{
    double power, ratio;

    if (axis->low > axis->high)
        *axis = (struct axis){0, 1, 0};
    if (axis->high - axis->low <= 1e-9 * fmax(1e-30, fabs(axis->high))) {
        double half = axis->high != 0 ? fabs(axis->high) / 10 : 0.5;

        axis->low -= half;
        axis->high += half;
    }
    axis->step = (axis->high - axis->low) / MOST_TICKS;
    power = pow(10, floor(log10(axis->step)));
    ratio = axis->step / power;
    axis->step = power * (ratio <= 1   ? 1
                          : ratio <= 2 ? 2
                          : ratio <= 5 ? 5
                                       : 10);
    if (whole) {
        axis->low = floor(axis->low / axis->step + 1e-6) * axis->step;
        axis->high = ceil(axis->high / axis->step - 1e-6) * axis->step;
    }
}

static void set_axes(struct plot *p, const struct ld_curve *curves,
                     int n_curves)
{
    p->x = p->y = (struct axis){INFINITY, -INFINITY, 0};
    for (int c = 0; c < n_curves; c++)
        for (int i = 0; i < curves[c].n; i++) {
            widen(&p->x, curves[c].x[i]);
            widen(&p->y, curves[c].y[i]);
        }
    set_ticks(&p->x, false);
    set_ticks(&p->y, true);
}

static double place(const struct axis *axis, double value)
{
    return (value - axis->low) / (axis->high - axis->low);
}

static double x_at(const struct plot *p, double x)
{
    return p->left + p->W * place(&p->x, x);
}

static double y_at(const struct plot *p, double y)
{
    return p->top + p->H * (1 - place(&p->y, y));
}

/* As many digits as the step needs; very large and small ones by powers. */
static void tick_text(char out[32], const struct axis *axis, double value)
{
    double most = fmax(fabs(axis->low), fabs(axis->high));
    int decimals = (int)fmax(0, -floor(log10(axis->step) + 1e-9));

    if (fabs(value) < 1e-9 * axis->step)
        value = 0;
    if (most >= 1e7 || axis->step < 1e-5)
        snprintf(out, 32, "%.6g", value);
    else
        snprintf(out, 32, "%.*f", decimals, value);
}

static void draw_line(cairo_t *cr, double x0, double y0, double x1, double y1)
{
    cairo_move_to(cr, x0, y0);
    cairo_line_to(cr, x1, y1);
    cairo_stroke(cr);
}

/* Horizontally about x: at its left, its middle or its right (0, 0.5, 1). */
static void draw_text(struct ld_page *page, const char *text, double x,
                      double y, double align)
{
    cairo_move_to(page->cr, x - align * ld_page_text_width(page, text), y);
    cairo_show_text(page->cr, text);
}

static void draw_tick(struct plot *p, const struct axis *axis, double value)
{
    bool is_x = axis == &p->x;
    double x = is_x ? x_at(p, value) : p->left;
    double y = is_x ? p->top + p->H : y_at(p, value);
    char text[32];

    tick_text(text, axis, value);
    ld_page_set_colour(&p->page, (struct ld_colour){0.87, 0.87, 0.87});
    draw_line(p->page.cr, x, y, is_x ? x : p->left + p->W, is_x ? p->top : y);
    ld_page_set_colour(&p->page, (struct ld_colour){0.2, 0.2, 0.2});
    if (is_x)
        draw_text(&p->page, text, x, y + 18, 0.5);
    else
        draw_text(&p->page, text, x - 8, y + 4, 1);
}

static void draw_ticks(struct plot *p, const struct axis *axis)
{
    double first = ceil(axis->low / axis->step - 1e-6);
    double last = floor(axis->high / axis->step + 1e-6);

    ld_page_set_font(&p->page, 12, false);
    cairo_set_line_width(p->page.cr, 1);
    for (double i = first; i <= last; i++)
        draw_tick(p, axis, i * axis->step);
}

static void draw_frame(struct plot *p, const char *title, const char *x_label,
                       const char *y_label)
{
    struct ld_page *page = &p->page;
    cairo_t *cr = page->cr;

    draw_ticks(p, &p->x);
    draw_ticks(p, &p->y);
    ld_page_set_colour(page, (struct ld_colour){0.35, 0.35, 0.35});
    cairo_rectangle(cr, p->left, p->top, p->W, p->H);
    cairo_stroke(cr);

    ld_page_set_colour(page, (struct ld_colour){0.1, 0.1, 0.1});
    ld_page_set_font(page, 17, true);
    draw_text(page, title, PLOT_W / 2.0, 28, 0.5);
    ld_page_set_font(page, 14, false);
    draw_text(page, x_label, p->left + p->W / 2, PLOT_H - 18, 0.5);
    cairo_save(cr);
    cairo_translate(cr, 22, p->top + p->H / 2);
    cairo_rotate(cr, -M_PI / 2);
    draw_text(page, y_label, 0, 0, 0.5);
    cairo_restore(cr);
}

static bool is_known(const struct ld_curve *curve, int i)
{
    return isfinite(curve->x[i]) && isfinite(curve->y[i]);
}

/* A piece of one point is a line of no length: its round ends show. */
static void draw_line_of(struct plot *p, const struct ld_curve *curve)
{
    cairo_t *cr = p->page.cr;

    for (int i = 0; i < curve->n; i++) {
        if (!is_known(curve, i))
            continue;
        if (i == 0 || !is_known(curve, i - 1))
            cairo_move_to(cr, x_at(p, curve->x[i]), y_at(p, curve->y[i]));
        cairo_line_to(cr, x_at(p, curve->x[i]), y_at(p, curve->y[i]));
    }
    cairo_set_line_cap(cr, CAIRO_LINE_CAP_ROUND);
    cairo_set_line_join(cr, CAIRO_LINE_JOIN_ROUND);
    cairo_stroke(cr);
}

static void draw_dots_of(struct plot *p, const struct ld_curve *curve)
{
    cairo_t *cr = p->page.cr;

    for (int i = 0; i < curve->n; i++)
        if (is_known(curve, i)) {
            cairo_new_sub_path(cr);
            cairo_arc(cr, x_at(p, curve->x[i]), y_at(p, curve->y[i]), 3, 0,
                      2 * M_PI);
        }
    cairo_fill(cr);
}

/* Rows of colour and name between title and frame; returns how many. They
 * are drawn if `draw`, else only measured. */
static int legend(struct ld_page *page, const struct ld_curve *curves,
                  int n_curves, bool draw)
{
    double x = LEFT;
    int rows = 1;

    ld_page_set_font(page, 13, false);
    for (int i = 0; i < n_curves; i++) {
        double width = 30 + ld_page_text_width(page, curves[i].label) + 22;
        double y = TITLE_H + (rows - 0.5) * LEGEND_H;

        if (x > LEFT && x + width > PLOT_W - RIGHT) {
            rows++;
            x = LEFT;
            y += LEGEND_H;
        }
        if (draw) {
            set_pen(page, i, 3);
            draw_line(page->cr, x, y, x + 24, y);
            ld_page_set_colour(page, (struct ld_colour){0.1, 0.1, 0.1});
            draw_text(page, curves[i].label, x + 30, y + 4.5, 0);
        }
        x += width;
    }
    return rows;
}

bool ld_draw_curves(const char *path, const char *title, const char *x_label,
                    const char *y_label, const struct ld_curve *curves,
                    int n_curves, struct ld_err *err)
{
    struct plot p = {.left = LEFT, .W = PLOT_W - LEFT - RIGHT};
    bool ok;

    if (!ld_page_start(&p.page, path, PLOT_H, PLOT_W, err))
        return false;
    ld_page_set_colour(&p.page, (struct ld_colour){1, 1, 1});
    cairo_paint(p.page.cr);
    p.top = TITLE_H + LEGEND_H * legend(&p.page, curves, n_curves, false) + 6;
    p.H = PLOT_H - BOTTOM - p.top;
    set_axes(&p, curves, n_curves);
    draw_frame(&p, title, x_label, y_label);
    legend(&p.page, curves, n_curves, true);
    for (int i = 0; i < n_curves; i++) {
        set_pen(&p.page, i, 2);
        draw_line_of(&p, &curves[i]);
        if (curves[i].n <= MOST_DOTS)
            draw_dots_of(&p, &curves[i]);
    }
    ok = ld_page_publish(&p.page, path, err);
    ld_page_free(&p.page);
    return ok;
}
