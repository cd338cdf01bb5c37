#include "formats/json.h"

#include "formats/json_scan.h"
#include "formats/utf8.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static bool failed(const struct ld_json *j)
{
    return j->err->code != LD_OK;
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
        return ld_json_at_digit(j) ? LD_JSON_NUMBER : LD_JSON_BAD;
    }
}

enum ld_json_kind ld_json_peek(struct ld_json *j)
{
    enum ld_json_kind kind = LD_JSON_BAD;

    if (failed(j))
        return kind;
    ld_json_skip_space(j);
    kind = kind_of(j);
    if (kind == LD_JSON_BAD)
        ld_json_expected(j, "a value");
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
    ld_json_skip_space(j);
    return kind_of(j) == kind || ld_json_expected(j, names[kind]);
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

    ld_json_skip_space(j);
    if (ld_json_at(j, close)) {
        j->at++;
        j->depth--;
        return false;
    }
    if (*started) {
        if (!ld_json_at(j, ','))
            return ld_json_expected(j, expected);
        j->at++;
        ld_json_skip_space(j);
    }
    *started = true;
    return true;
}

static bool next_key(struct ld_json *j, struct ld_json_sink *key)
{
    if (!next_item(j, '}', "',' or '}'"))
        return false;
    if (!ld_json_at(j, '"'))
        return ld_json_expected(j, "a key in quotes");
    if (!ld_json_scan_string(j, key))
        return false;
    ld_json_skip_space(j);
    if (!ld_json_at(j, ':'))
        return ld_json_expected(j, "':'");
    j->at++;
    return true;
}

bool ld_json_key(struct ld_json *j, char *key, size_t size)
{
    struct ld_json_sink sink = {.key = key, .size = size};

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
    return ld_json_scan_number(j) && ld_json_convert(j, begin, out);
}

/* False if the text holds more than digits, or more than 64 bits. */
static bool read_digits(const char *c, const char *end, int64_t *out)
{
    bool negative = *c == '-', wraps = false;
    int64_t value = 0;

    for (c += negative; c < end; c++) {
        int digit = *c - '0';

        if (digit < 0 || digit > 9)
            return false;
        wraps |= __builtin_mul_overflow(value, 10, &value);
        wraps |=
            __builtin_add_overflow(value, negative ? -digit : digit, &value);
    }
    *out = value;
    return !wraps;
}

bool ld_json_integer(struct ld_json *j, int64_t *out)
{
    const double exact = 0x1p53; /* up to it a double holds every integer */
    const char *begin;
    double value;

    if (!expect(j, LD_JSON_NUMBER))
        return false;
    begin = j->at;
    if (!ld_json_scan_number(j))
        return false;
    if (read_digits(begin, j->at, out))
        return true;
    if (!ld_json_convert(j, begin, &value))
        return false;
    if (value == rint(value) && fabs(value) <= exact) {
        *out = (int64_t)value;
        return true;
    }
    j->at = begin;
    return ld_json_fail(j, "expected a 64-bit integer");
}

static bool skip_word(struct ld_json *j, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(j->end - j->at) < len || memcmp(j->at, word, len) != 0)
        return ld_json_expected(j, word);
    j->at += len;
    return true;
}

bool ld_json_bool(struct ld_json *j, bool *out)
{
    if (!expect(j, LD_JSON_BOOL))
        return false;
    *out = ld_json_at(j, 't');
    return skip_word(j, *out ? "true" : "false");
}

bool ld_json_string(struct ld_json *j, struct ld_buf *out)
{
    struct ld_json_sink sink = {.buf = out};

    if (!expect(j, LD_JSON_STRING) || !ld_json_scan_string(j, &sink))
        return false;
    ld_buf_put(out, "", 1);
    return ld_buf_ok(out, j->err) || ld_fail_in(j->err, j->name);
}

/* A scalar whole, or one step into an object or array. */
static bool skip_step(struct ld_json *j)
{
    struct ld_json_sink nowhere = {0};

    switch (ld_json_peek(j)) {
    case LD_JSON_OBJECT:
        return enter(j, '{');
    case LD_JSON_ARRAY:
        return enter(j, '[');
    case LD_JSON_STRING:
        return ld_json_scan_string(j, &nowhere);
    case LD_JSON_NUMBER:
        return ld_json_scan_number(j);
    case LD_JSON_BOOL:
        return skip_word(j, ld_json_at(j, 't') ? "true" : "false");
    case LD_JSON_NULL:
        return skip_word(j, "null");
    case LD_JSON_BAD:
        break;
    }
    return false;
}

bool ld_json_skip(struct ld_json *j)
{
    struct ld_json_sink nowhere = {0};
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
    ld_json_skip_space(j);
    return j->at == j->end || ld_json_expected(j, "the end of the file");
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
        size_t len = ld_json_is_plain(*text) ? 1
                     : c < 0x80              ? 0
                                             : ld_utf8_length(text, end);

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
