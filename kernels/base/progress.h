/* progress.h - a line on the terminal that says how far, how fast, how long. */
#pragma once

#include <stdint.h>

struct ld_progress {
    const char *verb;   /* "caching" */
    const char *unit;   /* "views" */
    int64_t total;      /* 0: unknown */
    int64_t done_before; /* done by an earlier run: not part of the rate */
    double started, shown; /* seconds of ld_seconds() */
};

/* Seconds of a clock that never goes back. */
double ld_seconds(void);

void ld_progress_start(struct ld_progress *p, const char *verb,
                       const char *unit, int64_t done, int64_t total);

/* Shows "caching 120/3600 views, 4.1 views/s, ETA 14m09s, <note>" on stderr:
 * on a terminal in place, at most 5 times a second; in a log file one line
 * every 10 seconds. `note` may be "". */
void ld_progress_show(struct ld_progress *p, int64_t done, const char *note);

/* The last state, followed by a newline. */
void ld_progress_end(struct ld_progress *p, int64_t done, const char *note);

/* "1h02m", "4m09s", "12s". */
void ld_duration_text(char out[16], double seconds);

/* Bytes as "1.2 GB", powers of 1000. */
void ld_bytes_text(char out[16], double bytes);

/* The largest resident memory of this process so far, in bytes. */
double ld_peak_memory(void);
