#include "formats/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>
#include <unistd.h>

#include "formats/file.h"
#include "kernels/base/rng.h"
#include "tests/golden.h"
#include "tests/picture.h"
#include "tests/scratch.h"
#include "tests/suite.h"

/* --- what other readers make of the same files --- */

static void compare_decoded(struct golden *g)
{
    bool whole = golden_has(g, "decoded");
    struct golden_array crop;
    struct ld_image image;
    const uint8_t *want;
    char path[2048];
    int top, left, n_wrong = 0;

    if (!whole && !golden_has(g, "decoded_crop"))
        return;
    snprintf(path, sizeof(path), "%s/../../%s", g->folder,
             golden_string(g, "params.image"));
    image = picture_read(path);
    crop = golden_array(g, whole ? "decoded" : "decoded_crop");
    top = whole ? 0 : (int)golden_number(g, "values.decoded_crop_origin.0");
    left = whole ? 0 : (int)golden_number(g, "values.decoded_crop_origin.1");
    want = crop.data;
    for (int y = 0; y < crop.dim[0]; y++)
        for (int x = 0; x < crop.dim[1]; x++)
            for (int c = 2; c >= 0; c--)
                n_wrong +=
                    image.rgb[3 * ((size_t)(top + y) * image.W + left + x) +
                              (size_t)c] != *want++;
    ck_assert_msg(n_wrong == 0, "%s: %d wrong samples", g->name, n_wrong);
    for (int c = 0; c < 3; c++) {
        double sum = 0;

        for (size_t i = 0; i < (size_t)image.H * image.W; i++)
            sum += image.rgb[3 * i + (size_t)c];
        snprintf(path, sizeof(path), "values.decoded_sum_bgr.%d", 2 - c);
        ck_assert_double_eq(sum, golden_number(g, path));
    }
    ld_image_free(&image);
}

START_TEST(jpegs_decode_to_the_references_pixels)
{
    golden_each("10_pipeline", compare_decoded);
}
END_TEST

/* Compares with one line of opencv.txt. */
static void compare_with_opencv(struct golden *g, const char *name, int height,
                                int width, const char *sha256)
{
    struct ld_image image;
    char below[512], got[65];
    const char *path;

    snprintf(below, sizeof(below), "data/images/%s", name);
    path = shared_path(g, below);
    ck_assert_msg(path != NULL, "%s is not there", name);
    if (strcmp(sha256, "refused") == 0) {
        picture_refuse(path, LD_ERR_FORMAT, "");
        return;
    }
    image = picture_read(path);
    ck_assert_msg(image.H == height && image.W == width, "%s", name);
    ld_bytes_sha256(image.rgb, (size_t)image.H * image.W * 3, got);
    ck_assert_msg(strcmp(got, sha256) == 0, "%s has other pixels", name);
    ld_image_free(&image);
}

START_TEST(every_kind_of_png_and_jpeg_reads_as_in_opencv)
{
    struct golden g = {.name = "images"};
    char path[2048], line[512], name[256], sha256[65];
    int height, width;
    FILE *list;

    if (!shared_path(&g, "data/images")) {
        ld_arena_free(&g.arena);
        SKIP_TEST("no shared data: PngSuite, libjpeg-turbo's and Exif images");
    }
    snprintf(path, sizeof(path), "%s/golden/images/opencv.txt",
             getenv("LD_TESTS"));
    list = fopen(path, "r");
    ck_assert_msg(list != NULL, "%s", path);
    while (fgets(line, sizeof(line), list)) {
        if (line[0] == '#')
            continue;
        ck_assert_int_eq(
            sscanf(line, "%255s %d %d %64s", name, &height, &width, sha256), 4);
        compare_with_opencv(&g, name, height, width, sha256);
    }
    fclose(list);
    ld_arena_free(&g.arena);
}
END_TEST

/* The eight photographs were turned, and compressed, one by one: they differ
 * by what JPEG loses, 2 of 255; a wrong turn differs by 60. */
