#include "formats/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/h5file.h"
#include "formats/seal.h"
#include "kernels/base/rng.h"
#include "tests/scratch.h"
#include "tests/suite.h"

enum { N_TENSORS = 5, N_MOMENTUM = 2 };

/* A small checkpoint of every rank, in the order of names. */
struct made {
    struct ld_checkpoint c;
    const char *classes[3];
    struct ld_tensor tensors[N_TENSORS], momentum[N_MOMENTUM];
    float values[400];
};

static void make(struct made *m, float shift)
{
    static const struct ld_tensor shapes[N_TENSORS] = {
        {.name = "backbone.conv1.weight", .n_dims = 4, .dim = {4, 3, 3, 3}},
        {.name = "backbone.layer1.0.bn1.running_mean", .n_dims = 1, .dim = {7}},
        {.name = "head.cube", .n_dims = 3, .dim = {2, 3, 4}},
        {.name = "head.fc.weight", .n_dims = 2, .dim = {5, 6}},
        {.name = "head.scales.0.scale"},
    };
    float *at = m->values;

    for (int i = 0; i < 400; i++)
        m->values[i] = shift + 0.37f * (float)i - 3e-7f * (float)(i * i);
    for (int i = 0; i < N_TENSORS + N_MOMENTUM; i++) {
        struct ld_tensor *t =
            i < N_TENSORS ? &m->tensors[i] : &m->momentum[i - N_TENSORS];

        *t = shapes[i < N_TENSORS ? i : 3 * (i - N_TENSORS)];
        t->data = at;
        at += ld_tensor_count(t);
    }
    m->classes[0] = "person";
    m->classes[1] = "traffic light";
    m->classes[2] = "Verkehrsschild \"groß\"";
    m->c = (struct ld_checkpoint){.epoch = 3,
                                  .step = 1234567890123,
                                  .step_of_epoch = 42,
                                  .config = "train:\n  lr: 0.01\n",
                                  .class_names = m->classes,
                                  .n_classes = 3,
                                  .tensors = m->tensors,
                                  .momentum = m->momentum,
                                  .n_tensors = N_TENSORS,
                                  .n_momentum = N_MOMENTUM};
}

static bool same_tensors(const struct ld_tensor *a, const struct ld_tensor *b,
                         int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(a[i].name, b[i].name) != 0 || a[i].n_dims != b[i].n_dims ||
            memcmp(a[i].dim, b[i].dim, sizeof(a[i].dim)) != 0 ||
            memcmp(a[i].data, b[i].data,
                   ld_tensor_count(&a[i]) * sizeof(float)) != 0)
            return false;
    return true;
}

static bool same(const struct ld_checkpoint *a, const struct ld_checkpoint *b)
{
    if (a->epoch != b->epoch || a->step != b->step ||
        a->step_of_epoch != b->step_of_epoch || a->n_classes != b->n_classes ||
        a->n_tensors != b->n_tensors || a->n_momentum != b->n_momentum ||
        strcmp(a->config, b->config) != 0)
        return false;
    for (int i = 0; i < a->n_classes; i++)
        if (strcmp(a->class_names[i], b->class_names[i]) != 0)
            return false;
    return same_tensors(a->tensors, b->tensors, a->n_tensors) &&
           same_tensors(a->momentum, b->momentum, a->n_momentum);
}

static void save(const char *path, const struct ld_checkpoint *c)
{
    struct ld_err err = {0};

    ck_assert_msg(ld_checkpoint_save(path, c, &err), "%s", err.text);
}

/* Loads, and frees again; *equal says whether it is `want`. */
static bool load(const char *path, const struct ld_checkpoint *want,
                 bool *equal, struct ld_err *err)
{
    struct ld_arena arena = {0};
    struct ld_checkpoint got;
    bool ok = ld_checkpoint_load(path, &got, &arena, err);

    *equal = ok && same(&got, want);
    ck_assert(ok == (err->code == LD_OK));
    ld_arena_free(&arena);
    return ok;
}

static void expect_load_fails(const char *path, enum ld_code code,
                              const char *text)
{
    struct ld_checkpoint none = {0};
    struct ld_err err = {0};
    bool equal;

    ck_assert(!load(path, &none, &equal, &err));
    ck_assert_msg(strstr(err.text, text), "'%s' not in '%s'", text, err.text);
    ck_assert_msg(err.code == code, "code %d: %s", err.code, err.text);
}

