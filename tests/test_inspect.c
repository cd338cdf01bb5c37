/* The program ld-inspect, from outside. */
#include "formats/shard.h"

#include <stdio.h>
#include <string.h>

#include "formats/json.h"
#include "tests/made_shard.h"
#include "tests/run_inspect.h"
#include "tests/scratch.h"
#include "tests/suite.h"

enum { ROOM = 1 << 18 };

/* Runs it in the test's folder; both outputs, as one text, go to `out`. */
static void assert_holds(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "'%s' is not in:\n%s", part,
                  text);
}

static void write_shard(const char *name, int n_views)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    struct ld_err err = {0};

    ck_assert_msg(made_shard(name, &facts, n_views, 40, &err), "%s", err.text);
}

START_TEST(the_summary_counts_views_rows_and_bytes)
{
    static char out[ROOM];

    write_shard("a.h5", 6);
    ck_assert_int_eq(run_inspect("a.h5", out, ROOM), 0);
    assert_holds(out, "shard 1 of 1: 3 images, 6 views (3 flipped)");
    assert_holds(out, "box, fp16");
    assert_holds(out, " 240  100.0 %\n");
    assert_holds(out, "median 40, most 40; 0 views without any");
    assert_holds(out, "3: disc, square, triangle");
    assert_holds(out, "GFL R-18, FPN 64");
    assert_holds(out, "gradient off  LD ");
    assert_holds(out, "skipped       0 images");
}
END_TEST

START_TEST(a_folder_is_summed_up_as_one_cache)
{
    static char out[ROOM];
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP32);
    struct ld_err err = {0};
    struct ld_shard_writer *w;

    facts.n_parts = 2;
    ck_assert(made_shard("a.h5", &facts, 4, 9, &err));
    ck_assert_int_eq(run_inspect(".", out, ROOM), 8);
    assert_holds(out, "ld-inspect: .: of parts 0 to 1 these are missing: 1 (");

    facts.part = 1;
    w = ld_shard_create("b.h5", &facts, &err);
    ck_assert(w && ld_shard_skip(w, 77, "77.jpg: no end", &err));
    ck_assert(ld_shard_finish(w, &err));
    ck_assert_int_eq(run_inspect(".", out, ROOM), 0);
    assert_holds(out, "2 shards: 2 images, 4 views (2 flipped)");
    assert_holds(out, "image 77: 77.jpg: no end");
    assert_holds(out, "fp32, as the teacher gave them");
}
END_TEST

START_TEST(features_are_told_with_what_they_cost)
{
    static char out[ROOM];
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    struct ld_err err = {0};
    size_t len;
    char *bytes;

    write_shard("a.h5", 6);
    ck_assert_int_eq(run_inspect("a.h5", out, ROOM), 0);
    assert_holds(out, "features      none\n");
    ck_assert_ptr_null(strstr(out, "features, fp16"));

    facts.imitation = "finegrained";
    facts.feature_channels = 64;
    ck_assert(made_shard("a.h5", &facts, 6, 40, &err));
    ck_assert_int_eq(run_inspect("a.h5", out, ROOM), 0);
    assert_holds(out, "features, fp16");
    assert_holds(out, "finegrained: 64 channels, 20.0 rows a view, ");
    assert_holds(out, " % of the bytes, off by ");
    ck_assert_int_eq(run_inspect("--json a.h5", out, ROOM), 0);
    assert_holds(out, "\"feature_rows\": 120");

    bytes = scratch_get("a.h5", &len);
    for (size_t i = len; i-- > 512;)
        if (memcmp(bytes + i, "\x28\xb5\x2f\xfd", 4) == 0) {
            bytes[i + 20] ^= 1; /* in the last frame: of /features/rows */
            break;
        }
    scratch_put("a.h5", bytes, len);
    ck_assert_int_eq(run_inspect("--verify a.h5", out, ROOM), 1);
    assert_holds(out, ": /features/rows, chunk ");
    ld_delete(bytes);
}
END_TEST

/* The whole answer is JSON; returns how many elements its array has. */
static int count_elements(const char *text)
{
    struct ld_err err = {0};
    struct ld_json j;
    int n = 0;

    ld_json_open(&j, text, strlen(text), "answer", &err);
    ld_json_array(&j);
    while (ld_json_element(&j)) {
        ld_json_skip(&j);
        n++;
    }
    ck_assert_msg(ld_json_end(&j), "%s", err.text);
    return n;
}

START_TEST(json_is_an_array_of_an_element_a_path)
{
    static char out[ROOM];

    write_shard("a.h5", 6);
    write_shard("b.h5", 0);
    ck_assert_int_eq(run_inspect("--json a.h5 b.h5", out, ROOM), 0);
    ck_assert_int_eq(count_elements(out), 2);
    assert_holds(out, "\"views\": 6, \"flipped_views\": 3");
    assert_holds(out, "\"class_names\": [\"disc\", \"square\", \"triangle\"]");
    ck_assert_int_eq(run_inspect("--json --verify a.h5 b.h5", out, ROOM), 0);
    ck_assert_int_eq(count_elements(out), 2);
    assert_holds(out, "\"path\": \"a.h5\", \"whole\": true, \"views\": 6");
    ck_assert_int_eq(run_inspect("--json --record 2:flip a.h5 b.h5", out, ROOM),
                     0);
    ck_assert_int_eq(count_elements(out), 1);
    assert_holds(out, "\"image_id\": 2, \"view_number\": 1, \"flipped\": true");
    assert_holds(out, "\"class_logits\": [");
}
END_TEST

