#include <limits.h>
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/launch.h"
#include "trainer/reduce_mpi.h"
#include "trainer/team.h"

const struct ld_team ld_team_alone = {
    .n_ranks = 1, .n_machines = 1, .n_sharing = 1, .speaker = -1};

/* ---- start and end ---- */

/* A launcher that binds ranks to cores has shared these out already; ranks that
 * it left the same cores share them. */
static bool count_sharing(struct ld_team *team, MPI_Comm machine,
                          struct ld_err *err)
{
    cpu_set_t own, *all;
    int n;

    MPI_Comm_size(machine, &n);
    all = ld_new((size_t)n, sizeof(*all), err);
    if (!all)
        return false;
    CPU_ZERO(&own);
    (void)sched_getaffinity(0, sizeof(own), &own);
    MPI_Allgather(&own, sizeof(own), MPI_BYTE, all, sizeof(own), MPI_BYTE,
                  machine);
    team->n_sharing = 0;
    for (int i = 0; i < n; i++)
        team->n_sharing += CPU_EQUAL(&own, &all[i]);
    ld_delete(all);
    return true;
}

static bool find_places(struct ld_team *team, struct ld_err *err)
{
    MPI_Comm machine;
    int first;
    bool ok;

    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, team->rank,
                        MPI_INFO_NULL, &machine);
    MPI_Comm_rank(machine, &team->local_rank);
    first = team->local_rank == 0;
    MPI_Allreduce(&first, &team->n_machines, 1, MPI_INT, MPI_SUM,
                  MPI_COMM_WORLD);
    ok = count_sharing(team, machine, err);
    MPI_Comm_free(&machine);
    return ok;
}

/* Started alone, we leave MPI alone: its start would cost half a second and a
 * network's worth of warnings. Other threads run beside, and never call MPI. */
bool ld_team_start(struct ld_team *team, struct ld_err *err)
{
    int level;

    *team = ld_team_alone;
    if (ld_launched() == 0)
        return true;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level) != MPI_SUCCESS)
        return ld_fail(err, LD_ERR_DEVICE, "MPI does not start");
    MPI_Comm_rank(MPI_COMM_WORLD, &team->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &team->n_ranks);
    if (level < MPI_THREAD_FUNNELED)
        return ld_fail(err, LD_ERR_DEVICE,
                       "this MPI allows no threads: expected "
                       "MPI_THREAD_FUNNELED");
    return find_places(team, err);
}

bool ld_team_agree(struct ld_team *team, bool ok, struct ld_err *err)
{
    int mine = ok ? INT_MAX : team->rank, first;

    if (team->n_ranks == 1)
        return ok;
    MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (first == INT_MAX)
        return true;
    team->speaker = first;
    return ld_fail(err, LD_ERR_DEVICE, "rank %d failed", first);
}

void ld_team_fail(struct ld_team *team, const struct ld_err *err)
{
    if (team->n_ranks == 1)
        return;
    if (team->speaker >= 0 && team->speaker != team->rank)
        MPI_Barrier(MPI_COMM_WORLD); /* the speaker ends this process */
    fprintf(stderr, "ld-distill: rank %d: %s\n", team->rank, err->text);
    fflush(stderr);
    MPI_Abort(MPI_COMM_WORLD, (int)err->code);
}

void ld_team_stop(struct ld_team *team)
{
    int started = 0;

    (void)team;
    MPI_Initialized(&started);
    if (started)
        MPI_Finalize();
}

/* ---- the device's memory ---- */

static bool same_devices(const struct ld_device *dev, struct ld_err *err)
{
    int mine = dev->ops->reducer_new != NULL, least, most;

    MPI_Allreduce(&mine, &least, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    MPI_Allreduce(&mine, &most, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    return least == most ||
           ld_fail(err, LD_ERR_DEVICE,
                   "some ranks train on GPUs and some, as this one, on %s: "
                   "choose with --device cpu or cuda",
                   mine ? "a GPU" : "the CPU");
}

bool ld_team_reducer(struct ld_team *team, struct ld_device *dev,
                     struct ld_reducer **out, struct ld_err *err)
{
    char id[LD_REDUCER_ID] = {0};
    bool ok;

    *out = NULL;
    if (team->n_ranks == 1)
        return true;
    if (!ld_team_agree(team, same_devices(dev, err), err))
        return false;
    if (!dev->ops->reducer_new) {
        *out = ld_reduce_mpi_new(err);
        return *out != NULL;
    }
    ok = team->rank != 0 || dev->ops->reducer_id(dev, id, err);
    if (!ld_team_agree(team, ok, err))
        return false;
    ld_team_send(team, id, sizeof(id));
    *out = dev->ops->reducer_new(dev, id, team->rank, team->n_ranks, err);
    return ld_team_agree(team, *out != NULL, err);
}

/* ---- the host's memory ---- */

void ld_team_send(const struct ld_team *team, void *data, size_t size)
{
    if (team->n_ranks > 1)
        MPI_Bcast(data, (int)size, MPI_BYTE, 0, MPI_COMM_WORLD);
}

void ld_team_mean(const struct ld_team *team, double *values, int n)
{
    if (team->n_ranks == 1)
        return;
    MPI_Allreduce(MPI_IN_PLACE, values, n, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    for (int i = 0; i < n; i++)
        values[i] /= team->n_ranks;
}

/* One after the other: MPI_Gatherv counts all ranks' bytes in one int. */
bool ld_team_gather(const struct ld_team *team, const struct ld_buf *own,
                    struct ld_buf *all, struct ld_err *err)
{
    const int tag = 0;
    int size = (int)own->len;

    if (own->len > INT_MAX)
        return ld_fail(err, LD_ERR_MEMORY,
                       "%zu bytes of one rank to gather, at most %d are sent",
                       own->len, INT_MAX);
    if (team->rank != 0) {
        MPI_Send(own->data, size, MPI_BYTE, 0, tag, MPI_COMM_WORLD);
        return true;
    }
    ld_buf_put(all, own->data, own->len);
    for (int rank = 1; rank < team->n_ranks; rank++) {
        size_t at = all->len;
        MPI_Status status;

        MPI_Probe(rank, tag, MPI_COMM_WORLD, &status);
        MPI_Get_count(&status, MPI_BYTE, &size);
        ld_buf_put(all, NULL, (size_t)size);
        if (!ld_buf_ok(all, err))
            return false;
        MPI_Recv(all->data + at, size, MPI_BYTE, rank, tag, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
    }
    return true;
}