START_TEST(a_photograph_is_upright_whatever_its_exif_orientation)
{
    struct golden g = {.name = "exif"};
    const char *first =
        shared_path(&g, "data/images/exif_orientation/Landscape_1.jpg");
    struct ld_image upright;

    if (!first) {
        ld_arena_free(&g.arena);
        SKIP_TEST("no shared data: Exif photographs");
    }
    upright = picture_read(first);
    for (int i = 2; i <= 8; i++) {
        struct ld_image turned;
        char name[80];

        snprintf(name, sizeof(name),
                 "data/images/exif_orientation/Landscape_%d.jpg", i);
        turned = picture_read(shared_path(&g, name));
        ck_assert_double_lt(picture_difference(&upright, &turned), 4);
        ld_image_free(&turned);
    }
    ld_image_free(&upright);
    ld_arena_free(&g.arena);
}
END_TEST

/* --- orientation --- */

/* Where the upright picture's first pixel and the one right of it are stored:
 * row and column counted from the end if negative. TIFF 6.0, tag 274. */
static const int first_pixel[9][2] = {{0},      {0, 0},   {0, -1},
                                      {-1, -1}, {-1, 0},  {0, 0},
                                      {-1, 0},  {-1, -1}, {0, -1}};

static size_t stored_at(int orientation, int y, int x)
{
    int row = orientation >= 5 ? x : y, column = orientation >= 5 ? y : x;

    row = first_pixel[orientation][0] < 0 ? PICTURE_H - 1 - row : row;
    column = first_pixel[orientation][1] < 0 ? PICTURE_W - 1 - column : column;
    return 3 * ((size_t)row * PICTURE_W + (size_t)column);
}

static void check_orientations(const char *name, bool is_png)
{
    struct ld_buf file = picture_bytes(name);
    struct ld_image stored = picture_of(&file);

    for (int o = 1; o <= 8; o++) {
        struct ld_buf turned_file = picture_with_exif(&file, is_png, o);
        struct ld_image image = picture_of(&turned_file);

        ck_assert_int_eq(image.H, o >= 5 ? PICTURE_W : PICTURE_H);
        ck_assert_int_eq(image.W, o >= 5 ? PICTURE_H : PICTURE_W);
        for (int y = 0; y < image.H; y++)
            for (int x = 0; x < image.W; x++)
                if (memcmp(image.rgb + 3 * ((size_t)y * image.W + x),
                           stored.rgb + stored_at(o, y, x), 3) != 0)
                    ck_abort_msg("orientation %d, row %d, column %d", o, y, x);
        ld_image_free(&image);
        ld_buf_free(&turned_file);
    }
    ld_image_free(&stored);
    ld_buf_free(&file);
}

START_TEST(all_eight_orientations_are_undone_pixel_by_pixel)
{
    check_orientations("turned.jpg", false);
    check_orientations("turned.png", true);
}
END_TEST

/* --- bad files --- */

START_TEST(bytes_behind_the_end_of_a_picture_are_passed_over)
{
    struct ld_buf jpeg = picture_bytes("tail.jpg"),
                  png = picture_bytes("tail.png");
    struct ld_image image;

    ld_buf_put(&jpeg, "tail", 4);
    ld_buf_put(&png, "tail", 4);
    image = picture_of(&jpeg);
    ld_image_free(&image);
    image = picture_of(&png);
    ld_image_free(&image);
    ld_buf_free(&jpeg);
    ld_buf_free(&png);
}
END_TEST

static void check_every_cut(const struct ld_buf *file, size_t shortest,
                            const char *words)
{
    for (size_t len = shortest; len < file->len; len++)
        picture_refuse_bytes(file->data, len, words);
}

