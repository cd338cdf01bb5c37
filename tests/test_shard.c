#include "formats/shard.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hdf5.h>

#include "formats/zstd_filter.h"
#include "kernels/base/rng.h"
#include "tests/made_shard.h"
#include "tests/scratch.h"
#include "tests/suite.h"

/* What a reader must get for `exact` logits. */
static void assert_logits(const float *read, const float *exact, size_t count,
                          enum ld_storage storage)
{
    struct ld_err err = {0};
    float *expected = ld_new(2 * count, sizeof(*expected), &err);
    void *stored = expected + count;

    ld_codec_encode(storage, stored, exact, count);
    ld_codec_decode(storage, expected, stored, count);
    ck_assert(memcmp(read, expected, count * sizeof(*read)) == 0);
    ld_delete(expected);
}

static void assert_same(const struct ld_record *read,
                        const struct ld_record *exact,
                        const struct ld_shard_facts *facts)
{
    size_t n = (size_t)exact->n_rows, m = (size_t)exact->n_main;
    size_t B = (size_t)facts->reg_max + 1;

    ck_assert_int_eq(read->image_id, exact->image_id);
    ck_assert_int_eq(read->view.H, exact->view.H);
    ck_assert_int_eq(read->view.W, exact->view.W);
    ck_assert_int_eq(read->view.canvas_H, exact->view.canvas_H);
    ck_assert_int_eq(read->view.canvas_W, exact->view.canvas_W);
    ck_assert_int_eq(read->view.flipped, exact->view.flipped);
    ck_assert_int_eq(read->n_rows, exact->n_rows);
    ck_assert_int_eq(read->n_main, exact->n_main);
    ck_assert_mem_eq(read->location, exact->location, n * sizeof(int32_t));
    ck_assert_mem_eq(read->kind, exact->kind, n);
    assert_logits(read->box_logits, exact->box_logits, n * 4 * B,
                  facts->storage);
    assert_logits(read->class_logits, exact->class_logits,
                  m * (size_t)facts->n_logits, facts->storage);
    ck_assert_int_eq(read->n_logits, facts->n_logits);
}

static void assert_same_features(const struct ld_record *read,
                                 const struct ld_record *exact,
                                 const struct ld_shard_facts *facts)
{
    size_t n = (size_t)exact->n_features;

    ck_assert_int_eq(read->n_features, exact->n_features);
    ck_assert(memcmp(read->feature_location, exact->feature_location,
                     n * sizeof(int32_t)) == 0);
    assert_logits(read->features, exact->features,
                  n * (size_t)facts->feature_channels, facts->storage);
}

/* Every view of a shard of made_shard, read in random order. */
static void assert_round_trip(const struct ld_shard_facts *facts, int n_views,
                              int n_rows)
{
    struct ld_err err = {0};
    struct ld_arena arena = {0};
    const char *path = "a.h5";
    struct ld_rng rng = ld_rng_seed(2, 2);
    struct ld_shard *shard;

    ck_assert_msg(made_shard(path, facts, n_views, n_rows, &err), "%s",
                  err.text);
    shard = ld_shard_open(path, &err);
    ck_assert_msg(shard != NULL, "%s", err.text);
    ck_assert_int_eq(ld_shard_count(shard), n_views);
    for (int i = 0; i < 2 * n_views; i++) {
        int index = (int)ld_rng_below(&rng, (uint32_t)n_views);
        struct ld_record exact = made_view(facts, index, n_rows, &arena), read;

        ck_assert_msg(ld_shard_read(shard, index, &arena, &read, &err), "%s",
                      err.text);
        assert_same(&read, &exact, facts);
        ck_assert_ptr_null(read.features);
        if (facts->feature_channels > 0) {
            ck_assert_msg(
                ld_shard_read_features(shard, index, &arena, &read, &err), "%s",
                err.text);
            assert_same_features(&read, &exact, facts);
        }
        ck_assert(ld_shard_read_places(shard, index, &arena, &read, &err));
        ck_assert_mem_eq(read.kind, exact.kind, (size_t)exact.n_rows);
        ck_assert_ptr_null(read.box_logits);
        ld_arena_clear(&arena);
    }
    ck_assert_msg(ld_shard_check(shard, &err), "%s", err.text);
    ld_shard_close(shard);
    ld_arena_free(&arena);
}

START_TEST(fp32_rows_come_back_bit_for_bit)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP32);

    assert_round_trip(&facts, 10, 60);
}
END_TEST

START_TEST(fp16_rows_come_back_rounded)
{
    struct ld_shard_facts facts = made_facts(80, LD_STORAGE_FP16);

    assert_round_trip(&facts, 9, 60);
}
END_TEST

