/* make-cache - a cache of made-up logits, to time readers with.
 *
 *     make-cache FOLDER SHARDS VIEWS ROWS
 *
 * SHARDS shards of VIEWS views of an image, each of about ROWS rows on a canvas
 * of 800 x 1344, 80 classes, stored as ld-cache precompute does by default. */
#include <stdio.h>
#include <stdlib.h>

#include "formats/file.h"
#include "tests/made_shard.h"

struct job {
    const char *folder;
    int n_views, n_rows;
    struct ld_shard_facts facts;
};

static bool make(struct job *job, int part, struct ld_err *err)
{
    struct ld_arena arena = {0};
    struct ld_shard_writer *w;
    char name[64], path[4096];
    bool ok;

    job->facts.part = part;
    ld_shard_part_name(part, job->facts.n_parts, name);
    if (!ld_path_join(path, job->folder, name, err))
        return false;
    w = ld_shard_create(path, &job->facts, err);
    ok = w != NULL;
    for (int i = 0; ok && i < job->n_views; i++) {
        int64_t id = 1 + part * (int64_t)job->n_views + i;
        struct ld_record record =
            made_record(&job->facts, id, false, 800, 1344, job->n_rows, &arena);

        ok = ld_shard_append(w, &record, err);
        ld_arena_clear(&arena);
    }
    ld_arena_free(&arena);
    if (ok)
        return ld_shard_finish(w, err);
    ld_shard_abandon(w);
    return false;
}

int main(int argc, char **argv)
{
    struct ld_err err = {0};
    struct job job;
    int n_shards;

    if (argc != 5) {
        fprintf(stderr, "usage: make-cache FOLDER SHARDS VIEWS ROWS\n");
        return 2;
    }
    n_shards = atoi(argv[2]);
    job = (struct job){argv[1], atoi(argv[3]), atoi(argv[4]),
                       made_facts(80, LD_STORAGE_PREDICTED)};
    job.facts.asked_gradient_error = 0.01;
    job.facts.n_parts = n_shards;
    if (ld_folder_make(job.folder, &err))
        for (int i = 0; err.code == LD_OK && i < n_shards; i++)
            make(&job, i, &err);
    if (err.code != LD_OK)
        fprintf(stderr, "make-cache: %s\n", err.text);
    return (int)err.code;
}
