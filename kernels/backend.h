/* backend.h - opens a device by name; the only door to kernels/cpu and CUDA. */
#pragma once

#include "kernels/device.h"
#include "kernels/ops.h"

/* CUDA comes from a plug-in, ld_cuda.so, that is looked for beside the program
 * and in the library folder, and opened here: nothing else of the program needs
 * CUDA's libraries. `note` (may be NULL) receives one line that says which
 * device it is and, for auto, why it is not CUDA. NULL with LD_ERR_DEVICE where
 * the device is not to be had, LD_ERR_USAGE for any other name or where it does
 * not have the precision. Close it with dev->ops->close(dev). */
struct ld_device *ld_device_open(const struct ld_device_options *options,
                                 char note[200], struct ld_err *err);

/* "fp32", "tf32" or "bf16": what a device opened with these options has. */
const char *ld_device_precision(const struct ld_device *dev,
                                const struct ld_device_options *options);

/* Opens the plug-in at this path, whatever options->name says: for tests of one
 * that is not installed. */
struct ld_device *ld_device_open_plugin(const char *path,
                                        const struct ld_device_options *options,
                                        char note[200], struct ld_err *err);
