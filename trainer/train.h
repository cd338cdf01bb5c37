/* train.h - trains a student, plain or from a cache, and keeps its checkpoints.
 */
#pragma once

#include "formats/config.h"

struct ld_train {
    const struct ld_config *config;
    const char *out; /* folder of checkpoints, log and curves */
    bool resume;     /* go on from OUT/latest.h5, if there is one */
};

/* Prints progress to stderr and one line an epoch to stdout. */
bool ld_train_run(const struct ld_train *job, struct ld_err *err);
