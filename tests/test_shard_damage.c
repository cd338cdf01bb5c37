/* What befalls files: bits flip, ends are lost, disks fill, writers die. */
#include "formats/shard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/rng.h"
#include "tests/made_shard.h"
#include "tests/scratch.h"
#include "tests/suite.h"

enum { N_VIEWS = 8, N_ROWS = 40, N_FLIPS = 1000 };

/* Of a shard that has a row of everything. */
static struct ld_shard_facts all_facts(void)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);

    facts.imitation = "main";
    facts.feature_channels = 17;
    return facts;
}

/* The bytes of a small whole shard, to be ld_delete'd. */
static char *whole_shard(const char *path, size_t *len)
{
    struct ld_shard_facts facts = all_facts();
    struct ld_err err = {0};

    ck_assert_msg(made_shard(path, &facts, N_VIEWS, N_ROWS, &err), "%s",
                  err.text);
    return scratch_get(path, len);
}

static void assert_one_line(const struct ld_err *err, const char *path)
{
    ck_assert_int_ne(err->code, LD_OK);
    ck_assert_msg(strncmp(err->text, path, strlen(path)) == 0, "%s", err->text);
    ck_assert_ptr_null(strchr(err->text, '\n'));
}

static uint64_t add_floats(uint64_t sum, const float *values, int count,
                           int64_t seed)
{
    for (int i = 0; i < count; i++) {
        uint32_t bits;

        memcpy(&bits, &values[i], sizeof(bits));
        sum = ld_rng_hash(sum, bits, (uint64_t)seed);
    }
    return sum;
}

/* All numbers of all views in one checksum; false if a read fails. */
static bool read_all(const struct ld_shard *shard, uint64_t *sum,
                     struct ld_err *err)
{
    struct ld_arena arena = {0};
    struct ld_record r;
    bool ok = true;

    *sum = 0;
    for (int i = 0; ok && i < ld_shard_count(shard); i++) {
        ok = ld_shard_read(shard, i, &arena, &r, err);
        for (int j = 0; ok && j < r.n_rows; j++)
            *sum = add_floats(*sum, r.box_logits + j * 68, 68, r.location[j]);
        if (ok)
            *sum = add_floats(*sum, r.class_logits, r.n_main * 3, r.image_id);
        ok = ok && ld_shard_read_features(shard, i, &arena, &r, err);
        for (int j = 0; ok && j < r.n_features; j++)
            *sum = add_floats(*sum, r.features + j * 17, 17,
                              r.feature_location[j]);
        ld_arena_clear(&arena);
    }
    ld_arena_free(&arena);
    return ok;
}

START_TEST(a_shard_cut_short_anywhere_is_refused)
{
    const char *path = "a.h5";
    size_t len;
    char *bytes = whole_shard(path, &len);
    struct ld_rng rng = ld_rng_seed(3, 3);

    for (int i = 0; i < 300; i++) {
        size_t cut = i < 4   ? (size_t)i
                     : i < 8 ? len - (size_t)i + 3
                             : ld_rng_below(&rng, (uint32_t)len);
        struct ld_err err = {0};

        ck_assert_int_eq(truncate(path, (off_t)cut), 0);
        ck_assert_ptr_null(ld_shard_open(path, &err));
        ck_assert_int_eq(err.code, LD_ERR_FORMAT);
        assert_one_line(&err, path);
        scratch_put(path, bytes, len);
    }
    ld_delete(bytes);
}
END_TEST

START_TEST(a_shard_with_bytes_behind_it_is_refused)
{
    const char *path = "a.h5";
    struct ld_err err = {0};
    size_t len;
    char *bytes = whole_shard(path, &len);

    scratch_put(path, bytes, len + 1);
    ck_assert_ptr_null(ld_shard_open(path, &err));
    assert_one_line(&err, path);
    ld_delete(bytes);
}
END_TEST

enum outcome { AT_OPEN, AT_READ, BY_CHECK, UNSEEN };

/* What notices that the file differs from the one whose rows sum to `sum`. */
static enum outcome notice(const char *path, uint64_t sum)
{
    struct ld_err err = {0}, checking = {0};
    struct ld_shard *shard = ld_shard_open(path, &err);
    enum outcome outcome = AT_OPEN;
    uint64_t found;

