#include "formats/json.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_NUMBER = 1000, /* characters: RFC 8259 section 9 allows a limit */
    EXACT_POWER = 22,  /* 10^22 is the largest power exact in a double */
    MAX_DIGITS = 18,   /* decimal digits that always fit 64 bits */
};

/* --- errors --- */

static bool failed(const struct ld_json *j)
{
    return j->err->code != LD_OK;
}

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

static bool fail_expected(struct ld_json *j, const char *expected)
{
    char what[160], text[32];

    snprintf(what, sizeof(what), "expected %s, found %s", expected,
             found(j, text));
    return ld_json_fail(j, what);
}

/* --- characters --- */

static void skip_space(struct ld_json *j)
{
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\n' ||
                              *j->at == '\t' || *j->at == '\r'))
        j->at++;
}

static bool at_char(const struct ld_json *j, char c)
{
    return j->at < j->end && *j->at == c;
}

static bool at_digit(const struct ld_json *j)
{
    return j->at < j->end && *j->at >= '0' && *j->at <= '9';
}

static bool is_tail(const char *c, unsigned low, unsigned high)
{
    return (unsigned char)*c >= low && (unsigned char)*c <= high;
}

/* Bytes of the multi-byte UTF-8 character at `c`: 2 to 4, or 0 if it is not one
 * (RFC 3629 section 4: no overlong form, no surrogate, at most U+10FFFF). */
static size_t utf8_length(const char *c, const char *end)
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

static size_t utf8_encode(uint32_t code, char out[4])
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

/* --- strings --- */

/* Where a decoded string goes: a key, cut to its room; a buffer; or nowhere. */
struct sink {
    char *key;
    size_t size, len;
    struct ld_buf *buf;
};

static void put(struct sink *out, const char *bytes, size_t len)
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
            return fail_expected(j, "four hexadecimal digits after \\u");
    }
    return true;
}

/* After "\u". */
static bool read_unicode(struct ld_json *j, struct sink *out)
{
    uint32_t code, second;
    char bytes[4];

    if (!read_hex4(j, &code))
        return false;
    if (code >= 0xdc00 && code <= 0xdfff)
        return ld_json_fail(j, "a lone low surrogate, which is no character");
    if (code >= 0xd800 && code <= 0xdbff) {
        if (j->end - j->at < 2 || j->at[0] != '\\' || j->at[1] != 'u')
            return fail_expected(j, "the low half of a surrogate pair");
        j->at += 2;
        if (!read_hex4(j, &second))
            return false;
        if (second < 0xdc00 || second > 0xdfff)
            return ld_json_fail(j, "a high surrogate without its low half");
        code = 0x10000 + ((code - 0xd800) << 10 | (second - 0xdc00));
    }
    if (code == 0)
        return ld_json_fail(j, "a string with a zero character");
    put(out, bytes, utf8_encode(code, bytes));
    return true;
}

/* At the backslash. */
static bool read_escape(struct ld_json *j, struct sink *out)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *name;

    j->at++;
    if (at_char(j, 'u')) {
        j->at++;
        return read_unicode(j, out);
    }
    name = j->at < j->end && *j->at ? strchr(names, *j->at) : NULL;
    if (!name)
        return fail_expected(j, "one of \"\\/bfnrtu after a backslash");
    put(out, values + (name - names), 1);
    j->at++;
    return true;
}

/* At a byte of a string that is not plain ASCII and not its end. */
static bool read_special(struct ld_json *j, struct sink *out)
{
    size_t len;

    if (j->at == j->end)
        return fail_expected(j, "the string's closing quote");
    if (*j->at == '\\')
        return read_escape(j, out);
    if ((unsigned char)*j->at < 0x20)
        return fail_expected(j, "an escape for a control character");
    len = utf8_length(j->at, j->end);
    if (len == 0)
        return fail_expected(j, "a string in UTF-8");
    put(out, j->at, len);
    j->at += len;
    return true;
}

static bool is_plain(char c)
{
    return (signed char)c >= 0x20 && c != '"' && c != '\\';
}

/* The whole string at the opening quote. */
static bool read_string(struct ld_json *j, struct sink *out)
{
    const char *run;

    j->at++;
    for (;;) {
        run = j->at;
        while (j->at < j->end && is_plain(*j->at))
            j->at++;
        put(out, run, (size_t)(j->at - run));
        if (at_char(j, '"'))
            break;
        if (!read_special(j, out))
            return false;
    }
    j->at++;
    return true;
}

/* --- numbers --- */

static bool skip_digits(struct ld_json *j, const char *expected)
{
    if (!at_digit(j))
        return fail_expected(j, expected);
    while (at_digit(j))
        j->at++;
    return true;
}

