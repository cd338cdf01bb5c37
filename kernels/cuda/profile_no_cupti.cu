/* A build without CUPTI's header: what the GPU does is not seen. */
#include "kernels/cuda/profile_cuda.h"

bool ld_cuda_profile_start(struct ld_device *, struct ld_err *err)
{
    return ld_fail(err, LD_ERR_DEVICE,
                   "cuda: this build was made without CUPTI's header, cupti.h");
}

bool ld_cuda_profile_stop(struct ld_device *, ld_activity_fn *, void *,
                          struct ld_err *)
{
    return true;
}
