/* One rank of several that test what ranks do together: for mpirun.
 * usage: team_rank [PLUGIN]: on the CPU, or on the device of a plug-in. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/base/rng.h"
#include "trainer/team.h"

enum { N_BUFFERS = 70 }; /* more than are under way at a time */

struct rank {
    struct ld_team team;
    struct ld_device *dev;
    struct ld_reducer *reducer;
    struct ld_arena arena;
    struct ld_err err;
};

static size_t count_of(int buffer)
{
    static const size_t counts[] = {1, 7, 4096, 100003, 3};

    return counts[buffer % 5];
}

/* What a rank has to give: of no order, of many sizes. */
static float value(int rank, int buffer, size_t i)
{
    struct ld_rng rng = ld_rng_seed((uint64_t)(100 * rank + buffer), i);

    return ld_rng_normal(&rng) * (float)(1 + i % 1000);
}

static bool wrong(struct rank *r, const char *what, int buffer, size_t i)
{
    return ld_fail(&r->err, LD_ERR_NUMBER, "%s: buffer %d, number %zu", what,
                   buffer, i);
}

static bool check_mean(struct rank *r, int buffer, const float *got)
{
    for (size_t i = 0; i < count_of(buffer); i++) {
        double sum = 0, size = 0;

        for (int rank = 0; rank < r->team.n_ranks; rank++) {
            sum += (double)value(rank, buffer, i);
            size += fabs((double)value(rank, buffer, i));
        }
        /* Of a few sums in fp32, each rounded by 6e-8 of its size. */
        if (!(fabs((double)got[i] - sum / r->team.n_ranks) <= 3e-7 * size))
            return wrong(r, "a mean is wrong", buffer, i);
    }
    return true;
}

/* Every rank has rank 0's bits. */
static bool check_same(struct rank *r, int buffer, const float *got)
{
    size_t bytes = count_of(buffer) * sizeof(*got);
    struct ld_buf own = {.max = bytes}, all = {.max = (size_t)1 << 30};
    bool ok;

    ld_buf_put(&own, got, bytes);
    ok = ld_team_gather(&r->team, &own, &all, &r->err);
    for (size_t at = 0; ok && at < all.len; at += bytes)
        ok = memcmp(all.data + at, got, bytes) == 0 ||
             wrong(r, "bits differ between ranks", buffer, at / bytes);
    if (ok && r->team.rank == 0 && all.len != r->team.n_ranks * bytes)
        ok = wrong(r, "ranks are missing", buffer, all.len / bytes);
    ld_buf_free(&own);
    ld_buf_free(&all);
    return ok;
}

static float *make_buffer(struct rank *r, int buffer)
{
    size_t n = count_of(buffer);
    float *host = ld_arena_new(&r->arena, n, sizeof(*host), &r->err);
    float *on_device = r->dev->ops->alloc(r->dev, n * sizeof(*host), &r->err);

    for (size_t i = 0; host && i < n; i++)
        host[i] = value(r->team.rank, buffer, i);
    if (host && on_device)
        r->dev->ops->upload(r->dev, on_device, host, n * sizeof(*host));
    return host ? on_device : NULL;
}

static bool fetch(struct rank *r, void *to, const void *from, size_t bytes)
{
    r->dev->ops->download(r->dev, to, from, bytes);
    return r->dev->ops->sync(r->dev, &r->err);
}

static bool test_buffers(struct rank *r)
{
    float *buffer[N_BUFFERS] = {0};
    bool ok = true;

    for (int b = 0; ok && b < N_BUFFERS; b++) {
        buffer[b] = make_buffer(r, b);
        ok = buffer[b] != NULL;
        if (ok)
            r->reducer->ops->start(r->reducer, buffer[b], count_of(b));
        r->reducer->ops->progress(r->reducer);
    }
    r->reducer->ops->wait(r->reducer);
    for (int b = 0; ok && b < N_BUFFERS; b++) {
        size_t bytes = count_of(b) * sizeof(float);
        float *got = ld_arena_new(&r->arena, bytes, 1, &r->err);

        ok = got && fetch(r, got, buffer[b], bytes) && check_mean(r, b, got) &&
             check_same(r, b, got);
    }
    for (int b = 0; b < N_BUFFERS; b++)
        r->dev->ops->release(r->dev, buffer[b]);
    return ok;
}

