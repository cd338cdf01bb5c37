#include "scripts/shapes_paint.h"

#include <cairo.h>
#include <math.h>
#include <string.h>

enum { LATTICE = 64, MAX_BLUR_REACH = 64 };

/* A part of the image with one number a pixel. */
struct window {
    int x0, y0, H, W;
    float *value; /* (H, W) */
};

struct canvas {
    int H, W;
    float *rgb;                               /* (H, W, 3) 0 to 255 */
    float lattice[LATTICE][LATTICE];          /* random values, -1 to 1 */
    struct window seen[LD_SCENE_MAX_FIGURES]; /* what is seen of each so far */
    int n_seen;
    struct ld_arena *arena;
    struct ld_err *err;
};

/* ---- texture ---- */

static float smooth(float t)
{
    return t * t * (3 - 2 * t);
}

/* Random values of the lattice, one every `period` pixels, smoothly joined. */
static float noise_at(const struct canvas *canvas, float x, float y,
                      float period)
{
    float u = x / period, v = y / period;
    int i = (int)floorf(v), j = (int)floorf(u);
    const float *a = canvas->lattice[i & (LATTICE - 1)];
    const float *b = canvas->lattice[(i + 1) & (LATTICE - 1)];
    float s = smooth(u - (float)j), t = smooth(v - (float)i);
    int left = j & (LATTICE - 1), right = (j + 1) & (LATTICE - 1);

    return (a[left] * (1 - s) + a[right] * s) * (1 - t) +
           (b[left] * (1 - s) + b[right] * s) * t;
}

static float clouds_at(const struct canvas *canvas, float x, float y,
                       float period)
{
    return .55F * noise_at(canvas, x, y, 2 * period) +
           .3F * noise_at(canvas, x + 17, y + 31, period) +
           .15F * noise_at(canvas, x + 71, y + 53, period / 2);
}

/* -1 to 1 */
static float pattern_at(const struct canvas *canvas, const struct ld_look *look,
                        float x, float y)
{
    float c = cosf(look->turn), s = sinf(look->turn);
    float wave = 6.2831853F / look->period;
    float u = (x * c + y * s) * wave, v = (y * c - x * s) * wave;
    float bend = 2 * noise_at(canvas, x, y, 3 * look->period);

    switch (look->pattern) {
    case LD_PATTERN_STRIPES:
        return sinf(u + bend);
    case LD_PATTERN_CHECKS:
        return sinf(u + bend) * sinf(v - bend) * 1.5F;
    default:
        return 1.8F * clouds_at(canvas, x, y, look->period);
    }
}

static void color_at(const struct canvas *canvas, const struct ld_look *look,
                     int column, int row, float rgb[3])
{
    float x = (float)column, y = (float)row;
    float light = 1 + look->strength * pattern_at(canvas, look, x, y);
    float drift = 25 * noise_at(canvas, x + 300, y + 100, 60);

    for (int c = 0; c < 3; c++)
        rgb[c] = look->color[c] * light + drift * (float)(1 - c);
}

/* ---- masks ---- */

static bool new_window(struct canvas *canvas, struct window *out)
{
    out->value = ld_arena_new(canvas->arena, (size_t)out->H * out->W,
                              sizeof(*out->value), canvas->err);
    return out->value != NULL;
}

static bool copy_window(struct canvas *canvas, const struct window *from,
                        struct window *out)
{
    *out = *from;
    if (!new_window(canvas, out))
        return false;
    memcpy(out->value, from->value,
           (size_t)out->H * out->W * sizeof(*out->value));
    return true;
}

