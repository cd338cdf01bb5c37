#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cache/cache_command.h"
#include "formats/file.h"

/* A part of the job and where it is. */
struct part {
    struct ld_shard *shard; /* NULL: nowhere yet */
    bool merged;            /* in OUT, by an earlier merge */
};

struct merge {
    const char *out;
    struct ld_arena *arena;
    struct part *parts; /* (n_parts) of the job */
    int n_parts, n_found;
    const struct ld_shard *first; /* which says which job it is */
};

static bool same_bytes(const char *a, const char *b)
{
    struct ld_err ignored = {0};
    struct ld_file one = {0}, two = {0};
    bool same = ld_file_open(a, &one, &ignored) &&
                ld_file_open(b, &two, &ignored) && one.len == two.len &&
                (one.len == 0 || memcmp(one.data, two.data, one.len) == 0);

    ld_file_close(&one);
    ld_file_close(&two);
    return same;
}

/* ---- finding the parts ---- */

static bool belongs(struct merge *m, const struct ld_shard *shard,
                    struct ld_err *err)
{
    if (m->first)
        return ld_shard_same_job(ld_shard_facts(shard),
                                 ld_shard_facts(m->first), ld_shard_path(shard),
                                 err);
    m->first = shard; /* which is then kept */
    m->n_parts = ld_shard_facts(shard)->n_parts;
    m->parts =
        ld_arena_new(m->arena, (size_t)m->n_parts, sizeof(*m->parts), err);
    return m->parts != NULL;
}

static bool is_kept(const struct merge *m, const struct ld_shard *shard)
{
    int part = ld_shard_facts(shard)->part;

    return m->parts && part < m->n_parts && m->parts[part].shard == shard;
}

/* Keeps the shard, unless OUT holds the same already. */
static bool keep(struct merge *m, struct ld_shard *shard, bool merged,
                 struct ld_err *err)
{
    int number = ld_shard_facts(shard)->part;
    const char *path = ld_shard_path(shard);
    struct part *part = &m->parts[number];

    if (!part->shard) {
        *part = (struct part){shard, merged};
        m->n_found++;
        return true;
    }
    return (part->merged && same_bytes(path, ld_shard_path(part->shard))) ||
           ld_fail(err, LD_ERR_MISMATCH,
                   "%s: is part %d, and so is %s: they overlap", path, number,
                   ld_shard_path(part->shard));
}

static bool find_parts(struct merge *m, const char *folder, bool merged,
                       struct ld_err *err)
{
    const char **paths;
    int n;
    bool ok = ld_cache_list(folder, &paths, &n, m->arena, err);

    for (int i = 0; ok && i < n; i++) {
        struct ld_shard *shard = ld_shard_open(paths[i], err);

        ok = shard && ld_shard_check(shard, err) && belongs(m, shard, err) &&
             keep(m, shard, merged, err);
        if (shard && !is_kept(m, shard))
            ld_shard_close(shard);
    }
    return ok;
}

static bool holds_shards(const char *folder, struct ld_arena *arena)
{
    struct ld_err none = {0};
    const char **paths;
    int n;

    return ld_cache_list(folder, &paths, &n, arena, &none);
}

/* ---- putting them together ---- */

static bool copy_file(const char *from, const char *to, struct ld_err *err)
{
    struct ld_file file;
    bool ok;

    if (!ld_file_open(from, &file, err))
        return false;
    ok = ld_file_replace(to, file.data, file.len, err);
    ld_file_close(&file);
    return ok;
}

/* A second name for the file where that can be, else a copy. */
static bool put_part(struct merge *m, int number, struct ld_err *err)
{
    const char *from = ld_shard_path(m->parts[number].shard);
    char name[64], to[4096];

    ld_shard_part_name(number, m->n_parts, name);
    if (!ld_path_join(to, m->out, name, err))
        return false;
    if (linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0)
        return true;
    if (errno == EEXIST)
        return ld_fail(err, LD_ERR_IO, "%s: is there already", to);
    return copy_file(from, to, err);
}

static bool put_parts(struct merge *m, struct ld_err *err)
{
    bool ok = ld_folder_make(m->out, err);

    for (int i = 0; ok && i < m->n_parts; i++)
        if (m->parts[i].shard && !m->parts[i].merged)
            ok = put_part(m, i, err);
    if (ok)
        fprintf(stderr, "ld-cache: %s: %d of %d parts%s\n", m->out, m->n_found,
                m->n_parts,
                m->n_found < m->n_parts ? "; the others are missing" : "");
    return ok;
}

static void close_parts(struct merge *m)
{
    for (int i = 0; m->parts && i < m->n_parts; i++)
        ld_shard_close(m->parts[i].shard);
}

bool ld_cache_merge(struct ld_cache_command *command, struct ld_err *err)
{
    struct merge m = {.arena = command->arena};
    bool ok = true;

    if (command->n_words < 2)
        return ld_fail(err, LD_ERR_USAGE,
                       "expected: ld-cache merge OUT FOLDER... (see --help)");
    m.out = command->words[0];
    if (holds_shards(m.out, m.arena))
        ok = find_parts(&m, m.out, true, err);
    for (int i = 1; ok && i < command->n_words; i++)
        ok = find_parts(&m, command->words[i], false, err);
    ok = ok && put_parts(&m, err);
    close_parts(&m);
    return ok;
}
