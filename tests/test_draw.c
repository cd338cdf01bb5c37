#include "trainer/draw.h"

#include <math.h>
#include <string.h>

#include "formats/file.h"
#include "tests/scratch.h"
#include "tests/suite.h"

enum { H = 300, W = 600 };

static struct ld_image gray_image(int height, int width)
{
    struct ld_err err = {0};
    size_t n = (size_t)height * width;
    struct ld_image image = {ld_new(n, 3, &err), height, width};

    ck_assert_msg(image.rgb != NULL, "%s", err.text);
    memset(image.rgb, 128, 3 * n);
    return image;
}

/* What was drawn, read back. */
static struct ld_image drawn(const struct ld_image *image,
                             const struct ld_detection *items, int n,
                             const struct ld_box *truth, int n_truth)
{
    static const char *const names[] = {"круг", "三角形", "größer"};
    struct ld_image out = {0};
    struct ld_err err = {0};

    ck_assert_msg(ld_draw_detections("boxes.png", image, items, n, truth,
                                     n_truth, names, &err) &&
                      ld_image_read("boxes.png", &out, &err),
                  "%s", err.text);
    return out;
}

static bool is_gray(const struct ld_image *image, int y, int x)
{
    const uint8_t *p = image->rgb + 3 * ((size_t)y * image->W + x);

    return p[0] == 128 && p[1] == 128 && p[2] == 128;
}

START_TEST(a_box_is_drawn_where_it_is_with_its_label_above)
{
    struct ld_image image = gray_image(H, W);
    struct ld_detection item = {{100, 100, 300, 200}, 0.87F, 0};
    struct ld_image out = drawn(&image, &item, 1, NULL, 0);

    ck_assert_int_eq(out.H, H);
    ck_assert_int_eq(out.W, W);
    ck_assert(!is_gray(&out, 150, 101)); /* left edge */
    ck_assert(!is_gray(&out, 198, 200)); /* lower edge */
    ck_assert(is_gray(&out, 150, 200));  /* inside */
    ck_assert(!is_gray(&out, 96, 101));  /* plate */
    ck_assert(is_gray(&out, 50, 500));   /* far off */
    ld_image_free(&image);
    ld_image_free(&out);
}
END_TEST

START_TEST(a_picture_without_detections_is_the_image)
{
    struct ld_image image = gray_image(H, W);
    struct ld_image out = drawn(&image, NULL, 0, NULL, 0);

    ck_assert_mem_eq(image.rgb, out.rgb, (size_t)H * W * 3);
    ld_image_free(&image);
    ld_image_free(&out);
}
END_TEST

START_TEST(truth_is_dashed)
{
    struct ld_image image = gray_image(H, W);
    struct ld_box truth = {100, 100, 500, 250};
    struct ld_image out = drawn(&image, NULL, 0, &truth, 1);
    int light = 0, dark = 0;

    for (int x = 120; x < 480; x++) {
        const uint8_t *p = out.rgb + 3 * (100 * (size_t)W + (size_t)x);

        light += p[0] > 250;
        dark += p[0] < 100;
    }
    ck_assert_int_gt(light, 100);
    ck_assert_int_gt(dark, 100);
    ld_image_free(&image);
    ld_image_free(&out);
}
END_TEST

/* Boxes that stick out on each side, at the corners, and one of no size. */
START_TEST(boxes_beyond_the_border_are_drawn_as_far_as_they_reach)
{
    struct ld_image image = gray_image(H, W);
    const struct ld_detection items[] = {
        {{-50, -50, 100, 100}, 0.9F, 0}, {{550, 250, 900, 900}, 0.8F, 1},
        {{590, -9, 640, 20}, 0.7F, 2},   {{40, 290, 40, 290}, 0.6F, 0},
        {{700, 700, 800, 800}, 0.5F, 1},
    };
    struct ld_image out = drawn(&image, items, 5, NULL, 0);

    ck_assert(!is_gray(&out, 50, 0));
    ck_assert(!is_gray(&out, 0, 50));
    ck_assert(!is_gray(&out, 280, W - 1));
    ck_assert(is_gray(&out, 150, 300));
    ld_image_free(&image);
    ld_image_free(&out);
}
END_TEST

START_TEST(a_small_picture_is_enlarged_by_a_whole_factor)
{
    struct ld_image image = gray_image(20, 100);
    struct ld_detection item = {{10, 5, 50, 15}, 0.87F, 1};
    struct ld_image out = drawn(&image, &item, 1, NULL, 0);

    ck_assert_int_eq(out.H, 100);
    ck_assert_int_eq(out.W, 500);
    ck_assert(!is_gray(&out, 40, 51));
    ld_image_free(&image);
    ld_image_free(&out);
}
END_TEST