START_TEST(what_is_saved_is_loaded)
{
    struct made m;
    struct ld_err err = {0};
    bool equal;

    make(&m, 0);
    save("a.h5", &m.c);
    ck_assert_msg(load("a.h5", &m.c, &equal, &err), "%s", err.text);
    ck_assert(equal);
    ck_assert_int_eq(scratch_count("."), 1);
    unlink("a.h5");
}
END_TEST

START_TEST(an_export_has_no_momentum_and_no_objects_are_fine)
{
    struct made m;
    struct ld_err err = {0};
    bool equal;

    make(&m, 0);
    m.c.n_momentum = 0;
    m.c.config = "";
    save("a.h5", &m.c);
    ck_assert_msg(load("a.h5", &m.c, &equal, &err), "%s", err.text);
    ck_assert(equal);
    m.c.n_tensors = 0;
    m.c.n_classes = 0;
    m.c.class_names = NULL;
    save("a.h5", &m.c);
    ck_assert_msg(load("a.h5", &m.c, &equal, &err), "%s", err.text);
    ck_assert(equal);
    unlink("a.h5");
}
END_TEST

START_TEST(equal_runs_give_equal_files)
{
    struct made m;
    size_t n, k;
    char *a, *b;

    make(&m, 0);
    save("a.h5", &m.c);
    save("b.h5", &m.c);
    a = scratch_get("a.h5", &n);
    b = scratch_get("b.h5", &k);
    ck_assert_uint_eq(n, k);
    ck_assert(memcmp(a, b, n) == 0);
    ld_delete(a);
    ld_delete(b);
    unlink("a.h5");
    unlink("b.h5");
}
END_TEST

START_TEST(a_name_hdf5_would_take_for_a_path_is_refused)
{
    static const char *const names[] = {"", "a/b", "."};
    struct made m;

    for (int i = 0; i < 3; i++) {
        struct ld_err err = {0};

        make(&m, 0);
        m.tensors[1].name = names[i];
        ck_assert(!ld_checkpoint_save("a.h5", &m.c, &err));
        ck_assert_int_eq(scratch_count("."), 0);
    }
}
END_TEST

START_TEST(a_name_used_twice_is_refused)
{
    struct made m;
    struct ld_err err = {0};

    make(&m, 0);
    m.tensors[1].name = m.tensors[0].name;
    ck_assert(!ld_checkpoint_save("a.h5", &m.c, &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_int_eq(scratch_count("."), 0);
}
END_TEST

START_TEST(what_is_no_checkpoint_is_refused_by_name)
{
    scratch_text("text.h5", "not a checkpoint at all\n");
    scratch_text("empty.h5", "");
    mkdir("folder.h5", 0777);
    expect_load_fails("none.h5", LD_ERR_IO,
                      "none.h5: cannot open: No such file or directory");
    expect_load_fails("text.h5", LD_ERR_FORMAT, "text.h5: ");
    expect_load_fails("empty.h5", LD_ERR_FORMAT, "empty.h5: ");
    expect_load_fails("folder.h5", LD_ERR_IO, "folder.h5: ");
    unlink("text.h5");
    unlink("empty.h5");
    rmdir("folder.h5");
}
END_TEST

START_TEST(every_truncation_is_an_error)
{
    struct made m;
    size_t len;
    char *bytes;

    make(&m, 0);
    save("a.h5", &m.c);
    bytes = scratch_get("a.h5", &len);
    for (size_t i = 0; i < 200; i++) {
        struct ld_err err = {0};
        bool equal;

        scratch_put("cut.h5", bytes, len * i / 200);
        ck_assert(!load("cut.h5", &m.c, &equal, &err));
    }
    ld_delete(bytes);
    unlink("a.h5");
    unlink("cut.h5");
}
END_TEST

START_TEST(any_changed_byte_is_an_error_or_changes_nothing)
{
    struct ld_rng rng = ld_rng_seed(2024, 7);
    struct made m;
    size_t len;
    char *bytes;
    int refused = 0;

    make(&m, 0);
    save("a.h5", &m.c);
    bytes = scratch_get("a.h5", &len);
    printf("seed 2024, %zu bytes\n", len);
    for (int i = 0; i < 2000; i++) {
        size_t at = ld_rng_below(&rng, (uint32_t)len);
        char old = bytes[at];
        struct ld_err err = {0};
        bool equal;

        bytes[at] ^= (char)(1 + ld_rng_below(&rng, 255));
        scratch_put("changed.h5", bytes, len);
        if (load("changed.h5", &m.c, &equal, &err))
            ck_assert_msg(equal, "byte %zu went by unseen", at);
        else
            refused++;
        bytes[at] = old;
    }
    ck_assert_int_gt(refused, 1900);
    ld_delete(bytes);
    unlink("a.h5");
    unlink("changed.h5");
}
END_TEST

START_TEST(the_damaged_tensor_is_named)
{
    struct made m;
    size_t len;
    char *bytes, *found;

    make(&m, 0);
    save("a.h5", &m.c);
    bytes = scratch_get("a.h5", &len);
    found = memmem(bytes, len, m.tensors[3].data, 40);
    ck_assert_ptr_nonnull(found);
    found[8] ^= 1;
    scratch_put("a.h5", bytes, len);
    expect_load_fails("a.h5", LD_ERR_FORMAT,
                      "a.h5: 'head.fc.weight': is damaged");
    ld_delete(bytes);
    unlink("a.h5");
}
END_TEST

/* ---- files that are whole and sealed, but not what they should be ---- */

/* Opens for writing what is closed and sealed again after the change. */
static hid_t reopen(const char *path)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);

    ck_assert(file >= 0);
    return file;
}

