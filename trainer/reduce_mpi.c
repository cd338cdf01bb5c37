#include "trainer/reduce_mpi.h"

#include <mpi.h>

#include "kernels/base/mem.h"

enum { MOST = 64 }; /* begun at a time */

/* A failure of MPI ends the run: its errors are fatal unless one asks. */
struct reducer {
    struct ld_reducer
        reducer; /* first: a struct ld_reducer * is one of these */
    int n;
    MPI_Request request[MOST];
    float *buffer[MOST];
    size_t count[MOST];
};

static struct reducer *reducer_of(struct ld_reducer *reducer)
{
    return (struct reducer *)reducer;
}

static void progress(struct ld_reducer *reducer)
{
    struct reducer *r = reducer_of(reducer);
    int done;

    MPI_Testall(r->n, r->request, &done, MPI_STATUSES_IGNORE);
}

static void wait(struct ld_reducer *reducer)
{
    struct reducer *r = reducer_of(reducer);
    float share = 1 / (float)reducer->n_ranks;

    MPI_Waitall(r->n, r->request, MPI_STATUSES_IGNORE);
    for (int i = 0; i < r->n; i++)
        for (size_t k = 0; k < r->count[i]; k++)
            r->buffer[i][k] *= share;
    r->n = 0;
}

/* MPI counts in int. */
static void start(struct ld_reducer *reducer, float *buffer, size_t count)
{
    struct reducer *r = reducer_of(reducer);
    const size_t most = (size_t)1 << 30;

    while (count > 0) {
        size_t n = count < most ? count : most;

        if (r->n == MOST)
            wait(reducer);
        r->buffer[r->n] = buffer;
        r->count[r->n] = n;
        MPI_Iallreduce(MPI_IN_PLACE, buffer, (int)n, MPI_FLOAT, MPI_SUM,
                       MPI_COMM_WORLD, &r->request[r->n]);
        r->n++;
        buffer += n;
        count -= n;
    }
    progress(reducer);
}

static void mean(struct ld_reducer *reducer, double *values, size_t n)
{
    MPI_Allreduce(MPI_IN_PLACE, values, (int)n, MPI_DOUBLE, MPI_SUM,
                  MPI_COMM_WORLD);
    for (size_t i = 0; i < n; i++)
        values[i] /= reducer->n_ranks;
}

static void broadcast(struct ld_reducer *reducer, void *memory, size_t bytes)
{
    const size_t most = (size_t)1 << 30;
    char *at = memory;

    (void)reducer;
    while (bytes > 0) {
        size_t n = bytes < most ? bytes : most;

        MPI_Bcast(at, (int)n, MPI_BYTE, 0, MPI_COMM_WORLD);
        at += n;
        bytes -= n;
    }
}

static void free_reducer(struct ld_reducer *reducer)
{
    ld_delete(reducer);
}

static const struct ld_reducer_ops mpi_ops = {
    .free = free_reducer,
    .start = start,
    .progress = progress,
    .wait = wait,
    .mean = mean,
    .broadcast = broadcast,
};

struct ld_reducer *ld_reduce_mpi_new(struct ld_err *err)
{
    struct reducer *r = ld_new(1, sizeof(*r), err);

    if (!r)
        return NULL;
    r->reducer.ops = &mpi_ops;
    MPI_Comm_rank(MPI_COMM_WORLD, &r->reducer.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &r->reducer.n_ranks);
    return &r->reducer;
}
