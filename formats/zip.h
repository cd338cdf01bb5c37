/* zip.h - finds the entries of a zip archive as PyTorch writes it: stored.
 *
 * Read from the end: the end record (with its zip64 forms), then the central
 * directory. Compressed and encrypted entries are refused when they are read,
 * and so is data whose CRC-32 is not the directory's. */
#pragma once

#include <stdint.h>

#include "formats/file.h"

struct ld_zip_entry {
    const char *name;
    uint64_t header; /* address of its local header */
    uint64_t size;   /* in the file, and unpacked */
    uint32_t crc;
    bool is_stored; /* neither compressed nor encrypted */
    bool is_whole;  /* its CRC-32 has been compared */
};

struct ld_zip {
    const struct ld_file *file;
    const char *path;             /* for errors */
    struct ld_zip_entry *entries; /* by rising name; no name twice */
    size_t n;
};

/* True if the file begins as an archive. */
bool ld_zip_is(const struct ld_file *file);

/* The entries are the arena's; `file` and `path` must outlive them.
 * LD_ERR_FORMAT names the path and what is wrong. */
bool ld_zip_open(struct ld_zip *zip, const struct ld_file *file,
                 const char *path, struct ld_arena *arena, struct ld_err *err);

/* NULL if there is none of that name. */
struct ld_zip_entry *ld_zip_find(const struct ld_zip *zip, const char *name);

/* The bytes of an entry, in the file, compared with its CRC-32 the first time;
 * NULL with LD_ERR_FORMAT. No bytes give a pointer all the same. */
const unsigned char *ld_zip_read(const struct ld_zip *zip,
                                 struct ld_zip_entry *entry,
                                 struct ld_err *err);
