#include "formats/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/scratch.h"
#include "tests/suite.h"

static void expect_text(const char *path, const char *text)
{
    size_t len;
    char *bytes = scratch_get(path, &len);

    ck_assert_ptr_nonnull(bytes);
    ck_assert_str_eq(bytes, text);
    ld_delete(bytes);
}

START_TEST(a_file_is_mapped_whole)
{
    struct ld_err err = {0};
    struct ld_file file;

    scratch_text("a", "some bytes");
    ck_assert(ld_file_open("a", &file, &err));
    ck_assert_uint_eq(file.len, 10);
    ck_assert(memcmp(file.data, "some bytes", 10) == 0);
    ld_file_close(&file);
    ck_assert_ptr_null(file.data);
    ld_file_close(&file);
    unlink("a");
}
END_TEST

START_TEST(an_empty_file_has_no_bytes)
{
    struct ld_err err = {0};
    struct ld_file file;
    char hash[65];

    scratch_text("a", "");
    ck_assert(ld_file_open("a", &file, &err));
    ck_assert_uint_eq(file.len, 0);
    ck_assert_ptr_null(file.data);
    ld_file_close(&file);
    ck_assert(ld_file_sha256("a", hash, &err));
    ck_assert_str_eq(hash, "e3b0c44298fc1c149afbf4c8996fb924"
                           "27ae41e4649b934ca495991b7852b855");
    unlink("a");
}
END_TEST

START_TEST(what_cannot_be_read_is_named)
{
    struct ld_err missing = {0}, folder = {0}, pipe = {0};
    struct ld_file file;

    ck_assert(!ld_file_open("none", &file, &missing));
    ck_assert_int_eq(missing.code, LD_ERR_IO);
    ck_assert_str_eq(missing.text,
                     "none: cannot open: No such file or directory");
    ck_assert(!ld_file_open(".", &file, &folder));
    ck_assert_str_eq(folder.text, ".: not a regular file");
    ck_assert(!ld_file_open("/dev/null", &file, &pipe));
    ck_assert_str_eq(pipe.text, "/dev/null: not a regular file");
}
END_TEST

START_TEST(sha256_is_the_published_one)
{
    struct ld_err err = {0};
    char hash[65];

    ld_bytes_sha256("abc", 3, hash); /* FIPS 180-4's example */
    ck_assert_str_eq(hash, "ba7816bf8f01cfea414140de5dae2223"
                           "b00361a396177a9cb410ff61f20015ad");
    scratch_text("a", "abc");
    ck_assert(ld_file_sha256("a", hash, &err));
    ck_assert_str_eq(hash, "ba7816bf8f01cfea414140de5dae2223"
                           "b00361a396177a9cb410ff61f20015ad");
    ck_assert(!ld_file_sha256("none", hash, &err));
    unlink("a");
}
END_TEST

START_TEST(replacing_puts_new_bytes_in_place_of_old)
{
    struct ld_err err = {0};

    ck_assert(ld_file_replace("a", "one", 3, &err));
    expect_text("a", "one");
    ck_assert(ld_file_replace("a", "three", 5, &err));
    expect_text("a", "three");
    ck_assert(ld_file_replace("a", "", 0, &err));
    expect_text("a", "");
    ck_assert_int_eq(scratch_count("."), 1);
    unlink("a");
}
END_TEST

START_TEST(pieces_are_put_end_to_end)
{
    const struct ld_piece pieces[] = {{"one", 3}, {NULL, 0}, {" two", 4}};
    struct ld_err err = {0};

    ck_assert(ld_file_replace_pieces("a", pieces, 3, &err));
    expect_text("a", "one two");
    ck_assert(ld_file_replace_pieces("a", pieces, 0, &err));
    expect_text("a", "");
    ck_assert_int_eq(scratch_count("."), 1);
    unlink("a");
}
END_TEST

