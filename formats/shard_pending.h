/* shard_pending.h - the first records of a predicted shard, which wait until
 * there are enough to choose its steps by. Private to formats/shard_*.c. */
#pragma once

#include "formats/shard_layout.h"

struct ld_pending {
    struct ld_arena arena; /* of the copies */
    struct ld_buf records; /* struct ld_record */
    size_t n_rows, n_main; /* of all of them */
    bool settled;          /* nothing waits any more */
};

/* Keeps a deep copy. */
bool ld_pending_keep(struct ld_pending *p, const struct ld_record *record,
                     const struct ld_shard_facts *facts, struct ld_err *err);

/* Enough rows to choose by, or enough memory spent. */
bool ld_pending_enough(const struct ld_pending *p);

/* Chooses the steps by what waits. */
bool ld_pending_fit(const struct ld_pending *p, struct ld_shard_steps *steps,
                    const struct ld_shard_facts *facts, struct ld_err *err);

void ld_pending_free(struct ld_pending *p);