START_TEST(a_name_that_is_not_utf8_is_an_error_and_leaves_no_file)
{
    static const char *const names[] = {"\xff\xfe"};
    struct ld_image image = gray_image(H, W);
    struct ld_detection item = {{10, 5, 50, 15}, 0.5F, 0};
    int n_files = scratch_count(".");
    struct ld_err err = {0};

    ck_assert(
        !ld_draw_detections("bad.png", &image, &item, 1, NULL, 0, names, &err));
    ck_assert_int_eq(err.code, LD_ERR_FORMAT);
    ck_assert_msg(strncmp(err.text, "bad.png: ", 9) == 0, "%s", err.text);
    ck_assert_int_eq(scratch_count("."), n_files);
    ld_image_free(&image);
}
END_TEST

START_TEST(a_folder_that_does_not_exist_is_an_error)
{
    struct ld_image image = gray_image(H, W);
    struct ld_err err = {0};

    ck_assert(!ld_draw_detections("/nowhere/a.png", &image, NULL, 0, NULL, 0,
                                  NULL, &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ld_image_free(&image);
}
END_TEST

/* --- curves --- */

static void draw_and_check(const char *name, const struct ld_curve *curves,
                           int n_curves, const char *start)
{
    struct ld_err err = {0};
    struct ld_file file;

    ck_assert_msg(
        ld_draw_curves(name, "Loss", "step", "loss", curves, n_curves, &err) &&
            ld_file_open(name, &file, &err),
        "%s", err.text);
    ck_assert_uint_gt(file.len, 1000);
    ck_assert_mem_eq(file.data, start, strlen(start));
    ld_file_close(&file);
}

START_TEST(curves_are_written_as_png_and_as_svg)
{
    const double x[] = {0, 1, 2, 3}, y[] = {3, NAN, 1, 0.5};
    const struct ld_curve curves[] = {{"student", x, y, 4},
                                      {"teacher", x, x, 4}};

    draw_and_check("curves.png", curves, 2, "\x89PNG");
    draw_and_check("curves.svg", curves, 2, "<?xml");
}
END_TEST

/* Nothing at all, a single point, one height throughout, no number among the
 * values, powers of ten apart. */
START_TEST(curves_without_a_range_are_drawn_all_the_same)
{
    const double x[] = {5, 6}, flat[] = {0, 0}, none[] = {NAN, INFINITY};
    const double wide[] = {1e-30, 1e30}, near[] = {1e9, 1e9 + 1};
    const struct ld_curve curves[] = {{"point", x, x, 1},
                                      {"flat", x, flat, 2},
                                      {"none", x, none, 2},
                                      {"wide", x, wide, 2},
                                      {"near", x, near, 2}};

    draw_and_check("curves.png", NULL, 0, "\x89PNG");
    for (int i = 0; i < 5; i++)
        draw_and_check("curves.png", curves + i, 1, "\x89PNG");
}
END_TEST

START_TEST(a_point_of_a_curve_is_where_the_axes_say)
{
    const double x[] = {0, 10}, y[] = {1, 1};
    const struct ld_curve curve = {"", x, y, 2};
    struct ld_image image = {0};
    struct ld_err err = {0};
    bool found = false;

    ck_assert_msg(ld_draw_curves("line.png", "", "", "", &curve, 1, &err) &&
                      ld_image_read("line.png", &image, &err),
                  "%s", err.text);
    ck_assert_int_eq(image.H, 540);
    ck_assert_int_eq(image.W, 900);
    for (int row = 100; row < 450; row++) { /* blue, of the first curve */
        const uint8_t *p = image.rgb + 3 * ((size_t)row * 900 + 450);

        found = found || (p[0] < 20 && p[2] > 150);
    }
    ck_assert(found);
    ld_image_free(&image);
}
END_TEST

START_TEST(curves_of_another_ending_are_refused)
{
    struct ld_err err = {0};

    ck_assert(!ld_draw_curves("a.pdf", "", "", "", NULL, 0, &err));
    ck_assert_int_eq(err.code, LD_ERR_USAGE);
    ck_assert_str_eq(err.text,
                     "a.pdf: expected a name that ends in .svg or .png");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("draw");
    TCase *c = tcase_create("draw");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, a_box_is_drawn_where_it_is_with_its_label_above);
    tcase_add_test(c, a_picture_without_detections_is_the_image);
    tcase_add_test(c, truth_is_dashed);
    tcase_add_test(c, boxes_beyond_the_border_are_drawn_as_far_as_they_reach);
    tcase_add_test(c, a_small_picture_is_enlarged_by_a_whole_factor);
    tcase_add_test(c, a_name_that_is_not_utf8_is_an_error_and_leaves_no_file);
    tcase_add_test(c, a_folder_that_does_not_exist_is_an_error);
    tcase_add_test(c, curves_are_written_as_png_and_as_svg);
    tcase_add_test(c, curves_without_a_range_are_drawn_all_the_same);
    tcase_add_test(c, a_point_of_a_curve_is_where_the_axes_say);
    tcase_add_test(c, curves_of_another_ending_are_refused);
    suite_add_tcase(s, c);
    return s;
}
