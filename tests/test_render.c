/* ld-inspect --render, from outside: what is drawn stands where it should. */
#include "cache/render.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file.h"
#include "tests/made_shard.h"
#include "tests/run_inspect.h"
#include "tests/scratch.h"
#include "tests/suite.h"

enum {
    H = 48,
    W = 64, /* of the image and, unscaled, of its view */
    CANVAS = 64,
    ZOOM = 8, /* 64 pixels to 512: more is not enlarged */
    B = 17,
    MAIN_X = 24, /* of row 2, column 3 at stride 8 */
    MAIN_Y = 16,
    VLR_X = 32, /* of row 1, column 2 at stride 16 */
    VLR_Y = 16,
    PLACES_P3 = 64
};

/* Every pixel unlike its neighbours. */
static void pixel_of(int y, int x, uint8_t rgb[3])
{
    rgb[0] = (uint8_t)(3 * x);
    rgb[1] = (uint8_t)(5 * y);
    rgb[2] = (uint8_t)(60 + 7 * (x % 5));
}

static void write_image(void)
{
    struct ld_err err = {0};
    struct ld_image image = {ld_new((size_t)H * W, 3, &err), H, W};

    ck_assert_ptr_nonnull(image.rgb);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            pixel_of(y, x, image.rgb + 3 * (y * W + x));
    ck_assert_msg(ld_image_write("one.png", &image, &err), "%s", err.text);
    ld_image_free(&image);
}

static void write_data(void)
{
    write_image();
    scratch_text("a.json",
                 "{\"images\": [{\"id\": 5, \"file_name\": \"one.png\", "
                 "\"height\": 48, \"width\": 64}], \"categories\": [{\"id\": "
                 "1, \"name\": \"disc\"}], \"annotations\": [{\"id\": 1, "
                 "\"image_id\": 5, \"category_id\": 1, \"iscrowd\": 0, "
                 "\"area\": 600, \"bbox\": [30, 4, 30, 40]}]}");
    scratch_text("c.yaml",
                 "data: {format: coco, train: a.json, train_images: .}\n");
}

/* A main row whose box is surely 16, 8, 24, 16 pixels away, and a VLR row. */
static void write_record(struct ld_shard_writer *w, bool flipped)
{
    static const int bin[4] = {2, 1, 3, 2};
    static float box[2 * 4 * B], logits[3] = {2, -4, -4};
    const int32_t location[2] = {2 * 8 + 3, PLACES_P3 + 1 * 4 + 2};
    const uint8_t kind[2] = {LD_SHARD_MAIN, LD_SHARD_VLR};
    struct ld_record record = {.image_id = 5,
                               .view = {H, W, CANVAS, CANVAS, flipped, flipped},
                               .n_rows = 2,
                               .n_main = 1,
                               .location = location,
                               .kind = kind,
                               .box_logits = box,
                               .class_logits = logits,
                               .n_logits = 3};
    struct ld_err err = {0};

    for (int side = 0; side < 4; side++)
        box[side * B + bin[side]] = 60;
    ck_assert_msg(ld_shard_append(w, &record, &err), "%s", err.text);
}

static void write_cache(void)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP32);
    struct ld_err err = {0};
    struct ld_shard_writer *w;
    char sha256[65];

    write_data();
    ck_assert(ld_file_sha256("a.json", sha256, &err));
    facts.annotations_sha256 = sha256;
    w = ld_shard_create("a.h5", &facts, &err);
    ck_assert_ptr_nonnull(w);
    write_record(w, false);
    write_record(w, true);
    ck_assert_msg(ld_shard_finish(w, &err), "%s", err.text);
}

static struct ld_image rendered(const char *which)
{
    char command[256], out[4096];
    struct ld_image image = {0};
    struct ld_err err = {0};

    snprintf(command, sizeof(command),
             "--render %s --config c.yaml --out p.png a.h5", which);
    ck_assert_msg(run_inspect(command, out, sizeof(out)) == 0, "%s", out);
    ck_assert_str_eq(out, "");
    ck_assert_msg(ld_image_read("p.png", &image, &err), "%s", err.text);
    return image;
}

static const uint8_t *at(const struct ld_image *image, int x, int y)
{
    return image->rgb + 3 * ((size_t)y * image->W + x);
}

/* Of a place in the view. */
static const uint8_t *in_view(const struct ld_image *image, int x, int y)
{
    return at(image, LD_RENDER_LEFT + ZOOM * x, LD_RENDER_TOP + ZOOM * y);
}

