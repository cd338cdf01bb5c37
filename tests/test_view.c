#include "formats/view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/image.h"
#include "kernels/base/rng.h"
#include "tests/golden.h"
#include "tests/maps.h"
#include "tests/suite.h"

/* Mean 0 and deviation 1 leave the scaled 8-bit values as they are. */
static const struct ld_view_rules plain = {
    .long_edge = 1333,
    .short_edge = 800,
    .divisor = 32,
    .std = {1, 1, 1},
};

/* In two parts, which must not be seen. */
static float *view_planes(const struct ld_view *view,
                          const struct ld_view_rules *rules,
                          const struct ld_image *image, int H, int W)
{
    struct ld_draw draw = ld_view_draw(view, rules, image->H, image->W);
    struct ld_err err = {0};
    float *planes = ld_new((size_t)H * W, 3 * sizeof(float), &err);

    ck_assert_msg(planes != NULL, "%s", err.text);
    draw.canvas_H = H;
    draw.canvas_W = W;
    ld_draw_rows(planes, image->rgb, &draw, H / 3, H);
    ld_draw_rows(planes, image->rgb, &draw, 0, H / 3);
    return planes;
}

/* Planes of exactly the scaled size, holding 8-bit values. */
static float *scaled_planes(const struct ld_image *image, int H, int W)
{
    struct ld_view view = {H, W, H, W, false, 0};

    return view_planes(&view, &plain, image, H, W);
}

/* A crop (h, w, 3) of 8-bit B, G, R against planes of R, G, B. */

static void compare_pixels(struct golden *g, const char *name,
                           const float *planes, int H, int W, int top, int left)
{
    struct golden_array crop = golden_array(g, name);
    const uint8_t *want = crop.data;

    ck_assert_int_eq(crop.dtype, 'u');
    for (int y = 0; y < crop.dim[0]; y++)
        for (int x = 0; x < crop.dim[1]; x++)
            for (int c = 0; c < 3; c++) {
                size_t i =
                    (2 - c) * (size_t)H * W + (size_t)(top + y) * W + left + x;
                int got = (int)planes[i];

                if (got != want[0])
                    ck_abort_msg("%s: %s[%d, %d, %d] is %d, expected %d",
                                 g->name, name, y, x, c, got, want[0]);
                want++;
            }
}

/* A crop (3, h, w) of the tensor. The reference multiplies by 1 / std in double
 * and rounds to float32, where the view divides by std in float32: the two may
 * be neighbours, 2^-23 apart. */
static void compare_tensor(struct golden *g, const char *name,
                           const float *planes, int H, int W, int top, int left)
{
    struct golden_array crop = golden_array(g, name);
    const float *want = crop.data;

    for (int c = 0; c < 3; c++)
        for (int y = 0; y < crop.dim[1]; y++)
            for (int x = 0; x < crop.dim[2]; x++) {
                size_t i = c * (size_t)H * W + (size_t)(top + y) * W + left + x;

                if (!(fabsf(planes[i] - *want) <= 0x1p-23F * fabsf(*want)))
                    ck_abort_msg("%s: %s[%d, %d, %d] is %.9g, expected %.9g",
                                 g->name, name, c, y, x, (double)planes[i],
                                 (double)*want);
                want++;
            }
}

static int number(struct golden *g, const char *path)
{
    return (int)golden_number(g, path);
}

static struct ld_view_rules rules_of(struct golden *g)
{
    int a = number(g, "params.img_scale.0"),
        b = number(g, "params.img_scale.1");
    struct ld_view_rules rules = {.long_edge = a > b ? a : b,
                                  .short_edge = a > b ? b : a};
    char path[32];

    rules.divisor = golden_has_value(g, "params.size_divisor")
                        ? number(g, "params.size_divisor")
                        : 1;
    for (int c = 0; c < 3; c++) {
        snprintf(path, sizeof(path), "params.mean.%d", c);
        rules.mean[c] = (float)golden_number(g, path);
        snprintf(path, sizeof(path), "params.std.%d", c);
        rules.std[c] = (float)golden_number(g, path);
    }
    return rules;
}

static void compare_boxes(struct golden *g, const char *name,
                          struct ld_view view, bool flipped)
{
    struct golden_array boxes = golden_array(g, "gt_bboxes");
    const float *want = golden_floats(g, name, boxes.count);
    const struct ld_box *box = boxes.data;

