/* backend.h - opens a device by name; the only door to kernels/cpu and CUDA. */
#pragma once

#include "kernels/ops.h"

/* `name` is "cpu", "cuda" or "auto" (CUDA where it works, else the CPU).
 * CUDA comes from a plug-in, ld_cuda.so, that is looked for beside the program
 * and in the library folder, and opened here: nothing else of the program needs
 * CUDA's libraries. `n_threads` is the CPU's; 0 means all cores this process
 * may use. `note` (may be NULL) receives one line that says which device it is
 * and, for auto, why it is not CUDA. NULL with LD_ERR_DEVICE where the device
 * is not to be had, LD_ERR_USAGE for any other name. Close it with
 * dev->ops->close(dev). */
struct ld_device *ld_device_open(const char *name, int n_threads,
                                 char note[200], struct ld_err *err);
