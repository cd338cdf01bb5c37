#include "tests/devices.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"

static struct ld_device *open_emulated(const struct ld_device_options *options,
                                       struct ld_err *err)
{
    const char *build = getenv("LD_BUILD");
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/kernels/cuda/ld_cuda_emulated.so",
             build ? build : ".");
    return ld_device_open_plugin(path, options, NULL, err);
}

struct ld_device *device_open(const char *name, int n_threads,
                              enum ld_precision precision, struct ld_err *err)
{
    struct ld_device_options options = {
        .name = name, .n_threads = n_threads, .precision = precision};

    if (strcmp(name, "emulated") == 0)
        return open_emulated(&options, err);
    return ld_device_open(&options, NULL, err);
}

const char *device_asked_for(const char *otherwise)
{
    const char *asked = getenv("LD_TEST_DEVICE");

    return asked ? asked : otherwise;
}