    view.flipped = flipped;
    for (int i = 0; i < boxes.dim[0]; i++) {
        struct ld_box got =
            ld_view_box(&view, number(g, "params.ori_shape.0"),
                        number(g, "params.ori_shape.1"), box[i]);

        ck_assert_msg(memcmp(&got, want + 4 * (size_t)i, sizeof(got)) == 0,
                      "%s: %s[%d] is %.9g %.9g %.9g %.9g", g->name, name, i,
                      (double)got.x0, (double)got.y0, (double)got.x1,
                      (double)got.y1);
    }
}

static void compare_scale(struct golden *g, const struct ld_view *view)
{
    const float *want = golden_floats(g, "scale_factor", 4);
    float x, y;

    ld_view_scale(view, number(g, "params.ori_shape.0"),
                  number(g, "params.ori_shape.1"), &x, &y);
    ck_assert(x == want[0] && y == want[1]);
}

static void compare_scaled(struct golden *g, const struct ld_view *view,
                           const struct ld_image *image)
{
    float *planes = scaled_planes(image, view->H, view->W);
    size_t n = (size_t)view->H * view->W;

    compare_pixels(g, "resized_crop", planes, view->H, view->W,
                   number(g, "values.resized_crop_origin.0"),
                   number(g, "values.resized_crop_origin.1"));
    compare_pixels(g, "resized_corner", planes, view->H, view->W, view->H - 24,
                   view->W - 24);
    for (size_t c = 0; c < 3; c++) {
        char path[64];
        double sum = 0;

        for (size_t i = 0; i < n; i++)
            sum += (double)planes[c * n + i];
        snprintf(path, sizeof(path), "values.resized_sum_bgr.%zu", 2 - c);
        ck_assert_double_eq(sum, golden_number(g, path));
    }
    ld_delete(planes);
}

/* A recipe flips left to right only; an instance flipped otherwise serves until
 * its flip. */
static bool is_flipped_otherwise(struct golden *g)
{
    return number(g, "params.flip") != 0 &&
           strcmp(golden_string(g, "params.flip_direction"), "horizontal") != 0;
}

static void compare_flipped(struct golden *g, const struct ld_view *view,
                            const struct ld_view_rules *rules,
                            const struct ld_image *image)
{
    int H = view->canvas_H, W = view->canvas_W;
    float *planes = view_planes(view, rules, image, H, W);

    compare_boxes(g, "boxes_flipped", *view, view->flipped);
    compare_tensor(g, "tensor_crop", planes, H, W,
                   number(g, "values.resized_crop_origin.0"),
                   number(g, "values.resized_crop_origin.1"));
    compare_tensor(g, "tensor_edge", planes, H, W, view->H - 16, view->W - 16);
    ld_delete(planes);
}

static void compare_view(struct golden *g)
{
    struct ld_view_rules rules;
    struct ld_image image = {0};
    struct ld_err err = {0};
    struct ld_view view;
    char path[2048];

    if (!golden_has(g, "tensor_crop"))
        return;
    snprintf(path, sizeof(path), "%s/../../%s", g->folder,
             golden_string(g, "params.image"));
    ck_assert_msg(ld_image_read(path, &image, &err), "%s", err.text);
    rules = rules_of(g);
    view = ld_view_of(&rules, image.H, image.W, number(g, "params.flip") != 0);
    ck_assert_int_eq(view.H, number(g, "values.img_shape.0"));
    ck_assert_int_eq(view.W, number(g, "values.img_shape.1"));
    ck_assert_int_eq(view.canvas_H, number(g, "values.pad_shape.0"));
    ck_assert_int_eq(view.canvas_W, number(g, "values.pad_shape.1"));
    compare_scale(g, &view);
    compare_boxes(g, "boxes_resized", view, false);
    compare_scaled(g, &view, &image);
    if (!is_flipped_otherwise(g))
        compare_flipped(g, &view, &rules, &image);
    ld_image_free(&image);
}

START_TEST(views_of_real_images_are_those_of_the_reference)
{
    golden_each("10_pipeline", compare_view);
}
END_TEST