START_TEST(a_picture_cut_at_any_byte_is_refused_as_truncated)
{
    struct ld_buf jpeg = picture_bytes("cut.jpg"),
                  png = picture_bytes("cut.png");
    struct ld_buf progressive = picture_jpeg(TJPF_RGB, TJFLAG_PROGRESSIVE);

    check_every_cut(&jpeg, 3, "truncated JPEG: ");
    check_every_cut(&progressive, 3, "truncated JPEG: ");
    check_every_cut(&png, 8, "truncated PNG: ");
    ld_buf_free(&jpeg);
    ld_buf_free(&progressive);
    ld_buf_free(&png);
}
END_TEST

/* One picture, some of its bytes changed: read or refused, nothing else. */
static void try_damaged(const struct ld_buf *file, struct ld_rng *rng)
{
    struct ld_buf damaged = {.max = 1U << 24};
    int n = 1 + (int)ld_rng_below(rng, 4);
    struct ld_image image = {0};
    struct ld_err err = {0};

    ld_buf_put(&damaged, file->data, file->len);
    while (n-- > 0)
        damaged.data[ld_rng_below(rng, (uint32_t)file->len)] ^=
            (unsigned char)(1U << ld_rng_below(rng, 8));
    picture_put("bits", damaged.data, damaged.len);
    if (ld_image_read("bits", &image, &err)) {
        ck_assert(image.H > 0 && image.W > 0);
    } else {
        ck_assert_msg(strncmp(err.text, "bits: ", 6) == 0, "%s", err.text);
    }
    ld_image_free(&image);
    ld_buf_free(&damaged);
}