    if (shard && !read_all(shard, &found, &err)) {
        outcome = AT_READ;
        ck_assert_ptr_nonnull(strstr(err.text, ": image "));
    } else if (shard) {
        ck_assert_uint_eq(found, sum); /* damage may not change a row */
        outcome = ld_shard_check(shard, &checking) ? UNSEEN : BY_CHECK;
    }
    if (outcome != BY_CHECK && outcome != UNSEEN)
        assert_one_line(&err, path);
    ld_shard_close(shard);
    return outcome;
}

START_TEST(each_of_a_thousand_flipped_bits_is_noticed)
{
    const char *path = "a.h5";
    struct ld_rng rng = ld_rng_seed(4, 4);
    int count[UNSEEN + 1] = {0}, fd;
    struct ld_err err = {0};
    size_t len;
    char *bytes = whole_shard(path, &len);
    struct ld_shard *shard = ld_shard_open(path, &err);
    uint64_t sum;

    ck_assert_msg(shard && read_all(shard, &sum, &err), "%s", err.text);
    ld_shard_close(shard);
    fd = open(path, O_WRONLY);
    for (int i = 0; i < N_FLIPS; i++) {
        uint32_t at = ld_rng_below(&rng, (uint32_t)len);
        char flipped = (char)(bytes[at] ^ 1 << ld_rng_below(&rng, 8));

        ck_assert_int_eq(pwrite(fd, &flipped, 1, at), 1);
        count[notice(path, sum)]++;
        ck_assert_int_eq(pwrite(fd, &bytes[at], 1, at), 1);
    }
    close(fd);
    printf("# %d bits flipped (seed 4): %d noticed at open, %d at read, %d by "
           "the whole file's checksum alone, %d never\n",
           N_FLIPS, count[AT_OPEN], count[AT_READ], count[BY_CHECK],
           count[UNSEEN]);
    ck_assert_int_eq(count[UNSEEN], 0);
    ck_assert_int_eq(notice(path, sum), UNSEEN); /* it is whole again */
    ld_delete(bytes);
}
END_TEST

START_TEST(a_damaged_frame_names_the_image_and_view)
{
    const char *path = "a.h5";
    struct ld_err err = {0};
    struct ld_arena arena = {0};
    struct ld_record record;
    struct ld_shard *shard;
    size_t len;
    char *bytes = whole_shard(path, &len);

    /* The first frame of the file is that of the first rows put: location. */
    for (size_t i = 512; i < len; i++)
        if (memcmp(bytes + i, "\x28\xb5\x2f\xfd", 4) == 0) {
            bytes[i + 20] ^= 1;
            break;
        }
    scratch_put(path, bytes, len);
    shard = ld_shard_open(path, &err);
    ck_assert_msg(shard != NULL, "%s", err.text);
    ck_assert(!ld_shard_read(shard, 1, &arena, &record, &err));
    ck_assert_int_eq(err.code, LD_ERR_FORMAT);
    assert_one_line(&err, path);
    ck_assert_ptr_nonnull(strstr(err.text, "a.h5: image 1, flipped: /rows/"));
    ld_shard_close(shard);
    ld_arena_free(&arena);
    ld_delete(bytes);
}
END_TEST

