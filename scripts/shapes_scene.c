#include "scripts/shapes_scene.h"

#include <math.h>
#include <string.h>

const char *const ld_shape_class_names[] = {"disc", "box", "triangle", "ring",
                                            "star"};

static const float PI = 3.14159265F;

static float between(struct ld_rng *rng, float low, float high)
{
    return low + (high - low) * ld_rng_uniform(rng);
}

/* As often half as large as twice as large. */
static float between_log(struct ld_rng *rng, float low, float high)
{
    return low * powf(high / low, ld_rng_uniform(rng));
}

static bool happens(struct ld_rng *rng, float chance)
{
    return ld_rng_uniform(rng) < chance;
}

/* ---- looks ---- */

static float color_distance(const float a[3], const float b[3])
{
    float d[3] = {a[0] - b[0], a[1] - b[1], a[2] - b[2]};

    return sqrtf(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
}

/* A colour at a distance between low and high from `from`. */
static void draw_color(struct ld_rng *rng, const float from[3], float low,
                       float high, float color[3])
{
    for (int try = 0; try < 100; try++) {
        float distance;

        for (int c = 0; c < 3; c++)
            color[c] = between(rng, 30, 225);
        distance = color_distance(color, from);
        if (distance >= low && distance <= high)
            return;
    }
}

static void draw_pattern(struct ld_rng *rng, struct ld_look *look)
{
    look->pattern = (enum ld_pattern)ld_rng_below(rng, 3);
    look->period = between_log(rng, 5, 24);
    look->turn = between(rng, 0, PI);
    look->strength = between(rng, .05F, .25F);
}

static void draw_vector(struct ld_rng *rng, float low, float high, float out[2])
{
    float length = between(rng, low, high), turn = between(rng, 0, 2 * PI);

    out[0] = length * cosf(turn);
    out[1] = length * sinf(turn);
}

/* The border of each shape is lost in some of these ways, nearly never in
 * none: where it lies must be guessed from the rest of the shape. */
static void draw_border(struct ld_rng *rng, struct ld_look *look, float size)
{
    look->sharp = between(rng, .5F, 1.2F);
    look->soft = fmaxf(look->sharp, size * between(rng, .01F, .08F));
    look->soft_turn = between(rng, 0, 2 * PI);
    if (happens(rng, .4F))
        look->fade = between(rng, .3F, .75F);
    if (happens(rng, .3F))
        draw_vector(rng, .08F * size, .25F * size, look->trail);
    if (happens(rng, .4F)) {
        draw_vector(rng, .04F * size, .14F * size, look->shadow);
        look->shadow_blur = size * between(rng, .02F, .06F);
        look->shadow_opacity = between(rng, .3F, .6F);
    }
}

static void draw_shape_look(struct ld_rng *rng, struct ld_look *look,
                            const float ground[3], float size)
{
    if (happens(rng, .15F))
        draw_color(rng, ground, 45, 70, look->color);
    else
        draw_color(rng, ground, 85, 220, look->color);
    draw_pattern(rng, look);
    draw_border(rng, look, size);
}

static void draw_clutter_look(struct ld_rng *rng, struct ld_look *look,
                              const float ground[3])
{
    draw_color(rng, ground, 20, 120, look->color);
    draw_pattern(rng, look);
    look->sharp = between(rng, .5F, 1.5F);
    look->soft = look->sharp + between(rng, 0, 1);
}

/* ---- outlines ---- */

static void add_point(struct ld_figure *f, float x, float y)
{
    f->point[f->n_points][0] = x;
    f->point[f->n_points][1] = y;
    f->n_points++;
}

/* n corners on the unit circle, every second one drawn in to `inner`. */
static void add_corners(struct ld_figure *f, int n, float inner, float turn)
{
    for (int i = 0; i < n; i++) {
        float r = i % 2 ? inner : 1;
        float a = 2 * PI * (float)i / (float)n + turn;

        add_point(f, r * cosf(a), r * sinf(a));
    }
}

static void add_outline(struct ld_figure *f, struct ld_rng *rng)
{
    float turn = between(rng, 0, 2 * PI);

    switch (f->class_index) {
    case LD_SHAPE_BOX:
        add_corners(f, 4, 1, turn);
        break;
    case LD_SHAPE_TRIANGLE:
        add_corners(f, 3, 1, turn);
        break;
    case LD_SHAPE_STAR:
        add_corners(f, 10, .45F, turn);
        break;
    case LD_SHAPE_RING:
        f->hole = between(rng, .5F, .65F);
        add_corners(f, LD_FIGURE_MAX_POINTS, 1, turn);
        break;
    default:
        add_corners(f, LD_FIGURE_MAX_POINTS, 1, turn);
    }
}

static struct ld_box outline_box(const struct ld_figure *f)
{
    struct ld_box box = {INFINITY, INFINITY, -INFINITY, -INFINITY};

    for (int i = 0; i < f->n_points; i++) {
        box.x0 = fminf(box.x0, f->point[i][0]);
        box.x1 = fmaxf(box.x1, f->point[i][0]);
        box.y0 = fminf(box.y0, f->point[i][1]);
        box.y1 = fmaxf(box.y1, f->point[i][1]);
    }
    return box;
}

/* Squeezes in a random direction. */
static void squeeze(struct ld_figure *f, struct ld_rng *rng)
{
    float ratio = between(rng, .75F, 1), turn = between(rng, 0, PI);
    float dx = cosf(turn), dy = sinf(turn);

    for (int i = 0; i < f->n_points; i++) {
        float *p = f->point[i];
        float along = (p[0] * dx + p[1] * dy) * (ratio - 1);

        p[0] += along * dx;
        p[1] += along * dy;
    }
}

/* The longer side of the box becomes `size`, its centre (x, y). */
static void fit_outline(struct ld_figure *f, float size, float x, float y)
{
    struct ld_box b = outline_box(f);
    float scale = size / fmaxf(b.x1 - b.x0, b.y1 - b.y0);

    for (int i = 0; i < f->n_points; i++) {
        f->point[i][0] = x + scale * (f->point[i][0] - (b.x0 + b.x1) / 2);
        f->point[i][1] = y + scale * (f->point[i][1] - (b.y0 + b.y1) / 2);
    }
    f->box = outline_box(f);
}

double ld_figure_area(const struct ld_figure *figure)
{
    double twice = 0;

    for (int i = 0; i < figure->n_points; i++) {
        const float *a = figure->point[i];
        const float *b = figure->point[(i + 1) % figure->n_points];

        twice += (double)a[0] * b[1] - (double)b[0] * a[1];
    }
    return fabs(twice) / 2 * (1 - (double)figure->hole * figure->hole);
}

/* ---- the scene ---- */

static struct ld_figure *add_figure(struct ld_scene *scene,
                                    enum ld_shape_class class_index)
{
    struct ld_figure *f = &scene->figures[scene->n_figures++];

    memset(f, 0, sizeof(*f));
    f->class_index = class_index;
    return f;
}

/* How much of the smaller box the larger one hides. */
static float hidden(struct ld_box a, struct ld_box b)
{
    return fmaxf(ld_box_iof(a, b), ld_box_iof(b, a));
}

static bool fits(const struct ld_scene *scene, struct ld_box box)
{
    struct ld_box image = {0, 0, (float)scene->W, (float)scene->H};

    if (ld_box_iof(box, image) < .7F)
        return false;
    for (int i = 0; i < scene->n_figures - 1; i++)
        if (scene->figures[i].class_index != LD_SHAPE_CLUTTER &&
            hidden(box, scene->figures[i].box) > .6F)
            return false;
    return true;
}

static void add_shape(struct ld_scene *scene, struct ld_rng *rng)
{
    float largest = .625F * (float)(scene->H < scene->W ? scene->H : scene->W);
    struct ld_figure *f = add_figure(
        scene, (enum ld_shape_class)ld_rng_below(rng, LD_N_SHAPE_CLASSES));
    /* The larger of two: few are so small that only their colour is seen. */
    float size = fmaxf(between_log(rng, 16, fmaxf(largest, 17)),
                       between_log(rng, 16, fmaxf(largest, 17)));

    add_outline(f, rng);
    squeeze(f, rng);
    draw_shape_look(rng, &f->look, scene->ground.color, size);
    for (int try = 0; try < 30; try++) {
        fit_outline(f, size, between(rng, 0, (float)scene->W),
                    between(rng, 0, (float)scene->H));
        if (fits(scene, f->box))
            return;
        size = fmaxf(16, size * .93F);
    }
    scene->n_figures--; /* the image is full */
}

/* A band of `width` through (x, y), bending by `bend` radians on its way. */
static void add_band(struct ld_scene *scene, struct ld_rng *rng,
                     const float through[2], float length, float width,
                     float bend)
{
    enum { STEPS = 15 };
    struct ld_figure *f = add_figure(scene, LD_SHAPE_CLUTTER);
    float turn = between(rng, 0, 2 * PI), side[STEPS + 1][2];
    float x = through[0] - cosf(turn + bend / 2) * length / 2;
    float y = through[1] - sinf(turn + bend / 2) * length / 2;

    for (int i = 0; i <= STEPS; i++) {
        float dx = cosf(turn), dy = sinf(turn);

        add_point(f, x - dy * width / 2, y + dx * width / 2);
        side[i][0] = x + dy * width / 2;
        side[i][1] = y - dx * width / 2;
        x += dx * length / STEPS;
        y += dy * length / STEPS;
        turn += bend / STEPS;
    }
    for (int i = STEPS; i >= 0; i--)
        add_point(f, side[i][0], side[i][1]);
    f->box = outline_box(f);
    draw_clutter_look(rng, &f->look, scene->ground.color);
}

/* Thin curves behind the shapes. */
static void add_strokes(struct ld_scene *scene, struct ld_rng *rng)
{
    for (uint32_t n = ld_rng_below(rng, 4); n > 0; n--) {
        float at[2] = {between(rng, 0, (float)scene->W),
                       between(rng, 0, (float)scene->H)};

        add_band(scene, rng, at, between(rng, 40, 200), between(rng, 2, 5),
                 between(rng, -1.5F, 1.5F));
    }
}

/* Straight bars from edge to edge, each before some other figure. */
static void add_bars(struct ld_scene *scene, struct ld_rng *rng)
{
    int n_behind = scene->n_figures;

    for (uint32_t n = ld_rng_below(rng, 3); n > 0; n--) {
        struct ld_box box =
            scene->figures[ld_rng_below(rng, (uint32_t)n_behind)].box;
        float at[2] = {between(rng, box.x0, box.x1),
                       between(rng, box.y0, box.y1)};
        float far = 2 * (float)(scene->H + scene->W);

        add_band(scene, rng, at, far, between(rng, 5, 14), 0);
    }
}

void ld_scene_draw(struct ld_scene *scene, int H, int W, struct ld_rng *rng)
{
    static const float RATIOS[] = {1, 1.125F, 1 / 1.125F, 1.25F, .8F};
    float root = sqrtf(RATIOS[ld_rng_below(rng, 5)]);
    const float gray[3] = {128, 128, 128};

    memset(scene, 0, sizeof(*scene));
    scene->W = (int)((float)W * root + .5F);
    scene->H = (int)((float)H / root + .5F);
    scene->noise = between(rng, 2, 7);
    draw_color(rng, gray, 0, 90, scene->ground.color);
    draw_pattern(rng, &scene->ground);
    scene->ground.strength *= .7F;
    add_strokes(scene, rng);
    for (uint32_t n = 1 + ld_rng_below(rng, 8); n > 0; n--)
        add_shape(scene, rng);
    add_bars(scene, rng);
}
