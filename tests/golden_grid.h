/* golden_grid.h - the grid of a golden instance. */
#pragma once

#include <stdio.h>

#include "kernels/box.h"
#include "tests/golden.h"

/* From params.feat_sizes: not every instance's canvas is a multiple of 32. */
static inline struct ld_grid golden_grid(struct golden *g)
{
    struct ld_grid grid = {.n_levels = LD_MAX_LEVELS};
    char path[64];

    for (int i = 0; i < grid.n_levels; i++) {
        snprintf(path, sizeof(path), "params.feat_sizes.%d.0", i);
        grid.H[i] = (int)golden_number(g, path);
        snprintf(path, sizeof(path), "params.feat_sizes.%d.1", i);
        grid.W[i] = (int)golden_number(g, path);
        grid.stride[i] = 8 << i;
        grid.start[i + 1] = grid.start[i] + grid.H[i] * grid.W[i];
    }
    return grid;
}

/* What of a case is not compared, said aloud. */
static inline void golden_left_out(const struct golden *g, const char *why)
{
    printf("# %s left out: %s\n", g->name, why);
}
