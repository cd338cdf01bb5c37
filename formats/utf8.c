#include "formats/utf8.h"

#include <string.h>

static bool is_tail(const char *c, unsigned low, unsigned high)
{
    return (unsigned char)*c >= low && (unsigned char)*c <= high;
}

size_t ld_utf8_length(const char *c, const char *end)
{
    unsigned head = (unsigned char)*c;
    unsigned low = head == 0xe0 ? 0xa0 : head == 0xf0 ? 0x90 : 0x80;
    unsigned high = head == 0xed ? 0x9f : head == 0xf4 ? 0x8f : 0xbf;
    size_t len = head >= 0xf0 ? 4 : head >= 0xe0 ? 3 : 2;

    if (head < 0xc2 || head > 0xf4 || (size_t)(end - c) < len)
        return 0;
    if (!is_tail(c + 1, low, high))
        return 0;
    for (size_t i = 2; i < len; i++)
        if (!is_tail(c + i, 0x80, 0xbf))
            return 0;
    return len;
}

bool ld_utf8_is_text(const char *text)
{
    const char *end = text + strlen(text);

    while (text < end) {
        size_t len =
            (unsigned char)*text < 0x80 ? 1 : ld_utf8_length(text, end);

        if (len == 0)
            return false;
        text += len;
    }
    return true;
}

size_t ld_utf8_encode(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}
