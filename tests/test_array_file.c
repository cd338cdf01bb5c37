#include "formats/array_file.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/h5file.h"
#include "tests/scratch.h"
#include "tests/suite.h"
#include "tests/zip_check.h"

static const int64_t ids[3] = {1, -2, INT64_MAX};
static const int32_t counts[2] = {7, -8};
static const uint8_t kinds[5] = {1, 2, 3, 2, 1};
static const float boxes[2][3][2] = {{{0, 1}, {2, 3}, {4, 5}},
                                     {{-6, 7.5f}, {8, 9}, {10, 1e30f}}};

static const struct ld_array arrays[] = {
    {"index/image_id", 'q', 1, {3}, ids},
    {"index/n_rows", 'i', 1, {2}, counts},
    {"rows/kind", 'B', 1, {5}, kinds},
    {"rows/box", 'f', 3, {2, 3, 2}, boxes},
    {"features/rows", 'f', 2, {0, 4}, NULL},
};

enum { N = sizeof(arrays) / sizeof(arrays[0]) };

START_TEST(npz_is_a_zip_of_npy)
{
    /* As numpy.save writes them, but for the number of spaces. */
    static const char *const headers[N] = {
        "{'descr': '<i8', 'fortran_order': False, 'shape': (3, ), } ",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (2, ), } ",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (5, ), } ",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 2, ), } ",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4, ), } ",
    };
    struct zip_content content[N];
    struct ld_err err = {0};
    char name[64], *zip;
    size_t len, header;

    ck_assert_msg(ld_array_write_npz("a.npz", arrays, N, &err), "%s", err.text);
    zip = scratch_get("a.npz", &len);
    ck_assert_int_eq(zip_check(zip, len, content, N), N);
    for (int i = 0; i < N; i++) {
        const unsigned char *at = (const unsigned char *)content[i].bytes;

        snprintf(name, sizeof(name), "%s.npy", arrays[i].name);
        ck_assert_str_eq(content[i].name, name);
        ck_assert_mem_eq(at, "\x93NUMPY\x01\x00", 8);
        header = 10 + (size_t)at[8] + 256 * (size_t)at[9];
        ck_assert_uint_eq(header % 64, 0);
        ck_assert_mem_eq(at + 10, headers[i], strlen(headers[i]));
        ck_assert_int_eq(at[header - 1], '\n');
        for (size_t j = 10 + strlen(headers[i]); j < header - 1; j++)
            ck_assert_int_eq(at[j], ' ');
        ck_assert_uint_eq(content[i].len - header, ld_array_bytes(&arrays[i]));
        if (arrays[i].values)
            ck_assert_mem_eq(at + header, arrays[i].values,
                             ld_array_bytes(&arrays[i]));
    }
    ld_delete(zip);
    unlink("a.npz");
}
END_TEST

static void expect_dataset(hid_t file, const struct ld_array *array)
{
    static unsigned char values[256];
    hid_t set = H5Dopen2(file, array->name, H5P_DEFAULT), plist, type, space;
    hsize_t dims[3] = {0};

    ck_assert_msg(set >= 0, "%s", array->name);
    plist = H5Dget_create_plist(set);
    ck_assert_int_eq(H5Pget_nfilters(plist), 0);
    ck_assert_int_eq(H5Pget_layout(plist), H5D_CONTIGUOUS);
    space = H5Dget_space(set);
    ck_assert_int_eq(H5Sget_simple_extent_dims(space, dims, NULL), array->rank);
    for (int i = 0; i < array->rank; i++)
        ck_assert_uint_eq(dims[i], array->dims[i]);
    type = H5Dget_type(set);
    memset(values, 0xab, sizeof(values));
    ck_assert_int_ge(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values),
                     0);
    if (array->values)
        ck_assert_mem_eq(values, array->values, ld_array_bytes(array));
    H5Tclose(type);
    H5Sclose(space);
    H5Pclose(plist);
    H5Dclose(set);
}

START_TEST(h5_needs_no_filter)
{
    struct ld_err err = {0};
    hid_t file;

    ck_assert_msg(ld_array_write_h5("a.h5", arrays, N, &err), "%s", err.text);
    file = ld_h5_open("a.h5", &err);
    ck_assert_int_ge(file, 0);
    for (int i = 0; i < N; i++)
        expect_dataset(file, &arrays[i]);
    H5Fclose(file);
    unlink("a.h5");
}
END_TEST

START_TEST(what_cannot_be_written_leaves_nothing)
{
    struct ld_err npz = {0}, h5 = {0}, full = {0};

    ck_assert(!ld_array_write_npz("none/a.npz", arrays, N, &npz));
    ck_assert_str_eq(npz.text,
                     "none/a.npz: cannot create: No such file or directory");
    ck_assert(!ld_array_write_h5("none/a.h5", arrays, N, &h5));
    ck_assert_int_eq(h5.code, LD_ERR_IO);
    fflush(stdout); /* the limit holds for the log as well */
    scratch_limit_files(1500);
    ck_assert(!ld_array_write_h5("a.h5", arrays, N, &full));
    ck_assert_int_eq(full.code, LD_ERR_IO);
    ck_assert_int_eq(scratch_count("."), 0);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("array_file");
    TCase *c = tcase_create("array_file");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, npz_is_a_zip_of_npy);
    tcase_add_test(c, h5_needs_no_filter);
    tcase_add_test(c, what_cannot_be_written_leaves_nothing);
    suite_add_tcase(s, c);
    return s;
}
