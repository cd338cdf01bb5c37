/* backend_cpu.h - the CPU's way to fill the table of ops.h. */
#pragma once

#include "kernels/device.h"
#include "kernels/ops.h"

/* Takes n_threads and n_sharing of the options. */
struct ld_device *ld_cpu_open(const struct ld_device_options *options,
                              struct ld_err *err);
