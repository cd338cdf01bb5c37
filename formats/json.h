/* json.h - reads JSON front to back without building a tree.
 *
 * A pull parser: the caller asks for what comes next and skips what it does not
 * want, so a 450 MB annotation file costs the memory of its boxes only. Strict
 * to RFC 8259, at most LD_JSON_DEPTH deep; an error says line and column and
 * sticks: every later call fails too, so a caller may check once at the end.
 *
 *     ld_json_open(&j, text, len, "train.json", err);
 *     ld_json_object(&j);
 *     while (ld_json_key(&j, key, sizeof(key)))
 *         if (strcmp(key, "images") == 0) {
 *             ld_json_array(&j);
 *             while (ld_json_element(&j))
 *                 ...
 *         } else
 *             ld_json_skip(&j);
 *     return ld_json_end(&j);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/error.h"
#include "kernels/base/mem.h"

enum { LD_JSON_DEPTH = 64 };

enum ld_json_kind {
    LD_JSON_NULL,
    LD_JSON_BOOL,
    LD_JSON_NUMBER,
    LD_JSON_STRING,
    LD_JSON_ARRAY,
    LD_JSON_OBJECT,
    LD_JSON_BAD,
};

struct ld_json {
    const char *text, *at, *end; /* borrowed */
    const char *name;            /* of the file, for errors; borrowed */
    struct ld_err *err;
    int depth;
    uint8_t open[LD_JSON_DEPTH]; /* '[' or '{' */
    bool started[LD_JSON_DEPTH]; /* a value has been read at this depth */
};

/* A leading UTF-8 byte order mark is skipped. */
void ld_json_open(struct ld_json *j, const char *text, size_t len,
                  const char *name, struct ld_err *err);

enum ld_json_kind ld_json_peek(struct ld_json *j); /* of the next value */

bool ld_json_object(struct ld_json *j); /* enters */
bool ld_json_array(struct ld_json *j);  /* enters */

/* The next key of the object, cut to `size` - 1 bytes; false at its end, which
 * leaves it, and after an error. */
bool ld_json_key(struct ld_json *j, char *key, size_t size);
/* True if the array has another element; false at its end, which leaves it. */
bool ld_json_element(struct ld_json *j);

bool ld_json_number(struct ld_json *j, double *out);
bool ld_json_integer(struct ld_json *j, int64_t *out); /* 12, 12.0; not 1.5 */
bool ld_json_bool(struct ld_json *j, bool *out);
/* Decoded to UTF-8, appended with its zero byte to `out`. Refuses lone
 * surrogates and a zero character. */
bool ld_json_string(struct ld_json *j, struct ld_buf *out);
bool ld_json_skip(struct ld_json *j); /* any one value, checked all the same */

/* True if all went well and nothing but white space is left. */
bool ld_json_end(struct ld_json *j);

/* Records `what` as an error at the current place. Returns false. */
bool ld_json_fail(struct ld_json *j, const char *what);

/* Writing: a string in quotes, escaped. Numbers are written with printf. */
void ld_json_put_string(struct ld_buf *out, const char *text);
