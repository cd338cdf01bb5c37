#include "kernels/backend.h"

#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/cpu/backend_cpu.h"

typedef struct ld_device *open_fn(struct ld_err *err);

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

static struct ld_device *open_cuda(struct ld_err *err)
{
    void *plugin = plugin_beside_program();
    open_fn *open_device;

    if (!plugin)
        plugin = dlopen("ld_cuda.so", RTLD_NOW | RTLD_LOCAL);
    if (!plugin) {
        ld_fail(err, LD_ERR_DEVICE, "cuda: the plug-in does not load: %s",
                dlerror());
        return NULL;
    }
    *(void **)&open_device = dlsym(plugin, "ld_cuda_open"); /* as POSIX says */
    if (!open_device) {
        ld_fail(err, LD_ERR_DEVICE, "cuda: ld_cuda.so is of another version");
        return NULL;
    }
    return open_device(err); /* the plug-in stays for the life of the program */
}

static struct ld_device *open_cpu(int n_threads, const char *why, char *note,
                                  struct ld_err *err)
{
    struct ld_device *dev = ld_cpu_open(n_threads, err);

    if (dev && note)
        snprintf(note, 200, "device: cpu%s%.160s", *why ? "; " : "", why);
    return dev;
}

struct ld_device *ld_device_open(const char *name, int n_threads,
                                 char note[200], struct ld_err *err)
{
    struct ld_err no_cuda = {0};
    struct ld_device *dev = NULL;

    if (strcmp(name, "cpu") == 0)
        return open_cpu(n_threads, "", note, err);
    if (strcmp(name, "cuda") != 0 && strcmp(name, "auto") != 0) {
        ld_fail(err, LD_ERR_USAGE,
                "device '%s': expected auto, cpu or cuda", name);
        return NULL;
    }
    dev = open_cuda(&no_cuda);
    if (dev && note)
        snprintf(note, 200, "device: cuda");
    if (!dev && strcmp(name, "auto") == 0)
        return open_cpu(n_threads, no_cuda.text, note, err);
    if (!dev)
        ld_fail(err, no_cuda.code, "%s", no_cuda.text);
    return dev;
}
