#include "formats/json.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "tests/suite.h"

/* True if the whole text is JSON. It lies at the very end of an allocation, so
 * that a sanitizer sees a read behind it. */
static bool is_json(const char *text, size_t len, struct ld_err *err)
{
    size_t room = (len + 63) / 64 * 64;
    char *memory = ld_new(room ? room : 1, 1, err);
    char *copy = memory + room - len;
    struct ld_json j;
    bool ok;

    ck_assert_ptr_nonnull(memory);
    memcpy(copy, text, len);
    *err = (struct ld_err){0};
    ld_json_open(&j, copy, len, "t.json", err);
    ok = ld_json_skip(&j) && ld_json_end(&j);
    ck_assert(ok == (err->code == LD_OK));
    ld_delete(memory);
    return ok;
}

static struct ld_json open_text(const char *text, struct ld_err *err)
{
    struct ld_json j;

    *err = (struct ld_err){0};
    ld_json_open(&j, text, strlen(text), "t.json", err);
    return j;
}

START_TEST(an_object_is_read_by_key_and_what_is_not_wanted_is_skipped)
{
    struct ld_err err;
    struct ld_json j =
        open_text(" {\"a\" : [1, 2.5, -3e2], \"skip\":{\"x\":[{},[],\"}\"]},"
                  "\"s\":\"t\", \"yes\":true, \"no\":false, \"nil\":null}\n",
                  &err);
    struct ld_buf text = {.max = 100};
    double sum = 0, number;
    int64_t n_skipped = 0;
    bool yes = false, no = true;
    char key[8];

    ck_assert(ld_json_object(&j));
    while (ld_json_key(&j, key, sizeof(key))) {
        if (strcmp(key, "a") == 0) {
            ld_json_array(&j);
            while (ld_json_element(&j) && ld_json_number(&j, &number))
                sum += number;
        } else if (strcmp(key, "s") == 0) {
            ck_assert_int_eq(ld_json_peek(&j), LD_JSON_STRING);
            ld_json_string(&j, &text);
        } else if (strcmp(key, "yes") == 0) {
            ld_json_bool(&j, &yes);
        } else if (strcmp(key, "no") == 0) {
            ld_json_bool(&j, &no);
        } else {
            n_skipped += ld_json_skip(&j);
        }
    }
    ck_assert_msg(ld_json_end(&j), "%s", err.text);
    ck_assert_double_eq(sum, 1 + 2.5 - 300);
    ck_assert_str_eq((char *)text.data, "t");
    ck_assert(yes && !no);
    ck_assert_int_eq(n_skipped, 2);
    ld_buf_free(&text);
}
END_TEST

static const char *const good[] = {
    "0",
    "-0",
    "-0.0",
    "10",
    "1e5",
    "1E+05",
    "1.5e-7",
    "\"\"",
    "[]",
    "{}",
    "null",
    "true",
    "false",
    " \t\r\n[ ] ",
    "[1,2]",
    "{\"\":{\"\":[]}}",
    "{\"a\":1,\"a\":2}",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
    "\"\\ud83d\\ude00\"",
    "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"",
    "\"\x7f\"",
    "\xef\xbb\xbf[1]",
    "123456789012345678901234567890",
    "0.1234567890123456789012345678901234567890",
    "1e-400",
};

START_TEST(what_rfc_8259_allows_is_accepted)
{
    struct ld_err err = {0};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        ck_assert_msg(is_json(good[i], strlen(good[i]), &err), "%s: %s",
                      good[i], err.text);
}
END_TEST

static const char *const bad[] = {
    "",
    " ",
    "\xef\xbb\xbf",
    "nul",
    "nulll",
    "True",
    "NaN",
    "Infinity",
    "-Infinity",
    "-",
    "+1",
    "01",
    "-01",
    "1.",
    ".5",
    "1.e5",
    "1e",
    "1e+",
    "0x10",
    "1 2",
    "'a'",
    "\"",
    "\"a",
    "\"\\",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u12g4\"",
    "\"\t\"",
    "\"\n\"",
    "\"\\ud83d\"",
    "\"\\ude00\"",
    "\"\\ud83d\\u0041\"",
    "\"\\ud83dx\"",
    "\"\\u0000\"",
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1;2]",
    "[1}",
    "{",
    "}",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":}",
    "{\"a\":1,}",
    "{\"a\" 1}",
    "{a:1}",
    "{1:2}",
    "{,}",
    "{\"a\":1]",
    "[]]",
    "// x\n1",
    "[1]x",
    "{\"a\":1 \"b\":2}",
};

