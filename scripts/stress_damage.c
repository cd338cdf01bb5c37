/* Damages shards on purpose and counts who notices:
 *
 *     stress-damage SHARD... [--flips N] [--cuts N] [--seed N]
 *
 * --flips (1000) single bits, anywhere in the files, and --cuts (200) of their
 * ends. Each must be noticed: when the file is opened, when a view is read
 * (then the message names image and view), or by the check of the whole. A
 * shard is left as it was. Status 1 if anything was missed. */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/file.h"
#include "formats/shard.h"
#include "kernels/base/rng.h"

enum outcome { AT_OPEN, AT_READ, BY_CHECK, UNNAMED, MISSED, N_OUTCOMES };

struct counts {
    long is[N_OUTCOMES];
};

static bool read_all(const struct ld_shard *shard, struct ld_err *err)
{
    bool features = ld_shard_facts(shard)->feature_channels > 0, ok = true;
    struct ld_arena arena = {0};
    struct ld_record record;

    for (int i = 0; ok && i < ld_shard_count(shard); i++) {
        ld_arena_clear(&arena);
        ok = ld_shard_read(shard, i, &arena, &record, err) &&
             (!features ||
              ld_shard_read_features(shard, i, &arena, &record, err));
    }
    ld_arena_free(&arena);
    return ok;
}

static enum outcome notice(const char *path)
{
    struct ld_err err = {0}, whole = {0};
    struct ld_shard *shard = ld_shard_open(path, &err);
    enum outcome outcome = AT_OPEN;

    if (shard && !read_all(shard, &err))
        outcome = AT_READ;
    else if (shard)
        outcome = ld_shard_check(shard, &whole) ? MISSED : BY_CHECK;
    if ((outcome == AT_READ && !strstr(err.text, ": image ")) ||
        (outcome == AT_OPEN && !strstr(err.text, path)))
        outcome = UNNAMED;
    ld_shard_close(shard);
    return outcome;
}

static bool flip(const char *path, uint64_t bit)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    off_t at = (off_t)(bit / 8);
    unsigned char byte;
    bool ok = fd >= 0 && pread(fd, &byte, 1, at) == 1;

    byte ^= (unsigned char)(1 << bit % 8);
    ok = ok && pwrite(fd, &byte, 1, at) == 1;
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool flip_one(const char *path, struct ld_rng *rng,
                     struct counts *counts)
{
    struct stat info;
    uint64_t bit;

    if (stat(path, &info) != 0)
        return false;
    bit = 8 * (uint64_t)ld_rng_below(rng, (uint32_t)info.st_size) +
          ld_rng_below(rng, 8);
    if (!flip(path, bit))
        return false;
    counts->is[notice(path)]++;
    return flip(path, bit);
}

static bool cut_one(const char *path, struct ld_rng *rng, struct counts *counts)
{
    struct ld_err err = {0};
    struct ld_file file;
    char copy[4096];
    bool ok;

    snprintf(copy, sizeof(copy), "%.4000s.cut", path);
    if (!ld_file_open(path, &file, &err))
        return false;
    ok = ld_file_replace(copy, file.data, ld_rng_below(rng, (uint32_t)file.len),
                         &err);
    if (ok)
        counts->is[notice(copy)]++;
    unlink(copy);
    ld_file_close(&file);
    return ok;
}

static bool report(const char *what, const struct counts *c)
{
    long noticed = c->is[AT_OPEN] + c->is[AT_READ] + c->is[BY_CHECK];
    long wrong = c->is[UNNAMED] + c->is[MISSED];

    printf("%s: %ld made, %ld detected: %ld when opened, %ld when a view was "
           "read, image and view named, %ld by the check of the whole; %ld "
           "unnamed, %ld missed\n",
           what, noticed + wrong, noticed, c->is[AT_OPEN], c->is[AT_READ],
           c->is[BY_CHECK], c->is[UNNAMED], c->is[MISSED]);
    return wrong == 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"flips", required_argument, NULL, 'f'},
        {"cuts", required_argument, NULL, 'c'},
        {"seed", required_argument, NULL, 'r'},
        {NULL, 0, NULL, 0}};
    struct counts flips = {0}, cuts = {0};
    long n_flips = 1000, n_cuts = 200, seed = 1;
    struct ld_rng rng;
    bool ok = true;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == '?')
            return 2;
        *(option == 'f'   ? &n_flips
          : option == 'c' ? &n_cuts
                          : &seed) = atol(optarg);
    }
    if (optind == argc) {
        fprintf(stderr, "expected: stress-damage SHARD... [--flips N] "
                        "[--cuts N] [--seed N]\n");
        return 2;
    }
    rng = ld_rng_seed((uint64_t)seed, 0);
    for (long i = 0; ok && i < n_flips; i++)
        ok = flip_one(argv[optind + i % (argc - optind)], &rng, &flips);
    for (long i = 0; ok && i < n_cuts; i++)
        ok = cut_one(argv[optind + i % (argc - optind)], &rng, &cuts);
    if (!ok) {
        fprintf(stderr, "stress-damage: a shard cannot be read or written\n");
        return 2;
    }
    ok = report("bit flips", &flips);
    ok = report("cuts", &cuts) && ok;
    return !ok;
}
