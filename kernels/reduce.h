/* reduce.h - what the processes ("ranks") of one training run do together.
 *
 * Each holds the same parameters and its own images. Every rank makes the same
 * calls in the same order. Memory is the device's; calls are ordered after the
 * work given to the device before, and a CUDA device does them beside what
 * follows. Means come out bit for bit the same on all ranks. A call cannot
 * fail: a fault is kept by the device and reported by its sync(), or, of MPI,
 * ends the run. */
#pragma once

#include <stddef.h>

enum { LD_REDUCER_ID = 128 }; /* bytes of what ranks meet by */

struct ld_reducer;

struct ld_reducer_ops {
    void (*free)(struct ld_reducer *reducer);

    /* Begins to replace `buffer` (count) by its mean over the ranks. */
    void (*start)(struct ld_reducer *reducer, float *buffer, size_t count);
    /* Lets what was begun go on; to be called now and then. */
    void (*progress)(struct ld_reducer *reducer);
    /* Work given to the device from here on finds all means in place. */
    void (*wait)(struct ld_reducer *reducer);

    /* Replaces `values` (n) by their means, for the device's next work. */
    void (*mean)(struct ld_reducer *reducer, double *values, size_t n);
    /* Replaces memory by rank 0's, likewise. */
    void (*broadcast)(struct ld_reducer *reducer, void *memory, size_t bytes);
};

struct ld_reducer {
    const struct ld_reducer_ops
        *ops; /* a maker's own struct begins with this */
    int rank, n_ranks;
};
