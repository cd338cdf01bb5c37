#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/cpu/cpu.h"

enum { GRAIN = 16384 };

/* ---- one number after the other ---- */

struct pair {
    float *y;
    const float *x;
};

static void each(struct ld_device *dev, struct ld_shape shape, ld_range_fn *fn,
                 float *y, const float *x)
{
    struct ld_planes p = ld_planes_of(dev, shape);
    struct pair pair = {y, x};

    ld_parallel(p.n * p.floats, GRAIN, fn, &pair);
}

static void mask_range(size_t begin, size_t end, void *task)
{
    const struct pair *p = task;
    float *restrict dy = p->y;
    const float *restrict y = p->x;

    for (size_t i = begin; i < end; i++)
        dy[i] = y[i] > 0 ? dy[i] : 0;
}

void ld_cpu_relu_backward(struct ld_device *dev, float *dy, const float *y,
                          struct ld_shape shape)
{
    each(dev, shape, mask_range, dy, y);
}

static void add_range(size_t begin, size_t end, void *task)
{
    const struct pair *p = task;

    for (size_t i = begin; i < end; i++)
        p->y[i] += p->x[i];
}

void ld_cpu_add(struct ld_device *dev, float *y, const float *x,
                struct ld_shape shape)
{
    each(dev, shape, add_range, y, x);
}

static void add_relu_range(size_t begin, size_t end, void *task)
{
    const struct pair *p = task;
    float *restrict y = p->y;
    const float *restrict x = p->x;

    for (size_t i = begin; i < end; i++) {
        float sum = y[i] + x[i];

        y[i] = sum < 0 ? 0 : sum; /* a NaN stays one */
    }
}

void ld_cpu_add_relu(struct ld_device *dev, float *y, const float *x,
                     struct ld_shape shape)
{
    each(dev, shape, add_relu_range, y, x);
}

/* ---- from and to the plain order ---- */

struct reorder {
    float *to;
    const float *from;
    struct ld_planes planes;
    struct ld_shape shape;
};

/* Channels of plane i that are no padding. */
static int lanes_of(const struct reorder *r, size_t i)
{
    int first = (int)(i % (size_t)r->planes.n_blocks) * r->planes.block;
    int left = r->shape.C - first;

    return left < r->planes.block ? left : r->planes.block;
}

/* Offset of the first channel of plane i in the plain order. */
static size_t plain_at(const struct reorder *r, size_t i)
{
    size_t n = i / (size_t)r->planes.n_blocks;
    size_t c = i % (size_t)r->planes.n_blocks * (size_t)r->planes.block;

    return (n * r->shape.C + c) * r->shape.H * r->shape.W;
}

static void pack_planes(size_t begin, size_t end, void *task)
{
    const struct reorder *r = task;
    size_t places = (size_t)r->shape.H * r->shape.W;
    int block = r->planes.block;

    for (size_t i = begin; i < end; i++) {
        float *to = r->to + i * r->planes.floats;
        const float *from = r->from + plain_at(r, i);
        int lanes = lanes_of(r, i);

        for (size_t p = 0; p < places; p++)
            for (int c = 0; c < block; c++)
                to[p * block + c] = c < lanes ? from[c * places + p] : 0;
    }
}

void ld_cpu_map_pack(struct ld_device *dev, float *map, const float *plain,
                     struct ld_shape shape)
{
    struct reorder r = {map, plain, ld_planes_of(dev, shape), shape};

    ld_parallel(r.planes.n, 1, pack_planes, &r);
}

static void unpack_planes(size_t begin, size_t end, void *task)
{
    const struct reorder *r = task;
    size_t places = (size_t)r->shape.H * r->shape.W;
    int block = r->planes.block;

    for (size_t i = begin; i < end; i++) {
        float *to = r->to + plain_at(r, i);
        const float *from = r->from + i * r->planes.floats;
        int lanes = lanes_of(r, i);

        for (int c = 0; c < lanes; c++)
            for (size_t p = 0; p < places; p++)
                to[c * places + p] = from[p * block + c];
    }
}

void ld_cpu_map_unpack(struct ld_device *dev, float *plain, const float *map,
                       struct ld_shape shape)
{
    struct reorder r = {plain, map, ld_planes_of(dev, shape), shape};

    ld_parallel(r.planes.n, 1, unpack_planes, &r);
}
