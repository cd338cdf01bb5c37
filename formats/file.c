#include "formats/file.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

static bool fail_io(struct ld_err *err, const char *path, const char *doing)
{
    return ld_fail(err, LD_ERR_IO, "%s: cannot %s: %s", path, doing,
                   strerror(errno));
}

bool ld_file_open(const char *path, struct ld_file *out, struct ld_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    void *data = NULL;
    bool ok = false;

    if (fd < 0)
        return fail_io(err, path, "open");
    if (fstat(fd, &info) < 0) {
        fail_io(err, path, "stat");
    } else if (!S_ISREG(info.st_mode)) {
        ld_fail(err, LD_ERR_IO, "%s: not a regular file", path);
    } else if (info.st_size > 0) {
        data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        ok = data != MAP_FAILED || fail_io(err, path, "map");
    } else {
        ok = true;
    }
    close(fd);
    if (ok)
        *out = (struct ld_file){data, (size_t)info.st_size};
    return ok;
}

void ld_file_close(struct ld_file *file)
{
    if (file->data)
        munmap((void *)(uintptr_t)file->data, file->len);
    *file = (struct ld_file){0};
}

void ld_file_forget(const struct ld_file *file, size_t begin, size_t end)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t first = begin / page * page, last = end / page * page;

    /* Advice: where it is not taken, only memory is lost. */
    if (first < last)
        madvise((void *)(uintptr_t)(file->data + first), last - first,
                MADV_DONTNEED);
}

static bool sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    bool ok;

    if (fd < 0)
        return false;
    ok = fsync(fd) == 0;
    return close(fd) == 0 && ok;
}

static bool sync_folder_of(const char *path)
{
    char folder[PATH_SIZE];
    char *slash;

    snprintf(folder, sizeof(folder), "%s", path);
    slash = strrchr(folder, '/');
    if (!slash)
        snprintf(folder, sizeof(folder), ".");
    else if (slash == folder)
        slash[1] = 0;
    else
        *slash = 0;
    return sync_path(folder, O_RDONLY | O_DIRECTORY);
}

bool ld_file_publish(const char *temporary, const char *path,
                     struct ld_err *err)
{
    bool ok = sync_path(temporary, O_RDONLY) && rename(temporary, path) == 0;

    if (!ok) {
        fail_io(err, path, "write");
        unlink(temporary);
        return false;
    }
    return sync_folder_of(path) || fail_io(err, path, "sync the folder of");
}

static bool is_regular(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool ld_file_publish_first(const char *temporary, const char *path,
                           struct ld_err *err)
{
    bool linked, lost;

    if (!sync_path(temporary, O_RDONLY)) {
        fail_io(err, path, "write");
        unlink(temporary);
        return false;
    }
    linked = link(temporary, path) == 0;
    lost = !linked && errno == EEXIST && is_regular(path);
    if (!linked && !lost)
        return ld_file_publish(temporary, path, err);
    unlink(temporary);
    return sync_folder_of(path) || fail_io(err, path, "sync the folder of");
}

static bool write_all(int fd, const unsigned char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

bool ld_file_replace_pieces(const char *path, const struct ld_piece *pieces,
                            size_t n_pieces, struct ld_err *err)
{
    char temporary[PATH_SIZE];
    bool ok = true;
    int fd;

    if (!ld_file_temporary(path, temporary, err))
        return false;
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail_io(err, path, "create");
    for (size_t i = 0; ok && i < n_pieces; i++)
        ok = write_all(fd, pieces[i].bytes, pieces[i].len);
    if (!ok)
        fail_io(err, path, "write");
    if (close(fd) != 0 && ok)
        ok = fail_io(err, path, "write");
    if (!ok) {
        unlink(temporary);
        return false;
    }
    return ld_file_publish(temporary, path, err);
}

bool ld_file_replace(const char *path, const void *bytes, size_t len,
                     struct ld_err *err)
{
    return ld_file_replace_pieces(path, &(struct ld_piece){bytes, len}, 1, err);
}

bool ld_folder_make(const char *path, struct ld_err *err)
{
    char part[PATH_SIZE];
    struct stat info;
    size_t len = strlen(path);

    if (len == 0 || len >= sizeof(part))
        return ld_fail(err, LD_ERR_IO, "'%s': not a usable folder name", path);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return fail_io(err, part, "make the folder");
    }
    if (stat(path, &info) != 0)
        return fail_io(err, path, "stat");
    return S_ISDIR(info.st_mode) ||
           ld_fail(err, LD_ERR_IO, "%s: is not a folder", path);
}

bool ld_path_join(char out[PATH_SIZE], const char *folder, const char *name,
                  struct ld_err *err)
{
    bool alone = name[0] == '/' || folder[0] == 0;
    size_t len = strlen(folder);
    const char *slash = len && folder[len - 1] == '/' ? "" : "/";
    int n = alone ? snprintf(out, PATH_SIZE, "%s", name)
                  : snprintf(out, PATH_SIZE, "%s%s%s", folder, slash, name);

    return n < PATH_SIZE ||
           ld_fail(err, LD_ERR_IO, "%s: the name is too long", name);
}

void ld_bytes_sha256(const void *bytes, size_t len, char out[65])
{
    struct sha256_ctx ctx;
    uint8_t digest[SHA256_DIGEST_SIZE];

    sha256_init(&ctx);
    sha256_update(&ctx, len, bytes);
    sha256_digest(&ctx, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

bool ld_file_sha256(const char *path, char out[65], struct ld_err *err)
{
    struct ld_file file;

    if (!ld_file_open(path, &file, err))
        return false;
    ld_bytes_sha256(file.data ? file.data : (const unsigned char *)"", file.len,
                    out);
    ld_file_close(&file);
    return true;
}
