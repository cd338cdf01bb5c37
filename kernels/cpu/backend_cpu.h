/* backend_cpu.h - the CPU's way to fill the table of ops.h. */
#pragma once

#include "kernels/ops.h"

/* n_threads 0: all cores this process may use. */
struct ld_device *ld_cpu_open(int n_threads, struct ld_err *err);