/* The instance of whole scaled arrays has no channel order: take it as BGR. */
static void compare_sizes(struct golden *g)
{
    struct golden_array array;
    struct ld_image image = {0};

    if (!golden_has_value(g, "params.sizes_wh"))
        return;
    array = golden_array(g, "image");
    image = (struct ld_image){.H = array.dim[0], .W = array.dim[1]};
    image.rgb = ld_arena_new(&g->arena, array.count, 1, &(struct ld_err){0});
    for (size_t i = 0; i < array.count; i++)
        image.rgb[i] = ((const uint8_t *)array.data)[i / 3 * 3 + 2 - i % 3];
    for (int i = 0;; i++) {
        char path[64], name[64];
        float *planes;
        int H, W;

        snprintf(path, sizeof(path), "params.sizes_wh.%d.0", i);
        if (!golden_has_value(g, path))
            break;
        W = number(g, path);
        path[strlen(path) - 1] = '1';
        H = number(g, path);
        snprintf(name, sizeof(name), "resized_%dx%d", W, H);
        planes = scaled_planes(&image, H, W);
        compare_pixels(g, name, planes, H, W, 0, 0);
        ld_delete(planes);
    }
}

START_TEST(every_scaling_of_a_small_image_equals_opencvs)
{
    golden_each("10_pipeline", compare_sizes);
}
END_TEST

START_TEST(a_view_keeps_the_ratio_and_never_loses_a_side)
{
    struct ld_view view = ld_view_of(&plain, 427, 640, true);

    ck_assert_int_eq(view.H, 800);
    ck_assert_int_eq(view.W, 1199);
    ck_assert_int_eq(view.canvas_W, 1216);
    ck_assert(view.flipped);
    view = ld_view_of(&plain, 1, LD_IMAGE_MAX_SIDE, false);
    ck_assert_int_eq(view.H, 1);
    ck_assert_int_eq(view.W, 1333);
    ck_assert_int_eq(view.canvas_H, 32);
    view = ld_view_of(&plain, 1, 1, false);
    ck_assert_int_eq(view.H, 800);
    ck_assert_int_eq(view.W, 800);
}
END_TEST

START_TEST(a_box_beyond_the_image_is_clipped_and_mirrored)
{
    struct ld_view view = {.H = 50, .W = 100, .flipped = true};
    struct ld_box box =
        ld_view_box(&view, 100, 200, (struct ld_box){-20, 10, 60, 300});

    ck_assert(box.x0 == 70 && box.x1 == 100);
    ck_assert(box.y0 == 5 && box.y1 == 50);
}
END_TEST

static struct ld_image random_image(struct ld_rng *rng, int H, int W)
{
    struct ld_err err = {0};
    struct ld_image image = {ld_new((size_t)H * W, 3, &err), H, W};

    ck_assert_msg(image.rgb != NULL, "%s", err.text);
    for (size_t i = 0; i < (size_t)H * W * 3; i++)
        image.rgb[i] = (uint8_t)ld_rng_below(rng, 256);
    return image;
}

/* A flipped view on a larger canvas holds the plain one's pixels, mirrored, and
 * zeros; and no pixel is outside the range of the image's. */
static void check_view_of_random(struct ld_rng *rng)
{
    int H = 1 + (int)ld_rng_below(rng, 40), W = 1 + (int)ld_rng_below(rng, 40);
    int to_H = 1 + (int)ld_rng_below(rng, 90);
    int to_W = 1 + (int)ld_rng_below(rng, 90), big_H = to_H + 3;
    int big_W = to_W + 5;
    struct ld_image image = random_image(rng, H, W);
    struct ld_view view = {to_H, to_W, to_H, to_W, true, 1};
    float *flipped = view_planes(&view, &plain, &image, big_H, big_W);
    float *straight = scaled_planes(&image, to_H, to_W);
    int n_wrong = 0;

    for (int c = 0; c < 3; c++)
        for (int y = 0; y < big_H; y++)
            for (int x = 0; x < big_W; x++) {
                bool inside = y < to_H && x < to_W;
                float want =
                    inside
                        ? straight[((size_t)c * to_H + y) * to_W + to_W - 1 - x]
                        : 0;

                n_wrong += !(want >= 0 && want <= 255);
                n_wrong += flipped[((size_t)c * big_H + y) * big_W + x] != want;
            }
    ck_assert_int_eq(n_wrong, 0);
    ld_delete(flipped);
    ld_delete(straight);
    ld_image_free(&image);
}

