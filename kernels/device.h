/* device.h - how a device is asked for. */
#pragma once

/* Of a network's maps, its convolutions and the copies of weights they read.
 * Parameters, their gradients, losses and the optimizer are fp32 in all. */
enum ld_precision {
    LD_PRECISION_AUTO, /* fp32 on the CPU, tf32 on CUDA */
    LD_PRECISION_FP32,
    LD_PRECISION_TF32, /* fp32 in memory, 10 bits of mantissa in products */
    LD_PRECISION_BF16, /* 7 bits of mantissa in memory, sums in fp32 */
};

struct ld_device_options {
    const char *name; /* "cpu", "cuda" or "auto": CUDA where it works */
    int n_threads;    /* of the CPU; 0 means all cores this process may use, */
    int n_sharing;    /* ... or its share of them, if so many processes use the
                         same ones; 0 is 1 */
    enum ld_precision precision;
    int index; /* of the GPU, among those this process sees: of n the one of
                  index % n, so that more processes than GPUs share them */
};