/* Where a figure can leave a trace, clipped to the image. */
static struct window figure_window(const struct canvas *canvas,
                                   const struct ld_figure *f)
{
    const struct ld_look *look = &f->look;
    float reach = 2 + 3 * fmaxf(look->soft, look->shadow_blur) +
                  fmaxf(hypotf(look->trail[0], look->trail[1]),
                        hypotf(look->shadow[0], look->shadow[1]));
    int x0 = (int)fmaxf(0, floorf(f->box.x0 - reach));
    int y0 = (int)fmaxf(0, floorf(f->box.y0 - reach));
    int x1 = (int)fminf((float)canvas->W, ceilf(f->box.x1 + reach));
    int y1 = (int)fminf((float)canvas->H, ceilf(f->box.y1 + reach));

    return (struct window){x0, y0, y1 > y0 ? y1 - y0 : 0, x1 > x0 ? x1 - x0 : 0,
                           NULL};
}

static void trace_outline(cairo_t *cairo, const struct ld_figure *f,
                          float scale, const struct window *w)
{
    double cx = (f->box.x0 + f->box.x1) / 2, cy = (f->box.y0 + f->box.y1) / 2;

    for (int i = 0; i < f->n_points; i++)
        cairo_line_to(cairo, cx + scale * (f->point[i][0] - cx) - w->x0,
                      cy + scale * (f->point[i][1] - cy) - w->y0);
    cairo_close_path(cairo);
}

/* How much of each pixel lies inside the outline. */
static bool fill_core(struct canvas *canvas, const struct ld_figure *f,
                      struct window *out)
{
    cairo_surface_t *surface =
        cairo_image_surface_create(CAIRO_FORMAT_A8, out->W, out->H);
    cairo_t *cairo = cairo_create(surface);
    const unsigned char *row = NULL;
    bool ok = false;

    if (!new_window(canvas, out))
        goto done;
    cairo_set_fill_rule(cairo, CAIRO_FILL_RULE_EVEN_ODD);
    cairo_set_antialias(cairo, CAIRO_ANTIALIAS_BEST);
    trace_outline(cairo, f, 1, out);
    if (f->hole > 0)
        trace_outline(cairo, f, f->hole, out);
    cairo_fill(cairo);
    cairo_surface_flush(surface);
    row = cairo_image_surface_get_data(surface);
    ok = cairo_status(cairo) == CAIRO_STATUS_SUCCESS && row;
    if (!ok)
        ld_fail(canvas->err, LD_ERR_MEMORY, "cairo: %s",
                cairo_status_to_string(cairo_status(cairo)));
    for (int i = 0; ok && i < out->H; i++)
        for (int j = 0; j < out->W; j++)
            out->value[i * out->W + j] =
                (float)row[i * cairo_image_surface_get_stride(surface) + j] /
                255;
done:
    cairo_destroy(cairo);
    cairo_surface_destroy(surface);
    return ok;
}

/* Runs a symmetric filter along lines of n values, `step` apart. */
static void blur_line(const float *in, float *out, int n, int step,
                      const float *weight, int reach)
{
    for (int i = 0; i < n; i++) {
        float sum = weight[0] * in[i * step];

        for (int k = 1; k <= reach; k++) {
            if (i - k >= 0)
                sum += weight[k] * in[(i - k) * step];
            if (i + k < n)
                sum += weight[k] * in[(i + k) * step];
        }
        out[i * step] = sum;
    }
}

static int gaussian(float deviation, float *weight)
{
    int reach = (int)ceilf(3 * deviation);
    float sum = 0;

    reach = reach > MAX_BLUR_REACH ? MAX_BLUR_REACH : reach;
    for (int k = 0; k <= reach; k++) {
        weight[k] = expf(-.5F * (float)(k * k) / (deviation * deviation));
        sum += k ? 2 * weight[k] : weight[k];
    }
    for (int k = 0; k <= reach; k++)
        weight[k] /= sum;
    return reach;
}

/* Gaussian, in place; what lies outside the window counts as zero. */
static bool blur(struct canvas *canvas, struct window *w, float deviation)
{
    float weight[MAX_BLUR_REACH + 1];
    int reach = gaussian(fmaxf(deviation, .05F), weight);
    struct window rows = *w;

    if (!new_window(canvas, &rows))
        return false;
    for (int i = 0; i < w->H; i++)
        blur_line(w->value + i * w->W, rows.value + i * w->W, w->W, 1, weight,
                  reach);
    for (int j = 0; j < w->W; j++)
        blur_line(rows.value + j, w->value + j, w->H, w->W, weight, reach);
    return true;
}

