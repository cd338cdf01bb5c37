/* pth_storage.h - the two formats of torch.save down to the object's pickle and
 * the bytes of each storage. Internal to pth.c. */
#pragma once

#include "formats/pickle.h"
#include "formats/zip.h"

/* A storage of the older format. */
struct ld_pth_bytes {
    const char *key;
    const unsigned char *data; /* NULL: not in the file */
    uint64_t size;             /* bytes */
    uint64_t count;            /* numbers; of the older format only */
};

struct ld_pth {
    const struct ld_file *file;
    const char *path;
    struct ld_arena *arena;
    struct ld_err *err;
    struct ld_py *object;
    bool is_zip, big_endian;
    struct ld_zip zip;
    const char *folder;           /* in the zip: "archive/" */
    struct ld_pth_bytes *storage; /* else; by rising key */
    size_t n_storages;
};

/* Reads the object. file, path, arena and err are the caller's. */
bool ld_pth_open(struct ld_pth *pth);

/* The bytes of the storage of that key, checked if they have a checksum. */
bool ld_pth_find(struct ld_pth *pth, const char *key, struct ld_pth_bytes *out);
