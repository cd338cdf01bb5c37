#include "formats/json.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "tests/suite.h"

static struct ld_json open_text(const char *text, struct ld_err *err)
{
    struct ld_json j;

    *err = (struct ld_err){0};
    ld_json_open(&j, text, strlen(text), "t.json", err);
    return j;
}

START_TEST(a_string_that_is_not_utf8_is_refused)
{
    static const char *const texts[] = {
        "\"\x80\"",             /* a tail alone */
        "\"\xc3\"",             /* no tail */
        "\"\xc0\xaf\"",         /* overlong */
        "\"\xe0\x80\xaf\"",     /* overlong */
        "\"\xf0\x80\x80\xaf\"", /* overlong */
        "\"\xed\xa0\x80\"",     /* a surrogate */
        "\"\xf4\x90\x80\x80\"", /* above U+10FFFF */
        "\"\xf5\x80\x80\x80\"",
        "\"\xff\"",
        "\"\xe2\x82\"",
        "\"\xf0\x9f\x98\"",
        "\"\xe2\x28\xa1\"",
        "\"\xe2\x82",
    };
    struct ld_err err;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct ld_json j = open_text(texts[i], &err);

        ck_assert_msg(!ld_json_skip(&j), "%zu", i);
    }
}
END_TEST

START_TEST(escapes_become_utf8)
{
    struct ld_err err;
    struct ld_json j = open_text(
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\\uD83D\\uDE00\"",
        &err);
    struct ld_buf out = {.max = 100};

    ck_assert_msg(ld_json_string(&j, &out) && ld_json_end(&j), "%s", err.text);
    ck_assert_str_eq((char *)out.data, "\"\\/\b\f\n\r\tA\xc3\xa9"
                                       "\xe2\x82\xac\xf0\x9f\x98\x80");
    ld_buf_free(&out);
}
END_TEST

START_TEST(a_string_longer_than_its_buffer_may_be_is_refused)
{
    struct ld_err err;
    struct ld_json j = open_text("\"abcdefgh\"", &err);
    struct ld_buf out = {.max = 4};

    ck_assert(!ld_json_string(&j, &out));
    ck_assert_int_ne(err.code, LD_OK);
    ld_buf_free(&out);
}
END_TEST

START_TEST(an_integer_may_have_a_zero_fraction_but_no_other)
{
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {{"12", 12},
                {"-7", -7},
                {"12.0", 12},
                {"1e3", 1000},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN}};
    static const char *const bad[] = {"1.5",   "9223372036854775808",
                                      "1e19",  "1e999",
                                      "\"1\"", "-9223372036854775809"};
    struct ld_err err;
    int64_t value;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct ld_json j = open_text(good[i].text, &err);

        ck_assert_msg(ld_json_integer(&j, &value), "%s", err.text);
        ck_assert_int_eq(value, good[i].value);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct ld_json j = open_text(bad[i], &err);

        ck_assert_msg(!ld_json_integer(&j, &value), "%s", bad[i]);
    }
}
END_TEST

static void compare_with_strtod(const char *text)
{
    struct ld_err err;
    struct ld_json j = open_text(text, &err);
    double got, want = strtod(text, NULL);

    ck_assert_msg(ld_json_number(&j, &got) && ld_json_end(&j), "%s", err.text);
    ck_assert_msg(memcmp(&got, &want, sizeof(got)) == 0, "%s: %.17g", text,
                  got);
}

START_TEST(numbers_are_rounded_as_strtod_does_bit_for_bit)
{
    static const char *const hard[] = {
        "0",
        "-0",
        "0.1",
        "9007199254740993",
        "9007199254740992.5",
        "0.000000000000000001",
        "2.2250738585072011e-308",
        "1e22",
        "1e23",
        "8.41",
        "123456789.123456789",
        "1.7976931348623157e308",
        "179769313486231580793728971405301199e273",
        "4.9e-324",
        "1e-400",
    };
    const uint64_t seed = 20;
    struct ld_rng rng = ld_rng_seed(seed, 0);
    char text[64];

    printf("seed %llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof(hard) / sizeof(hard[0]); i++)
        compare_with_strtod(hard[i]);
    for (int i = 0; i < 20000; i++) {
        double value = (double)ld_rng_normal(&rng) *
                       pow(10, (int)ld_rng_below(&rng, 20) - 8);

        snprintf(text, sizeof(text), "%.*g", 1 + (int)ld_rng_below(&rng, 20),
                 value);
        compare_with_strtod(text);
    }
}
END_TEST

START_TEST(a_number_too_large_or_too_long_is_refused)
{
    static char text[2000];
    struct ld_err err;
    struct ld_json j = open_text("1e999", &err);
    double value;

    ck_assert(!ld_json_number(&j, &value));
    memset(text, '1', sizeof(text) - 1);
    j = open_text(text, &err);
    ck_assert(!ld_json_number(&j, &value));
    ck_assert_ptr_nonnull(strstr(err.text, "1000 characters"));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("json_scan");
    TCase *c = tcase_create("json_scan");

    tcase_add_test(c, a_string_that_is_not_utf8_is_refused);
    tcase_add_test(c, escapes_become_utf8);
    tcase_add_test(c, a_string_longer_than_its_buffer_may_be_is_refused);
    tcase_add_test(c, an_integer_may_have_a_zero_fraction_but_no_other);
    tcase_add_test(c, numbers_are_rounded_as_strtod_does_bit_for_bit);
    tcase_add_test(c, a_number_too_large_or_too_long_is_refused);
    suite_add_tcase(s, c);
    return s;
}