START_TEST(a_record_is_shown_row_by_row)
{
    static char out[ROOM];
    int n_lines = 0;

    write_shard("a.h5", 6);
    ck_assert_int_eq(run_inspect("--record 3 a.h5", out, ROOM), 0);
    assert_holds(out, "a.h5: image 3: 123x183 (height x width) on a canvas of "
                      "128x192, 40 rows");
    for (const char *at = out; (at = strchr(at, '\n')) != NULL; at++)
        n_lines++;
    ck_assert_int_eq(n_lines, 3 + 40);

    ck_assert_int_eq(run_inspect("--record 4:flip a.h5", out, ROOM), 1);
    assert_holds(out, "ld-inspect: no view 1 of image 4 found");
}
END_TEST

START_TEST(verification_names_damaged_images_and_views)
{
    static char out[ROOM];
    size_t len;
    char *bytes;

    write_shard("a.h5", 6);
    write_shard("b.h5", 6);
    ck_assert_int_eq(run_inspect("--verify a.h5 b.h5", out, ROOM), 0);
    assert_holds(out, "a.h5: whole: 6 views");
    ck_assert_int_eq(run_inspect("--verify .", out, ROOM), LD_ERR_MISMATCH);
    assert_holds(out, "./a.h5: whole: 6 views");
    assert_holds(out, "ld-inspect: ./a.h5: view 0 of image 1 is in ./b.h5 too");

    bytes = scratch_get("a.h5", &len);
    for (size_t i = 512; i < len; i++)
        if (memcmp(bytes + i, "\x28\xb5\x2f\xfd", 4) == 0) {
            bytes[i + 20] ^= 1; /* in the first frame: of /rows/box */
            break;
        }
    scratch_put("a.h5", bytes, len);
    ck_assert_int_eq(run_inspect("--verify .", out, ROOM), 1);
    assert_holds(out, "./a.h5: image 1: /rows/box, chunk 0: ");
    assert_holds(out, "./a.h5: image 1, flipped: /rows/box, chunk 0: ");
    assert_holds(out, "./b.h5: whole: 6 views");
    ck_assert_ptr_null(strstr(out, "./a.h5: whole"));

    bytes[600] ^= 4; /* in HDF5's own metadata */
    scratch_put("a.h5", bytes, len);
    ck_assert_int_eq(run_inspect("--verify --json a.h5", out, ROOM), 1);
    ck_assert_int_eq(count_elements(out), 1);
    assert_holds(out, "\"damage\": [\"a.h5: its index is damaged");
    ck_assert_int_eq(run_inspect("a.h5", out, ROOM), LD_ERR_FORMAT);
    ld_delete(bytes);
}
END_TEST

START_TEST(wrong_usage_is_one_line_and_status_2)
{
    static char out[ROOM];

    ck_assert_int_eq(run_inspect("", out, ROOM), 2);
    assert_holds(out, "expected a shard or a folder");
    ck_assert_int_eq(run_inspect("--record 1x a.h5", out, ROOM), 2);
    ck_assert_str_eq(out, "ld-inspect: --record 1x: expected an image's id, "
                          "ID:flip or ID:view=NUMBER\n");
    ck_assert_int_eq(run_inspect("--record 1 --verify a.h5", out, ROOM), 2);
    ck_assert_int_eq(run_inspect("--wrong a.h5", out, ROOM), 2);
    ck_assert_int_eq(run_inspect("none.h5", out, ROOM), 3);
    ck_assert_str_eq(out, "ld-inspect: none.h5: cannot open: No such file or "
                          "directory\n");
    ck_assert_int_eq(run_inspect("--version", out, ROOM), 0);
    ck_assert_str_eq(out, "ld-inspect " LD_VERSION "\n");
    ck_assert_int_eq(run_inspect("--help", out, ROOM), 0);
    assert_holds(out, "usage: ld-inspect");
}
END_TEST

START_TEST(an_answer_that_cannot_be_written_is_an_error)
{
    static char out[ROOM];

    write_shard("a.h5", 2);
    ck_assert_int_eq(run_inspect("a.h5 >/dev/full", out, ROOM), 3);
    assert_holds(out, "No space left on device");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("inspect");
    TCase *c = tcase_create("inspect");

    tcase_add_checked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, the_summary_counts_views_rows_and_bytes);
    tcase_add_test(c, a_folder_is_summed_up_as_one_cache);
    tcase_add_test(c, features_are_told_with_what_they_cost);
    tcase_add_test(c, json_is_an_array_of_an_element_a_path);
    tcase_add_test(c, a_record_is_shown_row_by_row);
    tcase_add_test(c, verification_names_damaged_images_and_views);
    tcase_add_test(c, wrong_usage_is_one_line_and_status_2);
    tcase_add_test(c, an_answer_that_cannot_be_written_is_an_error);
    suite_add_tcase(s, c);
    return s;
}
