/* team.h - the processes ("ranks") that mpirun started to train one student.
 *
 * Without mpirun, or in a build without MPI, a team is one rank, and the calls
 * below are no work. Rank 0 logs, prints and saves. team_mpi.c, or
 * team_alone.c: chosen by meson. Every rank makes the same calls in the same
 * order, from the thread that started the team. */
#pragma once

#include "kernels/base/mem.h"
#include "kernels/ops.h"

struct ld_team {
    int rank, n_ranks;
    int n_machines;
    int local_rank; /* among the ranks of this machine: chooses the GPU */
    int n_sharing;  /* ranks that may use the same cores as this one, and it */
    int speaker;    /* of a failure that all know of; -1: none */
};

/* One rank that no launcher started. */
extern const struct ld_team ld_team_alone;

/* Finds the others. LD_ERR_USAGE if there are some and this is a build without
 * MPI: each would train alone. */
bool ld_team_start(struct ld_team *team, struct ld_err *err);

/* `ok` if it is so on all ranks. Else false on all, with the failure of the
 * first rank that failed, which is the one to tell it. */
bool ld_team_agree(struct ld_team *team, bool ok, struct ld_err *err);

/* To be called after a failure, before anything else is closed. A rank alone
 * goes on; one of several prints its failure, unless another will, and ends the
 * run on all ranks. */
void ld_team_fail(struct ld_team *team, const struct ld_err *err);

/* The end, when all went well. */
void ld_team_stop(struct ld_team *team);

/* What averages gradients and sums in the device's memory; NULL for a team of
 * one. LD_ERR_DEVICE if not all ranks train on the same kind of device. */
bool ld_team_reducer(struct ld_team *team, struct ld_device *dev,
                     struct ld_reducer **out, struct ld_err *err);

/* Of host memory: rank 0's bytes to all; means over ranks, in place. */
void ld_team_send(const struct ld_team *team, void *data, size_t size);
void ld_team_mean(const struct ld_team *team, double *values, int n);

/* Appends what every rank has in `own` to `all` on rank 0, in order of ranks;
 * elsewhere `all` stays. LD_ERR_MEMORY. */
bool ld_team_gather(const struct ld_team *team, const struct ld_buf *own,
                    struct ld_buf *all, struct ld_err *err);
