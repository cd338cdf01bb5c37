#include "kernels/net/imitate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/golden.h"
#include "tests/golden_grid.h"
#include "tests/maps.h"
#include "tests/suite.h"

enum { C = 256, B = 17, MAX_IMAGES = 2 };

/* Ours adds float32 squares in another order than the reference. */
static const double FLOAT32 = 1e-5;

static const struct ld_assign_rules ASSIGN = {9, LD_VLR_CODE, 0.25F, false};

/* ---- golden: one level of a batch ---- */

struct scene {
    struct golden *g;
    struct maps maps;
    struct ld_grid grid, own[MAX_IMAGES]; /* of the batch's canvas, and own */
    struct ld_region region[MAX_IMAGES];
    int N, K, n_main[LD_MAX_LEVELS];
    float im;
};

static const char *named(const char *stem, const char *rest, int i)
{
    static char name[4][96];
    static int next;

    next = (next + 1) % 4;
    snprintf(name[next], sizeof(name[next]), "%s%s_%d", stem, rest, i);
    return name[next];
}

static void *room(struct scene *s, size_t count, size_t size)
{
    return ld_arena_new(&s->g->arena, count, size, &(struct ld_err){0});
}

/* GFL V2's case says nothing of its image: it fills the canvas. */
static struct ld_grid own_grid(struct golden *g, int image)
{
    int side[2];
    char path[64];

    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "params.img_metas.%d.pad_shape.%d", image,
                 i);
        if (!golden_has_value(g, path))
            snprintf(path, sizeof(path), "params.batch_%c", "hw"[i]);
        side[i] = (int)golden_number(g, path);
    }
    return ld_grid_of_canvas(side[0], side[1]);
}

static void find_region(struct scene *s, int image, enum ld_imitation imitation)
{
    struct golden_array boxes =
        golden_array(s->g, named("gt_bboxes", "", image));
    struct ld_grid *own = &s->own[image];
    struct ld_assignment a;
    struct ld_err err = {0};

    *own = own_grid(s->g, image);
    ck_assert(ld_assign(&a, own, boxes.data, boxes.dim[0], &ASSIGN,
                        &s->g->arena, &err));
    for (int i = 0; i < a.n_rows; i++)
        s->n_main[ld_grid_level(own, a.rows[i].location)] +=
            a.rows[i].kind & LD_ROW_MAIN;
    if (imitation != LD_IMITATE_GIBOX)
        ck_assert(ld_region_of(&s->region[image], imitation, own, boxes.data,
                               boxes.dim[0], &a, &s->g->arena, &err));
}

/* The golden numbers of one place of a map (N, channels, h, w). */
static void place_of(float *out, const struct golden_array *map, int place)
{
    size_t places = (size_t)map->dim[2] * (size_t)map->dim[3];
    size_t channels = (size_t)map->dim[1];
    const float *from = (const float *)map->data +
                        (size_t)place / places * channels * places +
                        (size_t)place % places;

    for (size_t c = 0; c < channels; c++)
        out[c] = from[c * places];
}

static bool is_valid(struct scene *s, int level, int place)
{
    int places = s->grid.H[level] * s->grid.W[level];
    const struct ld_grid *own = &s->own[place / places];
    int W = s->grid.W[level];

    return place % places % W < own->W[level] &&
           place % places / W < own->H[level];
}

/* As the reference: all places of all images in one list, those outside an
 * image at (0, 0). V2's students give scores, not logits; its teachers raw
 * logits, taken as they are. Returns how many places were chosen. */
static int choose_gibox(struct scene *s, int level, int32_t *chosen)
{
    bool v2 = golden_has(s->g, named("tcls_feat", "", level));
    struct golden_array map[4] = {
        golden_array(s->g, named(v2 ? "tcls_feat" : "tcls", "", level)),
        golden_array(s->g, named("treg", "", level)),
        golden_array(s->g, named("cls", "", level)),
        golden_array(s->g, named("reg", "", level))};
    int W = s->grid.W[level], places = s->grid.H[level] * W;
    struct ld_candidate *all = room(s, (size_t)(s->N * places), sizeof(*all));
    float value[4][128];
    struct ld_opinion teacher = {value[0], value[1]};
    struct ld_opinion student = {value[2], value[3]};

    for (int i = 0; i < s->N * places; i++) {
        bool valid = is_valid(s, level, i);
        int column = i % places % W, row = i % places / W;

        for (int m = 0; m < 4; m++)
            place_of(value[m], &map[m], i);
        for (int k = 0; !v2 && k < s->K; k++) {
            value[0][k] = ld_score(value[0][k]);
            value[2][k] = ld_score(value[2][k]);
        }
        all[i] =
            ld_candidate_of(&teacher, &student, s->K, B,
                            valid ? (float)column : 0, valid ? (float)row : 0);
    }
    return ld_candidates_choose(chosen, all, s->N * places);
}

