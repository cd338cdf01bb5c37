/* ranks.h - which share of a job is this process's.
 *
 * Of n processes the ith does every nth piece of work: nobody hands out work,
 * nobody waits. The shares come from --part, or from MPI if mpirun started us
 * (ranks_mpi.c; ranks_alone.c in a build without MPI, chosen by meson). */
#pragma once

#include <stdbool.h>

#include "kernels/base/error.h"

struct ld_share {
    int index, count; /* 0 <= index < count */
    int local; /* its number among those on this machine, by which it takes a
                  GPU; of --part the index */
};

static inline bool ld_share_has(const struct ld_share *share, int piece)
{
    return piece % share->count == share->index;
}

/* "2/8" as {1, 8, 1}. LD_ERR_USAGE for anything but 1 <= I <= N. */
bool ld_share_read(const char *text, struct ld_share *out, struct ld_err *err);

/* The share of this process among those of mpirun, or {0, 1, 0} alone. Without
 * MPI LD_ERR_USAGE if there are others: each would do the whole job. */
bool ld_ranks_start(struct ld_share *out, struct ld_err *err);

/* Ends what ld_ranks_start began, in any case. After a failure the message is
 * printed and all ranks end, at once. */
void ld_ranks_stop(const struct ld_err *err);
