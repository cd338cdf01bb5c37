/* nccl_api.h - the part of NCCL 2 that is used, to be found at run time.
 *
 * Its library is opened when several ranks meet (reduce_nccl.cu), so a build
 * needs neither it nor its header. tests/nccl_agrees.c holds these numbers
 * against a header of NCCL where there is one. */
#pragma once

#include <cuda_runtime.h>
#include <stddef.h>

enum {
    LD_NCCL_OK = 0,
    LD_NCCL_ID_BYTES = 128,
    LD_NCCL_INT8 = 0, /* types */
    LD_NCCL_FLOAT32 = 7,
    LD_NCCL_FLOAT64 = 8,
    LD_NCCL_MEAN = 4, /* operation; since 2.10 */
};

struct ld_nccl_id {
    char bytes[LD_NCCL_ID_BYTES];
};

struct ld_nccl_comm; /* NCCL's own */

/* What returns int returns LD_NCCL_OK or an error for error_text. */
struct ld_nccl {
    int (*get_id)(struct ld_nccl_id *id);
    int (*join)(struct ld_nccl_comm **comm, int n_ranks, struct ld_nccl_id id,
                int rank);
    int (*leave)(struct ld_nccl_comm *comm);
    int (*all_reduce)(const void *from, void *to, size_t count, int type,
                      int operation, struct ld_nccl_comm *comm,
                      cudaStream_t stream);
    int (*broadcast)(const void *from, void *to, size_t count, int type,
                     int root, struct ld_nccl_comm *comm, cudaStream_t stream);
    int (*get_async_error)(struct ld_nccl_comm *comm, int *error);
    const char *(*error_text)(int error);
};
