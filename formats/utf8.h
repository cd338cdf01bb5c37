/* utf8.h - characters in UTF-8 (RFC 3629). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character of several bytes that begins at `c`, before `end`: 2
 * to 4, or 0 if it is none: an overlong form, a surrogate, above U+10FFFF, cut
 * short, or plain ASCII. */
size_t ld_utf8_length(const char *c, const char *end);

/* True if all of it is UTF-8. */
bool ld_utf8_is_text(const char *text);

/* Writes U+`code`, at most 0x10ffff. Returns how many bytes. */
size_t ld_utf8_encode(uint32_t code, char out[4]);
