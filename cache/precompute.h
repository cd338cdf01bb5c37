/* precompute.h - the caching stage: every view of a data set, once, through the
 * teacher, into shards. */
#pragma once

#include "formats/config.h"

struct ld_precompute {
    const struct ld_config *config;
    const char *teacher; /* checkpoint */
    const char *out;     /* folder of the shards */
};

/* Shards that are there already are kept (after a check that they are of this
 * very job); the rest is computed shard by shard. Progress goes to stderr. */
bool ld_precompute_run(const struct ld_precompute *job, struct ld_err *err);
