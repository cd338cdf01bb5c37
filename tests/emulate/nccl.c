/* Stands in for libnccl.so.2, on memory of the host, by MPI, which the program
 * has started: so that the calls of reduce_nccl.cu are made without a GPU. */
#include <mpi.h>
#include <string.h>

enum { OK = 0, BAD_ARGUMENT = 4 };
enum { INT8 = 0, FLOAT32 = 7, FLOAT64 = 8, MEAN = 4 };

struct id {
    char bytes[128];
};

struct comm {
    MPI_Comm mpi;
    int n_ranks;
};

static const char name[] = "where the ranks of a test meet";

int ncclGetUniqueId(struct id *id);
int ncclGetUniqueId(struct id *id)
{
    memset(id, 0, sizeof(*id));
    memcpy(id, name, sizeof(name));
    return OK;
}

int ncclCommInitRank(struct comm **comm, int n_ranks, struct id id, int rank);
int ncclCommInitRank(struct comm **comm, int n_ranks, struct id id, int rank)
{
    static struct comm only;
    int is_rank, is_n;

    MPI_Comm_rank(MPI_COMM_WORLD, &is_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &is_n);
    if (rank != is_rank || n_ranks != is_n ||
        memcmp(&id, name, sizeof(name)) != 0)
        return BAD_ARGUMENT;
    MPI_Comm_dup(MPI_COMM_WORLD, &only.mpi);
    only.n_ranks = n_ranks;
    *comm = &only;
    return OK;
}

int ncclCommDestroy(struct comm *comm);
int ncclCommDestroy(struct comm *comm)
{
    MPI_Comm_free(&comm->mpi);
    return OK;
}

int ncclAllReduce(const void *from, void *to, size_t count, int type,
                  int operation, struct comm *comm, void *stream);
int ncclAllReduce(const void *from, void *to, size_t count, int type,
                  int operation, struct comm *comm, void *stream)
{
    (void)stream; /* a stand-in for CUDA has one alone */
    if (from != to || operation != MEAN || (type != FLOAT32 && type != FLOAT64))
        return BAD_ARGUMENT;
    MPI_Allreduce(MPI_IN_PLACE, to, (int)count,
                  type == FLOAT32 ? MPI_FLOAT : MPI_DOUBLE, MPI_SUM, comm->mpi);
    for (size_t i = 0; i < count; i++)
        if (type == FLOAT32)
            ((float *)to)[i] /= (float)comm->n_ranks;
        else
            ((double *)to)[i] /= comm->n_ranks;
    return OK;
}

int ncclBroadcast(const void *from, void *to, size_t count, int type, int root,
                  struct comm *comm, void *stream);
int ncclBroadcast(const void *from, void *to, size_t count, int type, int root,
                  struct comm *comm, void *stream)
{
    (void)stream;
    if (from != to || type != INT8)
        return BAD_ARGUMENT;
    MPI_Bcast(to, (int)count, MPI_BYTE, root, comm->mpi);
    return OK;
}

int ncclCommGetAsyncError(struct comm *comm, int *error);
int ncclCommGetAsyncError(struct comm *comm, int *error)
{
    (void)comm;
    *error = OK;
    return OK;
}

const char *ncclGetErrorString(int error);
const char *ncclGetErrorString(int error)
{
    return error == OK ? "no error" : "invalid argument";
}
