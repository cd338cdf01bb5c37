/* zip_check.h - takes a zip apart by the letter of its format. */
#pragma once

#include <stddef.h>

/* An entry; borrowed from the zip but for its name. */
struct zip_content {
    char name[100];
    const char *bytes;
    size_t len;
};

/* Fails the test unless the entries lie end to end without a gap, stored, each
 * at a multiple of 64, with the CRC-32 that both of its headers state, and the
 * directory follows and ends the file. Gives the first `max` entries; returns
 * how many there are. */
int zip_check(const char *zip, size_t len, struct zip_content *out, int max);
