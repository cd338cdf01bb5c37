#include "kernels/cpu/thin_cpu.h"

#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/cpu/cpu.h"

enum { GRAIN = 8 };

struct thin {
    float *to;
    const float *from;
    struct ld_shape in, out;
    int stride, block;
};

struct ld_shape ld_thin_shape(struct ld_shape in, int stride)
{
    return (struct ld_shape){in.N, in.C, (in.H - 1) / stride + 1,
                             (in.W - 1) / stride + 1};
}

static struct thin thin_of(struct ld_device *dev, struct ld_shape in,
                           int stride)
{
    return (struct thin){.in = in,
                         .out = ld_thin_shape(in, stride),
                         .stride = stride,
                         .block = ld_planes_of(dev, in).block};
}

/* Item i is row i of the thinned map, planes one after the other. */
static void gather_rows(size_t begin, size_t end, void *task)
{
    const struct thin *t = task;
    size_t bytes = (size_t)t->block * sizeof(float);

    for (size_t i = begin; i < end; i++) {
        size_t plane = i / t->out.H, row = i % t->out.H * t->stride;
        const float *from =
            t->from + (plane * t->in.H + row) * t->in.W * t->block;
        float *to = t->to + i * t->out.W * t->block;

        for (int w = 0; w < t->out.W; w++)
            memcpy(to + (size_t)w * t->block,
                   from + (size_t)w * t->stride * t->block, bytes);
    }
}

void ld_thin_gather(struct ld_device *dev, float *y, const float *x,
                    struct ld_shape in, int stride)
{
    struct thin t = thin_of(dev, in, stride);

    t.to = y;
    t.from = x;
    ld_parallel(ld_planes_of(dev, in).n * t.out.H, GRAIN, gather_rows, &t);
}

/* Item i is row i of the full map. */
static void scatter_rows(size_t begin, size_t end, void *task)
{
    const struct thin *t = task;
    size_t bytes = (size_t)t->block * sizeof(float);

    for (size_t i = begin; i < end; i++) {
        size_t plane = i / t->in.H, row = i % t->in.H;
        float *to = t->to + i * t->in.W * t->block;
        const float *from = t->from + (plane * t->out.H + row / t->stride) *
                                          t->out.W * t->block;

        memset(to, 0, (size_t)t->in.W * bytes);
        for (int w = 0; row % t->stride == 0 && w < t->out.W; w++)
            memcpy(to + (size_t)w * t->stride * t->block,
                   from + (size_t)w * t->block, bytes);
    }
}

void ld_thin_scatter(struct ld_device *dev, float *dx, const float *dy,
                     struct ld_shape in, int stride)
{
    struct thin t = thin_of(dev, in, stride);

    t.to = dx;
    t.from = dy;
    ld_parallel(ld_planes_of(dev, in).n * t.in.H, GRAIN, scatter_rows, &t);
}