static void reseal(hid_t file, const char *path)
{
    struct ld_err err = {0};

    ck_assert(H5Fclose(file) >= 0);
    ck_assert_msg(ld_seal_write(path, "checkpoint", 0, 0, path, &err), "%s",
                  err.text);
}

START_TEST(a_format_of_the_future_is_refused)
{
    struct made m;
    const int64_t two = 2;
    hid_t file;

    make(&m, 0);
    save("a.h5", &m.c);
    file = reopen("a.h5");
    ck_assert(H5Adelete(file, "format") >= 0);
    ck_assert(ld_h5_put(file, "format", H5T_NATIVE_INT64, &two, 1));
    reseal(file, "a.h5");
    expect_load_fails("a.h5", LD_ERR_FORMAT,
                      "a.h5: is of format 2, this program reads 1");
    unlink("a.h5");
}
END_TEST

START_TEST(a_missing_attribute_is_named)
{
    static const char *const names[] = {"format", "config", "classes",
                                        "epoch",  "step",   "step_of_epoch"};
    struct made m;

    make(&m, 0);
    for (int i = 0; i < 6; i++) {
        char text[64];
        hid_t file;

        save("a.h5", &m.c);
        file = reopen("a.h5");
        ck_assert(H5Adelete(file, names[i]) >= 0);
        reseal(file, "a.h5");
        snprintf(text, sizeof(text), "a.h5: '%s': missing", names[i]);
        expect_load_fails("a.h5", LD_ERR_FORMAT, text);
    }
    unlink("a.h5");
}
END_TEST

/* Puts another dataset in place of head.fc.weight. */
static void replace_tensor(hid_t type, int rank, hsize_t side, hid_t creation)
{
    hsize_t dims[8];
    hid_t file = reopen("a.h5"), space, set;

    for (int i = 0; i < rank; i++)
        dims[i] = side;
    ck_assert(H5Ldelete(file, "tensors/head.fc.weight", H5P_DEFAULT) >= 0);
    space = H5Screate_simple(rank, dims, NULL);
    set = H5Dcreate2(file, "tensors/head.fc.weight", type, space, H5P_DEFAULT,
                     creation, H5P_DEFAULT);
    ck_assert(set >= 0);
    H5Dclose(set);
    H5Sclose(space);
    reseal(file, "a.h5");
}

START_TEST(a_tensor_of_another_type_rank_or_size_is_refused)
{
    struct made m;

    make(&m, 0);
    save("a.h5", &m.c);
    replace_tensor(H5T_IEEE_F64LE, 2, 3, H5P_DEFAULT);
    expect_load_fails("a.h5", LD_ERR_FORMAT,
                      "'head.fc.weight': is not float32");
    save("a.h5", &m.c);
    replace_tensor(H5T_IEEE_F32LE, 5, 2, H5P_DEFAULT);
    expect_load_fails("a.h5", LD_ERR_FORMAT,
                      "'head.fc.weight': expected 0 to 4 dimensions");
    save("a.h5", &m.c); /* 16 TB that were never stored */
    replace_tensor(H5T_IEEE_F32LE, 4, 1450, H5P_DEFAULT);
    expect_load_fails("a.h5", LD_ERR_FORMAT,
                      "'head.fc.weight': expected 0 to 4 dimensions");
    unlink("a.h5");
}
END_TEST