START_TEST(rows_with_a_background_logit_come_back)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP32);

    facts.n_logits = 4;
    assert_round_trip(&facts, 10, 60);
}
END_TEST

START_TEST(records_longer_than_a_chunk_come_back)
{
    struct ld_shard_facts facts = made_facts(80, LD_STORAGE_FP16);

    assert_round_trip(&facts, 4, 5000);
}
END_TEST

START_TEST(class_rows_of_all_rows_come_back_if_asked)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP32);

    facts.select = LD_SELECT_VLR_ALL;
    assert_round_trip(&facts, 6, 60);
}
END_TEST

START_TEST(rows_of_every_location_come_back_if_asked)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP32);

    facts.select = LD_SELECT_DENSE;
    assert_round_trip(&facts, 6, 60);
    facts.storage = LD_STORAGE_FP16;
    assert_round_trip(&facts, 6, 60);
}
END_TEST

START_TEST(views_without_rows_come_back)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);

    assert_round_trip(&facts, 3, 0);
    facts.feature_channels = 32;
    assert_round_trip(&facts, 3, 0);
}
END_TEST

START_TEST(features_come_back_if_asked)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP32);

    facts.imitation = "finegrained";
    facts.feature_channels = 256;
    assert_round_trip(&facts, 6, 150); /* more than a chunk */
    facts.storage = LD_STORAGE_FP16;
    facts.feature_channels = 21;
    assert_round_trip(&facts, 6, 60);
}
END_TEST

/* fp16 rounds to 11 bits: a number by 2^-12 of itself at most, by 0.41 of that
 * in the root mean square of numbers evenly spread between powers of two. */
START_TEST(the_writer_measures_what_storing_features_costs)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    struct ld_err err = {0};
    struct ld_shard *shard;
    double error;

    facts.feature_channels = 64;
    ck_assert(made_shard("a.h5", &facts, 4, 60, &err));
    shard = ld_shard_open("a.h5", &err);
    ck_assert_ptr_nonnull(shard);
    error = ld_shard_facts(shard)->feature_error;
    ck_assert_double_gt(error, 0.3 * 0x1p-11);
    ck_assert_double_lt(error, 0.5 * 0x1p-11);
    ld_shard_close(shard);
}
END_TEST

START_TEST(a_shard_without_views_is_a_shard)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    struct ld_err err = {0};
    const char *path = "a.h5";
    struct ld_shard_sizes sizes;
    struct ld_shard *shard;

    ck_assert_msg(made_shard(path, &facts, 0, 0, &err), "%s", err.text);
    shard = ld_shard_open(path, &err);
    ck_assert_msg(shard != NULL, "%s", err.text);
    ck_assert_int_eq(ld_shard_count(shard), 0);
    ld_shard_sizes(shard, &sizes);
    ck_assert_int_eq(sizes.n_rows, 0);
    ck_assert_int_eq(sizes.box, 0);
    ld_shard_close(shard);
}
END_TEST

START_TEST(facts_and_skipped_images_come_back)
{
    char text[40];
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    const char *path = "a.h5", *reason;
    struct ld_err err = {0};
    struct ld_shard_writer *w;
    const struct ld_shard_facts *read;
    struct ld_shard *shard;

    facts.part = 2;
    facts.n_parts = 5;
    facts.vlr_exclude_main = true;
    w = ld_shard_create(path, &facts, &err);
    ck_assert_msg(w != NULL, "%s", err.text);
    ck_assert(ld_shard_skip(w, 12, "a.jpg: ends early", &err));
    ck_assert(ld_shard_skip(w, 1LL << 40, "", &err));
    ck_assert_msg(ld_shard_finish(w, &err), "%s", err.text);

    shard = ld_shard_open(path, &err);
    ck_assert_msg(shard != NULL, "%s", err.text);
    read = ld_shard_facts(shard);
    ck_assert(ld_shard_facts_match(read, &facts, path, &err) == false);
    snprintf(text, sizeof(text), "format is %d, expected 0", LD_SHARD_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, text));
    facts.format = LD_SHARD_FORMAT;
    err = (struct ld_err){0};
    ck_assert_msg(ld_shard_facts_match(read, &facts, path, &err), "%s",
                  err.text);
    ck_assert_int_eq(read->storage, LD_STORAGE_FP16);
    ck_assert_int_eq(read->part, 2);
    ck_assert_int_eq(read->n_parts, 5);
    ck_assert_str_eq(read->program, facts.program);
    ck_assert_int_eq(ld_shard_n_skipped(shard), 2);
    ck_assert_int_eq(ld_shard_skipped(shard, 0, &reason), 12);
    ck_assert_str_eq(reason, "a.jpg: ends early");
    ck_assert_int_eq(ld_shard_skipped(shard, 1, &reason), 1LL << 40);
    ld_shard_close(shard);
}
END_TEST

