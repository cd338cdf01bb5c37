/* json_scan.h - the words that json.c makes its sentences of: white space,
 * strings, numbers. Internal to json.c. */
#pragma once

#include "formats/json.h"

/* Where a decoded string goes: a key, cut to its room; a buffer; or, if both
 * are NULL, nowhere. */
struct ld_json_sink {
    char *key;
    size_t size, len;
    struct ld_buf *buf;
};

static inline bool ld_json_at(const struct ld_json *j, char c)
{
    return j->at < j->end && *j->at == c;
}

static inline bool ld_json_at_digit(const struct ld_json *j)
{
    return j->at < j->end && *j->at >= '0' && *j->at <= '9';
}

/* An ASCII character that stands for itself in a string. */
static inline bool ld_json_is_plain(char c)
{
    return (signed char)c >= 0x20 && c != '"' && c != '\\';
}

static inline void ld_json_skip_space(struct ld_json *j)
{
    const char *c = j->at, *end = j->end;

    while (c < end && (*c == ' ' || *c == '\n' || *c == '\t' || *c == '\r'))
        c++;
    j->at = c;
}

/* Records "expected <expected>, found <what is there>". Returns false. */
bool ld_json_expected(struct ld_json *j, const char *expected);

/* The string whose opening quote is here. */
bool ld_json_scan_string(struct ld_json *j, struct ld_json_sink *out);

/* Steps over the number that begins here, by RFC 8259 section 6. */
bool ld_json_scan_number(struct ld_json *j);

/* The value of the number from `begin` to here, rounded correctly. Refuses one
 * too large for a double. */
bool ld_json_convert(struct ld_json *j, const char *begin, double *out);
