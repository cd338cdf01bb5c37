/* steps_ways.h - ld_steps_restore_strip on any machine, and faster on some.
 * Private to formats/steps*.c. */
#pragma once

#include "formats/steps.h"

typedef void ld_restore_fn(const struct ld_steps *s, float *rows,
                           const int32_t *strip, size_t first, size_t n_rows);

ld_restore_fn ld_restore_plain;

/* The fastest here for what `s` is; all give the same bits. */
ld_restore_fn *ld_restore_best(const struct ld_steps *s);
