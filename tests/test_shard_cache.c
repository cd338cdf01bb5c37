/* Shards that must belong together: to a run, to a folder. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/h5file.h"
#include "formats/seal.h"
#include "formats/shard.h"
#include "tests/made_shard.h"
#include "tests/scratch.h"
#include "tests/suite.h"

/* ---- facts ---- */

static void assert_refused(const struct ld_shard_facts *facts,
                           const struct ld_shard_facts *wanted,
                           const char *text)
{
    struct ld_err err = {0};

    ck_assert(!ld_shard_facts_match(facts, wanted, "cache", &err));
    ck_assert_int_eq(err.code, LD_ERR_MISMATCH);
    ck_assert_str_eq(err.text, text);
}

START_TEST(a_cache_of_another_run_is_refused_with_field_and_values)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP32);
    struct ld_shard_facts wanted = facts;
    const char *names[] = {"disc", "box", "triangle"};
    struct ld_err err = {0};

    wanted.program = "another";
    wanted.storage = LD_STORAGE_FP16;
    wanted.part = 3;
    wanted.teacher_sha256 = NULL;
    wanted.ld_gradient_error_late = 1;
    ck_assert(ld_shard_facts_match(&facts, &wanted, "cache", &err));

    wanted.teacher_sha256 = "abc";
    assert_refused(&facts, &wanted,
                   "cache: its teacher_sha256 is 0123456789abcdef, expected "
                   "abc");
    wanted = facts;
    wanted.std[2] = 57;
    assert_refused(&facts, &wanted, "cache: its std[2] is 57.375, expected 57");
    wanted = facts;
    wanted.vlr_exclude_main = true;
    assert_refused(&facts, &wanted,
                   "cache: its vlr_exclude_main is false, expected true");
    wanted = facts;
    wanted.imitation = "fitnet";
    assert_refused(&facts, &wanted,
                   "cache: its imitation is none, expected fitnet");
    wanted = facts;
    wanted.feature_channels = 128;
    assert_refused(&facts, &wanted,
                   "cache: its feature_channels is 0, expected 128");
    wanted.imitation = NULL; /* a run that does not imitate */
    err = (struct ld_err){0};
    ck_assert(ld_shard_facts_match(&facts, &wanted, "cache", &err));
    wanted = facts;
    wanted.class_names = names;
    assert_refused(&facts, &wanted,
                   "cache: its class 1 of 3 is square, expected box");
    wanted = facts;
    wanted.n_classes = 2;
    assert_refused(&facts, &wanted,
                   "cache: its number of classes is 3, expected 2");
}
END_TEST

START_TEST(a_cache_that_holds_more_than_a_run_reads_is_taken)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP32);
    struct ld_shard_facts wanted = facts;
    struct ld_err err = {0};

    wanted.select = LD_SELECT_VLR_ALL;
    assert_refused(&facts, &wanted,
                   "cache: its select is ld, expected vlr-all");
    facts.select = LD_SELECT_DENSE;
    ck_assert(ld_shard_facts_match(&facts, &wanted, "cache", &err));
    wanted.select = LD_SELECT_LD;
    wanted.assigner = "ATSS topk 5";
    wanted.vlr_mode = "diou";
    wanted.vlr_gamma = 0.5F;
    wanted.vlr_exclude_main = true;
    ck_assert(ld_shard_facts_match(&facts, &wanted, "cache", &err));
    facts.select = LD_SELECT_VLR_ALL; /* has the rows of its regions only */
    assert_refused(&facts, &wanted,
                   "cache: its assigner is ATSS topk 9, expected ATSS topk 5");
    facts.select = LD_SELECT_DENSE;
    wanted.assigner = "FCOS"; /* whose locations are elsewhere */
    assert_refused(&facts, &wanted,
                   "cache: its assigner is ATSS topk 9, expected FCOS");
}
END_TEST

static void assert_other_job(const struct ld_shard_facts *facts,
                             const struct ld_shard_facts *wanted,
                             const char *text)
{
    struct ld_err err = {0};

    ck_assert(!ld_shard_same_job(facts, wanted, "cache", &err));
    ck_assert_str_eq(err.text, text);
}

START_TEST(shards_of_one_job_hold_the_same)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP32);
    struct ld_shard_facts wanted = facts;
    struct ld_err err = {0};

    facts.select = LD_SELECT_DENSE;
    assert_other_job(&facts, &wanted,
                     "cache: its select is dense, expected ld");
    wanted.select = LD_SELECT_DENSE;
    ck_assert(ld_shard_same_job(&facts, &wanted, "cache", &err));
    wanted.vlr_gamma = 0.5F; /* tells the kinds of the same rows */
    assert_other_job(&facts, &wanted,
                     "cache: its vlr_gamma is 0.25, expected 0.5");
}
END_TEST

/* ---- folders ---- */

/* A shard that holds the plain view of one image. */
static void write_part(const struct ld_shard_facts *facts, int part,
                       int64_t image_id, const char *name)
{
    struct ld_shard_facts own = *facts;
    struct ld_err err = {0};
    struct ld_arena arena = {0};
    struct ld_record record =
        made_record(facts, image_id, false, 64, 64, 9, &arena);
    struct ld_shard_writer *w;

    own.part = part;
    unlink(name); /* what is there would stay */
    w = ld_shard_create(name, &own, &err);
    ck_assert_msg(w && ld_shard_append(w, &record, &err) &&
                      ld_shard_skip(w, 100 + image_id, "bad", &err) &&
                      ld_shard_finish(w, &err),
                  "%s", err.text);
    ld_arena_free(&arena);
}

