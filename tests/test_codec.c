#include "formats/codec.h"

#include <math.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "tests/suite.h"

static uint16_t encode(float x)
{
    uint16_t half;

    ld_codec_encode(LD_STORAGE_FP16, &half, &x, 1);
    return half;
}

static float decode(uint16_t half)
{
    float x;

    ld_codec_decode(LD_STORAGE_FP16, &x, &half, 1);
    return x;
}

START_TEST(fp32_is_stored_bit_for_bit)
{
    const float in[] = {0.0F, -0.0F, 1e-42F, 3.4e38F, INFINITY, NAN};
    float stored[6], out[6];

    ld_codec_encode(LD_STORAGE_FP32, stored, in, 6);
    ld_codec_decode(LD_STORAGE_FP32, out, stored, 6);
    ck_assert_mem_eq(in, out, sizeof(in));
    ck_assert_uint_eq(ld_codec_bytes(LD_STORAGE_FP32), 4);
    ck_assert_str_eq(ld_codec_name(LD_STORAGE_FP32), "fp32");
}
END_TEST

START_TEST(halves_decode_to_what_ieee_754_says)
{
    /* binary16 by its definition, in double, which holds all of them. */
    for (int bits = 0; bits < 0x7c00; bits++) {
        int exponent = bits >> 10, mantissa = bits & 0x3ff;
        double value = exponent ? ldexp(1024 + mantissa, exponent - 25)
                                : ldexp(mantissa, -24);

        ck_assert((double)decode((uint16_t)bits) == value);
        ck_assert((double)decode((uint16_t)(bits | 0x8000)) == -value);
    }
    ck_assert(signbit(decode(0x8000)));
    ck_assert(isinf(decode(0x7c00)) && decode(0xfc00) < 0);
    ck_assert(isnan(decode(0x7e00)) && isnan(decode(0xfc01)));
}
END_TEST

START_TEST(every_half_survives_the_way_through_float)
{
    for (int bits = 0; bits < 65536; bits++) {
        float x = decode((uint16_t)bits);

        if (isnan(x))
            ck_assert(isnan(decode(encode(x))));
        else
            ck_assert_uint_eq(encode(x), (uint16_t)bits);
    }
}
END_TEST

/* Exhaustive: the middle of each pair of neighbours, and the floats beside. */
START_TEST(rounding_goes_to_the_nearest_and_from_the_middle_to_even)
{
    for (int bits = 0; bits < 0x7bff; bits++) {
        float low = decode((uint16_t)bits), high = decode((uint16_t)(bits + 1));
        float middle = low + (high - low) / 2; /* exact in float */

        ck_assert_uint_eq(encode(middle), (uint16_t)(bits + (bits & 1)));
        ck_assert_uint_eq(encode(nextafterf(middle, 0)), (uint16_t)bits);
        ck_assert_uint_eq(encode(nextafterf(middle, high)),
                          (uint16_t)(bits + 1));
        ck_assert_uint_eq(encode(-middle),
                          (uint16_t)(0x8000 | (bits + (bits & 1))));
    }
}
END_TEST

START_TEST(finite_numbers_beyond_the_range_become_its_largest)
{
    ck_assert_uint_eq(encode(65504), 0x7bff);
    ck_assert_uint_eq(encode(65520), 0x7bff);
    ck_assert_uint_eq(encode(3.4e38F), 0x7bff);
    ck_assert_uint_eq(encode(-1e30F), 0xfbff);
    ck_assert_uint_eq(encode(INFINITY), 0x7c00);
    ck_assert_uint_eq(encode(-INFINITY), 0xfc00);
    ck_assert(isnan(decode(encode(NAN))));
}
END_TEST

START_TEST(nothing_changed_is_no_error)
{
    struct ld_codec_error sum = {0};
    const float row[] = {1, 2, 3, 4};

    ld_codec_measure(&sum, row, row, 2, 2, 10);
    ck_assert(ld_codec_error_early(&sum) == 0);
    ck_assert(sum.largest == 0 && sum.early > 0);

    sum = (struct ld_codec_error){0};
    ck_assert(ld_codec_error_late(&sum) == 0);
}
END_TEST

START_TEST(the_error_is_the_change_of_the_softmax)
{
    /* Two classes at T = 2: p = 1 / (1 + e^-1) for logits 2, 0, and 1/2 for
     * 0, 0. early = 2 (p - 1/2)^2, change the same: the ratio is 1. */
    struct ld_codec_error sum = {0};
    const float exact[] = {2, 0}, stored[] = {0, 0};
    double p = 1 / (1 + exp(-1));

    ld_codec_measure(&sum, exact, stored, 1, 2, 2);
    ck_assert_double_eq_tol(sum.early, 2 * (p - 0.5) * (p - 0.5), 1e-15);
    ck_assert_double_eq_tol(sum.change, sum.early, 1e-15);
    ck_assert_double_eq_tol(ld_codec_error_early(&sum), 1, 1e-12);
    ck_assert_double_eq_tol(ld_codec_error_late(&sum), 3, 1e-11);
    ck_assert(sum.largest == 2);
}
END_TEST

START_TEST(a_shift_of_a_whole_row_costs_no_gradient)
{
    struct ld_codec_error sum = {0};
    float exact[17], stored[17];

    for (int i = 0; i < 17; i++) {
        exact[i] = (float)(i % 5);
        stored[i] = exact[i] + 100;
    }
    ld_codec_measure(&sum, exact, stored, 1, 17, 10);
    /* Sums of 17 doubles near 1. */
    ck_assert_double_le(ld_codec_error_early(&sum), 1e-13);
}
END_TEST

START_TEST(fp16_costs_less_than_a_thousandth_of_an_early_gradient)
{
    enum { ROWS = 400, B = 17, COUNT = ROWS * B };
    struct ld_rng rng = ld_rng_seed(5, 5);
    struct ld_codec_error sum = {0};
    float exact[COUNT], decoded[COUNT];
    uint16_t stored[COUNT];

    for (int i = 0; i < COUNT; i++)
        exact[i] = 3 * ld_rng_normal(&rng);
    ld_codec_encode(LD_STORAGE_FP16, stored, exact, COUNT);
    ld_codec_decode(LD_STORAGE_FP16, decoded, stored, COUNT);
    ld_codec_measure(&sum, exact, decoded, ROWS, B, 10);
    /* Logits below 16 are off by at most half of 2^-7. */
    ck_assert_double_le(sum.largest, 0x1p-8);
    ck_assert_double_le(ld_codec_error_early(&sum), 1e-3);
    ck_assert_double_gt(ld_codec_error_early(&sum), 0);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("codec");
    TCase *c = tcase_create("codec");

    tcase_add_test(c, fp32_is_stored_bit_for_bit);
    tcase_add_test(c, halves_decode_to_what_ieee_754_says);
    tcase_add_test(c, every_half_survives_the_way_through_float);
    tcase_add_test(c, rounding_goes_to_the_nearest_and_from_the_middle_to_even);
    tcase_add_test(c, finite_numbers_beyond_the_range_become_its_largest);
    tcase_add_test(c, nothing_changed_is_no_error);
    tcase_add_test(c, the_error_is_the_change_of_the_softmax);
    tcase_add_test(c, a_shift_of_a_whole_row_costs_no_gradient);
    tcase_add_test(c, fp16_costs_less_than_a_thousandth_of_an_early_gradient);
    suite_add_tcase(s, c);
    return s;
}
