/* Reads checkpoint files damaged on purpose, and counts what came of it:
 *
 *     fuzz-checkpoints FILE... [--changes N] [--step BYTES] [--seed N]
 *
 * Every cut at a multiple of --step (1), and --changes (10000) changes of one
 * byte, for each file. Meant for a build with -Db_sanitize=address,undefined;
 * ASAN_OPTIONS=max_allocation_size_mb=N makes a larger allocation an error. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz_file.h"

struct settings {
    long changes;
    size_t step;
    uint64_t seed;
};

static void print(const char *path, const char *what,
                  const struct fuzz_counts *c)
{
    printf("%s: %s: %ld read, %ld refused, %ld wrong, %zu bytes at most\n",
           path, what, c->n_read, c->n_refused, c->n_wrong, c->most_bytes);
    fflush(stdout);
}

static bool fuzz(const char *path, const struct settings *s)
{
    struct fuzz_counts cuts = {0}, changes = {0};

    if (!fuzz_cuts(path, s->step, &cuts) ||
        !fuzz_changes(path, s->changes, s->seed, &changes)) {
        fprintf(stderr, "fuzz-checkpoints: %s: cannot read it, or copy it\n",
                path);
        return false;
    }
    print(path, "cut", &cuts);
    print(path, "changed", &changes);
    return cuts.n_wrong + changes.n_wrong == 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"changes", required_argument, NULL, 'c'},
        {"step", required_argument, NULL, 's'},
        {"seed", required_argument, NULL, 'r'},
        {NULL, 0, NULL, 0}};
    struct settings s = {.changes = 10000, .step = 1, .seed = 1};
    bool ok = true;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == '?')
            return 2;
        if (option == 'c')
            s.changes = atol(optarg);
        if (option == 's')
            s.step = (size_t)atol(optarg);
        if (option == 'r')
            s.seed = strtoull(optarg, NULL, 10);
    }
    if (s.step == 0 || optind == argc) {
        fprintf(stderr, "expected: fuzz-checkpoints FILE... [--changes N] "
                        "[--step BYTES] [--seed N]\n");
        return 2;
    }
    for (int i = optind; i < argc; i++)
        ok = fuzz(argv[i], &s) && ok;
    return !ok;
}
