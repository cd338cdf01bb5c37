#include "trainer/draw.h"

#include <math.h>
#include <stdio.h>

#include "formats/page.h"

/* Small pictures are enlarged until a label is a small part of them. */
enum { SMALLEST_SIDE = 480, LARGEST_ZOOM = 8 };

struct picture {
    struct ld_page page;
    double W, H; /* of the drawing */
    double zoom; /* drawing's pixels in one of the image's */
    double line; /* width of a box's line */
    double font;
};

/* Hues a golden section apart never come close; every second is darker. */
static struct ld_colour class_colour(int class_index)
{
    double hue = fmod(0.02 + 0.618034 * class_index, 1) * 6;
    double value = class_index % 2 ? 0.78 : 1.0, low = 0.12 * value;
    double rise = low + (value - low) * (1 - fabs(fmod(hue, 2) - 1));

    switch ((int)hue) {
    case 0:
        return (struct ld_colour){value, rise, low};
    case 1:
        return (struct ld_colour){rise, value, low};
    case 2:
        return (struct ld_colour){low, value, rise};
    case 3:
        return (struct ld_colour){low, rise, value};
    case 4:
        return (struct ld_colour){rise, low, value};
    default:
        return (struct ld_colour){value, low, rise};
    }
}

/* Black or white, whichever stands out (luma of Rec. 601). */
static struct ld_colour ink_on(struct ld_colour plate)
{
    double luma = 0.299 * plate.r + 0.587 * plate.g + 0.114 * plate.b;
    double ink = luma > 0.5 ? 0 : 1;

    return (struct ld_colour){ink, ink, ink};
}

static void picture_start(struct picture *p, const struct ld_image *image)
{
    int longest = image->H > image->W ? image->H : image->W;
    int zoom = (SMALLEST_SIDE + longest - 1) / longest;

    zoom = zoom > LARGEST_ZOOM ? LARGEST_ZOOM : zoom;
    *p = (struct picture){.H = image->H * zoom, .W = image->W * zoom};
    p->zoom = zoom;
    p->line = fmax(2, longest * zoom / 400.0);
    p->font = fmax(12, longest * zoom / 50.0);
    ld_page_start_png(&p->page, image->H * zoom, image->W * zoom);
    ld_page_image(&p->page, image, 0, 0, zoom, LD_PAGE_BLENDED);
}

/* The line lies inside the box, so that one at the border is seen whole. */
static void box_path(struct picture *p, struct ld_box box)
{
    double x0 = fmax(0, box.x0 * p->zoom), y0 = fmax(0, box.y0 * p->zoom);
    double x1 = fmin(p->W, box.x1 * p->zoom);
    double y1 = fmin(p->H, box.y1 * p->zoom), in = p->line / 2;

    cairo_rectangle(p->page.cr, x0 + in, y0 + in, fmax(0, x1 - x0 - p->line),
                    fmax(0, y1 - y0 - p->line));
}

static void draw_box(struct picture *p, const struct ld_detection *item)
{
    box_path(p, item->box);
    ld_page_set_colour(&p->page, class_colour(item->class_index));
    cairo_set_line_width(p->page.cr, p->line);
    cairo_stroke(p->page.cr);
}

static void draw_truth(struct picture *p, struct ld_box box)
{
    box_path(p, box);
    ld_page_stroke_dashed(&p->page, p->line);
}

/* The plate stands on the box's upper edge, or hangs from it where there is no
 * room above; a name too long for the picture is written smaller. */
static void draw_label(struct picture *p, const struct ld_detection *item,
                       const char *name)
{
    struct ld_colour plate = class_colour(item->class_index);
    double font = p->font, pad = 0.3, width, height, x, y;
    char text[256];

    snprintf(text, sizeof(text), "%.200s %.2f", name, (double)item->score);
    ld_page_set_font(&p->page, font, true);
    width = ld_page_text_width(&p->page, text) + 2 * pad * font;
    if (width > p->W) {
        font *= p->W / width;
        width = p->W;
        ld_page_set_font(&p->page, font, true);
    }
    height = 1.3 * font;
    x = fmax(0, fmin(item->box.x0 * p->zoom, p->W - width));
    y = item->box.y0 * p->zoom;
    y = fmax(0, fmin(y >= height ? y - height : y, p->H - height));

    cairo_rectangle(p->page.cr, x, y, width, height);
    ld_page_set_colour(&p->page, plate);
    cairo_fill(p->page.cr);
    cairo_move_to(p->page.cr, x + pad * font, y + font);
    ld_page_set_colour(&p->page, ink_on(plate));
    cairo_show_text(p->page.cr, text);
}

bool ld_draw_detections(const char *path, const struct ld_image *image,
                        const struct ld_detection *items, int n,
                        const struct ld_box *truth, int n_truth,
                        const char *const *class_names, struct ld_err *err)
{
    struct picture p;
    bool ok;

    picture_start(&p, image);
    for (int i = n - 1; i >= 0; i--) /* the best is drawn last, on top */
        draw_box(&p, &items[i]);
    for (int i = 0; i < n_truth; i++)
        draw_truth(&p, truth[i]);
    for (int i = n - 1; i >= 0; i--)
        draw_label(&p, &items[i], class_names[items[i].class_index]);
    ok = ld_page_publish(&p.page, path, err);
    ld_page_free(&p.page);
    return ok;
}
