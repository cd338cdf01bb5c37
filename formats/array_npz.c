#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "formats/array_file.h"
#include "formats/zip_write.h"
#include "kernels/base/mem.h"

enum {
    HEADER = 192
}; /* magic, version, length and dictionary; 64 divides it */

static size_t size_of(char letter)
{
    return letter == 'q' ? 8 : letter == 'B' ? 1 : 4;
}

size_t ld_array_bytes(const struct ld_array *array)
{
    size_t bytes = size_of(array->letter);

    for (int i = 0; i < array->rank; i++)
        bytes *= array->dims[i];
    return bytes;
}

static const char *type_name(char letter)
{
    return letter == 'q'   ? "<i8"
           : letter == 'i' ? "<i4"
           : letter == 'B' ? "|u1"
                           : "<f4";
}

static void put_header(unsigned char out[HEADER], const struct ld_array *array)
{
    static const unsigned char start[] = "\x93NUMPY\x01";
    uint16_t len = HEADER - 10;
    char shape[80] = "";
    size_t at = 0;
    int n;

    for (int i = 0; i < array->rank; i++)
        at += (size_t)snprintf(shape + at, sizeof(shape) - at, "%zu, ",
                               array->dims[i]);
    memset(out, ' ', HEADER);
    memcpy(out, start, 8); /* its zero is the minor version */
    memcpy(out + 8, &len, 2);
    n = snprintf((char *)out + 10, HEADER - 10,
                 "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                 type_name(array->letter), shape);
    assert(n > 0 && n < HEADER - 11);
    out[10 + n] = ' ';
    out[HEADER - 1] = '\n';
}

static bool put_array(struct ld_zip_part *entry, const struct ld_array *array,
                      struct ld_arena *arena, struct ld_err *err)
{
    size_t len = ld_array_bytes(array), name_len = strlen(array->name);
    unsigned char *header = ld_arena_new(arena, HEADER, 1, err);
    char *name = ld_arena_new(arena, name_len + 5, 1, err);

    if (!header || !name)
        return false;
    snprintf(name, name_len + 5, "%s.npy", array->name);
    put_header(header, array);
    *entry = (struct ld_zip_part){name, array->values, len, header, HEADER};
    return true;
}

bool ld_array_write_npz(const char *path, const struct ld_array *arrays,
                        size_t n, struct ld_err *err)
{
    struct ld_arena arena = {0};
    struct ld_zip_part *entries =
        ld_arena_new(&arena, n, sizeof(*entries), err);
    bool ok = entries != NULL;

    for (size_t i = 0; ok && i < n; i++)
        ok = put_array(&entries[i], &arrays[i], &arena, err);
    ok = ok && ld_zip_write(path, entries, n, err);
    ld_arena_free(&arena);
    return ok;
}