static bool test_sums_and_broadcast(struct rank *r)
{
    double sums[2] = {r->team.rank, 10}, *on_device;
    double wanted = 0.5 * (r->team.n_ranks - 1);
    int sent = 7 + r->team.rank;
    double values[1] = {r->team.rank};

    on_device = r->dev->ops->alloc(r->dev, sizeof(sums), &r->err);
    if (!on_device)
        return false;
    r->dev->ops->upload(r->dev, on_device, sums, sizeof(sums));
    r->reducer->ops->mean(r->reducer, on_device, 2);
    if (!fetch(r, sums, on_device, sizeof(sums)))
        return false;
    if (fabs(sums[0] - wanted) > 1e-12 || fabs(sums[1] - 10) > 1e-12)
        return wrong(r, "a mean of sums is wrong", 0, 0);
    sums[0] = 100 + r->team.rank;
    r->dev->ops->upload(r->dev, on_device, sums, sizeof(sums));
    r->reducer->ops->broadcast(r->reducer, on_device, sizeof(sums));
    if (!fetch(r, sums, on_device, sizeof(sums)))
        return false;
    r->dev->ops->release(r->dev, on_device);
    ld_team_send(&r->team, &sent, sizeof(sent));
    ld_team_mean(&r->team, values, 1);
    if (!(sums[0] == 100) || sent != 7 || fabs(values[0] - wanted) > 1e-12)
        return wrong(r, "what rank 0 sent did not come", 0, 0);
    return true;
}

/* The last rank fails: all learn it, and nothing else is told. */
static bool test_agreement(struct rank *r)
{
    int last = r->team.n_ranks - 1;
    struct ld_team team = r->team;
    struct ld_err err = {0};

    if (!ld_team_agree(&team, true, &err) || team.speaker != -1)
        return wrong(r, "all is well, but not agreed", 0, 0);
    if (team.rank == last)
        ld_fail(&err, LD_ERR_IO, "as it should");
    if (ld_team_agree(&team, team.rank != last, &err) || err.code == LD_OK)
        return wrong(r, "a failure is not agreed", 0, 0);
    return team.speaker == (last > 0 ? last : -1) ||
           wrong(r, "another rank is to speak", 0, (size_t)team.speaker);
}

static bool open_rank(struct rank *r, const char *plugin)
{
    struct ld_device_options options = {
        .name = "cpu", .n_threads = 1, .index = r->team.local_rank};

    r->dev = plugin ? ld_device_open_plugin(plugin, &options, NULL, &r->err)
                    : ld_device_open(&options, NULL, &r->err);
    return r->dev && ld_team_reducer(&r->team, r->dev, &r->reducer, &r->err);
}

int main(int argc, char **argv)
{
    struct rank r = {0};
    bool ok = ld_team_start(&r.team, &r.err) &&
              open_rank(&r, argc > 1 ? argv[1] : NULL) && test_agreement(&r);

    if (ok && r.reducer)
        ok = test_buffers(&r) && test_sums_and_broadcast(&r);
    if (!ok)
        ld_team_fail(&r.team, &r.err);
    if (!ok)
        fprintf(stderr, "team_rank: %s\n", r.err.text);
    if (ok)
        printf("rank %d of %d, on %d machines: all is well\n", r.team.rank,
               r.team.n_ranks, r.team.n_machines);
    if (r.reducer)
        r.reducer->ops->free(r.reducer);
    if (r.dev)
        r.dev->ops->close(r.dev);
    ld_team_stop(&r.team);
    ld_arena_free(&r.arena);
    return ok ? 0 : 1;
}
