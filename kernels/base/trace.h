/* trace.h - who did what when: spans of time, a lane for each thread.
 *
 *     int64_t t = ld_lane_begin(lane);
 *     ...
 *     t = ld_lane_end(lane, "forward", t);
 *     ...
 *     t = ld_lane_end(lane, "backward", t);
 *
 * A lane is written by one thread; without one (NULL) each call is one branch.
 * Spans that begin while the trace does not record are left out. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/error.h"

struct ld_trace;
struct ld_lane;

struct ld_trace_span {
    const char *name;
    int64_t began, ended; /* ld_clock() */
};

enum {
    LD_TRACE_LANES = 80,
    LD_LANE_SPANS = 1 << 15, /* more are counted, and lost */
};

/* Nanoseconds of a clock that never goes back. */
int64_t ld_clock(void);

struct ld_trace *ld_trace_new(struct ld_err *err);
void ld_trace_free(struct ld_trace *trace); /* NULL is fine */

/* Any thread may turn it on and off. */
void ld_trace_record(struct ld_trace *trace, bool recording);

/* A lane for one thread; `name` is kept. To be asked for by one thread, before
 * that which writes it begins. NULL if `trace` is, and where there is no room
 * for one more: that thread is not seen. */
struct ld_lane *ld_trace_lane(struct ld_trace *trace, const char *name);

int ld_trace_n_lanes(const struct ld_trace *trace);
const struct ld_lane *ld_trace_get(const struct ld_trace *trace, int i);
const char *ld_lane_name(const struct ld_lane *lane);

/* The spans that have ended so far, in the order of their ends. */
const struct ld_trace_span *ld_lane_spans(const struct ld_lane *lane, int *n,
                                          int *n_lost);

/* Adds a span; its name is kept. */
void ld_lane_add(struct ld_lane *lane, struct ld_trace_span span);

/* Now; 0 while nothing is recorded. */
int64_t ld_lane_now(const struct ld_lane *lane);

static inline int64_t ld_lane_begin(const struct ld_lane *lane)
{
    return lane ? ld_lane_now(lane) : 0;
}

/* What began then ends now. Gives the time, for what begins next. */
static inline int64_t ld_lane_end(struct ld_lane *lane, const char *name,
                                  int64_t began)
{
    int64_t now;

    if (!lane)
        return 0;
    now = ld_lane_now(lane);
    if (began && now)
        ld_lane_add(lane, (struct ld_trace_span){name, began, now});
    return now;
}
