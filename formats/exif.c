#include "formats/exif.h"

#include <stdbool.h>
#include <stdint.h>

/* A TIFF block: "II" or "MM", the number 42, the offset of a directory; the
 * directory: how many entries, then 12 bytes each: tag, type, count, value. */
enum {
    HEADER_SIZE = 8,
    ENTRY_SIZE = 12,
    VALUE_AT = 8,
    TAG_ORIENTATION = 0x0112
};

struct tiff {
    const unsigned char *bytes;
    size_t len;
    bool big_endian;
};

static unsigned read16(const struct tiff *t, size_t at)
{
    const unsigned char *p = t->bytes + at;

    return t->big_endian ? (unsigned)(p[0] << 8 | p[1])
                         : (unsigned)(p[1] << 8 | p[0]);
}

static uint32_t read32(const struct tiff *t, size_t at)
{
    uint32_t a = read16(t, at), b = read16(t, at + 2);

    return t->big_endian ? a << 16 | b : b << 16 | a;
}

static int orientation_in(const struct tiff *t, size_t directory)
{
    size_t room = (t->len - directory - 2) / ENTRY_SIZE;
    size_t n = read16(t, directory);

    for (size_t i = 0; i < n && i < room; i++) {
        size_t at = directory + 2 + i * ENTRY_SIZE;

        if (read16(t, at) == TAG_ORIENTATION) {
            unsigned value = read16(t, at + VALUE_AT);

            return value >= 1 && value <= 8 ? (int)value : 1;
        }
    }
    return 1;
}

int ld_exif_orientation(const unsigned char *tiff, size_t len)
{
    struct tiff t = {tiff, len, false};
    size_t directory;

    if (len < HEADER_SIZE || tiff[0] != tiff[1] ||
        (tiff[0] != 'I' && tiff[0] != 'M'))
        return 1;
    t.big_endian = tiff[0] == 'M';
    directory = read32(&t, 4);
    if (read16(&t, 2) != 42 || directory > len || len - directory < 2)
        return 1;
    return orientation_in(&t, directory);
}
