/* h5file.h - what our HDF5 files share: one-line errors, attributes, opening.
 *
 * Every file of ours begins with a user block of LD_SEAL_BYTES, where
 * formats/seal.h puts its checksums. Files are opened without file locks, which
 * network file systems often refuse, and carry no times, so that equal content
 * gives equal bytes. Identifiers are HDF5's: below zero is a failure. HDF5
 * closes nothing at exit: with a full disk it would crash. */
#pragma once

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/error.h"
#include "kernels/base/mem.h"

enum {
    LD_H5_MAX_TEXT = 1 << 20, /* bytes of one string that is read */
    LD_H5_REASON = 256,
};

/* Records "<path>: cannot <doing>: <HDF5's deepest reason>", where the system's
 * own words stand for it if it was a system call. Returns false. */
bool ld_h5_fail(struct ld_err *err, enum ld_code code, const char *path,
                const char *doing);

/* From now on the reason of the first failure, as above, goes to `reason`,
 * which is emptied: HDF5 itself forgets it with the next call, and after a
 * failure there are things to close. NULL: no more. */
void ld_h5_note_reason(char reason[LD_H5_REASON]);

/* A new file, for reading and writing. Every call below on its identifier keeps
 * HDF5's own error printing off in this thread. */
hid_t ld_h5_create(const char *path, struct ld_err *err);

/* An existing file, read-only: LD_ERR_FORMAT if HDF5 cannot read it. Check its
 * seal first: HDF5 trusts its own metadata. */
hid_t ld_h5_open(const char *path, struct ld_err *err);

/* A property list for datasets and groups that keeps no times; H5Pclose it.
 * `class_id` is H5P_DATASET_CREATE or H5P_GROUP_CREATE. */
hid_t ld_h5_plain(hid_t class_id);

/* Attributes of `at` (a file, group or dataset). Writing: a negative result
 * of HDF5 comes back as false; ld_h5_fail tells why. Strings are UTF-8, of
 * variable length. */
bool ld_h5_put(hid_t at, const char *name, hid_t type, const void *values,
               size_t count); /* count 1: a scalar */
bool ld_h5_put_text(hid_t at, const char *name, const char *text);
bool ld_h5_put_texts(hid_t at, const char *name, const char *const *texts,
                     size_t count);

/* Reading: false if the attribute is absent, is of another kind, or holds
 * another number of values than `count`. Texts belong to the arena; `err` is
 * set if that runs out of memory, and only then. */
bool ld_h5_get(hid_t at, const char *name, hid_t type, void *values,
               size_t count);
bool ld_h5_get_text(hid_t at, const char *name, const char **out,
                    struct ld_arena *arena, struct ld_err *err);
bool ld_h5_get_texts(hid_t at, const char *name, const char ***out, int *count,
                     struct ld_arena *arena, struct ld_err *err);

/* Whole datasets of one dimension, contiguous. Getting checks the length; texts
 * are as in attributes, but of any number. */
bool ld_h5_put_array(hid_t at, const char *name, hid_t type, const void *values,
                     size_t count);
bool ld_h5_get_array(hid_t at, const char *name, hid_t type, void *values,
                     size_t count);
bool ld_h5_put_text_array(hid_t at, const char *name, const char *const *texts,
                          size_t count);
bool ld_h5_get_text_array(hid_t at, const char *name, const char **texts,
                          size_t count, struct ld_arena *arena,
                          struct ld_err *err);

/* Rows (the first dimension) of a dataset; -1 if there is no such dataset. */
int64_t ld_h5_rows(hid_t at, const char *name);
