#include "tests/maps.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/devices.h"
#include "tests/suite.h"

void maps_open(struct maps *m, int n_threads, uint64_t seed)
{
    const char *given = getenv("LD_SEED");
    struct ld_err err = {0};

    *m = (struct maps){0};
    if (given)
        seed = strtoull(given, NULL, 10);
    printf("# seed %llu\n", (unsigned long long)seed);
    m->rng = ld_rng_seed(seed, 0);
    m->dev = device_open(device_asked_for("cpu"), n_threads, LD_PRECISION_FP32,
                         &err);
    ck_assert_msg(m->dev != NULL, "%s", err.text);
}

void maps_close(struct maps *m)
{
    for (int i = 0; i < m->n_owned; i++)
        m->dev->ops->release(m->dev, m->owned[i]);
    m->dev->ops->close(m->dev);
    ld_arena_free(&m->arena);
}

size_t shape_count(struct ld_shape shape)
{
    return (size_t)shape.N * shape.C * shape.H * shape.W;
}

static void *host(struct maps *m, size_t count, size_t size)
{
    struct ld_err err = {0};
    void *memory = ld_arena_new(&m->arena, count, size, &err);

    ck_assert_msg(memory != NULL, "%s", err.text);
    return memory;
}

double *maps_doubles(struct maps *m, size_t count)
{
    return host(m, count, sizeof(double));
}

float *maps_normal(struct maps *m, size_t count)
{
    float *values = host(m, count, sizeof(float));

    for (size_t i = 0; i < count; i++)
        values[i] = ld_rng_normal(&m->rng);
    return values;
}

int maps_pick(struct maps *m, const int *choice, int n)
{
    return choice[ld_rng_below(&m->rng, (uint32_t)n)];
}

void *maps_memory(struct maps *m, size_t bytes)
{
    struct ld_err err = {0};
    void *memory = m->dev->ops->alloc(m->dev, bytes, &err);

    ck_assert_msg(memory != NULL, "%s", err.text);
    ck_assert_int_lt(m->n_owned, 512);
    m->owned[m->n_owned++] = memory;
    return memory;
}

float *maps_vector(struct maps *m, const float *plain, size_t count)
{
    float *memory = maps_memory(m, count * sizeof(float));

    m->dev->ops->upload(m->dev, memory, plain, count * sizeof(float));
    return memory;
}

float *maps_map(struct maps *m, const float *plain, struct ld_shape shape)
{
    size_t bytes = m->dev->ops->map_bytes(m->dev, shape);
    size_t count = shape_count(shape);
    float *map = maps_memory(m, bytes);
    float *values = host(m, count, sizeof(float));

    for (size_t i = 0; i < count; i++)
        values[i] = plain ? plain[i] : NAN;
    m->dev->ops->map_pack(m->dev, map, maps_vector(m, values, count), shape);
    return map;
}

/* Packing what was unpacked gives the map again only if its padding is zero. */
static void check_padding(struct maps *m, const float *map, float *plain,
                          struct ld_shape shape)
{
    size_t bytes = m->dev->ops->map_bytes(m->dev, shape);
    float *again = maps_memory(m, bytes);
    float *was = host(m, bytes, 1), *is = host(m, bytes, 1);

    m->dev->ops->map_pack(m->dev, again, plain, shape);
    m->dev->ops->download(m->dev, is, map, bytes);
    m->dev->ops->download(m->dev, was, again, bytes);
    maps_sync(m);
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        ck_assert_msg(is[i] == was[i] || (isnan(is[i]) && isnan(was[i])),
                      "padding channels are not zero");
}

const float *maps_plain(struct maps *m, const float *map, struct ld_shape shape)
{
    size_t count = shape_count(shape);
    float *on_device = maps_memory(m, count * sizeof(float));
    float *plain = host(m, count, sizeof(float));

    m->dev->ops->map_unpack(m->dev, on_device, map, shape);
    check_padding(m, map, on_device, shape);
    m->dev->ops->download(m->dev, plain, on_device, count * sizeof(float));
    maps_sync(m);
    return plain;
}

void maps_close_to(const char *what, const float *got, const double *want,
                   size_t count, double relative)
{
    double apart = 0, size = 0;

    for (size_t i = 0; i < count; i++) {
        double gap = (double)got[i] - want[i];

        ck_assert_msg(isfinite(got[i]), "%s: number %zu is %g", what, i,
                      (double)got[i]);
        apart += gap * gap;
        size += want[i] * want[i];
    }
    ck_assert_msg(sqrt(apart) <= relative * sqrt(size) + 1e-30,
                  "%s: relative L2 error %.3g, allowed %.3g", what,
                  sqrt(apart / size), relative);
}

void maps_sync(struct maps *m)
{
    struct ld_err err = {0};

    ck_assert_msg(m->dev->ops->sync(m->dev, &err), "%s", err.text);
}