static void assert_cache_refused(enum ld_code code, const char *text)
{
    struct ld_err err = {0};

    ck_assert_ptr_null(ld_cache_open(".", &err));
    ck_assert_int_eq(err.code, code);
    ck_assert_msg(strstr(err.text, text) != NULL, "%s", err.text);
}

START_TEST(a_cache_finds_its_views_over_all_shards)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    const struct ld_shard *shard;
    struct ld_err err = {0};
    struct ld_record entry;
    struct ld_cache *cache;
    int index;

    facts.n_parts = 3;
    write_part(&facts, 1, 20, "b.h5");
    write_part(&facts, 0, 30, "a.h5");
    write_part(&facts, 2, 10, "c.h5");
    scratch_put("d.h5.123.tmp", "half", 4);
    cache = ld_cache_open(".", &err);
    ck_assert_msg(cache != NULL, "%s", err.text);
    ck_assert_int_eq(ld_cache_n_shards(cache), 3);
    ck_assert_int_eq(ld_cache_facts(cache)->n_parts, 3);
    for (int64_t id = 10; id <= 30; id += 10) {
        ck_assert(ld_cache_find(cache, id, false, &shard, &index));
        ld_shard_entry(shard, index, &entry);
        ck_assert_int_eq(entry.image_id, id);
        ck_assert(ld_cache_skipped(cache, 100 + id));
    }
    ck_assert(!ld_cache_find(cache, 10, true, &shard, &index));
    ck_assert(!ld_cache_find(cache, 11, false, &shard, &index));
    ck_assert(!ld_cache_skipped(cache, 10));
    ld_cache_close(cache);
}
END_TEST

START_TEST(a_folder_of_shards_that_do_not_belong_together_is_refused)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    struct ld_shard_facts other;

    assert_cache_refused(LD_ERR_IO, "holds no shard (*.h5)");
    facts.n_parts = 2;
    write_part(&facts, 0, 1, "a.h5");
    assert_cache_refused(LD_ERR_MISMATCH,
                         "of parts 0 to 1 these are missing: 1 (");

    write_part(&facts, 1, 1, "b.h5");
    assert_cache_refused(LD_ERR_MISMATCH, "/a.h5: view 0 of image 1 is in ");

    other = facts;
    other.teacher_sha256 = "another";
    write_part(&other, 1, 2, "b.h5");
    assert_cache_refused(LD_ERR_MISMATCH, "b.h5: its teacher_sha256 is "
                                          "another, expected 0123456789abcdef");
    other = facts;
    other.storage = LD_STORAGE_FP32;
    write_part(&other, 1, 2, "b.h5");
    assert_cache_refused(LD_ERR_MISMATCH,
                         "b.h5: its storage is fp32, expected fp16");
    other = facts;
    other.n_parts = 4;
    write_part(&other, 1, 2, "b.h5");
    assert_cache_refused(LD_ERR_MISMATCH,
                         "b.h5: is one of 4 parts, expected 2");

    scratch_put("b.h5", "x", 1);
    assert_cache_refused(LD_ERR_FORMAT, "b.h5: 1 bytes are too few");
}
END_TEST

START_TEST(a_shard_of_a_future_format_is_refused_as_such)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    struct ld_err err = {0};
    const int32_t next = LD_SHARD_FORMAT + 1;
    char text[100];
    hid_t file;

    ck_assert(made_shard("a.h5", &facts, 2, 9, &err));
    file = H5Fopen("a.h5", H5F_ACC_RDWR, H5P_DEFAULT);
    ck_assert_int_ge(file, 0);
    ck_assert_int_ge(H5Adelete(file, "format"), 0);
    ck_assert(ld_h5_put(file, "format", H5T_STD_I32LE, &next, 1));
    ck_assert_int_ge(H5Adelete(file, "assigner"), 0); /* as it may well lack */
    ck_assert_int_ge(H5Fclose(file), 0);
    ck_assert(ld_seal_write("a.h5", "shard", 0, 0, "a.h5", &err));
    ck_assert_ptr_null(ld_shard_open("a.h5", &err));
    snprintf(text, sizeof(text), "a.h5: shard format %d, this program reads %d",
             LD_SHARD_FORMAT + 1, LD_SHARD_FORMAT);
    ck_assert_str_eq(err.text, text);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("shard_cache");
    TCase *c = tcase_create("shard_cache");

    tcase_add_checked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, a_cache_of_another_run_is_refused_with_field_and_values);
    tcase_add_test(c, a_cache_that_holds_more_than_a_run_reads_is_taken);
    tcase_add_test(c, shards_of_one_job_hold_the_same);
    tcase_add_test(c, a_cache_finds_its_views_over_all_shards);
    tcase_add_test(c,
                   a_folder_of_shards_that_do_not_belong_together_is_refused);
    tcase_add_test(c, a_shard_of_a_future_format_is_refused_as_such);
    suite_add_tcase(s, c);
    return s;
}
