/* fuzz_file.h - reads a damaged checkpoint: cut short, or with one byte
 * changed.
 *
 * Whatever comes of it is right but a crash, an error of more than one line, or
 * one that does not begin with the file's name. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuzz_counts {
    long n_read;       /* gave a value */
    long n_refused;    /* gave an error */
    long n_wrong;      /* gave neither, or an error that is no sentence */
    size_t most_bytes; /* handed out of the arena for one file */
};

/* Cuts the copy of a file to every length that is a multiple of `step`, shorter
 * than it. False if the file cannot be read. */
bool fuzz_cuts(const char *path, size_t step, struct fuzz_counts *counts);

/* Changes one byte at a time: place and value from the seed. */
bool fuzz_changes(const char *path, long n, uint64_t seed,
                  struct fuzz_counts *counts);