static bool skip_number(struct ld_json *j)
{
    if (at_char(j, '-'))
        j->at++;
    if (at_char(j, '0'))
        j->at++; /* no digit may follow: 012 is not a number */
    else if (!skip_digits(j, "a digit"))
        return false;
    if (at_digit(j))
        return fail_expected(j, "no digit after a leading zero");
    if (at_char(j, '.')) {
        j->at++;
        if (!skip_digits(j, "a digit after the decimal point"))
            return false;
    }
    if (at_char(j, 'e') || at_char(j, 'E')) {
        j->at++;
        if (at_char(j, '+') || at_char(j, '-'))
            j->at++;
        return skip_digits(j, "a digit in the exponent");
    }
    return true;
}

/* A number of few digits and no exponent is mantissa / 10^n, both exact, so the
 * one division rounds correctly (Clinger 1990). Anything else is strtod's. */
static bool convert_short(const char *c, const char *end, double *out)
{
    static const double power[EXACT_POWER + 1] = {
        1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
        1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
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

static bool convert(struct ld_json *j, const char *begin, double *out)
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

/* --- what comes next --- */

static enum ld_json_kind kind_of(const struct ld_json *j)
{
    switch (j->at < j->end ? *j->at : 0) {
    case '{':
        return LD_JSON_OBJECT;
    case '[':
        return LD_JSON_ARRAY;
    case '"':
        return LD_JSON_STRING;
    case 't':
    case 'f':
        return LD_JSON_BOOL;
    case 'n':
        return LD_JSON_NULL;
    case '-':
        return LD_JSON_NUMBER;
    default:
        return at_digit(j) ? LD_JSON_NUMBER : LD_JSON_BAD;
    }
}

enum ld_json_kind ld_json_peek(struct ld_json *j)
{
    enum ld_json_kind kind = LD_JSON_BAD;

    if (failed(j))
        return kind;
    skip_space(j);
    kind = kind_of(j);
    if (kind == LD_JSON_BAD)
        fail_expected(j, "a value");
    return kind;
}

static bool expect(struct ld_json *j, enum ld_json_kind kind)
{
    static const char *const names[] = {
        [LD_JSON_NULL] = "null",       [LD_JSON_BOOL] = "true or false",
        [LD_JSON_NUMBER] = "a number", [LD_JSON_STRING] = "a string",
        [LD_JSON_ARRAY] = "an array",  [LD_JSON_OBJECT] = "an object",
    };

    if (failed(j))
        return false;
    skip_space(j);
    return kind_of(j) == kind || fail_expected(j, names[kind]);
}

void ld_json_open(struct ld_json *j, const char *text, size_t len,
                  const char *name, struct ld_err *err)
{
    *j = (struct ld_json){.text = len ? text : "", .name = name, .err = err};
    j->end = j->text + len;
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        j->text += 3;
    j->at = j->text;
}

static bool enter(struct ld_json *j, uint8_t bracket)
{
    char what[64];

    if (j->depth == LD_JSON_DEPTH) {
        snprintf(what, sizeof(what), "nested more than %d deep", LD_JSON_DEPTH);
        return ld_json_fail(j, what);
    }
    j->at++;
    j->open[j->depth] = bracket;
    j->started[j->depth] = false;
    j->depth++;
    return true;
}

bool ld_json_object(struct ld_json *j)
{
    return expect(j, LD_JSON_OBJECT) && enter(j, '{');
}

bool ld_json_array(struct ld_json *j)
{
    return expect(j, LD_JSON_ARRAY) && enter(j, '[');
}

/* At the next item of what is open, past the comma; false after leaving it. */
static bool next_item(struct ld_json *j, char close, const char *expected)
{
    bool *started = &j->started[j->depth - 1];

    skip_space(j);
    if (at_char(j, close)) {
        j->at++;
        j->depth--;
        return false;
    }
    if (*started) {
        if (!at_char(j, ','))
            return fail_expected(j, expected);
        j->at++;
        skip_space(j);
    }
    *started = true;
    return true;
}

static bool next_key(struct ld_json *j, struct sink *key)
{
    if (!next_item(j, '}', "',' or '}'"))
        return false;
    if (!at_char(j, '"'))
        return fail_expected(j, "a key in quotes");
    if (!read_string(j, key))
        return false;
    skip_space(j);
    if (!at_char(j, ':'))
        return fail_expected(j, "':'");
    j->at++;
    return true;
}

bool ld_json_key(struct ld_json *j, char *key, size_t size)
{
    struct sink sink = {.key = key, .size = size};

    assert(size > 0);
    if (failed(j))
        return false;
    assert(j->depth > 0 && j->open[j->depth - 1] == '{');
    if (!next_key(j, &sink))
        return false;
    key[sink.len] = 0;
    return true;
}

bool ld_json_element(struct ld_json *j)
{
    if (failed(j))
        return false;
    assert(j->depth > 0 && j->open[j->depth - 1] == '[');
    return next_item(j, ']', "',' or ']'");
}

/* --- values --- */

bool ld_json_number(struct ld_json *j, double *out)
{
    const char *begin;

    if (!expect(j, LD_JSON_NUMBER))
        return false;
    begin = j->at;
    return skip_number(j) && convert(j, begin, out);
}

bool ld_json_integer(struct ld_json *j, int64_t *out)
{
    const double exact = 0x1p53; /* below it a double holds every integer */
    const char *begin;
    char text[32];
    double value;

    if (!expect(j, LD_JSON_NUMBER))
        return false;
    begin = j->at;
    if (!skip_number(j) || !convert(j, begin, &value))
        return false;
    if (value == rint(value) && fabs(value) < exact) {
        *out = (int64_t)value;
        return true;
    }
    /* Large ones keep all their digits. */
    if ((size_t)(j->at - begin) < sizeof(text) && value == rint(value) &&
        fabs(value) < 0x1p63) {
        char *end;

        memcpy(text, begin, (size_t)(j->at - begin));
        text[j->at - begin] = 0;
        *out = strtoll(text, &end, 10);
        if (*end == 0)
            return true;
    }
    j->at = begin;
    return ld_json_fail(j, "expected a 64-bit integer");
}

static bool skip_word(struct ld_json *j, const char *word)
{
    char expected[16];
    size_t len = strlen(word);

    if ((size_t)(j->end - j->at) < len || memcmp(j->at, word, len) != 0) {
        snprintf(expected, sizeof(expected), "%s", word);
        return fail_expected(j, expected);
    }
    j->at += len;
    return true;
}

bool ld_json_bool(struct ld_json *j, bool *out)
{
    if (!expect(j, LD_JSON_BOOL))
        return false;
    *out = at_char(j, 't');
    return skip_word(j, *out ? "true" : "false");
}

bool ld_json_string(struct ld_json *j, struct ld_buf *out)
{
    struct sink sink = {.buf = out};

    if (!expect(j, LD_JSON_STRING) || !read_string(j, &sink))
        return false;
    ld_buf_put(out, "", 1);
    return ld_buf_ok(out, j->err) || ld_fail_in(j->err, j->name);
}

/* A scalar whole, or one step into an object or array. */
static bool skip_step(struct ld_json *j)
{
    struct sink nowhere = {0};

    switch (ld_json_peek(j)) {
    case LD_JSON_OBJECT:
        return enter(j, '{');
    case LD_JSON_ARRAY:
        return enter(j, '[');
    case LD_JSON_STRING:
        return read_string(j, &nowhere);
    case LD_JSON_NUMBER:
        return skip_number(j);
    case LD_JSON_BOOL:
        return skip_word(j, at_char(j, 't') ? "true" : "false");
    case LD_JSON_NULL:
        return skip_word(j, "null");
    case LD_JSON_BAD:
        break;
    }
    return false;
}

bool ld_json_skip(struct ld_json *j)
{
    struct sink nowhere = {0};
    int outside = j->depth;

    if (failed(j) || !skip_step(j))
        return false;
    while (j->depth > outside && !failed(j)) {
        bool more = j->open[j->depth - 1] == '{'
                        ? next_key(j, &nowhere)
                        : next_item(j, ']', "',' or ']'");

        if (more)
            skip_step(j);
    }
    return !failed(j);
}

bool ld_json_end(struct ld_json *j)
{
    if (failed(j))
        return false;
    assert(j->depth == 0);
    skip_space(j);
    return j->at == j->end || fail_expected(j, "the end of the file");
}

/* --- writing --- */

static void put_escaped(struct ld_buf *out, unsigned char c)
{
    if (c == '"' || c == '\\') {
        ld_buf_put(out, "\\", 1);
        ld_buf_put(out, &c, 1);
    } else if (c == '\n') {
        ld_buf_put(out, "\\n", 2);
    } else {
        ld_buf_printf(out, "\\u%04x", c);
    }
}

void ld_json_put_string(struct ld_buf *out, const char *text)
{
    const char *end = text + strlen(text);

    ld_buf_put(out, "\"", 1);
    while (text < end) {
        unsigned char c = (unsigned char)*text;
        size_t len = is_plain(*text) ? 1
                     : c < 0x80      ? 0
                                     : utf8_length(text, end);

        if (len > 0)
            ld_buf_put(out, text, len);
        else if (c < 0x80)
            put_escaped(out, c);
        else
            ld_buf_put(out, "\xef\xbf\xbd", 3); /* U+FFFD: not UTF-8 */
        text += len ? len : 1;
    }
    ld_buf_put(out, "\"", 1);
}
