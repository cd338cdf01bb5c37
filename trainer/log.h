/* log.h - one JSON object a line: what a run did, for people and for plots.
 *
 *   {"epoch": 1, "step": 50, "lr": 0.001, "loss_cls": 1.2, .., "loss": 3.4,
 *    "steps_per_s": 4.1, "wait": 0.01, "memory_mb": 512}
 *   {"epoch": 1, "step": 120, "AP": 0.21, "AP50": 0.40, "AP75": 0.19} */
#pragma once

#include <stdint.h>

#include "kernels/loss.h"
#include "trainer/evaluate.h"

struct ld_log;

/* Appends to `path`. Lines of steps after `step` (of a run that was killed, and
 * will do them again) are dropped first. */
struct ld_log *ld_log_open(const char *path, int64_t step, struct ld_err *err);
bool ld_log_close(struct ld_log *log, struct ld_err *err); /* NULL is fine */

struct ld_log_step {
    int64_t epoch, step;               /* from 1 */
    double lr, steps_per_second, wait; /* wait: share of time without data */
    const struct ld_loss_terms *terms; /* means since the last line */
};
bool ld_log_step(struct ld_log *log, const struct ld_log_step *s,
                 struct ld_err *err);
bool ld_log_scores(struct ld_log *log, int64_t epoch, int64_t step,
                   const struct ld_scores *scores, struct ld_err *err);

/* The numbers under `key` of every line that has it, with their steps; the
 * arena's. */
bool ld_log_read(const char *path, const char *key, double **steps,
                 double **values, int *n, struct ld_arena *arena,
                 struct ld_err *err);