START_TEST(a_flipped_view_is_the_plain_one_mirrored_on_a_ground_of_zeros)
{
    uint64_t seed = 20240607;
    struct ld_rng rng = ld_rng_seed(seed, 0);

    printf("# seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 200; i++)
        check_view_of_random(&rng);
}
END_TEST

START_TEST(a_view_of_the_images_own_size_changes_no_pixel)
{
    struct ld_rng rng = ld_rng_seed(7, 0);
    struct ld_image image = random_image(&rng, 19, 23);
    float *planes = scaled_planes(&image, 19, 23);
    int n_wrong = 0;

    for (size_t i = 0; i < 19 * 23; i++)
        for (size_t c = 0; c < 3; c++)
            n_wrong += planes[c * 19 * 23 + i] != image.rgb[3 * i + c];
    ck_assert_int_eq(n_wrong, 0);
    ld_delete(planes);
    ld_image_free(&image);
}
END_TEST

START_TEST(bgr_turns_the_planes_and_leaves_mean_and_deviation_theirs)
{
    struct ld_rng rng = ld_rng_seed(8, 0);
    struct ld_image image = random_image(&rng, 19, 23);
    struct ld_view view = {19, 23, 19, 23, false, 0};
    struct ld_view_rules rules = plain;
    float *planes;
    int n_wrong = 0;

    rules.bgr = true;
    for (int c = 0; c < 3; c++) {
        rules.mean[c] = (float)(100 + c);
        rules.std[c] = (float)(1 << c);
    }
    planes = view_planes(&view, &rules, &image, 19, 23);
    for (size_t i = 0; i < 19 * 23; i++)
        for (size_t c = 0; c < 3; c++)
            n_wrong += planes[c * 19 * 23 + i] !=
                       ((float)image.rgb[3 * i + 2 - c] - rules.mean[c]) /
                           rules.std[c];
    ck_assert_int_eq(n_wrong, 0);
    ld_delete(planes);
    ld_image_free(&image);
}
END_TEST

/* Of a wide picture, more than a strip, on 1 and on 3 threads. */
START_TEST(a_device_draws_the_same_bits)
{
    struct ld_rng rng = ld_rng_seed(9, 0);
    struct ld_image image = random_image(&rng, 90, 700);
    struct ld_view_rules rules = plain;
    size_t count = (size_t)3 * 128 * 2208;

    rules.mean[0] = 100;
    rules.std[2] = 57;
    for (int flipped = 0; flipped < 2; flipped++) {
        struct ld_view view = {100, 2200, 128, 2208, flipped, flipped};
        struct ld_draw draw = ld_view_draw(&view, &rules, 90, 700);
        float *want = view_planes(&view, &rules, &image, 128, 2208);
        struct maps m;
        float *got;
        uint8_t *rgb;

        maps_open(&m, 1 + 2 * flipped, 1);
        rgb = maps_memory(&m, 90 * 700 * 3);
        got = maps_map(&m, NULL, (struct ld_shape){1, 1, 1, (int)count});
        m.dev->ops->upload(m.dev, rgb, image.rgb, 90 * 700 * 3);
        m.dev->ops->draw(m.dev, got, rgb, &draw);
        maps_sync(&m);
        ck_assert_mem_eq(got, want, count * sizeof(float));
        maps_close(&m);
        ld_delete(want);
    }
    ld_image_free(&image);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("view");
    TCase *c = tcase_create("view");

    tcase_add_test(c, views_of_real_images_are_those_of_the_reference);
    tcase_add_test(c, every_scaling_of_a_small_image_equals_opencvs);
    tcase_add_test(c, a_view_keeps_the_ratio_and_never_loses_a_side);
    tcase_add_test(c, a_box_beyond_the_image_is_clipped_and_mirrored);
    tcase_add_test(
        c, a_flipped_view_is_the_plain_one_mirrored_on_a_ground_of_zeros);
    tcase_add_test(c, a_view_of_the_images_own_size_changes_no_pixel);
    tcase_add_test(c,
                   bgr_turns_the_planes_and_leaves_mean_and_deviation_theirs);
    tcase_add_test(c, a_device_draws_the_same_bits);
    suite_add_tcase(s, c);
    return s;
}
