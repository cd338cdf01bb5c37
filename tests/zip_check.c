#include "tests/zip_check.h"

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

/* Offsets as in PKWARE's APPNOTE.TXT, 4.3.7, 4.3.12 and 4.3.16. */
enum { LOCAL = 30, CENTRAL = 46, END = 22 };

static uint32_t get(const char *at, int n_bytes)
{
    uint32_t value = 0;

    memcpy(&value, at, (size_t)n_bytes);
    return value;
}

/* One entry, whose central header is at `central`; returns where the next
 * local header must be. */
static size_t check_entry(const char *zip, const char *central, size_t at,
                          struct zip_content *out)
{
    const char *local = zip + at;
    size_t name_bytes = get(central + 28, 2);
    size_t data = at + LOCAL + name_bytes + get(local + 28, 2);
    size_t len = get(central + 24, 4);

    ck_assert_uint_eq(get(central, 4), 0x02014b50);
    ck_assert_uint_eq(get(local, 4), 0x04034b50);
    ck_assert_uint_eq(get(central + 42, 4), at);
    /* version, flags, method, time, date, crc, sizes, length of the name */
    ck_assert_mem_eq(local + 4, central + 6, 24);
    ck_assert_mem_eq(local + LOCAL, central + CENTRAL, name_bytes);
    ck_assert_uint_eq(get(central + 8, 2), 0);  /* no flag */
    ck_assert_uint_eq(get(central + 10, 2), 0); /* stored */
    ck_assert_uint_eq(get(central + 20, 4), len);
    ck_assert_uint_eq(get(central + 30, 2), 0); /* no extra field here */
    ck_assert_uint_eq(get(central + 32, 2), 0); /* no comment */
    ck_assert_uint_eq(data % 64, 0);
    ck_assert_uint_eq(get(central + 16, 4),
                      crc32_z(0, (const unsigned char *)zip + data, len));
    snprintf(out->name, sizeof(out->name), "%.*s", (int)name_bytes,
             central + CENTRAL);
    out->bytes = zip + data;
    out->len = len;
    return data + len;
}

int zip_check(const char *zip, size_t len, struct zip_content *out, int max)
{
    const char *end = zip + len - END, *central;
    size_t at = 0;
    int n;

    ck_assert_uint_ge(len, END);
    ck_assert_uint_eq(get(end, 4), 0x06054b50);
    n = (int)get(end + 10, 2);
    ck_assert_uint_eq(get(end + 8, 2), n);
    central = zip + get(end + 16, 4);
    for (int i = 0; i < n; i++) {
        struct zip_content content;

        at = check_entry(zip, central, at, &content);
        central += CENTRAL + get(central + 28, 2);
        if (i < max)
            out[i] = content;
    }
    ck_assert_uint_eq(at, get(end + 16, 4));
    ck_assert_ptr_eq(central, end);
    ck_assert_uint_eq(get(end + 12, 4), (size_t)(end - zip) - at);
    return n;
}
