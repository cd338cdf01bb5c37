#include "formats/checkpoint.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/h5file.h"
#include "formats/seal.h"
#include "kernels/base/rng.h"
#include "tests/made_checkpoint.h"
#include "tests/scratch.h"
#include "tests/suite.h"

static void expect_load_fails(const char *path, enum ld_code code,
                              const char *text)
{
    struct ld_checkpoint none = {0};
    struct ld_err err = {0};
    bool equal;

    ck_assert(!checkpoint_is(path, &none, &equal, &err));
    ck_assert_msg(strstr(err.text, text), "'%s' not in '%s'", text, err.text);
    ck_assert_msg(err.code == code, "code %d: %s", err.code, err.text);
}

START_TEST(what_is_saved_is_loaded)
{
    struct made_checkpoint m;
    struct ld_err err = {0};
    bool equal;

    checkpoint_make(&m, 0);
    checkpoint_save_ok("a.h5", &m.c);
    ck_assert_msg(checkpoint_is("a.h5", &m.c, &equal, &err), "%s", err.text);
    ck_assert(equal);
    ck_assert_int_eq(scratch_count("."), 1);
    unlink("a.h5");
}
END_TEST

START_TEST(an_export_has_no_momentum_and_no_objects_are_fine)
{
    struct made_checkpoint m;
    struct ld_err err = {0};
    bool equal;

    checkpoint_make(&m, 0);
    m.c.n_momentum = 0;
    m.c.config = "";
    checkpoint_save_ok("a.h5", &m.c);
    ck_assert_msg(checkpoint_is("a.h5", &m.c, &equal, &err), "%s", err.text);
    ck_assert(equal);
    m.c.n_tensors = 0;
    m.c.n_classes = 0;
    m.c.class_names = NULL;
    checkpoint_save_ok("a.h5", &m.c);
    ck_assert_msg(checkpoint_is("a.h5", &m.c, &equal, &err), "%s", err.text);
    ck_assert(equal);
    unlink("a.h5");
}
END_TEST

START_TEST(equal_runs_give_equal_files)
{
    struct made_checkpoint m;
    size_t n, k;
    char *a, *b;

    checkpoint_make(&m, 0);
    checkpoint_save_ok("a.h5", &m.c);
    checkpoint_save_ok("b.h5", &m.c);
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
    struct made_checkpoint m;

    for (int i = 0; i < 3; i++) {
        struct ld_err err = {0};

        checkpoint_make(&m, 0);
        m.tensors[1].name = names[i];
        ck_assert(!ld_checkpoint_save("a.h5", &m.c, &err));
        ck_assert_int_eq(scratch_count("."), 0);
    }
}
END_TEST

START_TEST(a_name_used_twice_is_refused)
{
    struct made_checkpoint m;
    struct ld_err err = {0};

    checkpoint_make(&m, 0);
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
    struct made_checkpoint m;
    size_t len;
    char *bytes;

    checkpoint_make(&m, 0);
    checkpoint_save_ok("a.h5", &m.c);
    bytes = scratch_get("a.h5", &len);
    for (size_t i = 0; i < 200; i++) {
        struct ld_err err = {0};
        bool equal;

        scratch_put("cut.h5", bytes, len * i / 200);
        ck_assert(!checkpoint_is("cut.h5", &m.c, &equal, &err));
    }
    ld_delete(bytes);
    unlink("a.h5");
    unlink("cut.h5");
}
END_TEST

START_TEST(any_changed_byte_is_an_error_or_changes_nothing)
{
    struct ld_rng rng = ld_rng_seed(2024, 7);
    struct made_checkpoint m;
    size_t len;
    char *bytes;
    int fd, refused = 0;

    checkpoint_make(&m, 0);
    checkpoint_save_ok("a.h5", &m.c);
    bytes = scratch_get("a.h5", &len);
    fd = open("a.h5", O_WRONLY);
    printf("seed 2024, %zu bytes\n", len);
    for (int i = 0; i < 2000; i++) {
        size_t at = ld_rng_below(&rng, (uint32_t)len);
        char other = (char)(bytes[at] ^ (1 + (int)ld_rng_below(&rng, 255)));
        struct ld_err err = {0};
        bool equal;

        ck_assert_int_eq(pwrite(fd, &other, 1, (off_t)at), 1);
        if (checkpoint_is("a.h5", &m.c, &equal, &err))
            ck_assert_msg(equal, "byte %zu went by unseen", at);
        else
            refused++;
        ck_assert_int_eq(pwrite(fd, &bytes[at], 1, (off_t)at), 1);
    }
    ck_assert_int_gt(refused, 1900);
    close(fd);
    ld_delete(bytes);
    unlink("a.h5");
}
END_TEST

START_TEST(the_damaged_tensor_is_named)
{
    struct made_checkpoint m;
    size_t len;
    char *bytes, *found;

    checkpoint_make(&m, 0);
    checkpoint_save_ok("a.h5", &m.c);
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
    struct made_checkpoint m;
    const int64_t two = 2;
    hid_t file;

    checkpoint_make(&m, 0);
    checkpoint_save_ok("a.h5", &m.c);
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
    struct made_checkpoint m;

    checkpoint_make(&m, 0);
    for (int i = 0; i < 6; i++) {
        char text[64];
        hid_t file;

        checkpoint_save_ok("a.h5", &m.c);
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
    struct made_checkpoint m;

    checkpoint_make(&m, 0);
    checkpoint_save_ok("a.h5", &m.c);
    replace_tensor(H5T_IEEE_F64LE, 2, 3, H5P_DEFAULT);
    expect_load_fails("a.h5", LD_ERR_FORMAT,
                      "'head.fc.weight': is not float32");
    checkpoint_save_ok("a.h5", &m.c);
    replace_tensor(H5T_IEEE_F32LE, 5, 2, H5P_DEFAULT);
    expect_load_fails("a.h5", LD_ERR_FORMAT,
                      "'head.fc.weight': expected 0 to 4 dimensions");
    checkpoint_save_ok("a.h5", &m.c); /* 16 TB that were never stored */
    replace_tensor(H5T_IEEE_F32LE, 4, 1450, H5P_DEFAULT);
    expect_load_fails("a.h5", LD_ERR_FORMAT,
                      "'head.fc.weight': expected 0 to 4 dimensions");
    unlink("a.h5");
}
END_TEST

START_TEST(a_group_among_the_tensors_is_refused)
{
    struct made_checkpoint m;
    hid_t file, group;

    checkpoint_make(&m, 0);
    checkpoint_save_ok("a.h5", &m.c);
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
    suite_add_tcase(s, c);
    return s;
}
