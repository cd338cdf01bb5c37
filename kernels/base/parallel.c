#include "kernels/base/parallel.h"

#include <omp.h>
#include <stdlib.h>
#include <unistd.h>

void ld_parallel(size_t count, size_t grain, ld_range_fn *fn, void *task)
{
    size_t pieces = (count + grain - 1) / grain;

    if (pieces == 1) {
        fn(0, count, task);
        return;
    }
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t i = 0; i < pieces; i++)
        fn(i * grain, (i + 1) * grain < count ? (i + 1) * grain : count, task);
}

void ld_parallel_set_threads(int n_threads)
{
    omp_set_num_threads(n_threads);
}

int ld_parallel_threads(void)
{
    return omp_get_max_threads();
}

void ld_parallel_start(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    if (setenv("GOMP_SPINCOUNT", "5000", 0) == 0)
        execv("/proc/self/exe", argv);
    /* Not to be had (no /proc): slower beside others, and as right. */
}
