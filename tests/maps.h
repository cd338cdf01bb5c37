/* maps.h - feature maps for tests: made from plain arrays, read back, compared.
 *
 * Everything belongs to one struct maps and dies with it. */
#pragma once

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/ops.h"

struct maps {
    struct ld_device *dev;
    struct ld_arena arena;
    struct ld_rng rng;
    void *owned[512]; /* device memory */
    int n_owned;
};

/* On the CPU with n_threads (0: all), or on the device that $LD_TEST_DEVICE
 * names (tests/devices.h; no GPU: tests look into its memory). Prints the seed,
 * which is taken from $LD_SEED where that is set. */
void maps_open(struct maps *m, int n_threads, uint64_t seed);
void maps_close(struct maps *m);

size_t shape_count(struct ld_shape shape);
double *maps_doubles(struct maps *m, size_t count); /* zeros, host */
float *maps_normal(struct maps *m, size_t count);   /* N(0, 1), host */
int maps_pick(struct maps *m, const int *choice, int n);

/* Device memory: `bytes` zeros; a copy of a plain array; a map made from plain
 * (N, C, H, W), or, if plain is NULL, filled with NaN. */
void *maps_memory(struct maps *m, size_t bytes);
float *maps_vector(struct maps *m, const float *plain, size_t count);
float *maps_map(struct maps *m, const float *plain, struct ld_shape shape);

/* Back to the host; fails the test where a padding channel is not zero. */
const float *maps_plain(struct maps *m, const float *map,
                        struct ld_shape shape);

/* Fails the test, printing `what`, if the deviation of got from want, as a
 * relative L2 norm, is over `relative`, or if anything is not finite. */
void maps_close_to(const char *what, const float *got, const double *want,
                   size_t count, double relative);

/* Waits for the device; fails the test on a fault. */
void maps_sync(struct maps *m);
