/* devices.h - the devices that tests run on. */
#pragma once

#include "kernels/ops.h"

/* Opens "cpu", with n_threads (0: all); "emulated", the CUDA plug-in whose
 * kernels run on the CPU; or "cuda", this machine's GPU. NULL with the reason
 * where the device is not to be had. */
struct ld_device *device_open(const char *name, int n_threads,
                              enum ld_precision precision, struct ld_err *err);

/* $LD_TEST_DEVICE, or `otherwise` where that is not set. */
const char *device_asked_for(const char *otherwise);
