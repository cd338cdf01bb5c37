/* Shards whose logits are foretold from each other. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/h5file.h"
#include "formats/seal.h"
#include "formats/shard.h"
#include "kernels/base/rng.h"
#include "tests/made_shard.h"
#include "tests/scratch.h"
#include "tests/suite.h"

static const char path[] = "a.h5";

static struct ld_shard_facts predicted(int n_classes, double grad_error)
{
    struct ld_shard_facts facts = made_facts(n_classes, LD_STORAGE_PREDICTED);

    facts.asked_gradient_error = grad_error;
    return facts;
}

/* The largest difference, but for a constant a run of `width`. */
static double worst_of(const float *read, const float *exact, size_t n,
                       size_t width, bool relative)
{
    double worst = 0;

    for (size_t i = 0; i < n; i++) {
        double gap = (double)read[i] - (double)exact[i];

        if (relative)
            gap -= (double)read[i - i % width] - (double)exact[i - i % width];
        worst = fmax(worst, fabs(gap));
    }
    return worst;
}

static void check_view(const struct ld_shard *shard, int index, int n_rows,
                       struct ld_arena *arena)
{
    const struct ld_shard_facts *facts = ld_shard_facts(shard);
    struct ld_record exact = made_view(facts, index, n_rows, arena), read;
    size_t n = (size_t)exact.n_rows, m = (size_t)exact.n_main;
    size_t K = (size_t)facts->n_logits;
    size_t width = 68 / (size_t)ld_shard_runs(facts);
    double most = facts->largest_logit_error * (1 + 1e-4) + 1e-6;
    struct ld_err err = {0};

    ck_assert_msg(ld_shard_read(shard, index, arena, &read, &err), "%s",
                  err.text);
    ck_assert_int_eq(read.n_rows, exact.n_rows);
    ck_assert_int_eq(read.n_main, exact.n_main);
    ck_assert(memcmp(read.location, exact.location, n * 4) == 0);
    ck_assert(memcmp(read.kind, exact.kind, n) == 0);
    ck_assert_double_le(
        worst_of(read.box_logits, exact.box_logits, n * 68, width, true), most);
    ck_assert_double_le(
        worst_of(read.class_logits, exact.class_logits, m * K, K, false), most);
}

/* What is kept, times the step, is what comes back as logits. */
static void check_kept(const struct ld_shard *shard, int index,
                       struct ld_arena *arena)
{
    const struct ld_shard_facts *facts = ld_shard_facts(shard);
    int runs = ld_shard_runs(facts), width = 68 / runs, K = facts->n_logits;
    struct ld_record read, kept;
    struct ld_err err = {0};
    int n_wrong = 0;

    ck_assert_msg(ld_shard_read(shard, index, arena, &read, &err) &&
                      ld_shard_read_kept(shard, index, arena, &kept, &err),
                  "%s", err.text);
    ck_assert(!kept.box_logits && !kept.class_logits && !read.box_kept);
    ck_assert_mem_eq(kept.location, read.location, 4 * (size_t)read.n_rows);
    for (int i = 0; i < read.n_rows; i++)
        for (int j = 0; j < 68 - runs; j++)
            n_wrong +=
                read.box_logits[i * 68 + j % runs * width + j / runs + 1] !=
                kept.box_step * kept.box_kept[i * (68 - runs) + j];
    for (int i = 0; i < read.n_main * K; i++)
        n_wrong += read.class_logits[i] != kept.class_step * kept.class_kept[i];
    ck_assert_int_eq(n_wrong, 0);
}

static void check_shard(const struct ld_shard_facts *facts, int n_views,
                        int n_rows)
{
    struct ld_err err = {0};
    struct ld_arena arena = {0};
    struct ld_rng rng = ld_rng_seed(4, 4);
    struct ld_shard *shard;

    ck_assert_msg(made_shard(path, facts, n_views, n_rows, &err), "%s",
                  err.text);
    shard = ld_shard_open(path, &err);
    ck_assert_msg(shard != NULL, "%s", err.text);
    for (int i = 0; i < 2 * n_views; i++) {
        check_view(shard, (int)ld_rng_below(&rng, (uint32_t)n_views), n_rows,
                   &arena);
        check_kept(shard, i % n_views, &arena);
        ld_arena_clear(&arena);
    }
    ck_assert_msg(ld_shard_check(shard, &err), "%s", err.text);
    ld_shard_close(shard);
    ld_arena_free(&arena);
}

START_TEST(rows_come_back_within_the_stated_error)
{
    static const int classes[] = {1, 3, 20, 80};

    for (int i = 0; i < 4; i++) {
        struct ld_shard_facts facts = predicted(classes[i], 1e-2);

        check_shard(&facts, 12, 700); /* many chunks, cut anywhere */
        check_shard(&facts, 3, 5);    /* hardly any rows */
    }
}
END_TEST

/* A box of RetinaNet is one run: 67 columns. */
START_TEST(boxes_of_one_run_come_back)
{
    struct ld_shard_facts facts = predicted(20, 1e-2);

    facts.n_anchors = 9;
    check_shard(&facts, 12, 700);
}
END_TEST

