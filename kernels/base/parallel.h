/* parallel.h - one loop over many cores.
 *
 * The range is cut into pieces whose bounds depend on `count` and `grain`
 * alone, never on how many threads run, so that sums made piece by piece come
 * out bit for bit the same on 1 thread and on 64. The threads are those of
 * OpenMP, shared with the convolution library. */
#pragma once

#include <stddef.h>

typedef void ld_range_fn(size_t begin, size_t end, void *task);

/* Calls fn on consecutive ranges of at most `grain` items; returns when all
 * are done. `fn` may not call ld_parallel itself. */
void ld_parallel(size_t count, size_t grain, ld_range_fn *fn, void *task);

/* Threads that ld_parallel and the convolution library use from now on, where
 * the calling thread calls them: another begins with all cores. */
void ld_parallel_set_threads(int n_threads);
int ld_parallel_threads(void);

/* Called first by main. While a thread waits for the others, OpenMP of GCC spins
 * for 300,000 pauses, which on processors since Skylake is 15 ms: beside another
 * busy process, or with more threads than cores, a run slows tenfold (measured:
 * 1.5 against 17 steps/s of the demo's student). The count is read before main,
 * so this sets it and starts the program again; a user's own OMP_WAIT_POLICY or
 * GOMP_SPINCOUNT stands. */
void ld_parallel_start(char **argv);
