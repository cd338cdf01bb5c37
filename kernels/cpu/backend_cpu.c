#include "kernels/cpu/backend_cpu.h"

struct ld_device *ld_cpu_open(int n_threads, struct ld_err *err)
{
    (void)n_threads;
    ld_fail(err, LD_ERR_DEVICE, "cpu: to be written");
    return NULL;
}