/* out = max(out, weight * in shifted by (dx, dy)) */
static void add_shifted(struct window *out, const struct window *in, float dx,
                        float dy, float weight)
{
    int sx = (int)lrintf(dx), sy = (int)lrintf(dy);

    for (int i = 0; i < out->H; i++)
        for (int j = 0; j < out->W; j++) {
            int y = i - sy, x = j - sx;
            float *o = &out->value[i * out->W + j];

            if (y >= 0 && y < in->H && x >= 0 && x < in->W)
                *o = fmaxf(*o, weight * in->value[y * in->W + x]);
        }
}

static void add_trail(struct window *alpha, const struct window *core,
                      const float trail[2])
{
    int n = (int)ceilf(hypotf(trail[0], trail[1]));

    for (int k = 1; k <= n; k++) {
        float part = (float)k / (float)n;

        add_shifted(alpha, core, part * trail[0], part * trail[1],
                    .75F * (1 - part));
    }
}

/* 0 on the figure's sharp side to 1 on its soft side. */
static float side_at(const struct ld_figure *f, int column, int row)
{
    float dx = (float)column + .5F - (f->box.x0 + f->box.x1) / 2;
    float dy = (float)row + .5F - (f->box.y0 + f->box.y1) / 2;
    float half = (f->box.x1 - f->box.x0 + f->box.y1 - f->box.y0) / 4;
    float along = dx * cosf(f->look.soft_turn) + dy * sinf(f->look.soft_turn);

    return smooth(fminf(1, fmaxf(0, .5F + along / half / 2)));
}

/* The opacity of a figure: its core with trail, blurred more to one side. */
static bool fill_alpha(struct canvas *canvas, const struct ld_figure *f,
                       const struct window *core, struct window *alpha)
{
    struct window soft;

    if (!copy_window(canvas, core, alpha))
        return false;
    add_trail(alpha, core, f->look.trail);
    if (!copy_window(canvas, alpha, &soft) ||
        !blur(canvas, alpha, f->look.sharp) ||
        !blur(canvas, &soft, f->look.soft))
        return false;
    for (int i = 0; i < alpha->H; i++)
        for (int j = 0; j < alpha->W; j++) {
            int at = i * alpha->W + j;
            float side = side_at(f, alpha->x0 + j, alpha->y0 + i);

            alpha->value[at] += side * (soft.value[at] - alpha->value[at]);
            alpha->value[at] *= 1 - f->look.fade * side;
        }
    return true;
}

/* ---- painting ---- */

static bool paint_shadow(struct canvas *canvas, const struct ld_figure *f,
                         const struct window *core)
{
    struct window shade = *core;
    const struct ld_look *look = &f->look;

    if (look->shadow_opacity <= 0)
        return true;
    if (!new_window(canvas, &shade))
        return false;
    add_shifted(&shade, core, look->shadow[0], look->shadow[1], 1);
    if (!blur(canvas, &shade, look->shadow_blur))
        return false;
    for (int i = 0; i < shade.H; i++)
        for (int j = 0; j < shade.W; j++) {
            float *p =
                canvas->rgb + 3 * ((shade.y0 + i) * canvas->W + shade.x0 + j);
            float light =
                1 - look->shadow_opacity * shade.value[i * shade.W + j];

            for (int c = 0; c < 3; c++)
                p[c] *= light;
        }
    return true;
}

static void paint_fill(struct canvas *canvas, const struct ld_figure *f,
                       const struct window *alpha)
{
    for (int i = 0; i < alpha->H; i++)
        for (int j = 0; j < alpha->W; j++) {
            int row = alpha->y0 + i, column = alpha->x0 + j;
            float *p = canvas->rgb + 3 * (row * canvas->W + column);
            float a = alpha->value[i * alpha->W + j], rgb[3];

            if (a <= 1e-3F)
                continue;
            color_at(canvas, &f->look, column, row, rgb);
            for (int c = 0; c < 3; c++)
                p[c] += a * (rgb[c] - p[c]);
        }
}

