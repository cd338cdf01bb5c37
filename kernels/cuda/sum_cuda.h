/* sum_cuda.h - the sum of what the blocks of a kernel left. */
#pragma once

#include "kernels/cuda/cuda.h"

/* *sum = the sum of partial (n), in a fixed order; all on the device. */
void ld_cuda_sum(struct ld_cuda *cuda, double *sum, const double *partial,
                 int n);
