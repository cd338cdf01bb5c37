/* reduce_nccl.h - means over the GPUs of several ranks, by NCCL. */
#pragma once

#include "kernels/cuda/cuda.h"

extern "C" {
#include "kernels/reduce.h"
}

/* ops.h says what they do. LD_ERR_DEVICE, in one line, where libnccl.so.2 is
 * not to be had or NCCL refuses. */
bool ld_cuda_reducer_id(struct ld_device *dev, char id[LD_REDUCER_ID],
                        struct ld_err *err);
struct ld_reducer *ld_cuda_reducer_new(struct ld_device *dev,
                                       const char id[LD_REDUCER_ID], int rank,
                                       int n_ranks, struct ld_err *err);