/* 52 views of 700 rows are more than the steps are chosen by. */
START_TEST(the_error_is_measured_and_as_asked)
{
    static const double asked[] = {1e-2, 1e-3};
    struct ld_err err = {0};

    for (int i = 0; i < 2; i++) {
        struct ld_shard_facts facts = predicted(80, asked[i]);
        const struct ld_shard_facts *got;
        struct ld_shard *shard;

        ck_assert(made_shard(path, &facts, 52, 700, &err));
        shard = ld_shard_open(path, &err);
        ck_assert_msg(shard != NULL, "%s", err.text);
        got = ld_shard_facts(shard);
        ck_assert_double_le(got->ld_gradient_error_late, asked[i]);
        ck_assert_double_gt(got->ld_gradient_error_late, 0.85 * asked[i]);
        ck_assert_double_le(got->kd_gradient_error_late, asked[i]);
        ck_assert_double_gt(got->kd_gradient_error_late, 0.8 * asked[i]);
        ck_assert(got->asked_gradient_error == asked[i]);
        ld_shard_close(shard);
    }
}
END_TEST

/* What coding costs above the entropy of the numbers it codes. */
START_TEST(bytes_are_near_the_entropy)
{
    struct ld_shard_facts facts = predicted(80, 1e-2);
    struct ld_shard_sizes sizes;
    struct ld_err err = {0};
    struct ld_shard *shard;
    double box, class_rows;

    ck_assert(made_shard(path, &facts, 52, 1400, &err));
    shard = ld_shard_open(path, &err);
    ck_assert_msg(shard != NULL, "%s", err.text);
    ld_shard_sizes(shard, &sizes);
    box = (double)sizes.box / (double)sizes.n_rows;
    class_rows = (double)sizes.class_rows / (double)sizes.n_main;
    printf("# box %.1f bytes a row, entropy %.1f; class %.1f, entropy %.1f\n",
           box, ld_shard_facts(shard)->box_entropy, class_rows,
           ld_shard_facts(shard)->class_entropy);
    ck_assert_double_lt(box, 1.07 * ld_shard_facts(shard)->box_entropy);
    ck_assert_double_lt(class_rows,
                        1.07 * ld_shard_facts(shard)->class_entropy);
    ck_assert_double_gt(box, 0.97 * ld_shard_facts(shard)->box_entropy);
    ld_shard_close(shard);
}
END_TEST

/* Places that are not each one column's would read beyond a chunk. */
START_TEST(places_that_are_none_are_refused)
{
    static const int32_t wrong[] = {-1, 64, 1 << 20, 1};
    struct ld_shard_facts facts = predicted(3, 1e-2);
    struct ld_err err = {0};
    int32_t place[64];

    for (int i = 0; i < 4; i++) {
        hid_t file;

        ck_assert(made_shard(path, &facts, 2, 9, &err));
        file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        ck_assert(
            ld_h5_get_array(file, "steps/box_place", H5T_STD_I32LE, place, 64));
        place[0] = wrong[i]; /* 1: it is the next column's too */
        ck_assert_int_ge(H5Ldelete(file, "steps/box_place", H5P_DEFAULT), 0);
        ck_assert(
            ld_h5_put_array(file, "steps/box_place", H5T_STD_I32LE, place, 64));
        ck_assert_int_ge(H5Fclose(file), 0);
        ck_assert(ld_seal_write(path, "shard", 0, 0, path, &err));
        ck_assert_ptr_null(ld_shard_open(path, &err));
        ck_assert_str_eq(err.text,
                         "a.h5: what its rows are foretold by is damaged");
        err = (struct ld_err){0};
    }
}
END_TEST

START_TEST(equal_records_make_equal_files)
{
    struct ld_shard_facts facts = predicted(20, 1e-2);
    struct ld_err err = {0};

    ck_assert(made_shard("a.h5", &facts, 60, 700, &err));
    ck_assert(made_shard("b.h5", &facts, 60, 700, &err));
    ck_assert_int_eq(system("cmp a.h5 b.h5"), 0);
}
END_TEST

START_TEST(features_of_a_predicted_shard_are_fp16)
{
    struct ld_shard_facts facts = predicted(3, 1e-2);
    struct ld_arena arena = {0};
    struct ld_err err = {0};
    struct ld_record exact, read;
    struct ld_shard *shard;

    facts.imitation = "main";
    facts.feature_channels = 16;
    ck_assert(made_shard(path, &facts, 6, 60, &err));
    shard = ld_shard_open(path, &err);
    ck_assert_msg(shard != NULL, "%s", err.text);
    exact = made_view(&facts, 4, 60, &arena);
    ck_assert(ld_shard_read(shard, 4, &arena, &read, &err) &&
              ld_shard_read_features(shard, 4, &arena, &read, &err));
    ck_assert_int_eq(read.n_features, exact.n_features);
    ck_assert_double_le(worst_of(read.features, exact.features,
                                 (size_t)exact.n_features * 16, 1, false),
                        4 * 0x1p-11); /* normal numbers below 4 */
    ld_shard_close(shard);
    ld_arena_free(&arena);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("shard_predicted");
    TCase *c = tcase_create("shard_predicted");

    tcase_add_checked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, rows_come_back_within_the_stated_error);
    tcase_add_test(c, boxes_of_one_run_come_back);
    tcase_add_test(c, the_error_is_measured_and_as_asked);
    tcase_add_test(c, bytes_are_near_the_entropy);
    tcase_add_test(c, places_that_are_none_are_refused);
    tcase_add_test(c, equal_records_make_equal_files);
    tcase_add_test(c, features_of_a_predicted_shard_are_fp16);
    suite_add_tcase(s, c);
    return s;
}