START_TEST(the_writer_measures_what_storing_costs)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    const char *path = "a.h5";
    struct ld_err err = {0};
    const struct ld_shard_facts *read;
    struct ld_shard *shard;

    facts.ld_gradient_error_early = 7; /* not believed */
    ck_assert(made_shard(path, &facts, 4, 60, &err));
    shard = ld_shard_open(path, &err);
    ck_assert_ptr_nonnull(shard);
    read = ld_shard_facts(shard);
    /* fp16 keeps 11 bits: a logit below 16 is off by 2^-8 at most. */
    ck_assert_double_gt(read->largest_logit_error, 1e-4);
    ck_assert_double_le(read->largest_logit_error, 0x1p-8);
    ck_assert_double_gt(read->ld_gradient_error_early, 1e-5);
    ck_assert_double_lt(read->ld_gradient_error_early, 1e-3);
    ck_assert_double_lt(read->kd_gradient_error_late, 1e-2);
    ld_shard_close(shard);
}
END_TEST

START_TEST(equal_records_make_equal_files)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    struct ld_err err = {0};
    size_t len_a, len_b;
    char *a, *b;

    ck_assert(made_shard("a.h5", &facts, 6, 60, &err));
    ck_assert(made_shard("b.h5", &facts, 6, 60, &err));
    a = scratch_get("a.h5", &len_a);
    b = scratch_get("b.h5", &len_b);
    ck_assert_uint_eq(len_a, len_b);
    ck_assert(memcmp(a, b, len_a) == 0);
    ck_assert_int_eq(scratch_count("."), 2);
    ld_delete(a);
    ld_delete(b);
}
END_TEST

START_TEST(logits_that_are_not_finite_are_refused_with_their_image)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    struct ld_err err = {0};
    struct ld_arena arena = {0};
    struct ld_record record = made_record(&facts, 77, true, 64, 64, 9, &arena);
    float *box = ld_arena_new(&arena, 9 * 68, sizeof(*box), &err);
    struct ld_shard_writer *w = ld_shard_create("a.h5", &facts, &err);

    box[600] = NAN;
    record.box_logits = box;
    ck_assert(!ld_shard_append(w, &record, &err));
    ck_assert_int_eq(err.code, LD_ERR_NUMBER);
    ck_assert_str_eq(err.text,
                     "image 77, flipped: the teacher's logits are not finite");
    ld_shard_abandon(w);
    ck_assert_int_eq(scratch_count("."), 0);
    ld_arena_free(&arena);
}
END_TEST

START_TEST(hdf5_itself_reads_the_same_rows)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    const char *path = "a.h5";
    struct ld_err err = {0};
    struct ld_arena arena = {0};
    struct ld_record exact = made_view(&facts, 0, 60, &arena);
    float *box = ld_arena_new(&arena, 600 * 68, sizeof(*box), &err);
    int32_t *location = ld_arena_new(&arena, 600, sizeof(*location), &err);
    hid_t file, set;

    ck_assert(made_shard(path, &facts, 10, 60, &err));
    ck_assert(ld_zstd_filter_register());
    file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    set = H5Dopen2(file, "/rows/box", H5P_DEFAULT);
    ck_assert(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                      box) >= 0);
    assert_logits(box, exact.box_logits, (size_t)exact.n_rows * 68,
                  LD_STORAGE_FP16);
    H5Dclose(set);
    set = H5Dopen2(file, "/rows/location", H5P_DEFAULT);
    ck_assert(H5Dread(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                      location) >= 0);
    ck_assert_mem_eq(location, exact.location, (size_t)exact.n_rows * 4);
    H5Dclose(set);
    H5Fclose(file);
    ld_arena_free(&arena);
}
END_TEST

/* What h5py says of a shard, on one line; false without python3-h5py. */
static bool ask_h5py(const char *path, char *line, size_t size)
{
    static const char script[] =
        "import sys, h5py; f = h5py.File(sys.argv[1], 'r'); r = f['rows']; "
        "print(r['location'].dtype, r['kind'].dtype, r['box'].dtype.str, "
        "r['box'].shape, r['class'].shape, f['index/image_id'][:4].tolist(), "
        "f.attrs['teacher_model'], list(f.attrs['class_names']), "
        "f.attrs['mean'].dtype, f.attrs['reg_max'], "
        "len(r['box'].id.read_direct_chunk((0, 0, 0))[1]) == "
        "f['index/frames'][2][1])";
    char command[2048];
    FILE *pipe;
    bool ok;

    for (int i = 0; i < 2; i++) {
        const char *python = i ? "/usr/bin/python3" : "python3";

        snprintf(command, sizeof(command), "%s -c \"%s\" '%s' 2>/dev/null",
                 python, script, path);
        pipe = popen(command, "r");
        ok = pipe && fgets(line, (int)size, pipe) != NULL;
        if (pipe)
            ok = pclose(pipe) == 0 && ok;
        if (ok)
            return true;
    }
    return false;
}

