/* golden_rows.h - golden maps stem_0 .. stem_4, (N, C, h, w), as the rows of
 * all levels, (N, A, C), and back. */
#pragma once

#include "kernels/box.h"
#include "tests/golden.h"

/* "stem_level": good for the next three calls. */
const char *golden_level(const char *stem, int level);

void golden_read_rows(struct golden *g, float *rows, const char *stem,
                      const struct ld_grid *grid, int N, size_t C);

/* golden_compare of each level. */
void golden_compare_rows(struct golden *g, const float *rows, const char *stem,
                         const struct ld_grid *grid, int N, size_t C,
                         double relative);
