#include "kernels/backend.h"

#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/abi.h"
#include "kernels/cpu/backend_cpu.h"

/* Of the plug-in; as ld_device_open. */
typedef struct ld_device *open_fn(const struct ld_device_options *, char *note,
                                  struct ld_err *err);

/* "<folder of this program>/ld_cuda.so" */
static void *plugin_beside_program(void)
{
    char program[PATH_MAX], path[PATH_MAX + 16];
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);

    if (len < 0)
        return NULL;
    program[len] = 0;
    snprintf(path, sizeof(path), "%s/ld_cuda.so", dirname(program));
    return access(path, R_OK) == 0 ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

/* The plug-in stays for the life of the program. */
static struct ld_device *open_in(void *plugin,
                                 const struct ld_device_options *options,
                                 char *note, struct ld_err *err)
{
    const unsigned long *abi;
    open_fn *open_device;

    if (!plugin) {
        ld_fail(err, LD_ERR_DEVICE, "cuda: the plug-in does not load: %s",
                dlerror());
        return NULL;
    }
    *(void **)&open_device = dlsym(plugin, "ld_cuda_open"); /* as POSIX says */
    abi = dlsym(plugin, "ld_device_abi");
    if (!open_device || !abi ||
        memcmp(abi, ld_device_abi, sizeof(ld_device_abi)) != 0) {
        ld_fail(err, LD_ERR_DEVICE,
                "cuda: ld_cuda.so is of another build than this program");
        return NULL;
    }
    return open_device(options, note, err);
}

struct ld_device *ld_device_open_plugin(const char *path,
                                        const struct ld_device_options *options,
                                        char note[200], struct ld_err *err)
{
    return open_in(dlopen(path, RTLD_NOW | RTLD_LOCAL), options, note, err);
}

static struct ld_device *open_cuda(const struct ld_device_options *options,
                                   char *note, struct ld_err *err)
{
    void *plugin = plugin_beside_program();

    if (!plugin)
        plugin = dlopen("ld_cuda.so", RTLD_NOW | RTLD_LOCAL);
    return open_in(plugin, options, note, err);
}

static struct ld_device *open_cpu(const struct ld_device_options *options,
                                  const char *why, char *note,
                                  struct ld_err *err)
{
    struct ld_device *dev;

    if (options->precision == LD_PRECISION_TF32 ||
        options->precision == LD_PRECISION_BF16) {
        ld_fail(err, LD_ERR_USAGE,
                "precision %s: the CPU has fp32 alone: expected auto or "
                "fp32%s%s",
                options->precision == LD_PRECISION_TF32 ? "tf32" : "bf16",
                *why ? "; " : "", why);
        return NULL;
    }
    dev = ld_cpu_open(options, err);
    if (dev && note)
        snprintf(note, 200, "device: cpu%s%.160s", *why ? "; " : "", why);
    return dev;
}

struct ld_device *ld_device_open(const struct ld_device_options *options,
                                 char note[200], struct ld_err *err)
{
    const char *name = options->name;
    struct ld_err no_cuda = {0};
    struct ld_device *dev = NULL;

    if (strcmp(name, "cpu") == 0)
        return open_cpu(options, "", note, err);
    if (strcmp(name, "cuda") != 0 && strcmp(name, "auto") != 0) {
        ld_fail(err, LD_ERR_USAGE, "device '%s': expected auto, cpu or cuda",
                name);
        return NULL;
    }
    dev = open_cuda(options, note, &no_cuda);
    if (!dev && strcmp(name, "auto") == 0)
        return open_cpu(options, no_cuda.text, note, err);
    if (!dev)
        ld_fail(err, no_cuda.code, "%s", no_cuda.text);
    return dev;
}

const char *ld_device_precision(const struct ld_device *dev,
                                const struct ld_device_options *options)
{
    static const char *const of_cuda[] = {
        [LD_PRECISION_AUTO] = "tf32",
        [LD_PRECISION_FP32] = "fp32",
        [LD_PRECISION_TF32] = "tf32",
        [LD_PRECISION_BF16] = "bf16",
    };

    return strcmp(dev->ops->name, "cpu") == 0 ? "fp32"
                                              : of_cuda[options->precision];
}
