#include "formats/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "the files are little-endian and are read as they stand");

enum { BLOCK_BYTES = 1 << 18 };

bool ld_seal_pread(int fd, void *out, size_t len, uint64_t address,
                   const char *name, struct ld_err *err)
{
    unsigned char *at = out;

    while (len > 0) {
        ssize_t n = pread(fd, at, len, (off_t)address);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ld_fail(err, LD_ERR_IO, "%s: cannot read: %s", name,
                           strerror(errno));
        if (n == 0)
            return ld_fail(err, LD_ERR_FORMAT, "%s: ends early", name);
        at += n;
        len -= (size_t)n;
        address += (uint64_t)n;
    }
    return true;
}

/* ---- checksums ---- */

static bool add_range(int fd, uint64_t begin, uint64_t end, uint32_t *crc,
                      const char *name, struct ld_err *err)
{
    unsigned char *block;
    bool ok = true;

    if (begin == end)
        return true;
    block = ld_new(BLOCK_BYTES, 1, err);
    ok = block != NULL;
    while (ok && begin < end) {
        size_t left = (size_t)(end - begin);
        size_t len = left < BLOCK_BYTES ? left : BLOCK_BYTES;

        ok = ld_seal_pread(fd, block, len, begin, name, err);
        if (ok)
            *crc = (uint32_t)crc32(*crc, block, (uInt)len);
        begin += len;
    }
    ld_delete(block);
    return ok;
}

static int by_address(const void *a, const void *b)
{
    uint64_t p = ((const struct ld_frame *)a)->address;
    uint64_t q = ((const struct ld_frame *)b)->address;

    return (p > q) - (p < q);
}

/* CRC-32 of what lies between the frames. */
static bool sum_core(int fd, const struct ld_seal *seal,
                     const struct ld_frame *frames, uint32_t *crc,
                     const char *name, struct ld_err *err)
{
    size_t n = (size_t)seal->n_frames;
    struct ld_frame *sorted = ld_new(n, sizeof(*sorted), err);
    uint64_t at = LD_SEAL_BYTES;
    bool ok = sorted != NULL;

    *crc = 0;
    if (ok && n > 0) {
        memcpy(sorted, frames, n * sizeof(*sorted));
        qsort(sorted, n, sizeof(*sorted), by_address);
    }
    for (size_t i = 0; ok && i < n; i++) {
        const struct ld_frame *f = &sorted[i];

        if (f->address < at || f->address > seal->file_bytes ||
            f->size > seal->file_bytes - f->address)
            ok = ld_fail(err, LD_ERR_FORMAT,
                         "%s: its table of frames is damaged", name);
        else
            ok = add_range(fd, at, f->address, crc, name, err);
        at = f->address + f->size;
    }
    if (ok)
        ok = add_range(fd, at, seal->file_bytes, crc, name, err);
    ld_delete(sorted);
    return ok;
}

static bool read_table(int fd, const struct ld_seal *seal,
                       struct ld_frame **frames, struct ld_arena *arena,
                       const char *name, struct ld_err *err)
{
    uint64_t room = seal->file_bytes / sizeof(**frames);

    if (seal->n_frames > room)
        return ld_fail(err, LD_ERR_FORMAT, "%s: its table of frames is damaged",
                       name);
    *frames =
        ld_arena_new(arena, (size_t)seal->n_frames, sizeof(**frames), err);
    return *frames &&
           ld_seal_pread(fd, *frames, (size_t)seal->n_frames * sizeof(**frames),
                         seal->table_address, name, err);
}

/* ---- the text ---- */

static void format_seal(char out[LD_SEAL_BYTES], const char *kind,
                        const struct ld_seal *seal)
{
    char text[LD_SEAL_BYTES];
    int n = snprintf(text, sizeof(text),
                     "ld-distill %s 1\nbytes %" PRIu64 "\ntable %" PRIu64
                     " %" PRIu64 "\ncore %08" PRIx32 "\nwhole %08" PRIx32 "\n",
                     kind, seal->file_bytes, seal->table_address,
                     seal->n_frames, seal->core, seal->whole);

    memset(out, ' ', LD_SEAL_BYTES);
    n += snprintf(text + n, sizeof(text) - (size_t)n, "seal %08lx\n",
                  crc32(0, (const unsigned char *)text, (uInt)n));
    memcpy(out, text, (size_t)n);
}

/* Whatever does not print back to the same bytes is damaged. */
static bool parse_seal(const char found[LD_SEAL_BYTES], const char *kind,
                       struct ld_seal *out)
{
    char text[LD_SEAL_BYTES + 1], again[LD_SEAL_BYTES];
    int n;

