#include "formats/image_codec.h"

#include <stdlib.h>
#include <turbojpeg.h>

#include "tests/picture.h"
#include "tests/scratch.h"
#include "tests/suite.h"

START_TEST(a_progressive_jpeg_reads_as_the_baseline_one_does)
{
    struct ld_buf plain = picture_jpeg(TJPF_RGB, 0);
    struct ld_buf progressive = picture_jpeg(TJPF_RGB, TJFLAG_PROGRESSIVE);
    struct ld_image a = picture_of(&plain);
    struct ld_image b = picture_of(&progressive);

    ck_assert_double_eq(picture_difference(&a, &b), 0);
    ld_image_free(&a);
    ld_image_free(&b);
    ld_buf_free(&plain);
    ld_buf_free(&progressive);
}
END_TEST

START_TEST(a_gray_jpeg_has_three_equal_channels)
{
    struct ld_buf file = picture_jpeg(TJPF_GRAY, 0);
    struct ld_image image = picture_of(&file);
    int n_coloured = 0;

    for (size_t i = 0; i < (size_t)PICTURE_H * PICTURE_W; i++)
        n_coloured += image.rgb[3 * i] != image.rgb[3 * i + 1] ||
                      image.rgb[3 * i] != image.rgb[3 * i + 2];
    ck_assert_int_eq(n_coloured, 0);
    ld_image_free(&image);
    ld_buf_free(&file);
}
END_TEST

/* Of inverted inks c and k, as Adobe stores them, the light is c * k / 255;
 * what JPEG loses of each is within 6 of 255. */
START_TEST(a_cmyk_jpeg_is_converted_to_rgb)
{
    struct ld_buf file = picture_jpeg(TJPF_CMYK, 0);
    struct ld_image image = picture_of(&file);
    struct ld_image ink = picture_made();
    double sum = 0;

    for (size_t i = 0; i < (size_t)PICTURE_H * PICTURE_W; i++)
        for (size_t c = 0; c < 3; c++) {
            int k = (uint8_t)(i % PICTURE_W + 200);

            sum += abs(image.rgb[3 * i + c] - ink.rgb[3 * i + c] * k / 255);
        }
    ck_assert_double_lt(sum / (PICTURE_H * PICTURE_W * 3), 6);
    ld_image_free(&ink);
    ld_image_free(&image);
    ld_buf_free(&file);
}
END_TEST

/* A copy with bytes before the end marker that belong to nothing. */
static struct ld_buf with_stray_bytes(const struct ld_buf *file)
{
    struct ld_buf out = {.max = 1U << 24};

    ld_buf_put(&out, file->data, file->len - 2);
    ld_buf_put(&out, "stray", 5);
    ld_buf_put(&out, "\xff\xd9", 2);
    return out;
}

START_TEST(stray_bytes_before_a_jpegs_end_marker_do_no_harm)
{
    struct ld_buf file = picture_jpeg(TJPF_RGB, 0);
    struct ld_buf stray = with_stray_bytes(&file);
    struct ld_image a = picture_of(&file);
    struct ld_image b = picture_of(&stray);

    ck_assert_double_eq(picture_difference(&a, &b), 0);
    picture_refuse_bytes(stray.data, stray.len - 2, "truncated JPEG");
    ld_image_free(&a);
    ld_image_free(&b);
    ld_buf_free(&file);
    ld_buf_free(&stray);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("image_jpeg");
    TCase *c = tcase_create("image_jpeg");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, a_progressive_jpeg_reads_as_the_baseline_one_does);
    tcase_add_test(c, a_gray_jpeg_has_three_equal_channels);
    tcase_add_test(c, a_cmyk_jpeg_is_converted_to_rgb);
    tcase_add_test(c, stray_bytes_before_a_jpegs_end_marker_do_no_harm);
    suite_add_tcase(s, c);
    return s;
}
