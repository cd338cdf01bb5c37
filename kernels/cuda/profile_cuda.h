/* profile_cuda.h - what the GPU does and when, as CUPTI tells it.
 *
 * In profile_cupti.cu; profile_no_cupti.cu stands in for it in a build without
 * CUPTI's header. The library is opened when it is asked for. */
#pragma once

#include "kernels/cuda/cuda.h"

bool ld_cuda_profile_start(struct ld_device *dev, struct ld_err *err);
bool ld_cuda_profile_stop(struct ld_device *dev, ld_activity_fn *fn,
                          void *context, struct ld_err *err);
