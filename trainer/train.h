/* train.h - trains a student, plain or from a cache, and keeps its checkpoints.
 */
#pragma once

#include "formats/config.h"
#include "trainer/team.h"

struct ld_train {
    const struct ld_config *config;
    const char *out;      /* folder of checkpoints, log and curves */
    bool resume;          /* go on from OUT/latest.h5, if there is one */
    struct ld_team *team; /* the ranks that train together */
    const char *profile;  /* file of rank 0's (trainer/profile.h), or NULL */
};

/* Prints progress to stderr and one line an epoch to stdout; of a team rank 0
 * does. After a failure a team of several does not come back. */
bool ld_train_run(const struct ld_train *job, struct ld_err *err);
