#include "formats/view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* OpenCV's bilinear scaling of 8-bit images (imgproc/resize.cpp, INTER_LINEAR):
 * weights are integers of 11 bits, the sums along a row lose 4 bits to fit in
 * 16, and each product down a column loses 16 before the two are added. Other
 * orders of rounding differ from it in some pixels by one. */
enum { ONE = 1 << 11, ROW_SHIFT = 4, COLUMN_SHIFT = 16 };

/* Where a scaled row or column lies between two of the image's. */
struct blend {
    int32_t first, second;
    int16_t first_weight, second_weight; /* of ONE */
};

/* One picture on its way: rows of the image, stretched to the view's width,
 * are made when the first scaled row asks for them. */
struct stretch {
    const struct ld_image *image;
    int W;
    struct blend *columns; /* (W) byte offsets in a row of the image */
    int16_t *rows[2];      /* (3, W) each; image row i is in rows[i % 2] */
    int held[2];           /* which row of the image that is; -1: none */
};

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

/* Scaled row or column i of n_to, centres half a pixel in. Beyond the border's
 * centre both neighbours are the border's: a column then has one weight, a row
 * keeps two, which rounds otherwise. OpenCV does so. */
static struct blend blend_of(int i, int n_from, int n_to, bool is_column)
{
    double scale = 1.0 / ((double)n_to / n_from);
    float place = (float)((i + 0.5) * scale - 0.5);
    int first = (int)floorf(place);
    float part = place - (float)first;

    if (is_column && (first < 0 || first >= n_from - 1))
        part = 0;
    return (struct blend){
        .first = first < 0 ? 0 : first,
        .second = first + 1 < n_from ? first + 1 : n_from - 1,
        .first_weight = (int16_t)lrintf((1 - part) * ONE),
        .second_weight = (int16_t)lrintf(part * ONE),
    };
}

static void set_columns(struct stretch *s, bool flipped)
{
    for (int x = 0; x < s->W; x++) {
        struct blend b = blend_of(x, s->image->W, s->W, true);

        b.first *= 3;
        b.second *= 3;
        s->columns[flipped ? s->W - 1 - x : x] = b;
    }
}

static bool stretch_start(struct stretch *s, struct ld_buf *scratch,
                          struct ld_err *err)
{
    size_t W = (size_t)s->W;
    unsigned char *memory;

    scratch->len = 0;
    ld_buf_put(scratch, NULL, W * (sizeof(*s->columns) + 6 * sizeof(int16_t)));
    if (!ld_buf_ok(scratch, err))
        return false;
    memory = scratch->data;
    s->columns = (void *)memory;
    s->rows[0] = (void *)(memory + W * sizeof(*s->columns));
    s->rows[1] = s->rows[0] + 3 * W;
    s->held[0] = s->held[1] = -1;
    return true;
}

static const int16_t *stretched_row(struct stretch *s, int row)
{
    const uint8_t *from = s->image->rgb + (size_t)row * s->image->W * 3;
    int16_t *to = s->rows[row % 2];
    int W = s->W;

    if (s->held[row % 2] == row)
        return to;
    for (int x = 0; x < W; x++) {
        struct blend b = s->columns[x];
        const uint8_t *p = from + b.first, *q = from + b.second;
        int wp = b.first_weight, wq = b.second_weight;

        to[x] = (int16_t)((p[0] * wp + q[0] * wq) >> ROW_SHIFT);
        to[W + x] = (int16_t)((p[1] * wp + q[1] * wq) >> ROW_SHIFT);
        to[2 * W + x] = (int16_t)((p[2] * wp + q[2] * wq) >> ROW_SHIFT);
    }
    s->held[row % 2] = row;
    return to;
}

static void normalised_row(float *restrict to, const int16_t *restrict top,
                           const int16_t *restrict bottom, int W,
                           struct blend b, float mean, float std)
{
    for (int x = 0; x < W; x++) {
        int value = ((top[x] * b.first_weight >> COLUMN_SHIFT) +
                     (bottom[x] * b.second_weight >> COLUMN_SHIFT) + 2) >>
                    2;

        to[x] = ((float)value - mean) / std;
    }
}

static void write_row(struct stretch *s, const struct ld_view_rules *rules,
                      float *to, size_t plane, int W, struct blend b)
{
    const int16_t *top = stretched_row(s, b.first);
    const int16_t *bottom = stretched_row(s, b.second);

    for (size_t c = 0; c < 3; c++) {
        size_t from = (rules->bgr ? 2 - c : c) * (size_t)s->W;

        normalised_row(to + c * plane, top + from, bottom + from, s->W, b,
                       rules->mean[c], rules->std[c]);
        memset(to + c * plane + s->W, 0, sizeof(float) * (size_t)(W - s->W));
    }
}

bool ld_view_pixels(const struct ld_view *view,
                    const struct ld_view_rules *rules,
                    const struct ld_image *image, float *planes, int H, int W,
                    struct ld_buf *scratch, struct ld_err *err)
{
    struct stretch s = {.image = image, .W = view->W};
    size_t plane = (size_t)H * W, used = (size_t)view->H * W;

    if (view->H < 1 || view->W < 1 || view->H > H || view->W > W)
        return ld_fail(err, LD_ERR_MISMATCH,
                       "a view of %d x %d pixels on a canvas of %d x %d",
                       view->W, view->H, W, H);
    if (!stretch_start(&s, scratch, err))
        return false;
    set_columns(&s, view->flipped);
    for (int y = 0; y < view->H; y++)
        write_row(&s, rules, planes + (size_t)y * W, plane, W,
                  blend_of(y, image->H, view->H, false));
    for (size_t c = 0; c < 3; c++)
        memset(planes + c * plane + used, 0, sizeof(float) * (plane - used));
    return true;
}