START_TEST(what_rfc_8259_forbids_is_refused)
{
    struct ld_err err = {0};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(!is_json(bad[i], strlen(bad[i]), &err), "%s", bad[i]);
    ck_assert(!is_json("\0", 1, &err));
    ck_assert(!is_json("1\0", 2, &err));
    ck_assert(!is_json("\"a\0b\"", 5, &err));
}
END_TEST

START_TEST(an_error_says_file_line_and_column_what_was_expected_and_found)
{
    struct ld_err err = {0};
    struct ld_json j;
    double number;

    ck_assert(!is_json("[1,\n  2 x]", 10, &err));
    ck_assert_str_eq(err.text, "t.json:2:5: expected ',' or ']', found 'x'");
    ck_assert_int_eq(err.code, LD_ERR_FORMAT);
    /* Columns count characters: the euro sign is three bytes. */
    ck_assert(!is_json("[\"\xe2\x82\xac\",}", 8, &err));
    ck_assert_str_eq(err.text, "t.json:1:6: expected a value, found '}'");
    ck_assert(!is_json("{\"a\":", 5, &err));
    ck_assert_str_eq(err.text,
                     "t.json:1:6: expected a value, found the end of the file");
    j = open_text("[\"x\"]", &err);
    ld_json_array(&j);
    ld_json_element(&j);
    ck_assert(!ld_json_number(&j, &number));
    ck_assert_str_eq(err.text, "t.json:1:2: expected a number, found a string");
}
END_TEST

START_TEST(an_error_sticks)
{
    struct ld_err err;
    struct ld_json j = open_text("{\"a\": x, \"b\": 1}", &err);
    int64_t integer;
    bool fact;
    char key[8];

    ck_assert(ld_json_object(&j) && ld_json_key(&j, key, sizeof(key)));
    ck_assert(!ld_json_skip(&j));
    ck_assert(!ld_json_key(&j, key, sizeof(key)));
    ck_assert(!ld_json_object(&j) && !ld_json_array(&j));
    ck_assert(!ld_json_element(&j) && !ld_json_integer(&j, &integer));
    ck_assert(!ld_json_bool(&j, &fact) && !ld_json_end(&j));
    ck_assert_int_eq(ld_json_peek(&j), LD_JSON_BAD);
    ck_assert_str_eq(err.text, "t.json:1:7: expected a value, found 'x'");
}
END_TEST

START_TEST(a_key_is_cut_to_its_room)
{
    struct ld_err err;
    struct ld_json j = open_text("{\"abcdefgh\":1}", &err);
    char key[4];

    ck_assert(ld_json_object(&j) && ld_json_key(&j, key, sizeof(key)));
    ck_assert_str_eq(key, "abc");
    ck_assert(ld_json_skip(&j) && !ld_json_key(&j, key, sizeof(key)));
    ck_assert(ld_json_end(&j));
}
END_TEST

START_TEST(depth_is_bounded)
{
    static char text[1000001];
    struct ld_err err = {0};

    memset(text, '[', LD_JSON_DEPTH);
    memset(text + LD_JSON_DEPTH, ']', LD_JSON_DEPTH);
    ck_assert_msg(is_json(text, 2 * LD_JSON_DEPTH, &err), "%s", err.text);
    memset(text, '[', sizeof(text));
    ck_assert(!is_json(text, sizeof(text), &err));
    ck_assert_str_eq(err.text, "t.json:1:65: nested more than 64 deep");
}
END_TEST

static const char document[] =
    "{\"info\":{\"year\":2017,\"ok\":true,\"no\":false,\"nil\":null},"
    "\"images\":[{\"id\":1,\"file_name\":\"a\\u00e9\\n\xc3\xa9.jpg\"}],"
    "\"annotations\":[{\"bbox\":[1.5,-2e1,3,4E+2],"
    "\"segmentation\":[[1,2,3.25],[]],\"x\":\"\\ud83d\\ude00\"}]}";

START_TEST(a_document_cut_at_any_byte_is_refused)
{
    struct ld_err err = {0};

    ck_assert_msg(is_json(document, sizeof(document) - 1, &err), "%s",
                  err.text);
    for (size_t len = 0; len < sizeof(document) - 1; len++)
        ck_assert_msg(!is_json(document, len, &err), "%zu bytes", len);
}
END_TEST