static bool is_colour(const uint8_t *rgb, struct ld_colour colour)
{
    return abs(rgb[0] - (int)(255 * colour.r + 0.5)) <= 2 &&
           abs(rgb[1] - (int)(255 * colour.g + 0.5)) <= 2 &&
           abs(rgb[2] - (int)(255 * colour.b + 0.5)) <= 2;
}

static const struct ld_colour p3 = {0.10, 0.55, 1.00}, p4 = {0.05, 0.75, 0.35};

START_TEST(a_page_has_room_for_the_canvas_a_panel_and_the_legend)
{
    struct ld_image image;

    write_cache();
    image = rendered("5");
    ck_assert_int_eq(image.W, 960);              /* the legend's */
    ck_assert_int_eq(image.H, 60 + 8 * 64 + 56); /* title, canvas, legend */
    ld_image_free(&image);
}
END_TEST

/* In squares of 8 pixels, wherever nothing is drawn. */
static int same_pixels(const struct ld_image *image, bool flipped, int rows)
{
    int same = 0;

    for (int y = 0; y < rows; y++)
        for (int x = 0; x < W; x++) {
            uint8_t wanted[3];

            pixel_of(y, flipped ? W - 1 - x : x, wanted);
            same += memcmp(at(image, LD_RENDER_LEFT + ZOOM * x + 4,
                              LD_RENDER_TOP + ZOOM * y + 4),
                           wanted, 3) == 0;
        }
    return same;
}

START_TEST(the_pixels_are_those_of_the_view)
{
    struct ld_image plain, flipped;

    write_cache();
    plain = rendered("5");
    flipped = rendered("5:flip");
    /* The first four rows hold nothing but the corner of a letter's plate. */
    ck_assert_int_eq(same_pixels(&plain, false, 4), 4 * W);
    ck_assert_int_eq(same_pixels(&flipped, true, 4), 4 * W);
    ck_assert_int_gt(same_pixels(&plain, false, H), H * W * 3 / 4);
    ck_assert_int_lt(same_pixels(&plain, true, H), H * W / 10);
    ld_image_free(&plain);
    ld_image_free(&flipped);
}
END_TEST

START_TEST(main_rows_are_discs_and_others_rings_of_their_level)
{
    struct ld_image image;
    uint8_t wanted[3];

    write_cache();
    image = rendered("5");
    ck_assert(is_colour(in_view(&image, MAIN_X, MAIN_Y), p3));
    pixel_of(VLR_Y, VLR_X, wanted);
    ck_assert_mem_eq(in_view(&image, VLR_X, VLR_Y), wanted, 3);
    /* radius 0.6 * 8 * sqrt(16) = 19.2 */
    ck_assert(is_colour(at(&image, LD_RENDER_LEFT + ZOOM * VLR_X,
                           LD_RENDER_TOP + ZOOM * VLR_Y + 19),
                        p4));
    ld_image_free(&image);
}
END_TEST

START_TEST(the_expected_box_is_drawn_and_the_truth_is_dashed)
{
    struct ld_image image;
    int light = 0;

    write_cache();
    image = rendered("5");
    /* From 24 - 16, 16 - 8 to 24 + 24, 16 + 16; a line of 3 inside it. */
    ck_assert(is_colour(
        at(&image, LD_RENDER_LEFT + 8 * ZOOM + 1, LD_RENDER_TOP + 20 * ZOOM),
        p3));
    ck_assert(is_colour(
        at(&image, LD_RENDER_LEFT + 48 * ZOOM - 2, LD_RENDER_TOP + 20 * ZOOM),
        p3));
    ck_assert(is_colour(
        at(&image, LD_RENDER_LEFT + 20 * ZOOM, LD_RENDER_TOP + 32 * ZOOM - 2),
        p3));
    for (int y = 4 * ZOOM; y < 44 * ZOOM; y++) /* its right side, at 60 */
        light += at(&image, LD_RENDER_LEFT + 60 * ZOOM - 1,
                    LD_RENDER_TOP + y)[0] > 240;
    ck_assert_int_gt(light, 10 * ZOOM);
    ck_assert_int_lt(light, 30 * ZOOM);
    ld_image_free(&image);
}
END_TEST

