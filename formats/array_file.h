/* array_file.h - named arrays of plain numbers as a file for other programs. */
#pragma once

#include <stddef.h>

#include "kernels/base/error.h"

struct ld_array {
    const char *name; /* "rows/box" */
    char letter;      /* as Python's struct module: q int64, i int32, B uint8, f
                         float */
    int rank;
    size_t dims[3];
    const void *values; /* row-major, little-endian */
};

size_t ld_array_bytes(const struct ld_array *array);

/* NumPy's .npz: a zip of .npy files, stored; numpy.load(path)["rows/box"].
 * Whole or not at all. LD_ERR_USAGE beyond 4 GB. (NEP 1, format 1.0) */
bool ld_array_write_npz(const char *path, const struct ld_array *arrays,
                        size_t n, struct ld_err *err);

/* HDF5 with one contiguous dataset an array: no filter, so no plug-in is needed
 * to read it. Whole or not at all. */
bool ld_array_write_h5(const char *path, const struct ld_array *arrays,
                       size_t n, struct ld_err *err);
