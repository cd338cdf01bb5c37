/* ld-inspect --report and --watch, from outside. */
#include "formats/shard.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/made_shard.h"
#include "tests/run_inspect.h"
#include "tests/scratch.h"
#include "tests/suite.h"

enum { ROOM = 1 << 14, B = 17 };

static void assert_holds(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "'%s' is not in:\n%.20000s", part,
                  text);
}

static char *report_on(const char *path)
{
    char command[256], out[ROOM], *page;
    size_t len;

    snprintf(command, sizeof(command), "--report r %s", path);
    ck_assert_msg(run_inspect(command, out, ROOM) == 0, "%s", out);
    page = scratch_get("r/index.html", &len);
    ck_assert_ptr_nonnull(page);
    return page;
}

START_TEST(a_report_is_one_page_that_needs_no_other)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    struct ld_err err = {0};
    char *page;

    facts.teacher_model = "GFL <R-18> & \"more\"";
    ck_assert(made_shard("a&b.h5", &facts, 6, 40, &err));
    page = report_on("'a&b.h5'");
    assert_holds(page, "<title>a&#38;b.h5</title>");
    assert_holds(page, "GFL &#60;R-18&#62; &#38; &#34;more&#34;");
    assert_holds(page, "<b>3</b><span>images</span>");
    assert_holds(page, "<b>6</b><span>views</span>");
    assert_holds(page, "<b>240</b><span>rows</span>");
    assert_holds(page, "error of the LD gradient");
    assert_holds(page, "image 1");
    assert_holds(page, "40 rows");
    assert_holds(page, "</html>");
    ck_assert_ptr_null(strstr(page, "http"));
    ck_assert_ptr_null(strstr(page, "src="));
    ck_assert_ptr_null(strstr(page, "href="));
    ld_delete(page);
}
END_TEST

/* A main row on P3 that is certain and a VLR row on P4 that knows nothing. */
static void write_two_rows(void)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP32);
    static float box[2 * 4 * B], logits[3];
    const int32_t location[2] = {0, 64};
    const uint8_t kind[2] = {LD_SHARD_MAIN, LD_SHARD_VLR};
    struct ld_record record = {.image_id = 7,
                               .view = {60, 60, 64, 64, false, 0},
                               .n_rows = 2,
                               .n_main = 1,
                               .location = location,
                               .kind = kind,
                               .box_logits = box,
                               .class_logits = logits,
                               .n_logits = 3};
    struct ld_record empty = {.image_id = 8,
                              .view = {60, 60, 64, 64, false, 0}};
    struct ld_err err = {0};
    struct ld_shard_writer *w = ld_shard_create("a.h5", &facts, &err);

    for (int side = 0; side < 4; side++)
        box[side * B + 2] = 90;
    ck_assert(w && ld_shard_append(w, &record, &err) &&
              ld_shard_append(w, &empty, &err));
    ck_assert_msg(ld_shard_finish(w, &err), "%s", err.text);
}

/* The full bar of a histogram's bin: 96 high, 240 / 24 wide. */
static const char *bar(const char *kind, int bin)
{
    static char text[128];

    snprintf(text, sizeof(text),
             "<rect class=%s x=%.1f y=0.0 width=9.0 height=96.0 />", kind,
             10 * bin + 0.5);
    return text;
}

START_TEST(histograms_count_the_sides_of_rows)
{
    char *page, *chart;

    write_two_rows();
    page = report_on("a.h5");
    assert_holds(page, "<b>0.00 bits</b><span>a side, main region");
    assert_holds(page, "<b>4.09 bits</b><span>a side, VLR"); /* log2 17 */
    chart = strstr(page, "Entropy of a side");
    ck_assert_ptr_nonnull(chart);
    assert_holds(chart, bar("main", 0));
    assert_holds(chart, "<figcaption>P3: 4<");
    assert_holds(chart, bar("vlr", 23));
    assert_holds(chart, "<figcaption>P4: 4<");
    assert_holds(chart, "<figcaption>P5: 0<");
    /* 32 by 32 pixels, and 2 * 8 bins * 16 = 256 */
    assert_holds(chart, "32 to 96 pixels: 4<");
    assert_holds(chart, "over 96 pixels: 4<");
    chart = strstr(page, "Sharpness of a side");
    assert_holds(chart, bar("main", 23));
    assert_holds(chart, bar("vlr", 24 / 17));
    assert_holds(strstr(page, "Views with the most rows"), "image 7<br>2 rows");
    assert_holds(strstr(page, "Views without a row"), "image 8<br>0 rows");
    ld_delete(page);
}
END_TEST

