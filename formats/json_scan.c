#include "formats/json_scan.h"

#include "formats/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_NUMBER = 1000, /* characters: RFC 8259 section 9 allows a limit */
    MAX_DIGITS = 18,   /* decimal digits that always fit 64 bits */
};

bool ld_json_fail(struct ld_json *j, const char *what)
{
    size_t line = 1, column = 1;

    for (const char *c = j->text; c < j->at; c++) {
        if (*c == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)*c & 0xc0) != 0x80) {
            column++; /* characters, not bytes */
        }
    }
    return ld_fail(j->err, LD_ERR_FORMAT, "%s:%zu:%zu: %s", j->name, line,
                   column, what);
}

static const char *found(const struct ld_json *j, char text[32])
{
    unsigned char c;

    if (j->at == j->end)
        return "the end of the file";
    c = (unsigned char)*j->at;
    if (c == '"')
        return "a string";
    if (c > ' ' && c < 0x7f)
        snprintf(text, 32, "'%c'", c);
    else
        snprintf(text, 32, "byte 0x%02x", c);
    return text;
}

bool ld_json_expected(struct ld_json *j, const char *expected)
{
    char what[160], text[32];

    snprintf(what, sizeof(what), "expected %s, found %s", expected,
             found(j, text));
    return ld_json_fail(j, what);
}

/* --- strings --- */

static void put(struct ld_json_sink *out, const char *bytes, size_t len)
{
    size_t room;

    if (out->buf) {
        ld_buf_put(out->buf, bytes, len);
    } else if (out->key) {
        room = out->size - 1 - out->len;
        len = len < room ? len : room;
        memcpy(out->key + out->len, bytes, len);
        out->len += len;
    }
}

static bool read_hex4(struct ld_json *j, uint32_t *code)
{
    *code = 0;
    for (int i = 0; i < 4; i++, j->at++) {
        int c = j->at < j->end ? *j->at : 0;
        int lower = c | 0x20;

        if (c >= '0' && c <= '9')
            *code = *code << 4 | (uint32_t)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            *code = *code << 4 | (uint32_t)(lower - 'a' + 10);
        else
            return ld_json_expected(j, "four hexadecimal digits after \\u");
    }
    return true;
}

/* After "\u". */
static bool read_unicode(struct ld_json *j, struct ld_json_sink *out)
{
    uint32_t code, second;
    char bytes[4];

    if (!read_hex4(j, &code))
        return false;
    if (code >= 0xdc00 && code <= 0xdfff)
        return ld_json_fail(j, "a lone low surrogate, which is no character");
    if (code >= 0xd800 && code <= 0xdbff) {
        if (j->end - j->at < 2 || j->at[0] != '\\' || j->at[1] != 'u')
            return ld_json_expected(j, "the low half of a surrogate pair");
        j->at += 2;
        if (!read_hex4(j, &second))
            return false;
        if (second < 0xdc00 || second > 0xdfff)
            return ld_json_fail(j, "a high surrogate without its low half");
        code = 0x10000 + ((code - 0xd800) << 10 | (second - 0xdc00));
    }
    if (code == 0)
        return ld_json_fail(j, "a string with a zero character");
    put(out, bytes, ld_utf8_encode(code, bytes));
    return true;
}

/* At the backslash. */
static bool read_escape(struct ld_json *j, struct ld_json_sink *out)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *name;

    j->at++;
    if (ld_json_at(j, 'u')) {
        j->at++;
        return read_unicode(j, out);
    }
    name = j->at < j->end && *j->at ? strchr(names, *j->at) : NULL;
    if (!name)
        return ld_json_expected(j, "one of \"\\/bfnrtu after a backslash");
    put(out, values + (name - names), 1);
    j->at++;
    return true;
}

/* At a byte of a string that is not plain ASCII and not its end. */
static bool read_special(struct ld_json *j, struct ld_json_sink *out)
{
    size_t len;

    if (j->at == j->end)
        return ld_json_expected(j, "the string's closing quote");
    if (*j->at == '\\')
        return read_escape(j, out);
    if ((unsigned char)*j->at < 0x20)
        return ld_json_expected(j, "an escape for a control character");
    len = ld_utf8_length(j->at, j->end);
    if (len == 0)
        return ld_json_expected(j, "a string in UTF-8");
    put(out, j->at, len);
    j->at += len;
    return true;
}

bool ld_json_scan_string(struct ld_json *j, struct ld_json_sink *out)
{
    const char *run, *c, *end = j->end;

    j->at++;
    for (;;) {
        run = c = j->at;
        while (c < end && ld_json_is_plain(*c))
            c++;
        j->at = c;
        put(out, run, (size_t)(c - run));
        if (ld_json_at(j, '"'))
            break;
        if (!read_special(j, out))
            return false;
    }
    j->at++;
    return true;
}

/* --- numbers --- */

/* At the first character that is no digit. */
static const char *skip_digits(const char *c, const char *end)
{
    while (c < end && *c >= '0' && *c <= '9')
        c++;
    return c;
}

static bool fail_number(struct ld_json *j, const char *c, const char *expected)
{
    j->at = c;
    return ld_json_expected(j, expected);
}

/* With a local cursor: most of an annotation file is numbers of polygons. */
bool ld_json_scan_number(struct ld_json *j)
{
    const char *c = j->at, *end = j->end, *digits;

    c += *c == '-';
    digits = c;
    c = skip_digits(c, end);
    if (c == digits)
        return fail_number(j, c, "a digit");
    if (*digits == '0' && c > digits + 1)
        return fail_number(j, digits + 1, "no digit after a leading zero");
    if (c < end && *c == '.') {
        digits = c + 1;
        c = skip_digits(digits, end);
        if (c == digits)
            return fail_number(j, c, "a digit after the decimal point");
    }
    if (c < end && (*c == 'e' || *c == 'E')) {
        c++;
        c += c < end && (*c == '+' || *c == '-');
        digits = c;
        c = skip_digits(digits, end);
        if (c == digits)
            return fail_number(j, c, "a digit in the exponent");
    }
    j->at = c;
    return true;
}

/* A number of few digits and no exponent is mantissa / 10^n, both exact in a
 * double (10^22 is the last that is), so the one division rounds correctly
 * (Clinger 1990). Anything else is strtod's. */
static bool convert_short(const char *c, const char *end, double *out)
{
    static const double power[MAX_DIGITS] = {
        1e0, 1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,
        1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17};
    bool negative = *c == '-';
    const char *point = NULL;
    uint64_t mantissa = 0;
    double value;

    if (end - c > MAX_DIGITS)
        return false;
    for (c += negative; c < end; c++) {
        if (*c == '.')
            point = c;
        else if (*c >= '0' && *c <= '9')
            mantissa = 10 * mantissa + (uint64_t)(*c - '0');
        else
            return false;
    }
    if (mantissa > 1ULL << 53)
        return false;
    value = (double)mantissa / power[point ? end - point - 1 : 0];
    *out = negative ? -value : value;
    return true;
}

bool ld_json_convert(struct ld_json *j, const char *begin, double *out)
{
    char text[MAX_NUMBER + 1];
    size_t len = (size_t)(j->at - begin);

    if (convert_short(begin, j->at, out))
        return true;
    if (len > MAX_NUMBER)
        return ld_json_fail(j, "a number of more than 1000 characters");
    memcpy(text, begin, len);
    text[len] = 0;
    *out = strtod(text, NULL);
    return isfinite(*out) || ld_json_fail(j, "a number too large for a double");
}