    memcpy(text, found, LD_SEAL_BYTES);
    text[LD_SEAL_BYTES] = 0;
    n = sscanf(text,
               "ld-distill %*s 1 bytes %" SCNu64 " table %" SCNu64 " %" SCNu64
               " core %" SCNx32 " whole %" SCNx32,
               &out->file_bytes, &out->table_address, &out->n_frames,
               &out->core, &out->whole);
    if (n != 5)
        return false;
    format_seal(again, kind, out);
    return memcmp(again, found, LD_SEAL_BYTES) == 0;
}

static bool read_seal(int fd, const char *kind, const char *name,
                      struct ld_seal *out, struct ld_err *err)
{
    char text[LD_SEAL_BYTES], first[64];
    int len = snprintf(first, sizeof(first), "ld-distill %s 1\n", kind);
    struct stat info;

    if (fstat(fd, &info) != 0)
        return ld_fail(err, LD_ERR_IO, "%s: cannot stat: %s", name,
                       strerror(errno));
    if (info.st_size < LD_SEAL_BYTES)
        return ld_fail(err, LD_ERR_FORMAT,
                       "%s: %lld bytes are too few for a %s", name,
                       (long long)info.st_size, kind);
    if (!ld_seal_pread(fd, text, sizeof(text), 0, name, err))
        return false;
    if (memcmp(text, first, (size_t)len) != 0)
        return ld_fail(err, LD_ERR_FORMAT,
                       "%s: is no %s: it does not begin with 'ld-distill %s 1'",
                       name, kind, kind);
    if (!parse_seal(text, kind, out))
        return ld_fail(err, LD_ERR_FORMAT, "%s: its seal is damaged", name);
    if ((uint64_t)info.st_size != out->file_bytes)
        return ld_fail(err, LD_ERR_FORMAT,
                       "%s: has %lld bytes, its seal says %" PRIu64, name,
                       (long long)info.st_size, out->file_bytes);
    return true;
}

static bool write_text(int fd, const char text[LD_SEAL_BYTES], const char *name,
                       struct ld_err *err)
{
    ssize_t n = pwrite(fd, text, LD_SEAL_BYTES, 0);

    return n == LD_SEAL_BYTES ||
           ld_fail(err, LD_ERR_IO, "%s: cannot write: %s", name,
                   n < 0 ? strerror(errno) : "the disk is full");
}

/* ---- the interface ---- */

static bool measure(int fd, struct ld_seal *seal, const char *name,
                    struct ld_err *err)
{
    struct ld_arena arena = {0};
    struct ld_frame *frames = NULL;
    bool ok =
        read_table(fd, seal, &frames, &arena, name, err) &&
        sum_core(fd, seal, frames, &seal->core, name, err) &&
        add_range(fd, LD_SEAL_BYTES, seal->file_bytes, &seal->whole, name, err);

    ld_arena_free(&arena);
    return ok;
}

bool ld_seal_write(const char *path, const char *kind, uint64_t table_address,
                   uint64_t n_frames, const char *name, struct ld_err *err)
{
    struct ld_seal seal = {.table_address = table_address,
                           .n_frames = n_frames};
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char text[LD_SEAL_BYTES];
    struct stat info;
    bool ok;

    if (fd < 0 || fstat(fd, &info) != 0) {
        ok = ld_fail(err, LD_ERR_IO, "%s: cannot seal: %s", name,
                     strerror(errno));
        goto done;
    }
    seal.file_bytes = (uint64_t)info.st_size;
    ok = measure(fd, &seal, name, err);
    if (ok) {
        format_seal(text, kind, &seal);
        ok = write_text(fd, text, name, err);
    }
done:
    if (fd >= 0 && close(fd) != 0 && ok)
        ok = ld_fail(err, LD_ERR_IO, "%s: cannot write: %s", name,
                     strerror(errno));
    return ok;
}

bool ld_seal_check(int fd, const char *kind, const char *name,
                   struct ld_seal *out, struct ld_frame **frames,
                   struct ld_arena *arena, struct ld_err *err)
{
    uint32_t core;

    if (!read_seal(fd, kind, name, out, err) ||
        !read_table(fd, out, frames, arena, name, err) ||
        !sum_core(fd, out, *frames, &core, name, err))
        return false;
    return core == out->core ||
           ld_fail(err, LD_ERR_FORMAT,
                   "%s: its index is damaged: CRC-32 %08" PRIx32
                   ", the seal says %08" PRIx32,
                   name, core, out->core);
}

bool ld_seal_check_whole(int fd, const struct ld_seal *seal, const char *name,
                         struct ld_err *err)
{
    uint32_t whole = 0;

    if (!add_range(fd, LD_SEAL_BYTES, seal->file_bytes, &whole, name, err))
        return false;
    return whole == seal->whole || ld_fail(err, LD_ERR_FORMAT,
                                           "%s: is damaged: CRC-32 %08" PRIx32
                                           ", the seal says %08" PRIx32,
                                           name, whole, seal->whole);
}