/* What `over` covers is no longer seen of `under`. */
static void hide(struct window *under, const struct window *over)
{
    for (int i = 0; i < over->H; i++)
        for (int j = 0; j < over->W; j++) {
            int y = over->y0 + i - under->y0, x = over->x0 + j - under->x0;

            if (y >= 0 && y < under->H && x >= 0 && x < under->W)
                under->value[y * under->W + x] *=
                    1 - over->value[i * over->W + j];
        }
}

static bool paint_figure(struct canvas *canvas, const struct ld_figure *f)
{
    struct window core = figure_window(canvas, f), alpha;

    if (core.H > 0 && core.W > 0) {
        if (!fill_core(canvas, f, &core) ||
            !fill_alpha(canvas, f, &core, &alpha) ||
            !paint_shadow(canvas, f, &core))
            return false;
        paint_fill(canvas, f, &alpha);
        for (int i = 0; i < canvas->n_seen; i++)
            hide(&canvas->seen[i], &alpha);
    }
    canvas->seen[canvas->n_seen++] = core;
    return true;
}

static void paint_ground(struct canvas *canvas, const struct ld_look *look)
{
    for (int i = 0; i < canvas->H; i++)
        for (int j = 0; j < canvas->W; j++)
            color_at(canvas, look, j, i, canvas->rgb + 3 * (i * canvas->W + j));
}

/* Four bytes added up are near enough to a normal number: deviation 147.8. */
static float sensor_noise(struct ld_rng *rng)
{
    uint32_t r = ld_rng_u32(rng);
    uint32_t sum = (r & 255) + (r >> 8 & 255) + (r >> 16 & 255) + (r >> 24);

    return ((float)sum - 510) / 147.8F;
}

static bool develop(const struct canvas *canvas, float noise,
                    struct ld_rng *rng, struct ld_image *image)
{
    size_t n = (size_t)canvas->H * canvas->W * 3;

    image->rgb = ld_new(n, 1, canvas->err);
    if (!image->rgb)
        return false;
    image->H = canvas->H;
    image->W = canvas->W;
    for (size_t i = 0; i < n; i++) {
        float v = canvas->rgb[i] + noise * sensor_noise(rng);

        image->rgb[i] = (uint8_t)lrintf(fminf(255, fmaxf(0, v)));
    }
    return true;
}

static void report_sights(const struct canvas *canvas,
                          const struct ld_scene *scene, struct ld_sight *sights)
{
    for (int f = 0; f < scene->n_figures; f++) {
        const struct window *w = &canvas->seen[f];
        double sum = 0;

        for (int i = 0; i < w->H * w->W; i++)
            sum += (double)w->value[i];
        sights[f].visible_area = sum;
        sights[f].visible = sum / ld_figure_area(&scene->figures[f]);
    }
}

bool ld_scene_paint(const struct ld_scene *scene, struct ld_rng *rng,
                    struct ld_image *image, struct ld_sight *sights,
                    struct ld_arena *arena, struct ld_err *err)
{
    struct canvas *canvas = ld_arena_new(arena, 1, sizeof(*canvas), err);

    if (!canvas)
        return false;
    canvas->H = scene->H;
    canvas->W = scene->W;
    canvas->arena = arena;
    canvas->err = err;
    canvas->rgb = ld_arena_new(arena, (size_t)scene->H * scene->W * 3,
                               sizeof(*canvas->rgb), err);
    if (!canvas->rgb)
        return false;
    for (int i = 0; i < LATTICE * LATTICE; i++)
        canvas->lattice[i / LATTICE][i % LATTICE] = 2 * ld_rng_uniform(rng) - 1;
    paint_ground(canvas, &scene->ground);
    for (int f = 0; f < scene->n_figures; f++)
        if (!paint_figure(canvas, &scene->figures[f]))
            return false;
    report_sights(canvas, scene, sights);
    return develop(canvas, scene->noise, rng, image);
}
