/* backend_cuda.h - the door of the plug-in. */
#pragma once

#include "kernels/cuda/cuda.h"

extern "C" {
#include "kernels/device.h"

/* Opens GPU `options->index`. `note` receives one line that names it. NULL with
 * LD_ERR_DEVICE, in one line, where there is no driver, it is older than this
 * build's toolkit, there is no GPU, or it is too old. */
__attribute__((visibility("default"))) struct ld_device *
ld_cuda_open(const struct ld_device_options *options, char note[200],
             struct ld_err *err);
}
