/* tape.h - calls of the table as a CUDA graph: kernels/ops.h says what for. */
#pragma once

#include "kernels/cuda/cuda.h"

bool ld_cuda_record(struct ld_device *dev);
struct ld_tape *ld_cuda_recorded(struct ld_device *dev);
void ld_cuda_play(struct ld_device *dev, const struct ld_tape *tape);
void ld_cuda_tape_free(struct ld_device *dev, struct ld_tape *tape);
