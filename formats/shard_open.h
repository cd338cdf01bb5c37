/* shard_open.h - an open shard. Private to formats/shard_*.c. */
#pragma once

#include "formats/seal.h"
#include "formats/shard_columns.h"

struct ld_shard {
    const char *path;
    struct ld_arena arena; /* of all below */
    struct ld_seal seal;
    struct ld_shard_facts facts;
    struct ld_shard_steps steps; /* of a predicted one */
    struct ld_columns columns;
    struct ld_shard_entry *entries;
    int n_views, n_skipped;
    int64_t *skipped;
    const char **reasons;
};