/* Places of the level, rising or as chosen; decouple's background is all of the
 * batch's canvas in the reference. */
static int list_places(struct scene *s, int level, enum ld_imitation imitation,
                       int32_t *place, uint8_t *inside)
{
    int places = s->grid.H[level] * s->grid.W[level], n = 0;

    if (imitation == LD_IMITATE_GIBOX)
        return choose_gibox(s, level, place);
    for (int i = 0; i < s->N * places; i++)
        inside[i] = 0;
    for (int image = 0; image < s->N; image++) {
        const struct ld_region *region = &s->region[image];

        for (int i = 0; i < region->n; i++) {
            int a = region->location[i];

            if (ld_grid_level(&s->own[image], a) != level)
                continue;
            a = image * places + ld_grid_move(&s->own[image], a, &s->grid) -
                s->grid.start[level];
            inside[a] = region->inside ? region->inside[i] : 1;
            place[n++] = a;
        }
    }
    if (imitation != LD_IMITATE_DECOUPLE)
        return n;
    for (n = 0; n < s->N * places; n++)
        place[n] = n;
    return n;
}

/* Which places have a gradient, their values where stored, its square. */
static void compare_gradient(struct scene *s, const char *method, int level,
                             const float *dx, struct ld_shape shape)
{
    const char *name = named(method, "_grad_x_rows", level);
    const char *values = named(method, "_grad_x_vals", level);
    struct golden_array rows = golden_array(s->g, name);
    size_t places = (size_t)shape.H * (size_t)shape.W, n = 0;
    float *got = room(s, rows.count * C, sizeof(*got));
    double square = 0, want;
    char all[96];

    for (size_t i = 0; i < (size_t)shape.N * places; i++) {
        const float *from = dx + i / places * C * places + i % places;
        bool any = false;

        for (size_t c = 0; c < C; c++) {
            any = any || from[c * places] != 0;
            square += pow((double)from[c * places], 2);
        }
        if (!any)
            continue;
        ck_assert_msg(n < rows.count &&
                          ((const int64_t *)rows.data)[n] == (int64_t)i,
                      "%s: %s: place %zu", s->g->name, name, i);
        for (size_t c = 0; c < C; c++)
            got[n * C + c] = from[c * places];
        n++;
    }
    ck_assert_uint_eq(n, rows.count);
    if (golden_has(s->g, values))
        golden_compare(s->g, values, got, n * C, FLOAT32);
    snprintf(all, sizeof(all), "%s_grad_x_sqsum", method);
    want = (double)golden_floats(s->g, all, 5)[level];
    ck_assert_msg(fabs(square - want) <= FLOAT32 * want,
                  "%s: %s of level %d is %.8g, expected %.8g", s->g->name, all,
                  level, square, want);
}

static double feature_loss(struct maps *m, float *dmap, const float *map,
                           const struct ld_feature_rows *rows)
{
    double *sum = maps_memory(m, sizeof(*sum)), got;

    m->dev->ops->feature_loss(m->dev, sum, dmap, map, rows);
    m->dev->ops->download(m->dev, &got, sum, sizeof(got));
    maps_sync(m);
    return got;
}

static void compare_level(struct scene *s, const char *method,
                          enum ld_imitation imitation, int level)
{
    struct ld_shape shape = {s->N, C, s->grid.H[level], s->grid.W[level]};
    size_t most = (size_t)(s->N * shape.H * shape.W) + LD_INSTANCES;
    const float *x =
        golden_floats(s->g, named("x", "", level), shape_count(shape));
    int32_t *place = room(s, most, sizeof(*place));
    uint8_t *inside = room(s, most, 1), *flag = room(s, most, 1);
    float *weight = room(s, most, sizeof(*weight));
    float *teacher = room(s, most * C, sizeof(*teacher));
    int n = list_places(s, level, imitation, place, inside);
    struct ld_feature_rows rows = {shape, n, place, weight, teacher};
    struct golden_array tx = golden_array(s->g, named("tx", "", level));
    float *dmap = maps_map(&s->maps, NULL, shape);
    char name[96];
    double got, want;

