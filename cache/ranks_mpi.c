#include <mpi.h>
#include <stdio.h>

#include "cache/ranks.h"
#include "kernels/base/launch.h"

/* Started alone, we leave MPI alone: its start would cost half a second and a
 * network's worth of warnings. */
bool ld_ranks_start(struct ld_share *out, struct ld_err *err)
{
    MPI_Comm machine;
    int provided; /* threads of ours have nothing to do with MPI */

    *out = (struct ld_share){.count = 1};
    if (ld_launched() == 0)
        return true;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) !=
        MPI_SUCCESS)
        return ld_fail(err, LD_ERR_DEVICE, "MPI does not start");
    MPI_Comm_rank(MPI_COMM_WORLD, &out->index);
    MPI_Comm_size(MPI_COMM_WORLD, &out->count);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, out->index,
                        MPI_INFO_NULL, &machine);
    MPI_Comm_rank(machine, &out->local);
    MPI_Comm_free(&machine);
    return true;
}

void ld_ranks_stop(const struct ld_err *err)
{
    int started = 0, rank = 0;

    MPI_Initialized(&started);
    if (!started)
        return;
    if (err->code != LD_OK) {
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
        fprintf(stderr, "ld-cache: rank %d: %s\n", rank, err->text);
        fflush(stderr);
        MPI_Abort(MPI_COMM_WORLD, (int)err->code);
    }
    MPI_Finalize();
}
