/* profile_report.h - what was seen of some steps, as a trace and as a table. */
#pragma once

#include "trainer/profile_sum.h"

enum { LD_PROFILE_STEPS = 20 };

struct ld_profile_seen {
    int64_t step_began[LD_PROFILE_STEPS + 1]; /* the last: ended */
    int n_steps;
    const struct ld_trace *trace; /* its first lane is the main thread's */
    bool has_device;
    struct ld_profile_record record;
};

/* Chrome's trace-event JSON, for Perfetto or chrome://tracing: process 1 the
 * host, with a thread a lane, process 2 the device, with a thread a queue. Its
 * times are microseconds since the first step began. */
bool ld_profile_write(const struct ld_profile_seen *seen, const char *path,
                      struct ld_err *err);

/* The table, on stderr. The arena keeps what is needed for it. */
bool ld_profile_print(const struct ld_profile_seen *seen, const char *path,
                      struct ld_arena *arena, struct ld_err *err);
