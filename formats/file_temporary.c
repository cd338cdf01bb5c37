#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "formats/file.h"

/* A temporary name is "<path>.<host>-<place>-<pid>.tmp". The place is a hash of
 * the host's name, of its boot and of the process's PID name space: where it is
 * ours, a PID tells whether its writer lives. The host is there for people. */
static const char ending[] = ".tmp";

enum { PATH_SIZE = 4096, HOST_SIZE = 33, DAY = 24 * 60 * 60 };

struct writer {
    uint32_t place;
    pid_t pid;
};

static uint32_t add_text(uint32_t hash, const char *text)
{
    return (uint32_t)crc32_z(hash, (const void *)text, strlen(text) + 1);
}

static void read_boot(char out[64])
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

    out[0] = 0;
    if (!file)
        return;
    if (!fgets(out, 64, file))
        out[0] = 0;
    fclose(file);
}

static struct writer this_writer(char host[HOST_SIZE])
{
    char name[256] = "", boot[64], space[64] = "";
    struct writer writer = {.pid = getpid()};

    if (gethostname(name, sizeof(name) - 1) != 0)
        name[0] = 0;
    read_boot(boot);
    if (readlink("/proc/self/ns/pid", space, sizeof(space) - 1) < 0)
        space[0] = 0;
    writer.place = add_text(add_text(add_text(0, name), boot), space);

    snprintf(host, HOST_SIZE, "%s", *name ? name : "host");
    for (char *c = host; *c; c++)
        if (!strchr("0123456789-_abcdefghijklmnopqrstuvwxyz"
                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                    *c))
            *c = '_';
    return writer;
}

/* The writer that a temporary name tells; false if it is no such name. */
static bool read_writer(const char *name, struct writer *out)
{
    size_t len = strlen(name), tail = sizeof(ending) - 1;
    const char *end = name + len - tail, *pid, *place;
    char *stop;

    if (len <= tail || strcmp(end, ending) != 0)
        return false;
    for (pid = end; pid > name && pid[-1] >= '0' && pid[-1] <= '9';)
        pid--;
    place = pid - 9; /* eight digits and a '-' */
    if (pid == end || place <= name + 1 || pid[-1] != '-' || place[-1] != '-')
        return false;
    out->pid = (pid_t)strtol(pid, NULL, 10);
    out->place = (uint32_t)strtoul(place, &stop, 16);
    return stop == pid - 1 && out->pid > 0;
}

static bool is_old(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && info.st_mtime + DAY < time(NULL);
}

/* Elsewhere a writer cannot be asked; but one that lives writes every few
 * seconds, and no two clocks are a day apart. A PID may also have been given to
 * another process since. */
static bool is_stale(const char *path, struct writer writer, struct writer us)
{
    if (writer.place == us.place && writer.pid != us.pid &&
        kill(writer.pid, 0) != 0 && errno == ESRCH)
        return true;
    return is_old(path);
}

/* Looks at the temporary files in a folder whose names begin with `prefix`:
 * removes the stale ones, counts those that others are writing. */
static int look_at(const char *folder, const char *prefix)
{
    char path[PATH_SIZE], host[HOST_SIZE];
    struct writer us = this_writer(host), writer;
    DIR *entries = opendir(folder);
    const struct dirent *entry;
    struct ld_err ignored = {0};
    int n_living = 0;

    while (entries && (entry = readdir(entries))) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 ||
            !read_writer(entry->d_name, &writer) ||
            !ld_path_join(path, folder, entry->d_name, &ignored))
            continue;
        if (is_stale(path, writer, us))
            unlink(path); /* another may have been quicker */
        else
            n_living += writer.place != us.place || writer.pid != us.pid;
    }
    if (entries)
        closedir(entries);
    return n_living;
}

/* "a/b" as the folder "a" and the prefix "b." of its temporary names. */
static int look_beside(const char *path)
{
    char folder[PATH_SIZE], prefix[PATH_SIZE + 1];
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;

    snprintf(folder, sizeof(folder), "%.*s", (int)(name - path), path);
    snprintf(prefix, sizeof(prefix), "%s.", name);
    return look_at(*folder ? folder : ".", prefix);
}

bool ld_file_temporary(const char *path, char out[PATH_SIZE],
                       struct ld_err *err)
{
    char host[HOST_SIZE];
    struct writer us = this_writer(host);
    int len = snprintf(out, PATH_SIZE, "%s.%s-%08x-%d%s", path, host,
                       (unsigned)us.place, (int)us.pid, ending);

    if (len >= PATH_SIZE)
        return ld_fail(err, LD_ERR_IO, "%s: the name is too long", path);
    look_beside(path);
    return true;
}

bool ld_file_is_being_written(const char *path)
{
    return look_beside(path) > 0;
}

/* Only a hint: who writes says what went wrong. */
void ld_file_claim(const char *path)
{
    struct ld_err ignored = {0};
    char temporary[PATH_SIZE];
    int file = -1;

    if (ld_file_temporary(path, temporary, &ignored))
        file = open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (file >= 0)
        close(file);
}

void ld_file_unclaim(const char *path)
{
    struct ld_err ignored = {0};
    char temporary[PATH_SIZE];

    if (ld_file_temporary(path, temporary, &ignored))
        unlink(temporary);
}

void ld_folder_tidy(const char *folder)
{
    look_at(folder, "");
}
