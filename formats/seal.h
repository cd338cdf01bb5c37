/* seal.h - proof that a file is, byte for byte, what its writer published.
 *
 * The first LD_SEAL_BYTES of our HDF5 files (their user block) are text:
 *
 *   ld-distill shard 1
 *   bytes 123456789         length of the whole file
 *   table 4096 120          where the frames stand: address, how many
 *   core 89abcdef           CRC-32 of all bytes after the seal but the frames
 *   whole 01234567          CRC-32 of all bytes after the seal
 *   seal 01234567           CRC-32 of the lines above
 *
 * each line ended by a newline, the rest filled with blanks. The table is an
 * array of (address, size), two little-endian 64-bit numbers a frame, itself
 * part of the core. Frames are large runs of bytes that carry checksums of
 * their own and are checked when they are used: so opening a file reads little
 * of it, yet HDF5 never parses metadata that was damaged. A file without
 * frames has core and whole alike. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/error.h"
#include "kernels/base/mem.h"

enum { LD_SEAL_BYTES = 512 };

struct ld_frame {
    uint64_t address, size; /* in the file, in bytes */
};

struct ld_seal {
    uint64_t file_bytes;
    uint64_t table_address, n_frames; /* 0, 0 without frames */
    uint32_t core, whole;
};

/* Writes the seal into a closed file whose first LD_SEAL_BYTES are free, the
 * last step before ld_file_publish. `kind` is one word: "shard". LD_ERR_IO
 * names `name`: the path the user knows the file by. */
bool ld_seal_write(const char *path, const char *kind, uint64_t table_address,
                   uint64_t n_frames, const char *name, struct ld_err *err);

/* Reads and checks seal, length, table and core of an open file. LD_ERR_FORMAT
 * names `name` and what is wrong. *frames are the arena's, by no order. */
bool ld_seal_check(int fd, const char *kind, const char *name,
                   struct ld_seal *out, struct ld_frame **frames,
                   struct ld_arena *arena, struct ld_err *err);

/* Reads the whole file and compares it with its seal. */
bool ld_seal_check_whole(int fd, const struct ld_seal *seal, const char *name,
                         struct ld_err *err);

/* Exactly `len` bytes at `address`; LD_ERR_IO or, past the end, LD_ERR_FORMAT
 * names `name`. Any number of threads. */
bool ld_seal_pread(int fd, void *out, size_t len, uint64_t address,
                   const char *name, struct ld_err *err);
