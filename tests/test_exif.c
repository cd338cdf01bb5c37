#include "formats/exif.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "tests/suite.h"

/* One directory entry: tag 0x0112, type SHORT, count 1, the value. */
static const unsigned char little_tiff[] = {'I', 'I',  42, 0, 8, 0, 0, 0, 1,
                                            0,   0x12, 1,  3, 0, 1, 0, 0, 0,
                                            6,   0,    0,  0, 0, 0, 0, 0};
static const unsigned char big_tiff[] = {'M', 'M', 0,    42, 0, 0, 0, 8, 0,
                                         1,   1,   0x12, 0,  3, 0, 0, 0, 1,
                                         0,   6,   0,    0,  0, 0, 0, 0};

START_TEST(exif_in_either_byte_order_gives_the_orientation)
{
    unsigned char tiff[sizeof(little_tiff)];

    ck_assert_int_eq(ld_exif_orientation(little_tiff, sizeof(little_tiff)), 6);
    ck_assert_int_eq(ld_exif_orientation(big_tiff, sizeof(big_tiff)), 6);
    memcpy(tiff, little_tiff, sizeof(tiff));
    tiff[18] = 9;
    ck_assert_int_eq(ld_exif_orientation(tiff, sizeof(tiff)), 1);
    tiff[18] = 3;
    tiff[10] = 0x13;
    ck_assert_int_eq(ld_exif_orientation(tiff, sizeof(tiff)), 1);
}
END_TEST

/* Each block lies in memory of just its size, so that a sanitizer sees a read
 * past its end. */
START_TEST(an_exif_block_that_contradicts_itself_is_never_read_past_its_end)
{
    uint64_t seed = 20240608;
    struct ld_rng rng = ld_rng_seed(seed, 0);

    printf("# seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 20000; i++) {
        const unsigned char *from = i % 2 ? little_tiff : big_tiff;
        size_t len = ld_rng_below(&rng, sizeof(little_tiff) + 1);
        unsigned char *tiff = malloc(len + 1);
        int orientation;

        memcpy(tiff + 1, from, len);
        for (int k = 0; len > 0 && k < 3; k++)
            tiff[1 + ld_rng_below(&rng, (uint32_t)len)] =
                (unsigned char)ld_rng_below(&rng, 256);
        orientation = ld_exif_orientation(tiff + 1, len);
        ck_assert(orientation >= 1 && orientation <= 8);
        free(tiff);
    }
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("exif");
    TCase *c = tcase_create("exif");

    tcase_add_test(c, exif_in_either_byte_order_gives_the_orientation);
    tcase_add_test(
        c, an_exif_block_that_contradicts_itself_is_never_read_past_its_end);
    suite_add_tcase(s, c);
    return s;
}