START_TEST(a_full_disk_leaves_the_old_file_and_nothing_else)
{
    static char large[100000];
    struct ld_err err = {0};

    ck_assert(ld_file_replace("a", "old", 3, &err));
    fflush(stdout); /* the limit holds for the log as well */
    scratch_limit_files(50000);
    ck_assert(!ld_file_replace("a", large, sizeof(large), &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_str_eq(err.text, "a: cannot write: File too large");
    expect_text("a", "old");
    ck_assert_int_eq(scratch_count("."), 1);
    unlink("a");
}
END_TEST

START_TEST(publishing_over_a_folder_fails_and_tidies_up)
{
    struct ld_err err = {0};

    mkdir("a", 0777);
    ck_assert(!ld_file_replace("a", "x", 1, &err));
    ck_assert_str_eq(err.text, "a: cannot write: Is a directory");
    ck_assert_int_eq(scratch_count("."), 1);
    rmdir("a");
}
END_TEST

START_TEST(a_missing_folder_is_an_error)
{
    struct ld_err err = {0};

    ck_assert(!ld_file_replace("nowhere/a", "x", 1, &err));
    ck_assert_str_eq(err.text,
                     "nowhere/a: cannot create: No such file or directory");
}
END_TEST

START_TEST(publishing_what_is_not_there_is_an_error)
{
    struct ld_err err = {0};
    char temporary[4096];

    ck_assert(ld_file_temporary("a", temporary, &err));
    ck_assert_ptr_nonnull(strstr(temporary, "a."));
    ck_assert(!ld_file_publish(temporary, "a", &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_int_eq(scratch_count("."), 0);
}
END_TEST

START_TEST(the_first_of_two_writers_stays)
{
    struct ld_err err = {0};
    char first[4096], second[4200];

    ck_assert(ld_file_temporary("a", first, &err));
    scratch_text(first, "first");
    snprintf(second, sizeof(second), "%s2", first);
    scratch_text(second, "second");
    ck_assert(ld_file_publish_first(first, "a", &err));
    expect_text("a", "first");
    ck_assert(ld_file_publish_first(second, "a", &err));
    expect_text("a", "first");
    ck_assert_int_eq(scratch_count("."), 1);
    ck_assert(!ld_file_publish_first("none", "b", &err));
    ck_assert_str_eq(err.text, "b: cannot write: No such file or directory");
    unlink("a");
}
END_TEST

START_TEST(who_comes_first_cannot_be_a_folder)
{
    struct ld_err err = {0};

    mkdir("a", 0777);
    scratch_text("b", "x");
    ck_assert(!ld_file_publish_first("b", "a", &err));
    ck_assert_str_eq(err.text, "a: cannot write: Is a directory");
    ck_assert_int_eq(scratch_count("."), 1);
    rmdir("a");
}
END_TEST

/* The temporary name that another process here would choose for "a". */
static void name_of(pid_t pid, char out[4096])
{
    struct ld_err err = {0};
    char own[4096];

    ck_assert(ld_file_temporary("a", own, &err));
    *strrchr(own, '-') = 0;
    snprintf(out, 4096, "%.4000s-%d.tmp", own, (int)pid);
}

/* A process that is gone, and waited for. */
static pid_t gone(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    return pid;
}

static void age(const char *path, time_t seconds)
{
    struct timespec times[2] = {{.tv_sec = time(NULL) - seconds},
                                {.tv_sec = time(NULL) - seconds}};

    ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

START_TEST(what_a_dead_process_left_is_removed)
{
    struct ld_err err = {0};
    char dead[4096], alive[4096], own[4096];

    name_of(gone(), dead);
    name_of(getppid(), alive);
    scratch_text(dead, "half");
    scratch_text(alive, "half");
    ck_assert(ld_file_is_being_written("a"));
    ck_assert(!ld_file_is_being_written("other"));
    ck_assert(ld_file_temporary("a", own, &err));
    ck_assert_int_ne(access(dead, F_OK), 0);
    ck_assert_int_eq(access(alive, F_OK), 0);

    scratch_text(own, "half");
    unlink(alive);
    ck_assert(!ld_file_is_being_written("a")); /* by another */
    ck_assert_int_eq(access(own, F_OK), 0);
    unlink(own);
}
END_TEST

START_TEST(what_another_machine_left_is_removed_after_a_day)
{
    static const char *const theirs = "a.elsewhere-01234567-1.tmp";
    static const char *const users[] = {"a.tmp", "notes-1.tmp", "b.-1.tmp",
                                        "a.elsewhere-01234567-1.tmp.old"};

    scratch_text(theirs, "half");
    age(theirs, 23 * 60 * 60);
    for (size_t i = 0; i < 4; i++) {
        scratch_text(users[i], "not ours");
        age(users[i], 1000 * 60 * 60);
    }
    ld_folder_tidy(".");
    ck_assert_int_eq(access(theirs, F_OK), 0);
    ck_assert(ld_file_is_being_written("a"));
    age(theirs, 25 * 60 * 60);
    ld_folder_tidy("nowhere");
    ld_folder_tidy(".");
    ck_assert_int_ne(access(theirs, F_OK), 0);
    ck_assert_int_eq(scratch_count("."), 4);
    for (size_t i = 0; i < 4; i++)
        unlink(users[i]);
}
END_TEST

START_TEST(names_too_long_are_refused)
{
    struct ld_err first = {0}, second = {0}, third = {0};
    char name[5000], out[4096];

    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    ck_assert(!ld_file_temporary(name, out, &first));
    ck_assert(!ld_path_join(out, "folder", name, &second));
    ck_assert(!ld_folder_make(name, &third));
    ck_assert_int_eq(third.code, LD_ERR_IO);
}
END_TEST

START_TEST(folders_are_made_with_those_above)
{
    struct ld_err err = {0}, file = {0}, empty = {0};

    ck_assert(ld_folder_make("a/b/c", &err));
    ck_assert(ld_folder_make("a/b/c/", &err));
    ck_assert(ld_folder_make(".", &err));
    ck_assert_int_eq(rmdir("a/b/c"), 0);
    scratch_text("a/b/f", "");
    ck_assert(!ld_folder_make("a/b/f", &file));
    ck_assert_str_eq(file.text, "a/b/f: is not a folder");
    ck_assert(!ld_folder_make("", &empty));
    unlink("a/b/f");
    rmdir("a/b");
    rmdir("a");
}
END_TEST

START_TEST(a_folder_under_a_file_is_refused)
{
    struct ld_err err = {0};

    scratch_text("f", "");
    ck_assert(!ld_folder_make("f/g", &err));
    ck_assert_str_eq(err.text, "f/g: cannot make the folder: Not a directory");
    unlink("f");
}
END_TEST

START_TEST(paths_join_with_one_slash)
{
    struct ld_err err = {0};
    char out[4096];

    ck_assert(ld_path_join(out, "a", "b/c", &err));
    ck_assert_str_eq(out, "a/b/c");
    ck_assert(ld_path_join(out, "a/", "b", &err));
    ck_assert_str_eq(out, "a/b");
    ck_assert(ld_path_join(out, "a", "/b", &err));
    ck_assert_str_eq(out, "/b");
    ck_assert(ld_path_join(out, "", "b", &err));
    ck_assert_str_eq(out, "b");
    ck_assert(ld_path_join(out, "/", "b", &err));
    ck_assert_str_eq(out, "/b");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("file");
    TCase *c = tcase_create("file");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, a_file_is_mapped_whole);
    tcase_add_test(c, an_empty_file_has_no_bytes);
    tcase_add_test(c, what_cannot_be_read_is_named);
    tcase_add_test(c, sha256_is_the_published_one);
    tcase_add_test(c, replacing_puts_new_bytes_in_place_of_old);
    tcase_add_test(c, pieces_are_put_end_to_end);
    tcase_add_test(c, a_full_disk_leaves_the_old_file_and_nothing_else);
    tcase_add_test(c, publishing_over_a_folder_fails_and_tidies_up);
    tcase_add_test(c, a_missing_folder_is_an_error);
    tcase_add_test(c, publishing_what_is_not_there_is_an_error);
    tcase_add_test(c, the_first_of_two_writers_stays);
    tcase_add_test(c, who_comes_first_cannot_be_a_folder);
    tcase_add_test(c, what_a_dead_process_left_is_removed);
    tcase_add_test(c, what_another_machine_left_is_removed_after_a_day);
    tcase_add_test(c, names_too_long_are_refused);
    tcase_add_test(c, folders_are_made_with_those_above);
    tcase_add_test(c, a_folder_under_a_file_is_refused);
    tcase_add_test(c, paths_join_with_one_slash);
    suite_add_tcase(s, c);
    return s;
}