    for (int i = 0; i < n; i++) {
        flag[i] = inside[place[i]];
        place_of(teacher + (size_t)i * C, &tx, place[i]);
    }
    ld_region_weights(weight, imitation == LD_IMITATE_DECOUPLE ? flag : NULL, n,
                      C, s->im);
    if (s->n_main[level] == 0)
        rows.n = 0;
    got = feature_loss(&s->maps, dmap, maps_map(&s->maps, x, shape), &rows);
    snprintf(name, sizeof(name), "%s_losses", method);
    want = (double)golden_floats(s->g, name, 40)[35 + level];
    ck_assert_msg(fabs(got - want) <= FLOAT32 * want,
                  "%s: %s of level %d is %.8g, expected %.8g", s->g->name,
                  method, level, got, want);
    compare_gradient(s, method, level, maps_plain(&s->maps, dmap, shape),
                     shape);
}

static void compare_method(struct golden *g, const char *method,
                           enum ld_imitation imitation)
{
    struct scene s = {.g = g, .grid = golden_grid(g)};
    char name[96];

    snprintf(name, sizeof(name), "%s_losses", method);
    if (!golden_has(g, name))
        return;
    s.N = (int)golden_number(g, "params.num_imgs");
    s.K = golden_has_value(g, "params.cls_out_channels")
              ? (int)golden_number(g, "params.cls_out_channels")
              : (int)golden_number(g, "params.num_classes");
    s.im = (float)golden_number(g, "params.loss_im_weight");
    ck_assert_int_le(s.N, MAX_IMAGES);
    maps_open(&s.maps, 1, 1);
    for (int image = 0; image < s.N; image++)
        find_region(&s, image, imitation);
    for (int level = 0; level < s.grid.n_levels; level++)
        compare_level(&s, method, imitation, level);
    maps_close(&s.maps);
}

static void compare_methods(struct golden *g)
{
    compare_method(g, "finegrained", LD_IMITATE_FINEGRAINED);
    compare_method(g, "fitnet", LD_IMITATE_FITNET);
    compare_method(g, "decouple_fixed", LD_IMITATE_DECOUPLE);
    compare_method(g, "gibox", LD_IMITATE_GIBOX);
}

START_TEST(every_imitation_is_that_of_the_reference)
{
    golden_each("05_ld_loss", compare_methods);
}
END_TEST

static void compare_v2(struct golden *g)
{
    if (golden_has(g, "gibox_losses"))
        compare_methods(g);
}

START_TEST(imitation_of_a_v2_student_is_that_of_the_reference)
{
    golden_each("05_gflv2", compare_v2);
}
END_TEST

static void compare_rows(struct golden *g)
{
    struct golden_array x, teacher;
    struct ld_feature_rows rows;
    struct scene s = {.g = g};
    float *dmap, *map, got;
    int32_t *place;
    float *weight, *back;

    if (!strstr(g->name, "/im_"))
        return;
    x = golden_array(g, "x");
    teacher = golden_array(g, "teacher");
    rows = (struct ld_feature_rows){.shape = {x.dim[0], x.dim[1], 1, 1},
                                    .n = x.dim[0],
                                    .teacher = teacher.data};
    place = room(&s, (size_t)rows.n, sizeof(*place));
    weight = room(&s, (size_t)rows.n, sizeof(*weight));
    for (int i = 0; i < rows.n; i++)
        place[i] = i;
    ld_region_weights(weight, NULL, rows.n, x.dim[1],
                      (float)golden_number(g, "params.loss_weight"));
    rows.place = place;
    rows.weight = weight;
    maps_open(&s.maps, 1, 1);
    map = maps_map(&s.maps, x.data, rows.shape);
    dmap = maps_map(&s.maps, NULL, rows.shape);
    got = (float)feature_loss(&s.maps, dmap, map, &rows);
    golden_compare(g, "loss", &got, 1, FLOAT32);
    golden_compare(g, "grad_x", maps_plain(&s.maps, dmap, rows.shape), x.count,
                   FLOAT32);
    back = maps_memory(&s.maps, x.count * sizeof(*back));
    s.maps.dev->ops->map_gather(s.maps.dev, back, map, rows.shape, place,
                                rows.n);
    ck_assert_mem_eq(back, x.data, x.count * sizeof(*back));
    maps_close(&s.maps);
}

START_TEST(the_mean_square_of_rows_is_that_of_the_reference)
{
    golden_each("04_losses", compare_rows);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("imitate_golden");
    TCase *c = tcase_create("imitate_golden");

    tcase_add_test(c, every_imitation_is_that_of_the_reference);
    tcase_add_test(c, imitation_of_a_v2_student_is_that_of_the_reference);
    tcase_add_test(c, the_mean_square_of_rows_is_that_of_the_reference);
    suite_add_tcase(s, c);
    return s;
}
