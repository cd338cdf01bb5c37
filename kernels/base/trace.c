#include "kernels/base/trace.h"

#include <stdatomic.h>
#include <time.h>

#include "kernels/base/mem.h"

/* `n` is raised after the span is written, so others may read below it. */
struct ld_lane {
    const char *name;
    const struct ld_trace *trace;
    struct ld_trace_span *spans; /* (LD_LANE_SPANS) */
    _Atomic int n, n_lost;
};

struct ld_trace {
    _Atomic bool recording;
    int n_lanes;
    struct ld_lane lanes[LD_TRACE_LANES];
};

int64_t ld_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct ld_trace *ld_trace_new(struct ld_err *err)
{
    return ld_new(1, sizeof(struct ld_trace), err);
}

void ld_trace_free(struct ld_trace *trace)
{
    if (!trace)
        return;
    for (int i = 0; i < trace->n_lanes; i++)
        ld_delete(trace->lanes[i].spans);
    ld_delete(trace);
}

void ld_trace_record(struct ld_trace *trace, bool recording)
{
    trace->recording = recording;
}

struct ld_lane *ld_trace_lane(struct ld_trace *trace, const char *name)
{
    struct ld_err ignored = {0};
    struct ld_lane *lane;

    if (!trace || trace->n_lanes == LD_TRACE_LANES)
        return NULL;
    lane = &trace->lanes[trace->n_lanes];
    lane->spans = ld_new(LD_LANE_SPANS, sizeof(*lane->spans), &ignored);
    if (!lane->spans)
        return NULL;
    lane->name = name;
    lane->trace = trace;
    trace->n_lanes++;
    return lane;
}

int ld_trace_n_lanes(const struct ld_trace *trace)
{
    return trace->n_lanes;
}

const struct ld_lane *ld_trace_get(const struct ld_trace *trace, int i)
{
    return &trace->lanes[i];
}

const char *ld_lane_name(const struct ld_lane *lane)
{
    return lane->name;
}

const struct ld_trace_span *ld_lane_spans(const struct ld_lane *lane, int *n,
                                          int *n_lost)
{
    *n = lane->n;
    *n_lost = lane->n_lost;
    return lane->spans;
}

void ld_lane_add(struct ld_lane *lane, struct ld_trace_span span)
{
    if (lane->n == LD_LANE_SPANS) {
        lane->n_lost++;
        return;
    }
    lane->spans[lane->n] = span;
    lane->n++;
}

int64_t ld_lane_now(const struct ld_lane *lane)
{
    return lane->trace->recording ? ld_clock() : 0;
}
