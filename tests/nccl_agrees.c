/* Compiled where there is a header of NCCL: our numbers are its own. */
#include <nccl.h>

#include "kernels/cuda/nccl_api.h"

_Static_assert(LD_NCCL_OK == (int)ncclSuccess, "success");
_Static_assert(LD_NCCL_ID_BYTES == sizeof(ncclUniqueId), "bytes of an id");
_Static_assert(LD_NCCL_INT8 == (int)ncclInt8, "bytes");
_Static_assert(LD_NCCL_FLOAT32 == (int)ncclFloat32, "float");
_Static_assert(LD_NCCL_FLOAT64 == (int)ncclFloat64, "double");
_Static_assert(LD_NCCL_MEAN == (int)ncclAvg, "mean");
_Static_assert(sizeof(ncclResult_t) == sizeof(int), "results");
_Static_assert(sizeof(ncclDataType_t) == sizeof(int), "types");
_Static_assert(sizeof(ncclRedOp_t) == sizeof(int), "operations");
