#include "formats/zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Sizes and signatures: APPNOTE.TXT 6.3, sections 4.3.7 to 4.3.16. */
enum {
    LOCAL_BYTES = 30,
    ENTRY_BYTES = 46,
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR64_BYTES = 20,
    MAX_COMMENT = 0xffff,
    MAX_ENTRIES = 1 << 18,
    EXTRA_ZIP64 = 1,
};

#define LOCAL_SIGNATURE 0x04034b50U
#define ENTRY_SIGNATURE 0x02014b50U
#define END_SIGNATURE 0x06054b50U
#define END64_SIGNATURE 0x06064b50U
#define LOCATOR64_SIGNATURE 0x07064b50U

static uint64_t word_at(const unsigned char *at, size_t size)
{
    uint64_t word = 0;

    for (size_t i = size; i-- > 0;)
        word = word << 8 | at[i];
    return word;
}

static uint32_t u16(const unsigned char *at)
{
    return (uint32_t)word_at(at, 2);
}

static uint32_t u32(const unsigned char *at)
{
    return (uint32_t)word_at(at, 4);
}

bool ld_zip_is(const struct ld_file *file)
{
    return file->len >= 4 && u32(file->data) == LOCAL_SIGNATURE;
}

static bool bad(const struct ld_zip *zip, const char *what, struct ld_err *err)
{
    return ld_fail(err, LD_ERR_FORMAT, "%s: %s", zip->path, what);
}

/* True if `size` bytes stand at `address`. */
static bool holds(const struct ld_zip *zip, uint64_t address, uint64_t size)
{
    return address <= zip->file->len && size <= zip->file->len - address;
}

/* ---- the end record ---- */

struct directory {
    uint64_t address, bytes, n;
};

/* Address of the end record, before a comment of any length. */
static bool find_end(const struct ld_zip *zip, uint64_t *address)
{
    size_t len = zip->file->len;

    for (size_t comment = 0; comment <= MAX_COMMENT; comment++) {
        const unsigned char *at;

        if (len < END_BYTES + comment)
            return false;
        *address = len - END_BYTES - comment;
        at = zip->file->data + *address;
        if (u32(at) == END_SIGNATURE && u16(at + 20) == comment)
            return true;
    }
    return false;
}

/* The 64-bit record, if a locator stands before the end record. */
static bool find_end64(const struct ld_zip *zip, uint64_t end,
                       const unsigned char **out, struct ld_err *err)
{
    const unsigned char *locator;
    uint64_t address;

    *out = NULL;
    if (end < LOCATOR64_BYTES)
        return true;
    locator = zip->file->data + end - LOCATOR64_BYTES;
    if (u32(locator) != LOCATOR64_SIGNATURE)
        return true;
    address = word_at(locator + 8, 8);
    if (!holds(zip, address, END64_BYTES) ||
        u32(zip->file->data + address) != END64_SIGNATURE)
        return bad(zip, "its zip64 end record is not where it should be", err);
    *out = zip->file->data + address;
    return true;
}

static bool find_directory(const struct ld_zip *zip, struct directory *out,
                           struct ld_err *err)
{
    const unsigned char *end, *end64;
    uint64_t address;

    if (!find_end(zip, &address))
        return bad(zip, "has no end record of a zip archive: cut short?", err);
    end = zip->file->data + address;
    if (!find_end64(zip, address, &end64, err))
        return false;
    if (end64)
        *out = (struct directory){.n = word_at(end64 + 32, 8),
                                  .bytes = word_at(end64 + 40, 8),
                                  .address = word_at(end64 + 48, 8)};
    else
        *out = (struct directory){.n = u16(end + 10),
                                  .bytes = u32(end + 12),
                                  .address = u32(end + 16)};
    if (out->n > MAX_ENTRIES || !holds(zip, out->address, out->bytes) ||
        out->n > out->bytes / ENTRY_BYTES)
        return bad(zip, "its directory is not in the file", err);
    return true;
}

/* ---- the directory ---- */

/* Numbers that do not fit 32 bits stand in a field of the extra bytes. */
static bool widen(const unsigned char *extra, size_t len, uint64_t *wide[3])
{
    while (len >= 4) {
        size_t size = u16(extra + 2);
        const unsigned char *at = extra + 4, *end;

        if (size > len - 4)
            return false;
        end = at + size;
        if (u16(extra) == EXTRA_ZIP64) {
            for (int i = 0; i < 3; i++) {
                if (*wide[i] != 0xffffffffU)
                    continue;
                if (end - at < 8)
                    return false;
                *wide[i] = word_at(at, 8);
                at += 8;
            }
            return true;
        }
        extra = end;
        len -= 4 + size;
    }
    return true;
}

