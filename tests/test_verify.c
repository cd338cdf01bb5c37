/* ld-cache verify, from outside: a true cache passes, no other does. */
#include "formats/shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/scratch.h"
#include "tests/suite.h"

/* Runs a program of the build; both outputs go to `out`. */
static int run(const char *program, const char *arguments, char out[4096])
{
    const char *build = getenv("LD_BUILD");
    char command[1024];
    FILE *pipe;
    size_t len;
    int status;

    snprintf(command, sizeof(command), "(%s/%s %s) 2>&1 | tail -n 1",
             build ? build : "build", program, arguments);
    pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    len = fread(out, 1, 4095, pipe);
    out[len] = 0;
    status = pclose(pipe);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void must_run(const char *program, const char *arguments)
{
    char out[4096];

    run(program, arguments, out);
    ck_assert_msg(!strstr(out, ": cannot") && !strstr(out, "expected"), "%s %s",
                  program, out);
}

/* Six images, two teachers, and the first one's cache in one shard. */
static void make_cache(void)
{
    scratch_text("c.yaml",
                 "data: {format: coco, train: s/coco/train.json, "
                 "train_images: s/images, val: s/coco/val.json, val_images: "
                 "s/images}\n"
                 "view: {long_edge: 64, short_edge: 64}\n"
                 "model: {depth: 18, width: 16, fpn_channels: 32, head_convs: "
                 "1, gn_groups: 8, frozen_stages: -1, norm_eval: false}\n"
                 "train: {batch: 3, epochs: 1, warmup_steps: 5, lr_steps: "
                 "[1], eval_every: 0}\n"
                 "cache: {storage: fp32}\nthreads: 1\n");
    must_run("scripts/ld-shapes", "s --images 6 --val 2 --size 64x64");
    must_run("trainer/ld-distill", "train c.yaml --out a");
    must_run("trainer/ld-distill", "train c.yaml --out b --set train.seed=9");
    must_run("cache/ld-cache",
             "precompute c.yaml --teacher a/latest.h5 --out cache");
}

/* Writes the shard again, the logit of one view moved by so much. */
static void doctor(const char *folder, enum ld_storage storage, int view,
                   float by)
{
    struct ld_err err = {0};
    struct ld_arena arena = {0};
    struct ld_shard *shard =
        ld_shard_open("cache/part-00000-of-00001.h5", &err);
    struct ld_shard_facts facts;
    struct ld_shard_writer *w;
    char path[64];

    ck_assert_msg(shard != NULL, "%s", err.text);
    facts = *ld_shard_facts(shard);
    facts.storage = storage;
    facts.asked_gradient_error = storage == LD_STORAGE_PREDICTED ? 0.01 : 0;
    snprintf(path, sizeof(path), "%s/part-00000-of-00001.h5", folder);
    scratch_text(path, "");
    remove(path);
    w = ld_shard_create(path, &facts, &err);
    ck_assert_ptr_nonnull(w);
    for (int i = 0; i < ld_shard_count(shard); i++) {
        struct ld_record record;

        ck_assert(ld_shard_read(shard, i, &arena, &record, &err));
        if (i == view)
            ((float *)record.box_logits)[5] += by;
        ck_assert(ld_shard_append(w, &record, &err));
    }
    ck_assert_msg(ld_shard_finish(w, &err), "%s", err.text);
    ld_arena_free(&arena);
    ld_shard_close(shard);
}

static void assert_line(const char *arguments, const char *words)
{
    char out[4096];

    run("cache/ld-cache", arguments, out);
    ck_assert_msg(strstr(out, words) != NULL, "ld-cache %s: %s, expected %s",
                  arguments, out, words);
}

START_TEST(a_true_cache_is_what_its_teacher_says)
{
    make_cache();
    assert_line("verify cache c.yaml --teacher a/latest.h5",
                "cache: 12 of 12 views are what the teacher says: to the bit");
    assert_line("verify cache c.yaml --teacher a/latest.h5 --records 5",
                "cache: 5 of 12 views");
    doctor("fp16", LD_STORAGE_FP16, 0, 0);
    assert_line("verify fp16 c.yaml --teacher a/latest.h5",
                "fp16: 12 of 12 views are what the teacher says: logits off");
    doctor("steps", LD_STORAGE_PREDICTED, 0, 0);
    assert_line("verify steps c.yaml --teacher a/latest.h5",
                "steps: 12 of 12 views are what the teacher says: logits off");
}
END_TEST

START_TEST(another_teacher_is_refused)
{
    make_cache();
    assert_line("verify cache c.yaml --teacher b/latest.h5", "teacher_sha256");
    assert_line("verify cache c.yaml --teacher a/latest.h5 --set "
                "assign.topk=5",
                "assigner");
}
END_TEST

/* One logit of the fourth view: image 2, flipped. */
START_TEST(a_doctored_shard_is_found_out)
{
    make_cache();
    doctor("bit", LD_STORAGE_FP32, 3, 1e-4F);
    assert_line("verify bit c.yaml --teacher a/latest.h5",
                "image 2, flipped: a box logit of row 0 is off by 1.0");
    doctor("more", LD_STORAGE_FP16, 3, 0.5F);
    assert_line("verify more c.yaml --teacher a/latest.h5",
                "image 2, flipped: a box logit of row 0 is off by 2.5");
}
END_TEST

START_TEST(its_exit_status_tells)
{
    char out[4096];

    make_cache();
    must_run("cache/ld-cache", "verify cache c.yaml --teacher a/latest.h5");
    assert_line("verify cache c.yaml --teacher a/latest.h5; echo status $?",
                "status 0");
    assert_line("verify cache c.yaml --teacher b/latest.h5; echo status $?",
                "status 8");
    assert_line("verify cache c.yaml; echo status $?", "status 2");
    ck_assert_int_eq(
        run("cache/ld-cache",
            "verify cache c.yaml --teacher a/latest.h5 --records 0", out),
        0); /* of tail */
    ck_assert_ptr_nonnull(strstr(out, "--records 0: expected a number"));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("verify");
    TCase *c = tcase_create("verify");

    tcase_add_checked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, a_true_cache_is_what_its_teacher_says);
    tcase_add_test(c, another_teacher_is_refused);
    tcase_add_test(c, a_doctored_shard_is_found_out);
    tcase_add_test(c, its_exit_status_tells);
    suite_add_tcase(s, c);
    return s;
}
