#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

static int cores_of_affinity(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    return CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
}

/* cpu.max holds "<quota> <period>" in microseconds, or "max <period>". */
static int cores_of_quota(const char *group)
{
    char path[PATH_MAX + 64];
    long quota = 0, period = 0;
    FILE *file;
    int n;

    snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", group);
    file = fopen(path, "re");
    if (!file)
        return INT_MAX;
    n = fscanf(file, "%ld %ld", &quota, &period);
    fclose(file); /* only read */
    if (n != 2 || quota <= 0 || period <= 0)
        return INT_MAX;
    return (int)((quota + period - 1) / period);
}

/* "0::/a/b", the line of the unified hierarchy, to "/a/b"; "" without one. */
static void own_group(char group[PATH_MAX])
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[PATH_MAX];

    group[0] = 0;
    if (!file)
        return;
    while (fgets(line, sizeof(line), file))
        if (strncmp(line, "0::/", 4) == 0) {
            line[strcspn(line, "\n")] = 0;
            snprintf(group, PATH_MAX, "%s", line + 3);
        }
    fclose(file); /* only read */
}

int ld_cpu_count_cores(void)
{
    int cores = cores_of_affinity();
    char group[PATH_MAX];
    char *end;

    own_group(group);
    do {
        int quota = cores_of_quota(group);

        cores = quota < cores ? quota : cores;
        end = strrchr(group, '/');
        if (end)
            *end = 0;
    } while (end);
    return cores;
}
