/* fit_rows.h - the rows of a cache's record that an image's losses read. */
#pragma once

#include "trainer/loader.h"

/* Lets image->record, a record of ld_shard_read_kept, hold the rows of
 * image->assignment: it does, or, of a dense cache, they are taken out; the
 * arena's. LD_ERR_MISMATCH names an image whose rows are others. */
bool ld_fit_rows(struct ld_batch_image *image,
                 const struct ld_shard_facts *facts, struct ld_arena *arena,
                 struct ld_err *err);
