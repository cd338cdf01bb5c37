/* zip_write.h - a zip of entries that are stored as they are.
 *
 * Laid out as torch.save does, so that a reader may map them: the bytes of each
 * entry begin at a multiple of 64, which a padding in the extra field of its
 * header (named "FB", as there) sees to. All of 1980-01-01: equal entries make
 * equal files. (PKWARE, APPNOTE.TXT, 4.3) */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/error.h"

struct ld_zip_part {
    const char *name; /* ASCII */
    const void *bytes;
    size_t len;
    const void *head; /* bytes that come before those; NULL is fine */
    size_t head_len;
};

/* Writes `path`, whole or not at all. LD_ERR_USAGE for more than 65535 entries
 * or 4 GB, LD_ERR_IO for what the system refuses. */
bool ld_zip_write(const char *path, const struct ld_zip_part *entries,
                  size_t n_entries, struct ld_err *err);
