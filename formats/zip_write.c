#include "formats/zip_write.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <zlib.h>

#include "formats/file.h"

enum {
    ALIGNMENT = 64,
    MAX_ENTRIES = 65535,
    VERSION = 10,  /* 1.0: stored entries */
    DATE = 0x0021, /* 1980-01-01 */
};

/* What both headers of an entry tell. */
struct __attribute__((packed)) about {
    uint16_t version, flags, method, time, date;
    uint32_t crc32, stored_bytes, bytes;
    uint16_t name_bytes, extra_bytes;
};

/* Followed by the name, the extra field and the entry's bytes. */
struct __attribute__((packed)) local_header {
    uint32_t magic;
    struct about about;
};

/* Followed by the name. */
struct __attribute__((packed)) central_header {
    uint32_t magic;
    uint16_t made_by;
    struct about about;
    uint16_t comment_bytes, disk, internal;
    uint32_t external, local_header_at;
};

struct __attribute__((packed)) end_record {
    uint32_t magic;
    uint16_t disk, directory_disk, entries_here, entries;
    uint32_t directory_bytes, directory_at;
    uint16_t comment_bytes;
};

static_assert(sizeof(struct local_header) == 30, "APPNOTE 4.3.7");
static_assert(sizeof(struct central_header) == 46, "APPNOTE 4.3.12");
static_assert(sizeof(struct end_record) == 22, "APPNOTE 4.3.16");

struct zip {
    struct ld_arena arena; /* of the local headers */
    struct ld_piece *pieces;
    size_t n_pieces;
    struct ld_buf directory;
    uint64_t at; /* bytes so far */
};

static void add(struct zip *z, const void *bytes, size_t len)
{
    z->pieces[z->n_pieces++] = (struct ld_piece){bytes, len};
    z->at += len;
}

/* The extra field: a name, its length, as much as brings the entry's bytes to
 * their place. */
static uint16_t extra_bytes(uint64_t at, size_t name_bytes)
{
    uint64_t end = at + sizeof(struct local_header) + name_bytes + 4;

    return (uint16_t)(4 + (ALIGNMENT - end % ALIGNMENT) % ALIGNMENT);
}

static void put_extra(unsigned char *out, uint16_t bytes)
{
    uint16_t padding = (uint16_t)(bytes - 4);

    memcpy(out, "FB", 2);
    memcpy(out + 2, &padding, 2);
    memset(out + 4, 'Z', padding);
}

static void put_central(struct ld_buf *directory, struct about about,
                        const char *name, uint64_t local_header_at)
{
    struct central_header central = {
        .magic = 0x02014b50,
        .about = about,
        .local_header_at = (uint32_t)local_header_at,
    };

    central.about.extra_bytes = 0;
    ld_buf_put(directory, &central, sizeof(central));
    ld_buf_put(directory, name, about.name_bytes);
}

/* Nothing at NULL would begin anew. */
static uint32_t crc_of(const struct ld_zip_part *e)
{
    uLong crc = crc32_z(0, e->head, e->head_len);

    return (uint32_t)(e->len > 0 ? crc32_z(crc, e->bytes, e->len) : crc);
}

static bool add_entry(struct zip *z, const struct ld_zip_part *e,
                      struct ld_err *err)
{
    size_t name_bytes = strlen(e->name), bytes = e->head_len + e->len;
    uint16_t extra = extra_bytes(z->at, name_bytes);
    struct local_header local = {
        .magic = 0x04034b50,
        .about = {.version = VERSION,
                  .date = DATE,
                  .crc32 = crc_of(e),
                  .stored_bytes = (uint32_t)bytes,
                  .bytes = (uint32_t)bytes,
                  .name_bytes = (uint16_t)name_bytes,
                  .extra_bytes = extra},
    };
    size_t at = sizeof(local) + name_bytes, len = at + extra + e->head_len;
    unsigned char *head = ld_arena_new(&z->arena, len, 1, err);

    if (!head)
        return false;
    memcpy(head, &local, sizeof(local));
    memcpy(head + sizeof(local), e->name, name_bytes);
    put_extra(head + at, extra);
    if (e->head_len > 0)
        memcpy(head + at + extra, e->head, e->head_len);
    put_central(&z->directory, local.about, e->name, z->at);
    add(z, head, len);
    add(z, e->bytes, e->len);
    return true;
}

static void put_end(struct zip *z, size_t n_entries)
{
    struct end_record end = {
        .magic = 0x06054b50,
        .entries_here = (uint16_t)n_entries,
        .entries = (uint16_t)n_entries,
        .directory_bytes = (uint32_t)z->directory.len,
        .directory_at = (uint32_t)z->at,
    };

    ld_buf_put(&z->directory, &end, sizeof(end));
}

/* Whether 16 and 32 bits hold its counts and offsets, counted upwards. */
static bool fits(const struct ld_zip_part *entries, size_t n_entries)
{
    uint64_t most = sizeof(struct end_record);

    for (size_t i = 0; i < n_entries; i++)
        most += sizeof(struct local_header) + sizeof(struct central_header) +
                2 * strlen(entries[i].name) + 4 + ALIGNMENT +
                entries[i].head_len + entries[i].len;
    return n_entries <= MAX_ENTRIES && most <= UINT32_MAX;
}

bool ld_zip_write(const char *path, const struct ld_zip_part *entries,
                  size_t n_entries, struct ld_err *err)
{
    struct zip z = {.directory = {.max = (size_t)1 << 28}};
    bool ok;

    if (!fits(entries, n_entries))
        return ld_fail(err, LD_ERR_USAGE,
                       "%s: would have more than 65535 entries or 4 GB", path);
    z.pieces = ld_new(2 * n_entries + 1, sizeof(*z.pieces), err);
    ok = z.pieces != NULL;
    for (size_t i = 0; ok && i < n_entries; i++)
        ok = add_entry(&z, &entries[i], err);
    if (ok) {
        put_end(&z, n_entries);
        ok = ld_buf_ok(&z.directory, err);
    }
    if (ok) {
        add(&z, z.directory.data, z.directory.len);
        ok = ld_file_replace_pieces(path, z.pieces, z.n_pieces, err);
    }
    ld_delete(z.pieces);
    ld_buf_free(&z.directory);
    ld_arena_free(&z.arena);
    return ok;
}
