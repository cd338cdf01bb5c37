#include "formats/image_codec.h"

#include <png.h>
#include <stdio.h>

#include "tests/picture.h"
#include "tests/scratch.h"
#include "tests/suite.h"

struct kind {
    int colour_type, depth, interlace;
};

/* A palette of each kind's pixels; the last two entries are see-through. */
static void describe(png_structp png, png_infop info, const struct kind *kind)
{
    static const png_color palette[] = {
        {250, 0, 10}, {20, 240, 0}, {0, 30, 230}, {9, 8, 7}};
    static const png_byte alpha[] = {255, 255, 128, 0};

    png_set_IHDR(png, info, PICTURE_W, PICTURE_H, kind->depth,
                 kind->colour_type, kind->interlace,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (kind->colour_type == PNG_COLOR_TYPE_PALETTE) {
        png_set_PLTE(png, info, palette, 4);
        png_set_tRNS(png, info, alpha, 4, NULL);
    }
    png_write_info(png, info);
}

/* Rows of bytes i -> 37 * i + 11 * y, whatever they stand for. */
static uint8_t stored_byte(int y, size_t i)
{
    return (uint8_t)(37 * i + 11 * (size_t)y);
}

static void write_kind(const char *path, const struct kind *kind)
{
    png_structp png =
        png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    static uint8_t rows[PICTURE_H][PICTURE_W * 8];
    png_bytep row[PICTURE_H];
    FILE *file = fopen(path, "wb");

    ck_assert(file != NULL);
    for (int y = 0; y < PICTURE_H; y++) {
        row[y] = rows[y];
        for (size_t i = 0; i < sizeof(rows[y]); i++)
            rows[y][i] = stored_byte(y, i);
    }
    png_init_io(png, file);
    describe(png, info, kind);
    png_write_image(png, row);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    ck_assert_int_eq(fclose(file), 0);
}

/* Sample c of pixel x as 8 bits: the high byte of 16, all bits of fewer set
 * for full. */
static int sample(const struct kind *kind, int y, int x, int c, int n_samples)
{
    size_t i = (size_t)(x * n_samples + c), bit = i * (size_t)kind->depth;
    int most = (1 << kind->depth) - 1, byte = stored_byte(y, bit / 8);

    if (kind->depth >= 8)
        return byte;
    byte = byte >> (8 - kind->depth - (int)(bit % 8)) & most;
    return kind->colour_type == PNG_COLOR_TYPE_PALETTE ? byte
                                                       : byte * 255 / most;
}

static int want_of(const struct kind *kind, int y, int x, int c)
{
    static const int palette[4][3] = {
        {250, 0, 10}, {20, 240, 0}, {0, 30, 230}, {9, 8, 7}};

    switch (kind->colour_type) {
    case PNG_COLOR_TYPE_GRAY:
        return sample(kind, y, x, 0, 1);
    case PNG_COLOR_TYPE_GRAY_ALPHA:
        return sample(kind, y, x, 0, 2);
    case PNG_COLOR_TYPE_PALETTE:
        return palette[sample(kind, y, x, 0, 1)][c];
    case PNG_COLOR_TYPE_RGB:
        return sample(kind, y, x, c, 3);
    default:
        return sample(kind, y, x, c, 4);
    }
}

static void check_kind(const struct kind *kind)
{
    struct ld_image image;

    write_kind("kind.png", kind);
    image = picture_read("kind.png");
    ck_assert_int_eq(image.H, PICTURE_H);
    for (int y = 0; y < PICTURE_H; y++)
        for (int x = 0; x < PICTURE_W; x++)
            for (int c = 0; c < 3; c++)
                if (image.rgb[3 * (y * PICTURE_W + x) + c] !=
                    want_of(kind, y, x, c))
                    ck_abort_msg("type %d, depth %d, interlace %d: row %d, "
                                 "column %d, channel %d",
                                 kind->colour_type, kind->depth,
                                 kind->interlace, y, x, c);
    ld_image_free(&image);
}

START_TEST(each_kind_of_png_becomes_rgb_with_its_alpha_dropped)
{
    static const struct kind kinds[] = {
        {PNG_COLOR_TYPE_GRAY, 1, 0},        {PNG_COLOR_TYPE_GRAY, 2, 1},
        {PNG_COLOR_TYPE_GRAY, 4, 0},        {PNG_COLOR_TYPE_GRAY, 8, 1},
        {PNG_COLOR_TYPE_GRAY, 16, 0},       {PNG_COLOR_TYPE_GRAY_ALPHA, 8, 0},
        {PNG_COLOR_TYPE_GRAY_ALPHA, 16, 1}, {PNG_COLOR_TYPE_RGB, 8, 1},
        {PNG_COLOR_TYPE_RGB, 16, 0},        {PNG_COLOR_TYPE_RGB_ALPHA, 8, 0},
        {PNG_COLOR_TYPE_RGB_ALPHA, 16, 1},  {PNG_COLOR_TYPE_PALETTE, 2, 0},
        {PNG_COLOR_TYPE_PALETTE, 2, 1},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        check_kind(&kinds[i]);
}
END_TEST

START_TEST(an_orientation_in_a_damaged_chunk_does_not_count)
{
    struct ld_buf file = picture_bytes("plain.png");
    struct ld_buf turned = picture_with_exif(&file, true, 6);
    struct ld_image image = picture_of(&turned);

    ck_assert_int_eq(image.H, PICTURE_W);
    ld_image_free(&image);
    turned.data[33 + 8 + 26] ^= 1; /* IHDR ends at 33; the checksum */
    image = picture_of(&turned);
    ck_assert_int_eq(image.H, PICTURE_H);
    ld_image_free(&image);
    ld_buf_free(&turned);
    ld_buf_free(&file);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("image_png");
    TCase *c = tcase_create("image_png");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, each_kind_of_png_becomes_rgb_with_its_alpha_dropped);
    tcase_add_test(c, an_orientation_in_a_damaged_chunk_does_not_count);
    suite_add_tcase(s, c);
    return s;
}