START_TEST(flipped_bits_in_a_picture_never_crash_the_reader)
{
    struct ld_buf files[] = {
        picture_bytes("bits.jpg"), picture_bytes("bits.png"),
        picture_jpeg(TJPF_RGB, TJFLAG_PROGRESSIVE), picture_jpeg(TJPF_CMYK, 0)};
    uint64_t seed = 20240609;
    struct ld_rng rng = ld_rng_seed(seed, 0);

    printf("# seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 2000; i++)
        try_damaged(&files[i % 4], &rng);
    for (int i = 0; i < 4; i++)
        ld_buf_free(&files[i]);
}
END_TEST

START_TEST(files_that_are_no_pictures_are_refused_by_name)
{
    picture_refuse("/nowhere/a.jpg", LD_ERR_IO, "cannot open");
    picture_refuse("/tmp", LD_ERR_IO, "not a regular file");
    picture_refuse_bytes("", 0, "an empty file");
    picture_refuse_bytes("GIF89a......", 12, "not a JPEG or PNG file");
    picture_refuse_bytes("\xff\xd8\xff\xd9", 4, "no image data");
}
END_TEST

/* Writes 16 bits of a JPEG's frame header: 5 + 0 is the height, + 2 width. */
static void patch_frame(struct ld_buf *jpeg, size_t field, int value)
{
    static const unsigned char frame[] = {0xff, 0xc0};
    unsigned char *at = memmem(jpeg->data, jpeg->len, frame, 2);

    ck_assert(at != NULL);
    at[field] = (unsigned char)(value >> 8);
    at[field + 1] = (unsigned char)value;
}

START_TEST(a_picture_too_large_for_its_file_takes_no_memory)
{
    struct ld_buf jpeg = picture_bytes("large.jpg"),
                  png = picture_bytes("large.png");

    patch_frame(&jpeg, 5, 16000);
    patch_frame(&jpeg, 7, 16000);
    picture_refuse_bytes(jpeg.data, jpeg.len, "cannot hold 16000 x 16000");
    patch_frame(&jpeg, 5, 20000);
    picture_refuse_bytes(jpeg.data, jpeg.len, "at most 16384 a side");
    png.data[18] = png.data[22] = 0x3f; /* IHDR: width 16 to 19, height */
    picture_refuse_bytes(png.data, png.len, "cannot hold 16181 x 16165");
    png.data[16] = 0x70;
    picture_refuse_bytes(png.data, png.len, "at most 16384 a side");
    png.data[16] = 0xff;
    picture_refuse_bytes(png.data, png.len, "malformed PNG");
    ld_buf_free(&jpeg);
    ld_buf_free(&png);
}
END_TEST

START_TEST(memory_that_runs_out_while_reading_is_an_error)
{
    struct ld_buf file = picture_jpeg(TJPF_CMYK, 0);
    struct ld_buf turned = picture_with_exif(&file, false, 6);
    struct ld_image image = {0};
    struct ld_err err = {0};
    int failures = 0;

    picture_put("memory", turned.data, turned.len);
    for (;; failures++) {
        bool ok;

        err = (struct ld_err){0};
        ld_mem_fail_after(failures);
        ok = ld_image_read("memory", &image, &err);
        ld_mem_fail_after(-1);
        if (ok)
            break;
        ck_assert_int_eq(err.code, LD_ERR_MEMORY);
    }
    ck_assert_int_eq(failures, 3); /* pixels, CMYK, the upright picture */
    ld_image_free(&image);
    ld_buf_free(&file);
    ld_buf_free(&turned);
}
END_TEST

/* --- writing --- */

START_TEST(a_written_png_reads_back_unchanged_and_a_jpeg_nearly_so)
{
    struct ld_image image = picture_made();
    struct ld_buf png = picture_bytes("back.png"),
                  jpeg = picture_bytes("back.JPEG");
    struct ld_image from_png = picture_of(&png);
    struct ld_image from_jpeg = picture_of(&jpeg);

    ck_assert_double_eq(picture_difference(&image, &from_png), 0);
    /* A smooth picture at quality 90: within 2 of 255 on average. */
    ck_assert_double_lt(picture_difference(&image, &from_jpeg), 2);
    ld_image_free(&from_png);
    ld_image_free(&from_jpeg);
    ld_buf_free(&png);
    ld_buf_free(&jpeg);
    ld_image_free(&image);
}
END_TEST

START_TEST(a_picture_that_cannot_be_written_leaves_nothing_behind)
{
    struct ld_image image = picture_made();
    int n_files = scratch_count(".");
    struct ld_err err = {0};

    ck_assert(!ld_image_write("test.gif", &image, &err));
    ck_assert_int_eq(err.code, LD_ERR_USAGE);
    ck_assert_str_eq(err.text, "test.gif: pictures are written as "
                               ".jpg, .jpeg or .png");
    err = (struct ld_err){0};
    ck_assert(!ld_image_write("/nowhere/a.png", &image, &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    err = (struct ld_err){0};
    ld_mem_fail_after(0);
    ck_assert(!ld_image_write("test.png", &image, &err));
    ld_mem_fail_after(-1);
    ck_assert_int_eq(err.code, LD_ERR_MEMORY);
    ck_assert_int_eq(scratch_count("."), n_files);
    ld_image_free(&image);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("image");
    TCase *c = tcase_create("image");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, jpegs_decode_to_the_references_pixels);
    tcase_add_test(c, every_kind_of_png_and_jpeg_reads_as_in_opencv);
    tcase_add_test(c, a_photograph_is_upright_whatever_its_exif_orientation);
    tcase_add_test(c, all_eight_orientations_are_undone_pixel_by_pixel);
    tcase_add_test(c, bytes_behind_the_end_of_a_picture_are_passed_over);
    tcase_add_test(c, a_picture_cut_at_any_byte_is_refused_as_truncated);
    tcase_add_test(c, flipped_bits_in_a_picture_never_crash_the_reader);
    tcase_add_test(c, files_that_are_no_pictures_are_refused_by_name);
    tcase_add_test(c, a_picture_too_large_for_its_file_takes_no_memory);
    tcase_add_test(c, memory_that_runs_out_while_reading_is_an_error);
    tcase_add_test(c, a_written_png_reads_back_unchanged_and_a_jpeg_nearly_so);
    tcase_add_test(c, a_picture_that_cannot_be_written_leaves_nothing_behind);
    suite_add_tcase(s, c);
    return s;
}
