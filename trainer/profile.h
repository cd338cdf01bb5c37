/* profile.h - where the time of training steps goes: after ten steps of warm-up
 * it looks on for twenty, then writes a trace and prints a table. */
#pragma once

#include "kernels/base/trace.h"
#include "kernels/ops.h"

struct ld_profile;

/* `path` will hold the trace: Chrome's trace-event JSON. What the device cannot
 * tell is said, on stderr, and left out. `path` and `dev` are borrowed.
 * LD_ERR_IO if the folder of `path` is none; LD_ERR_MEMORY. */
struct ld_profile *ld_profile_start(const char *path, struct ld_device *dev,
                                    struct ld_err *err);
void ld_profile_free(struct ld_profile *profile); /* NULL is fine */

/* For the lanes of the other threads. NULL if `profile` is, both. */
struct ld_trace *ld_profile_trace(const struct ld_profile *profile);
struct ld_lane *ld_profile_lane(const struct ld_profile *profile);

/* Where a step begins. After the last one that counts it writes the trace and
 * prints the table to stderr, or says there what fails. NULL is fine. */
void ld_profile_step(struct ld_profile *profile);

/* Where the run ends: does the same with the steps there were, and says so if
 * they are fewer. NULL is fine. */
void ld_profile_end(struct ld_profile *profile);