START_TEST(h5py_sees_native_types)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    const char *path = "a.h5";
    struct ld_err err = {0};
    char line[1024], expected[1024];
    struct ld_shard_sizes sizes;
    struct ld_shard *shard;

    ck_assert(made_shard(path, &facts, 4, 60, &err));
    if (system("python3 -c 'import h5py' 2>/dev/null || "
               "/usr/bin/python3 -c 'import h5py' 2>/dev/null") != 0)
        SKIP_TEST("python3 has no h5py (scripts/setup --python)");
    shard = ld_shard_open(path, &err);
    ld_shard_sizes(shard, &sizes);
    ld_shard_close(shard);
    snprintf(expected, sizeof(expected),
             "int32 uint8 <f2 (240, 4, 17) (%d, 3) [1, 1, 2, 2] GFL R-18, FPN "
             "64 ['disc', 'square', 'triangle'] float32 16 True\n",
             (int)sizes.n_main);
    ck_assert(ask_h5py(path, line, sizeof(line)));
    ck_assert_str_eq(line, expected);
}
END_TEST

struct reader {
    const struct ld_shard *shard;
    const struct ld_shard_facts *facts;
    uint64_t seed;
    bool ok;
};

static void *read_at_random(void *task)
{
    struct reader *reader = task;
    struct ld_rng rng = ld_rng_seed(reader->seed, 0);
    struct ld_arena arena = {0};
    struct ld_err err = {0};
    bool ok = true;

    for (int i = 0; ok && i < 100; i++) {
        int index =
            (int)ld_rng_below(&rng, (uint32_t)ld_shard_count(reader->shard));
        struct ld_record exact = made_view(reader->facts, index, 60, &arena);
        struct ld_record read;

        ok = ld_shard_read(reader->shard, index, &arena, &read, &err) &&
             memcmp(read.box_logits, exact.box_logits,
                    (size_t)exact.n_rows * 68 * sizeof(float)) == 0;
        ld_arena_clear(&arena);
    }
    ld_arena_free(&arena);
    reader->ok = ok;
    return NULL;
}

START_TEST(two_threads_read_one_shard_at_random)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP32);
    const char *path = "a.h5";
    struct ld_err err = {0};
    struct ld_shard *shard;
    struct reader readers[2];
    pthread_t threads[2];

    ck_assert(made_shard(path, &facts, 20, 60, &err));
    shard = ld_shard_open(path, &err);
    for (int t = 0; t < 2; t++) {
        readers[t] = (struct reader){shard, &facts, (uint64_t)t, false};
        ck_assert_int_eq(
            pthread_create(&threads[t], NULL, read_at_random, &readers[t]), 0);
    }
    for (int t = 0; t < 2; t++) {
        pthread_join(threads[t], NULL);
        ck_assert(readers[t].ok);
    }
    ld_shard_close(shard);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("shard");
    TCase *c = tcase_create("shard");

    tcase_add_checked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, fp32_rows_come_back_bit_for_bit);
    tcase_add_test(c, fp16_rows_come_back_rounded);
    tcase_add_test(c, rows_with_a_background_logit_come_back);
    tcase_add_test(c, records_longer_than_a_chunk_come_back);
    tcase_add_test(c, class_rows_of_all_rows_come_back_if_asked);
    tcase_add_test(c, rows_of_every_location_come_back_if_asked);
    tcase_add_test(c, views_without_rows_come_back);
    tcase_add_test(c, features_come_back_if_asked);
    tcase_add_test(c, the_writer_measures_what_storing_features_costs);
    tcase_add_test(c, a_shard_without_views_is_a_shard);
    tcase_add_test(c, facts_and_skipped_images_come_back);
    tcase_add_test(c, the_writer_measures_what_storing_costs);
    tcase_add_test(c, equal_records_make_equal_files);
    tcase_add_test(c, logits_that_are_not_finite_are_refused_with_their_image);
    tcase_add_test(c, hdf5_itself_reads_the_same_rows);
    tcase_add_test(c, h5py_sees_native_types);
    tcase_add_test(c, two_threads_read_one_shard_at_random);
    suite_add_tcase(s, c);
    return s;
}
