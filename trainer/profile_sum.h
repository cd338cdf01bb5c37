/* profile_sum.h - adds up a profile: what the host's main thread did, when the
 * device was busy, and what the thread did while the device waited.
 *
 * Times are nanoseconds of ld_clock(). What lies outside the recorded time
 * counts for nothing, and of what begins before or ends after it the part
 * within. */
#pragma once

#include "kernels/base/mem.h"
#include "kernels/base/trace.h"
#include "kernels/ops.h"

enum {
    LD_PROFILE_ROWS = 256,    /* names of a kind; others share the last row */
    LD_PROFILE_SHORT = 20000, /* a gap is short below this */
};

struct ld_profile_row {
    const char *name; /* NULL: the time of no span */
    int64_t time;
    int count;
};

struct ld_profile_rows {
    struct ld_profile_row row[LD_PROFILE_ROWS];
    int n;
};

struct ld_profile_gaps {
    int64_t time;
    int count;
};

/* What was recorded. */
struct ld_profile_record {
    int64_t began, ended;
    /* (n_spans) of the main thread in the order of their ends; of two one lies
     * in the other, or they lie apart. */
    const struct ld_trace_span *spans;
    int n_spans;
    const struct ld_activity *activities; /* (n_activities) of the device */
    int n_activities;
};

/* main's times and busy + shorter.time + longer.time are the recorded time. */
struct ld_profile_sum {
    struct ld_profile_rows main; /* a span's own time, without the spans in it;
                                    in the order in which they come */
    int64_t busy;                /* the device did one thing or more */
    int64_t kernel_time;         /* the sum over kernels */
    int n_kernels, n_others;     /* kernels; copies and clears */
    struct ld_profile_gaps shorter, longer; /* the device did nothing */
    struct ld_profile_rows meanwhile;       /* as main, in the longer gaps; the
                                               longest first */
    struct ld_profile_rows device;          /* by name, the longest first */
};

/* NULL with LD_ERR_MEMORY; the arena owns it. */
struct ld_profile_sum *ld_profile_sum(const struct ld_profile_record *record,
                                      struct ld_arena *arena,
                                      struct ld_err *err);

/* Adds to the row of that name. */
void ld_profile_count(struct ld_profile_rows *rows, const char *name,
                      int64_t time);

void ld_profile_sort(struct ld_profile_rows *rows); /* the longest first */

/* Of [began, ended) what lies in the recorded time; 0 if nothing does. */
int64_t ld_profile_within(const struct ld_profile_record *record, int64_t began,
                          int64_t ended);
