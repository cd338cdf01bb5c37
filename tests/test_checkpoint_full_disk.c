#include "formats/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/made_checkpoint.h"
#include "tests/scratch.h"
#include "tests/suite.h"

/* 2.4 MB, so that both ways of filling a disk strike in the middle. */
static void make_large(struct made_checkpoint *m, float *values)
{
    checkpoint_make(m, 1);
    m->tensors[0].dim[0] = 600000 / 27;
    m->tensors[0].data = values;
}

/* Saves over an old checkpoint where there is no room: it stays. */
static void expect_full(const char *path, const struct ld_checkpoint *large,
                        const struct ld_checkpoint *old, const char *reason)
{
    struct ld_err err = {0}, again = {0};
    bool equal;

    ck_assert(!ld_checkpoint_save(path, large, &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_msg(strstr(err.text, reason), "'%s' not in '%s'", reason,
                  err.text);
    ck_assert_msg(checkpoint_is(path, old, &equal, &again), "%s", again.text);
    ck_assert(equal);
}

START_TEST(a_full_disk_leaves_the_old_checkpoint_and_nothing_else)
{
    static const size_t limits[] = {0,     100,    511,     512,     3000,
                                    60000, 400000, 1000000, 2300000, 2399000};
    static float values[600000];
    struct made_checkpoint old, large;

    checkpoint_make(&old, 0);
    make_large(&large, values);
    checkpoint_save_ok("a.h5", &old.c);
    fflush(stdout); /* a limit holds for the log as well */
    for (int i = 9; i >= 0; i--) {
        scratch_limit_files(limits[i]);
        expect_full("a.h5", &large.c, &old.c, "File too large");
        ck_assert_int_eq(scratch_count("."), 1);
    }
}
END_TEST

START_TEST(a_full_file_system_leaves_the_old_checkpoint_and_nothing_else)
{
    static float values[600000];
    struct made_checkpoint old, large;

    mkdir("small", 0777);
    if (mount("none", "small", "tmpfs", 0, "size=1m") != 0)
        SKIP_TEST("this user may not mount a small file system");
    checkpoint_make(&old, 0);
    make_large(&large, values);
    checkpoint_save_ok("small/a.h5", &old.c);
    expect_full("small/a.h5", &large.c, &old.c, "No space left on device");
    ck_assert_int_eq(scratch_count("small"), 1);
    ck_assert_int_eq(umount("small"), 0);
    rmdir("small");
}
END_TEST

/* libhdf5 crashes at exit after a failed close, unless told otherwise. */
START_TEST(the_program_still_exits_in_peace_after_a_full_disk)
{
    static float values[600000];
    struct made_checkpoint large;
    int status;
    pid_t child;

    make_large(&large, values);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        struct ld_err err = {0};

        scratch_limit_files(1000000);
        exit(ld_checkpoint_save("b.h5", &large.c, &err) ? 1 : 0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(a_folder_that_is_missing_is_named)
{
    struct made_checkpoint m;
    struct ld_err err = {0};

    checkpoint_make(&m, 0);
    ck_assert(!ld_checkpoint_save("nowhere/a.h5", &m.c, &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_msg(strstr(err.text, "nowhere/a.h5"), "%s", err.text);
    ck_assert_msg(strstr(err.text, "No such file"), "%s", err.text);
}
END_TEST

START_TEST(running_out_of_memory_is_an_error)
{
    struct made_checkpoint m;

    checkpoint_make(&m, 0);
    for (int i = 0; i < 40; i++) {
        struct ld_err err = {0}, loading = {0};
        bool saved, equal;

        ld_mem_fail_after(i);
        saved = ld_checkpoint_save("a.h5", &m.c, &err);
        ld_mem_fail_after(-1);
        ck_assert(saved || err.code != LD_OK);
        checkpoint_save_ok("a.h5", &m.c);
        ld_mem_fail_after(i);
        checkpoint_is("a.h5", &m.c, &equal, &loading);
        ld_mem_fail_after(-1);
        ck_assert_int_eq(scratch_count("."), 1);
    }
    unlink("a.h5");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("checkpoint_full_disk");
    TCase *c = tcase_create("checkpoint_full_disk");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, a_full_disk_leaves_the_old_checkpoint_and_nothing_else);
    tcase_add_test(
        c, a_full_file_system_leaves_the_old_checkpoint_and_nothing_else);
    tcase_add_test(c, the_program_still_exits_in_peace_after_a_full_disk);
    tcase_add_test(c, a_folder_that_is_missing_is_named);
    tcase_add_test(c, running_out_of_memory_is_an_error);
    suite_add_tcase(s, c);
    return s;
}
