#include <unistd.h>

#include "formats/array_file.h"
#include "formats/file.h"
#include "formats/h5file.h"

static hid_t type_of(char letter)
{
    switch (letter) {
    case 'q':
        return H5T_STD_I64LE;
    case 'i':
        return H5T_STD_I32LE;
    case 'B':
        return H5T_STD_U8LE;
    default:
        return H5T_IEEE_F32LE;
    }
}

static bool put_array(hid_t file, const struct ld_array *array)
{
    hsize_t dims[3] = {array->dims[0], array->dims[1], array->dims[2]};
    hid_t type = type_of(array->letter);
    hid_t space = H5Screate_simple(array->rank, dims, NULL);
    hid_t plain = ld_h5_plain(H5P_DATASET_CREATE);
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    hid_t set = -1;
    bool ok;

    if (H5Pset_create_intermediate_group(links, 1) >= 0)
        set = H5Dcreate2(file, array->name, type, space, links, plain,
                         H5P_DEFAULT);
    ok = set >= 0;
    if (ok && ld_array_bytes(array) > 0)
        ok = H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                      array->values) >= 0;
    if (set >= 0)
        ok = H5Dclose(set) >= 0 && ok;
    H5Pclose(links);
    H5Pclose(plain);
    H5Sclose(space);
    return ok;
}

static bool write_file(const char *temporary, const char *path,
                       const struct ld_array *arrays, size_t n,
                       struct ld_err *err)
{
    hid_t file = ld_h5_create(temporary, err);
    bool ok = file >= 0;

    if (!ok)
        return false;
    for (size_t i = 0; ok && i < n; i++)
        ok = put_array(file, &arrays[i]) ||
             ld_h5_fail(err, LD_ERR_IO, path, "write");
    if (H5Fclose(file) < 0 && ok)
        ok = ld_h5_fail(err, LD_ERR_IO, path, "write");
    return ok;
}

bool ld_array_write_h5(const char *path, const struct ld_array *arrays,
                       size_t n, struct ld_err *err)
{
    char temporary[4096];

    if (!ld_file_temporary(path, temporary, err))
        return false;
    if (write_file(temporary, path, arrays, n, err))
        return ld_file_publish(temporary, path, err);
    unlink(temporary);
    return false;
}
