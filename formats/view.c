#include "formats/view.h"

#include <stdio.h>

static int at_least_one(double side)
{
    return side < 1 ? 1 : (int)side;
}

static int padded(int side, int divisor)
{
    return (side + divisor - 1) / divisor * divisor;
}

struct ld_view ld_view_of(const struct ld_view_rules *rules, int H, int W,
                          bool flipped)
{
    double by_long = (double)rules->long_edge / (H > W ? H : W);
    double by_short = (double)rules->short_edge / (H > W ? W : H);
    double scale = by_long < by_short ? by_long : by_short;
    struct ld_view view = {.flipped = flipped, .number = flipped};

    view.H = at_least_one(H * scale + 0.5);
    view.W = at_least_one(W * scale + 0.5);
    view.canvas_H = padded(view.H, rules->divisor);
    view.canvas_W = padded(view.W, rules->divisor);
    return view;
}

void ld_view_name(const struct ld_view *view, bool seeded, char out[32])
{
    char number[24] = "";

    if (seeded)
        snprintf(number, sizeof(number), ", view %d", view->number);
    snprintf(out, 32, "%s%s", number, view->flipped ? ", flipped" : "");
}

void ld_view_scale(const struct ld_view *view, int image_H, int image_W,
                   float *scale_x, float *scale_y)
{
    *scale_x = (float)((double)view->W / image_W);
    *scale_y = (float)((double)view->H / image_H);
}

static float clipped(float value, float limit)
{
    return value < 0 ? 0 : value > limit ? limit : value;
}

struct ld_box ld_view_box(const struct ld_view *view, int image_H, int image_W,
                          struct ld_box box)
{
    float W = (float)view->W, H = (float)view->H;
    float scale_x, scale_y, x0, x1;

    ld_view_scale(view, image_H, image_W, &scale_x, &scale_y);
    x0 = clipped(box.x0 * scale_x, W);
    x1 = clipped(box.x1 * scale_x, W);
    return (struct ld_box){
        .x0 = view->flipped ? W - x1 : x0,
        .y0 = clipped(box.y0 * scale_y, H),
        .x1 = view->flipped ? W - x0 : x1,
        .y1 = clipped(box.y1 * scale_y, H),
    };
}

struct ld_draw ld_view_draw(const struct ld_view *view,
                            const struct ld_view_rules *rules, int image_H,
                            int image_W)
{
    struct ld_draw draw = {
        .from_H = image_H,
        .from_W = image_W,
        .H = view->H,
        .W = view->W,
        .canvas_H = view->canvas_H,
        .canvas_W = view->canvas_W,
        .flipped = view->flipped,
        .bgr = rules->bgr,
    };

    for (int c = 0; c < 3; c++) {
        draw.mean[c] = rules->mean[c];
        draw.std[c] = rules->std[c];
    }
    return draw;
}
