/* memory.h - memory of the GPU, the ways up and down for bytes of the host,
 * faults. */
#pragma once

#include "kernels/cuda/cuda.h"

/* What a kernel found wrong; the first stands. On the device. */
struct ld_cuda_alarm {
    int raised;   /* 1: a loss term, 2: a velocity of the optimizer */
    int term;     /* enum ld_term */
    int64_t step; /* its number */
};

enum { LD_CUDA_CALM, LD_CUDA_LOSS, LD_CUDA_VELOCITY };

bool ld_cuda_memory_open(struct ld_cuda *cuda, struct ld_err *err);
void ld_cuda_memory_close(struct ld_cuda *cuda);

void *ld_cuda_alloc(struct ld_device *dev, size_t bytes, struct ld_err *err);
void ld_cuda_release(struct ld_device *dev, void *memory);
void ld_cuda_upload(struct ld_device *dev, void *to, const void *from,
                    size_t bytes);
void ld_cuda_download(struct ld_device *dev, void *to, const void *from,
                      size_t bytes);
void ld_cuda_zero(struct ld_device *dev, void *memory, size_t bytes);
void ld_cuda_copy(struct ld_device *dev, void *to, const void *from,
                  size_t bytes);
bool ld_cuda_sync(struct ld_device *dev, struct ld_err *err);
uint64_t ld_cuda_mark(struct ld_device *dev);
bool ld_cuda_reach(struct ld_device *dev, uint64_t mark, struct ld_err *err);