START_TEST(a_report_that_cannot_be_made_is_said_in_one_line)
{
    char out[ROOM];

    write_two_rows();
    ck_assert_int_eq(run_inspect("--report r none.h5", out, ROOM), 3);
    ck_assert_int_eq(
        run_inspect("--report r --config none.yaml a.h5", out, ROOM), 3);
    scratch_text("file", "");
    ck_assert_int_eq(run_inspect("--report file a.h5", out, ROOM), 3);
    assert_holds(out, "ld-inspect: file");
    ck_assert_int_eq(run_inspect("--report r --watch a.h5", out, ROOM), 2);
}
END_TEST

/* A shard of 6 views that was written at so many seconds. */
static void put_part(int part, time_t when)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
    struct ld_err err = {0};
    char path[64];

    facts.part = part;
    facts.n_parts = 4;
    snprintf(path, sizeof(path), "w/part-%05d-of-00004.h5", part);
    ck_assert_msg(made_shard(path, &facts, 6, 40, &err), "%s", err.text);
    ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

START_TEST(what_is_watched_is_told_with_its_rate)
{
    char out[ROOM];

    ck_assert_int_eq(mkdir("w", 0700), 0);
    ck_assert_int_eq(run_inspect("--watch w", out, ROOM), 0);
    assert_holds(out, "w: no shard yet\n");
    put_part(2, 1000);
    ck_assert_int_eq(run_inspect("--watch w", out, ROOM), 0);
    assert_holds(out, "w: 1/4 shards and 0 being written, 6 of about 24 views");
    assert_holds(out, "; nothing was written for ");
    ck_assert_ptr_null(strstr(out, "ETA"));
    put_part(0, 1003); /* 6 views in 3 seconds, 12 are to come */
    ck_assert_int_eq(run_inspect("--watch w", out, ROOM), 0);
    assert_holds(out, "2/4 shards and 0 being written, 12 of about 24 views");
    assert_holds(out, ", 2 views/s, ETA 6s; nothing");
    scratch_text("w/part-00001-of-00004.h5.host-1.tmp", "x");
    scratch_text("w/notes.txt", "x");
    ck_assert_int_eq(run_inspect("--watch w", out, ROOM), 0);
    assert_holds(out, "2/4 shards and 1 being written");
    ck_assert_ptr_null(strstr(out, "nothing"));
    put_part(1, 1004);
    put_part(3, 1005);
    ck_assert_int_eq(run_inspect("--watch w", out, ROOM), 0);
    assert_holds(out, "w: 4/4 shards, 24 views, ");
    assert_holds(out, ": complete\n");
}
END_TEST

START_TEST(what_cannot_be_watched_is_said_in_one_line)
{
    char out[ROOM];

    ck_assert_int_eq(run_inspect("--watch none", out, ROOM), 3);
    assert_holds(out, "ld-inspect: none: cannot list");
    scratch_text("x/part-00001-of-00004.h5", "no shard");
    ck_assert_int_eq(run_inspect("--watch x", out, ROOM), 4);
    scratch_text("y/part-00001-of-00004.h5.tmp", "");
    scratch_text("y/part-00001-of-00005.h5.tmp", "");
    ck_assert_int_eq(run_inspect("--watch y", out, ROOM), 8);
    assert_holds(out, "expected a part of ");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("report");
    TCase *c = tcase_create("report");

    tcase_add_checked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, a_report_is_one_page_that_needs_no_other);
    tcase_add_test(c, histograms_count_the_sides_of_rows);
    tcase_add_test(c, a_report_that_cannot_be_made_is_said_in_one_line);
    tcase_add_test(c, what_is_watched_is_told_with_its_rate);
    tcase_add_test(c, what_cannot_be_watched_is_said_in_one_line);
    suite_add_tcase(s, c);
    return s;
}