/* The panel's crop reaches 4 bins of 8 pixels each way: 250 page pixels. */
START_TEST(bars_stand_at_the_distances_they_stand_for)
{
    const double zoom = 250 / 64.0;
    const int x = LD_RENDER_LEFT + 8 * 64 + 20 + 56, y = LD_RENDER_TOP + 56;
    struct ld_image image;

    write_cache();
    image = rendered("5");
    for (int bin = 0; bin < 4; bin++) {
        const uint8_t *left =
            at(&image, x + 5 + (int)(zoom * (32 - 8 * bin)), y - 20);
        const uint8_t *right =
            at(&image, x + 5 + (int)(zoom * (32 + 8 * bin)), y - 20);
        const uint8_t *top =
            at(&image, x - 20, y + 5 + (int)(zoom * (32 - 8 * bin)));

        ck_assert_int_eq(left[2] > left[0] + 60, bin == 2);
        ck_assert_int_eq(right[0] > right[2] + 60, bin == 3);
        ck_assert_int_eq(top[2] > top[0] + 60, bin == 1);
    }
    ld_image_free(&image);
}
END_TEST

START_TEST(locations_may_be_chosen)
{
    struct ld_image image;
    char out[4096];

    write_cache();
    image = rendered("5 --locations 19,70");
    ck_assert_int_eq(image.W, 16 + 512 + 2 * (20 + 306) + 16);
    ld_image_free(&image);
    ck_assert_int_eq(
        run_inspect("--render 5 --locations 20 --config c.yaml --out "
                    "p.png a.h5",
                    out, sizeof(out)),
        2);
    ck_assert_ptr_nonnull(strstr(out, "no row at location 20"));
    ck_assert_int_eq(
        run_inspect("--render 5 --locations 1,,2 --config c.yaml --out "
                    "p.png a.h5",
                    out, sizeof(out)),
        2);
}
END_TEST

START_TEST(a_picture_may_be_svg)
{
    char out[4096], *svg;
    size_t len;

    write_cache();
    ck_assert_int_eq(run_inspect("--render 5 --config c.yaml --out p.svg a.h5",
                                 out, sizeof(out)),
                     0);
    svg = scratch_get("p.svg", &len);
    ck_assert_ptr_nonnull(strstr(svg, "viewBox=\"0 0 960 628\""));
    ld_delete(svg);
}
END_TEST

START_TEST(what_cannot_be_drawn_is_said_in_one_line)
{
    static const struct {
        const char *arguments, *words;
        int status;
    } cases[] = {
        {"--render 5 --out q.png a.h5", "--config is missing", 2},
        {"--render 5 --config c.yaml a.h5", "--out is missing", 2},
        {"--render 5 --config c.yaml --out p.gif a.h5", "p.gif: expected", 2},
        {"--render 6 --config c.yaml --out q.png a.h5", "no view 0 of", 1},
        {"--render 5 --config d.yaml --out q.png a.h5", "other annot", 8},
        {"--render 5 --config c.yaml --out q.png a.h5 a.h5", "one path", 2},
        {"--render 5 --verify a.h5", "--render and --verify exclude", 2},
    };
    char out[4096];

    write_cache();
    scratch_text("b.json",
                 "{\"images\": [], \"categories\": [{\"id\": 1, \"name\": "
                 "\"disc\"}], \"annotations\": []}");
    scratch_text("d.yaml",
                 "data: {format: coco, train: b.json, train_images: .}\n");
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int status = run_inspect(cases[i].arguments, out, sizeof(out));

        ck_assert_msg(status == cases[i].status && strstr(out, cases[i].words),
                      "%s: %d, %s", cases[i].arguments, status, out);
        ck_assert_ptr_null(scratch_get("q.png", &(size_t){0}));
    }
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("render");
    TCase *c = tcase_create("page");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, a_page_has_room_for_the_canvas_a_panel_and_the_legend);
    tcase_add_test(c, the_pixels_are_those_of_the_view);
    tcase_add_test(c, main_rows_are_discs_and_others_rings_of_their_level);
    tcase_add_test(c, the_expected_box_is_drawn_and_the_truth_is_dashed);
    tcase_add_test(c, bars_stand_at_the_distances_they_stand_for);
    tcase_add_test(c, locations_may_be_chosen);
    tcase_add_test(c, a_picture_may_be_svg);
    tcase_add_test(c, what_cannot_be_drawn_is_said_in_one_line);
    suite_add_tcase(s, c);
    return s;
}
