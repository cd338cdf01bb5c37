#include "tests/fuzz_file.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "formats/checkpoint.h"
#include "formats/file.h"
#include "kernels/base/rng.h"

/* A copy in memory, under a name that can be opened. */
struct copy {
    struct ld_file from;
    int fd;
    char path[64];
};

static bool copy_open(struct copy *copy, const char *path)
{
    struct ld_err err = {0};
    size_t done = 0;

    if (!ld_file_open(path, &copy->from, &err))
        return false;
    copy->fd = memfd_create("fuzz", MFD_CLOEXEC);
    while (copy->fd >= 0 && done < copy->from.len) {
        ssize_t n =
            write(copy->fd, copy->from.data + done, copy->from.len - done);

        if (n <= 0)
            break;
        done += (size_t)n;
    }
    snprintf(copy->path, sizeof(copy->path), "/proc/self/fd/%d", copy->fd);
    return done == copy->from.len;
}

static void copy_close(struct copy *copy)
{
    ld_file_close(&copy->from);
    if (copy->fd >= 0)
        close(copy->fd);
}

static void read_one(const struct copy *copy, struct fuzz_counts *counts)
{
    struct ld_arena arena = {0};
    struct ld_err err = {0};
    struct ld_checkpoint c;
    bool ok = ld_checkpoint_load(copy->path, &c, &arena, &err);

    if (ok && err.code == LD_OK && (c.config || c.why_no_model))
        counts->n_read++;
    else if (!ok && err.code != LD_OK && !strchr(err.text, '\n') &&
             strncmp(err.text, copy->path, strlen(copy->path)) == 0)
        counts->n_refused++;
    else
        counts->n_wrong++;
    if (arena.used > counts->most_bytes)
        counts->most_bytes = arena.used;
    ld_arena_free(&arena);
}

bool fuzz_cuts(const char *path, size_t step, struct fuzz_counts *counts)
{
    struct copy copy = {.fd = -1};
    bool ok = copy_open(&copy, path);

    for (size_t n = ok ? (copy.from.len - 1) / step + 1 : 0; ok && n-- > 0;) {
        ok = ftruncate(copy.fd, (off_t)(n * step)) == 0;
        if (ok)
            read_one(&copy, counts);
    }
    copy_close(&copy);
    return ok;
}

bool fuzz_changes(const char *path, long n, uint64_t seed,
                  struct fuzz_counts *counts)
{
    struct copy copy = {.fd = -1};
    bool ok = copy_open(&copy, path);
    struct ld_rng rng = ld_rng_seed(seed, 0);

    for (long i = 0; ok && i < n; i++) {
        off_t at = (off_t)ld_rng_below(&rng, (uint32_t)copy.from.len);
        unsigned char was = copy.from.data[at];
        unsigned char is = (unsigned char)(was ^ (1 + ld_rng_below(&rng, 255)));

        ok = pwrite(copy.fd, &is, 1, at) == 1;
        if (ok)
            read_one(&copy, counts);
        ok = ok && pwrite(copy.fd, &was, 1, at) == 1;
    }
    copy_close(&copy);
    return ok;
}