/* *at moves behind the entry. */
static bool read_entry(const struct ld_zip *zip, const unsigned char **at,
                       const unsigned char *end, struct ld_zip_entry *out,
                       struct ld_arena *arena, struct ld_err *err)
{
    const unsigned char *p = *at;
    size_t name, extra, comment;
    uint64_t packed, *wide[3] = {&out->size, &packed, &out->header};

    if (end - p < ENTRY_BYTES || u32(p) != ENTRY_SIGNATURE)
        return bad(zip, "its directory is damaged", err);
    name = u16(p + 28);
    extra = u16(p + 30);
    comment = u16(p + 32);
    if ((size_t)(end - p) - ENTRY_BYTES < name + extra + comment)
        return bad(zip, "its directory is damaged", err);
    out->crc = u32(p + 16);
    packed = u32(p + 20);
    out->size = u32(p + 24);
    out->header = u32(p + 42);
    p += ENTRY_BYTES;
    if (!widen(p + name, extra, wide))
        return bad(zip, "its directory is damaged", err);
    out->is_stored = u16(*at + 10) == 0 && (u16(*at + 8) & 1) == 0;
    if (out->is_stored && packed != out->size)
        return bad(zip, "its directory is damaged", err);
    out->name = ld_arena_text(arena, (const char *)p, name, err);
    *at = p + name + extra + comment;
    return out->name != NULL;
}

static int by_name(const void *a, const void *b)
{
    const struct ld_zip_entry *x = a, *y = b;

    return strcmp(x->name, y->name);
}

bool ld_zip_open(struct ld_zip *zip, const struct ld_file *file,
                 const char *path, struct ld_arena *arena, struct ld_err *err)
{
    struct directory where = {0};
    const unsigned char *at, *end;

    *zip = (struct ld_zip){.file = file, .path = path};
    if (!find_directory(zip, &where, err))
        return false;
    zip->entries =
        ld_arena_new(arena, (size_t)where.n, sizeof(*zip->entries), err);
    if (!zip->entries)
        return false;
    at = file->data + where.address;
    end = at + where.bytes;
    for (; zip->n < where.n; zip->n++)
        if (!read_entry(zip, &at, end, &zip->entries[zip->n], arena, err))
            return false;
    qsort(zip->entries, zip->n, sizeof(*zip->entries), by_name);
    for (size_t i = 1; i < zip->n; i++)
        if (by_name(&zip->entries[i - 1], &zip->entries[i]) == 0)
            return ld_fail(err, LD_ERR_FORMAT, "%s: holds '%s' twice", path,
                           zip->entries[i].name);
    return true;
}

struct ld_zip_entry *ld_zip_find(const struct ld_zip *zip, const char *name)
{
    struct ld_zip_entry key = {.name = name};

    return zip->n == 0 ? NULL
                       : bsearch(&key, zip->entries, zip->n,
                                 sizeof(*zip->entries), by_name);
}

/* ---- an entry ---- */

static bool bad_entry(const struct ld_zip *zip,
                      const struct ld_zip_entry *entry, const char *what,
                      struct ld_err *err)
{
    return ld_fail(err, LD_ERR_FORMAT, "%s: '%s': %s", zip->path, entry->name,
                   what);
}

/* Where the data of a stored entry begins; NULL after a failure. */
static const unsigned char *locate(const struct ld_zip *zip,
                                   const struct ld_zip_entry *entry,
                                   struct ld_err *err)
{
    const unsigned char *local = zip->file->data + entry->header;
    uint64_t address;

    if (!holds(zip, entry->header, LOCAL_BYTES) ||
        u32(local) != LOCAL_SIGNATURE) {
        bad_entry(zip, entry, "is not where the directory says", err);
        return NULL;
    }
    address = entry->header + LOCAL_BYTES + u16(local + 26) + u16(local + 28);
    if (!holds(zip, address, entry->size)) {
        bad_entry(zip, entry, "passes the end of the file", err);
        return NULL;
    }
    return zip->file->data + address;
}

const unsigned char *ld_zip_read(const struct ld_zip *zip,
                                 struct ld_zip_entry *entry, struct ld_err *err)
{
    const unsigned char *data;
    size_t begin;

    if (!entry->is_stored) {
        bad_entry(zip, entry,
                  "is compressed or encrypted, expected it stored, as "
                  "torch.save does",
                  err);
        return NULL;
    }
    data = locate(zip, entry, err);
    if (!data || entry->is_whole)
        return data;
    entry->is_whole = crc32_z(0, data, entry->size) == entry->crc;
    begin = (size_t)(data - zip->file->data);
    ld_file_forget(zip->file, begin, begin + entry->size);
    if (!entry->is_whole)
        bad_entry(zip, entry,
                  "is damaged: its bytes do not have the CRC-32 they had", err);
    return entry->is_whole ? data : NULL;
}
