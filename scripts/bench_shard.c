/* bench-shard - how fast the records of a cache are read at random, warm.
 *
 *     bench-shard FOLDER [THREADS] [SECONDS]
 *
 * Prints records a second, and the bytes a second that their logits are as
 * fp32, with one thread and with THREADS. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/shard.h"
#include "kernels/base/progress.h"
#include "kernels/base/rng.h"

enum { MAX_THREADS = 64 };

struct reader {
    pthread_t thread;
    const struct ld_cache *cache;
    double until;
    uint64_t seed;
    int64_t records, rows;
    double bytes; /* of the logits as fp32 */
    struct ld_err err;
};

static bool read_one(struct reader *r, const struct ld_shard *shard, int index,
                     struct ld_arena *arena)
{
    const struct ld_shard_facts *facts = ld_shard_facts(shard);
    struct ld_record record;

    ld_arena_clear(arena);
    if (!ld_shard_read(shard, index, arena, &record, &r->err))
        return false;
    r->records++;
    r->rows += record.n_rows;
    r->bytes += 4.0 * (4.0 * (facts->reg_max + 1) * record.n_rows +
                       (double)facts->n_logits * record.n_main);
    return true;
}

static void *run(void *argument)
{
    struct reader *r = argument;
    struct ld_rng rng = ld_rng_seed(1, r->seed);
    struct ld_arena arena = {0};
    bool ok = true;

    while (ok && ld_seconds() < r->until) {
        uint32_t n_shards = (uint32_t)ld_cache_n_shards(r->cache);
        const struct ld_shard *shard =
            ld_cache_shard(r->cache, (int)ld_rng_below(&rng, n_shards));
        uint32_t count = (uint32_t)ld_shard_count(shard);

        ok = read_one(r, shard, (int)ld_rng_below(&rng, count), &arena);
    }
    ld_arena_free(&arena);
    return NULL;
}

static bool measure(const struct ld_cache *cache, int n_threads, double seconds,
                    bool told, struct ld_err *err)
{
    struct reader readers[MAX_THREADS] = {0};
    double began = ld_seconds(), records = 0, rows = 0, bytes = 0;

    for (int i = 0; i < n_threads; i++) {
        readers[i].cache = cache;
        readers[i].until = began + seconds;
        readers[i].seed = (uint64_t)i;
        if (pthread_create(&readers[i].thread, NULL, run, &readers[i]) != 0)
            return ld_fail(err, LD_ERR_MEMORY, "cannot start a thread");
    }
    for (int i = 0; i < n_threads; i++) {
        pthread_join(readers[i].thread, NULL);
        records += (double)readers[i].records;
        rows += (double)readers[i].rows;
        bytes += readers[i].bytes;
        if (readers[i].err.code != LD_OK)
            *err = readers[i].err;
    }
    seconds = ld_seconds() - began;
    if (told)
        printf("random records, %2d thread%s %9.0f a second of %.0f rows, %.2f "
               "GB/s as fp32\n",
               n_threads, n_threads == 1 ? ", " : "s,", records / seconds,
               rows / records, bytes / seconds / 1e9);
    return err->code == LD_OK;
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[2]) : 2;
    double seconds = argc > 3 ? atof(argv[3]) : 3, began = ld_seconds();
    struct ld_err err = {0};
    struct ld_cache *cache = argc > 1 ? ld_cache_open(argv[1], &err) : NULL;

    if (argc < 2 || threads < 1 || threads > MAX_THREADS) {
        fprintf(stderr, "usage: bench-shard FOLDER [THREADS] [SECONDS]\n");
        return 2;
    }
    if (cache)
        printf("opening %d shards              %8.1f ms\n",
               ld_cache_n_shards(cache), 1000 * (ld_seconds() - began));
    if (cache && measure(cache, 1, seconds / 3, false, &err)) /* warms up */
        measure(cache, 1, seconds, true, &err);
    if (cache && err.code == LD_OK && threads > 1)
        measure(cache, threads, seconds, true, &err);
    ld_cache_close(cache);
    if (err.code != LD_OK)
        fprintf(stderr, "bench-shard: %s\n", err.text);
    return (int)err.code;
}
