#include "formats/zip_write.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "tests/scratch.h"
#include "tests/suite.h"
#include "tests/zip_check.h"

static const struct ld_zip_part three[] = {
    {"a/data.pkl", "some bytes", 10, NULL, 0},
    {"a/empty", NULL, 0, NULL, 0},
    {"a/a longer name than the others have", "\0\1\2\xff", 4, NULL, 0},
};

START_TEST(entries_are_stored_aligned_and_whole)
{
    struct zip_content content[3];
    struct ld_err err = {0};
    size_t len;
    char *zip;

    ck_assert_msg(ld_zip_write("a.zip", three, 3, &err), "%s", err.text);
    zip = scratch_get("a.zip", &len);
    ck_assert_int_eq(zip_check(zip, len, content, 3), 3);
    for (int i = 0; i < 3; i++) {
        ck_assert_str_eq(content[i].name, three[i].name);
        ck_assert_uint_eq(content[i].len, three[i].len);
        ck_assert_mem_eq(content[i].bytes, three[i].bytes ? three[i].bytes : "",
                         three[i].len);
    }
    ld_delete(zip);
    unlink("a.zip");
}
END_TEST

START_TEST(no_entries_make_an_empty_zip)
{
    struct ld_err err = {0};
    size_t len;
    char *zip;

    ck_assert_msg(ld_zip_write("a.zip", NULL, 0, &err), "%s", err.text);
    zip = scratch_get("a.zip", &len);
    ck_assert_uint_eq(len, 22);
    ck_assert_int_eq(zip_check(zip, len, NULL, 0), 0);
    ld_delete(zip);
    unlink("a.zip");
}
END_TEST

START_TEST(what_32_bits_cannot_count_is_refused)
{
    static struct ld_zip_part many[65536];
    const struct ld_zip_part halves[] = {{"a", NULL, (size_t)1 << 31, NULL, 0},
                                         {"b", NULL, 0, NULL, (size_t)1 << 31}};
    struct ld_err bytes = {0}, entries = {0};

    for (int i = 0; i < 65536; i++)
        many[i] = (struct ld_zip_part){.name = "x"};
    ck_assert(!ld_zip_write("a.zip", halves, 2, &bytes));
    ck_assert(!ld_zip_write("a.zip", many, 65536, &entries));
    ck_assert_int_eq(bytes.code, LD_ERR_USAGE);
    ck_assert_str_eq(bytes.text,
                     "a.zip: would have more than 65535 entries or 4 GB");
    ck_assert_str_eq(entries.text, bytes.text);
    ck_assert_int_eq(scratch_count("."), 0);
}
END_TEST

START_TEST(a_folder_in_its_place_stays)
{
    struct ld_err err = {0};

    mkdir("a.zip", 0777);
    ck_assert(!ld_zip_write("a.zip", three, 3, &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_int_eq(scratch_count("."), 1);
    rmdir("a.zip");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("zip_write");
    TCase *c = tcase_create("zip_write");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, entries_are_stored_aligned_and_whole);
    tcase_add_test(c, no_entries_make_an_empty_zip);
    tcase_add_test(c, what_32_bits_cannot_count_is_refused);
    tcase_add_test(c, a_folder_in_its_place_stays);
    suite_add_tcase(s, c);
    return s;
}