START_TEST(files_that_are_no_shards_are_refused_in_one_line)
{
    const char *path = "a.h5";
    char bytes[4096] = "ld-distill checkpoint 1\n";
    struct ld_err err = {0};

    ck_assert_ptr_null(ld_shard_open(path, &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    assert_one_line(&err, path);

    err = (struct ld_err){0};
    scratch_put(path, bytes, sizeof(bytes));
    ck_assert_ptr_null(ld_shard_open(path, &err));
    ck_assert_int_eq(err.code, LD_ERR_FORMAT);
    assert_one_line(&err, path);

    err = (struct ld_err){0};
    ck_assert_ptr_null(ld_shard_open(".", &err));
    assert_one_line(&err, ".");
}
END_TEST

/* ---- writers that fail ---- */

START_TEST(names_that_cannot_be_written_are_refused_at_the_start)
{
    struct ld_shard_facts facts = all_facts();
    char name[600], path[5000];
    struct ld_err err = {0};

    ck_assert_ptr_null(ld_shard_create("none/a.h5", &facts, &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    assert_one_line(&err, "none/a.h5");
    ck_assert_ptr_nonnull(strstr(err.text, "No such file or directory"));

    memset(name, 'x', sizeof(name));
    snprintf(path, sizeof(path), "%.300s.h5", name);
    err = (struct ld_err){0};
    ck_assert_ptr_null(ld_shard_create(path, &facts, &err));
    ck_assert_msg(strstr(err.text, "File name too long") != NULL, "%s",
                  err.text);

    memset(path, 'y', sizeof(path) - 1);
    path[sizeof(path) - 1] = 0;
    err = (struct ld_err){0};
    ck_assert_ptr_null(ld_shard_create(path, &facts, &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_int_eq(scratch_count("."), 0);
}
END_TEST

static int count_open_files(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) != -1;
    return count;
}

/* A limit on file sizes stands for a full disk: writes beyond it fail. */
START_TEST(a_full_disk_is_one_line_and_leaves_nothing_behind)
{
    struct ld_shard_facts facts = all_facts();
    const char *path = "a.h5";
    struct rlimit old, limit;
    struct stat info;
    int n_open = count_open_files();
    struct ld_err err = {0};

    ck_assert(made_shard(path, &facts, N_VIEWS, 150, &err));
    ck_assert_int_eq(stat(path, &info), 0);
    unlink(path);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    for (int i = 0; i < 40; i++) {
        bool ok;

        limit = old;
        limit.rlim_cur = (rlim_t)(info.st_size * i / 40);
        err = (struct ld_err){0};
        setrlimit(RLIMIT_FSIZE, &limit);
        ok = made_shard(path, &facts, N_VIEWS, 150, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        ck_assert(!ok);
        ck_assert_int_eq(err.code, LD_ERR_IO);
        assert_one_line(&err, path);
        ck_assert_msg(strstr(err.text, "File too large") != NULL, "%s",
                      err.text);
        ck_assert_int_eq(scratch_count("."), 0);
    }
    ck_assert_int_eq(count_open_files(), n_open);
    err = (struct ld_err){0};
    ck_assert_msg(made_shard(path, &facts, N_VIEWS, 150, &err), "%s", err.text);
}
END_TEST

/* Writes shard after shard over the same name until it is killed. */
static void write_for_ever(const char *path)
{
    struct ld_shard_facts facts = all_facts();
    struct ld_err err = {0};

    while (made_shard(path, &facts, N_VIEWS, N_ROWS, &err))
        ;
    _exit(1);
}

START_TEST(a_killed_writer_leaves_no_shard_or_a_whole_one)
{
    struct ld_rng rng = ld_rng_seed((uint64_t)getpid(), 0);
    const char *path = "a.h5";
    int n_whole = 0;

    for (int i = 0; i < 20; i++) {
        struct ld_err err = {0};
        struct ld_shard *shard;
        uint64_t sum;
        pid_t child = fork();

        if (child == 0)
            write_for_ever(path);
        usleep(ld_rng_below(&rng, 30000));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        if (access(path, F_OK) == 0) {
            shard = ld_shard_open(path, &err);
            ck_assert_msg(shard && read_all(shard, &sum, &err) &&
                              ld_shard_check(shard, &err),
                          "%s", err.text);
            ld_shard_close(shard);
            unlink(path);
            n_whole++;
        }
    }
    printf("# 20 writers killed (seed %d): %d whole shards, 0 others\n",
           (int)getpid(), n_whole);
}
END_TEST

/* Writes one record, and a skipped image, where the n-th allocation fails. */
static bool write_without_memory(const char *path, int n,
                                 const struct ld_shard_facts *facts,
                                 const struct ld_record *record,
                                 struct ld_err *err)
{
    struct ld_shard_writer *w;
    bool ok;

    ld_mem_fail_after(n);
    w = ld_shard_create(path, facts, err);
    ok =
        w && ld_shard_append(w, record, err) && ld_shard_skip(w, 5, "why", err);
    if (ok)
        ok = ld_shard_finish(w, err);
    else
        ld_shard_abandon(w);
    ld_mem_fail_after(-1);
    return ok;
}

START_TEST(memory_that_runs_out_is_an_error_wherever_it_does)
{
    struct ld_shard_facts facts = all_facts();
    const char *path = "a.h5";
    struct ld_arena arena = {0};
    struct ld_record record = made_view(&facts, 0, 9, &arena);
    struct ld_err err = {0};
    bool ok = false;
    uint64_t sum;

    for (int n = 0; !ok && n < 10000; n++) {
        err = (struct ld_err){0};
        ok = write_without_memory(path, n, &facts, &record, &err);
        ck_assert_msg(ok || err.code == LD_ERR_MEMORY, "%s", err.text);
        ck_assert_int_eq(scratch_count("."), ok);
    }
    ld_arena_free(&arena);
    ok = false;
    for (int n = 0; !ok && n < 10000; n++) {
        struct ld_shard *shard;

        err = (struct ld_err){0};
        ld_mem_fail_after(n);
        shard = ld_shard_open(path, &err);
        ok = shard && read_all(shard, &sum, &err);
        ld_mem_fail_after(-1);
        ck_assert_msg(ok || err.code == LD_ERR_MEMORY, "%s", err.text);
        ld_shard_close(shard);
    }
    ck_assert(ok);
}
END_TEST

/* Of shards whose chunks end inside records, and of one without rows. */
START_TEST(places_of_all_views_at_once_are_those_of_each)
{
    static const int sizes[][2] = {{40, 900}, {7, 30}, {3, 0}, {0, 9}};
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);

    for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
        struct ld_arena arena = {0};
        struct ld_err err = {0};
        struct ld_shard *shard;
        struct ld_record *all, one;

        ck_assert(made_shard("all.h5", &facts, sizes[s][0], sizes[s][1], &err));
        shard = ld_shard_open("all.h5", &err);
        ck_assert_msg(shard &&
                          ld_shard_read_all_places(shard, &all, &arena, &err),
                      "%s", err.text);
        for (int i = 0; i < ld_shard_count(shard); i++) {
            ck_assert(ld_shard_read_places(shard, i, &arena, &one, &err));
            ck_assert_int_eq(all[i].image_id, one.image_id);
            ck_assert_int_eq(all[i].n_rows, one.n_rows);
            ck_assert_mem_eq(all[i].location, one.location,
                             4 * (size_t)one.n_rows);
            ck_assert_mem_eq(all[i].kind, one.kind, (size_t)one.n_rows);
        }
        ld_shard_close(shard);
        ld_arena_free(&arena);
    }
}
END_TEST

/* A bit in each frame in turn: of places it is noticed, with the view. */
START_TEST(damaged_places_are_named_when_all_are_read_at_once)
{
    struct ld_shard_facts facts = made_facts(3, LD_STORAGE_FP16);
    struct ld_err err = {0};
    int n_noticed = 0, n_frames = 0;
    size_t len;
    char *bytes;

    ck_assert(made_shard("all.h5", &facts, 6, 60, &err));
    bytes = scratch_get("all.h5", &len);
    for (size_t i = 512; i + 20 < len; i++) {
        struct ld_err found = {0};
        struct ld_arena arena = {0};
        struct ld_record *all;
        struct ld_shard *shard;

        if (memcmp(bytes + i, "\x28\xb5\x2f\xfd", 4) != 0)
            continue;
        n_frames++;
        bytes[i + 18] ^= 1;
        scratch_put("all.h5", bytes, len);
        bytes[i + 18] ^= 1;
        shard = ld_shard_open("all.h5", &found);
        ck_assert_msg(shard != NULL, "%s", found.text);
        if (!ld_shard_read_all_places(shard, &all, &arena, &found)) {
            n_noticed++;
            ck_assert_int_eq(found.code, LD_ERR_FORMAT);
            ck_assert_msg(strstr(found.text, "all.h5: image 1: /rows/"), "%s",
                          found.text);
        }
        ld_shard_close(shard);
        ld_arena_free(&arena);
    }
    ck_assert_int_eq(n_noticed, 2); /* location and kind */
    ck_assert_int_ge(n_frames, 4);
    ld_delete(bytes);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("shard_damage");
    TCase *c = tcase_create("shard_damage");

    tcase_add_checked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, places_of_all_views_at_once_are_those_of_each);
    tcase_add_test(c, damaged_places_are_named_when_all_are_read_at_once);
    tcase_add_test(c, a_shard_cut_short_anywhere_is_refused);
    tcase_add_test(c, a_shard_with_bytes_behind_it_is_refused);
    tcase_add_test(c, each_of_a_thousand_flipped_bits_is_noticed);
    tcase_add_test(c, a_damaged_frame_names_the_image_and_view);
    tcase_add_test(c, files_that_are_no_shards_are_refused_in_one_line);
    tcase_add_test(c, names_that_cannot_be_written_are_refused_at_the_start);
    tcase_add_test(c, a_full_disk_is_one_line_and_leaves_nothing_behind);
    tcase_add_test(c, a_killed_writer_leaves_no_shard_or_a_whole_one);
    tcase_add_test(c, memory_that_runs_out_is_an_error_wherever_it_does);
    suite_add_tcase(s, c);
    return s;
}
