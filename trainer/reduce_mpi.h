/* reduce_mpi.h - means over ranks, by MPI, in memory of the host. */
#pragma once

#include "kernels/base/error.h"
#include "kernels/reduce.h"

/* Of all ranks of MPI_COMM_WORLD. NULL with LD_ERR_MEMORY. */
struct ld_reducer *ld_reduce_mpi_new(struct ld_err *err);