START_TEST(a_group_among_the_tensors_is_refused)
{
    struct made m;
    hid_t file, group;

    make(&m, 0);
    save("a.h5", &m.c);
    file = reopen("a.h5");
    group = H5Gcreate2(file, "tensors/extra", H5P_DEFAULT, H5P_DEFAULT,
                       H5P_DEFAULT);
    ck_assert(group >= 0);
    H5Gclose(group);
    reseal(file, "a.h5");
    expect_load_fails("a.h5", LD_ERR_FORMAT, "'extra': is no tensor");
    file = reopen("a.h5");
    ck_assert(H5Ldelete(file, "tensors", H5P_DEFAULT) >= 0);
    reseal(file, "a.h5");
    expect_load_fails("a.h5", LD_ERR_FORMAT, "'tensors': missing");
    unlink("a.h5");
}
END_TEST

/* ---- a full disk ---- */

/* 2.4 MB, so that both ways of filling a disk strike in the middle. */
static void make_large(struct made *m, float *values)
{
    make(m, 1);
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
    ck_assert_msg(load(path, old, &equal, &again), "%s", again.text);
    ck_assert(equal);
}

START_TEST(a_full_disk_leaves_the_old_checkpoint_and_nothing_else)
{
    static const size_t limits[] = {0,     100,    511,     512,     3000,
                                    60000, 400000, 1000000, 2300000, 2399000};
    static float values[600000];
    struct made old, large;

    make(&old, 0);
    make_large(&large, values);
    save("a.h5", &old.c);
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
    struct made old, large;

    mkdir("small", 0777);
    if (mount("none", "small", "tmpfs", 0, "size=1m") != 0)
        SKIP_TEST("this user may not mount a small file system");
    make(&old, 0);
    make_large(&large, values);
    save("small/a.h5", &old.c);
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
    struct made large;
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
    struct made m;
    struct ld_err err = {0};

    make(&m, 0);
    ck_assert(!ld_checkpoint_save("nowhere/a.h5", &m.c, &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_msg(strstr(err.text, "nowhere/a.h5"), "%s", err.text);
    ck_assert_msg(strstr(err.text, "No such file"), "%s", err.text);
}
END_TEST

START_TEST(running_out_of_memory_is_an_error)
{
    struct made m;

    make(&m, 0);
    for (int i = 0; i < 40; i++) {
        struct ld_err err = {0}, loading = {0};
        bool saved, equal;

        ld_mem_fail_after(i);
        saved = ld_checkpoint_save("a.h5", &m.c, &err);
        ld_mem_fail_after(-1);
        ck_assert(saved || err.code != LD_OK);
        save("a.h5", &m.c);
        ld_mem_fail_after(i);
        load("a.h5", &m.c, &equal, &loading);
        ld_mem_fail_after(-1);
        ck_assert_int_eq(scratch_count("."), 1);
    }
    unlink("a.h5");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("checkpoint");
    TCase *c = tcase_create("checkpoint");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, what_is_saved_is_loaded);
    tcase_add_test(c, an_export_has_no_momentum_and_no_objects_are_fine);
    tcase_add_test(c, equal_runs_give_equal_files);
    tcase_add_test(c, a_name_hdf5_would_take_for_a_path_is_refused);
    tcase_add_test(c, a_name_used_twice_is_refused);
    tcase_add_test(c, what_is_no_checkpoint_is_refused_by_name);
    tcase_add_test(c, every_truncation_is_an_error);
    tcase_add_test(c, any_changed_byte_is_an_error_or_changes_nothing);
    tcase_add_test(c, the_damaged_tensor_is_named);
    tcase_add_test(c, a_format_of_the_future_is_refused);
    tcase_add_test(c, a_missing_attribute_is_named);
    tcase_add_test(c, a_tensor_of_another_type_rank_or_size_is_refused);
    tcase_add_test(c, a_group_among_the_tensors_is_refused);
    tcase_add_test(c, a_full_disk_leaves_the_old_checkpoint_and_nothing_else);
    tcase_add_test(
        c, a_full_file_system_leaves_the_old_checkpoint_and_nothing_else);
    tcase_add_test(c, the_program_still_exits_in_peace_after_a_full_disk);
    tcase_add_test(c, a_folder_that_is_missing_is_named);
    tcase_add_test(c, running_out_of_memory_is_an_error);
    suite_add_tcase(s, c);
    return s;
}