/* Every reading call, guided by what comes next; ends because each call moves
 * on or fails. */
static void read_by_kind(struct ld_json *j)
{
    struct ld_buf text = {.max = 1000};
    double number;
    int64_t integer;
    bool fact;
    char key[8];

    switch (ld_json_peek(j)) {
    case LD_JSON_OBJECT:
        ld_json_object(j);
        while (ld_json_key(j, key, sizeof(key)))
            read_by_kind(j);
        break;
    case LD_JSON_ARRAY:
        ld_json_array(j);
        while (ld_json_element(j))
            read_by_kind(j);
        break;
    case LD_JSON_NUMBER:
        if (j->at[0] == '1')
            ld_json_integer(j, &integer);
        else
            ld_json_number(j, &number);
        break;
    case LD_JSON_STRING:
        ld_json_string(j, &text);
        break;
    case LD_JSON_BOOL:
        ld_json_bool(j, &fact);
        break;
    default:
        ld_json_skip(j);
    }
    ld_buf_free(&text);
}

START_TEST(a_document_with_random_damage_never_crashes_the_reader)
{
    static const char likely[] = "{}[]\",:\\u0d19eE+-.tfn \x80\xc3\xed\xf0";
    const uint64_t seed = 7;
    struct ld_rng rng = ld_rng_seed(seed, 0);
    char damaged[sizeof(document)];
    struct ld_err err;
    int n_refused = 0;

    printf("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 20000; i++) {
        int n = 1 + (int)ld_rng_below(&rng, 4);
        struct ld_json j;

        memcpy(damaged, document, sizeof(document));
        while (n-- > 0)
            damaged[ld_rng_below(&rng, sizeof(document) - 1)] =
                ld_rng_below(&rng, 2)
                    ? likely[ld_rng_below(&rng, sizeof(likely) - 1)]
                    : (char)ld_rng_u32(&rng);
        n_refused += !is_json(damaged, sizeof(document) - 1, &err);
        err = (struct ld_err){0};
        ld_json_open(&j, damaged, sizeof(document) - 1, "t.json", &err);
        read_by_kind(&j);
        if (!err.code)
            ld_json_end(&j);
    }
    ck_assert_int_gt(n_refused, 10000);
}
END_TEST

static void compare_after_writing(const char *text, const char *want)
{
    struct ld_buf out = {.max = 1000}, back = {.max = 1000};
    struct ld_err err = {0};
    struct ld_json j;

    ld_json_put_string(&out, text);
    ck_assert(ld_buf_ok(&out, &err));
    ld_json_open(&j, (char *)out.data, out.len, "written", &err);
    ck_assert_msg(ld_json_string(&j, &back) && ld_json_end(&j), "%s", err.text);
    ck_assert_str_eq((char *)back.data, want);
    ld_buf_free(&out);
    ld_buf_free(&back);
}

START_TEST(a_written_string_reads_back_the_same)
{
    compare_after_writing("", "");
    compare_after_writing("a\"\\/\n\t\x01\x7f z", "a\"\\/\n\t\x01\x7f z");
    compare_after_writing("\xc3\xa9\xf0\x9f\x98\x80",
                          "\xc3\xa9\xf0\x9f\x98\x80");
    /* A file name that is not UTF-8 must not spoil the document. */
    compare_after_writing("a\xff\xc3z", "a\xef\xbf\xbd\xef\xbf\xbdz");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("json");
    TCase *c = tcase_create("json");

    tcase_add_test(c,
                   an_object_is_read_by_key_and_what_is_not_wanted_is_skipped);
    tcase_add_test(c, what_rfc_8259_allows_is_accepted);
    tcase_add_test(c, what_rfc_8259_forbids_is_refused);
    tcase_add_test(
        c, an_error_says_file_line_and_column_what_was_expected_and_found);
    tcase_add_test(c, an_error_sticks);
    tcase_add_test(c, a_key_is_cut_to_its_room);
    tcase_add_test(c, depth_is_bounded);
    tcase_add_test(c, a_document_cut_at_any_byte_is_refused);
    tcase_add_test(c, a_document_with_random_damage_never_crashes_the_reader);
    tcase_add_test(c, a_written_string_reads_back_the_same);
    suite_add_tcase(s, c);
    return s;
}
