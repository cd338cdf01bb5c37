#include "kernels/base/parallel.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/quads.h"

enum { GRAIN = 4 };

struct pool {
    float *to;         /* y forward, dx backward */
    const float *from; /* x forward, dy backward */
    int H, W, out_H, out_W, block;
    int kernel, pad;
};

static struct pool pool_of(struct ld_device *dev, struct ld_shape in,
                           int kernel)
{
    return (struct pool){.H = in.H,
                         .W = in.W,
                         .out_H = (in.H - 1) / 2 + 1,
                         .out_W = (in.W - 1) / 2 + 1,
                         .block = ld_planes_of(dev, in).block,
                         .kernel = kernel,
                         .pad = (kernel - 1) / 2};
}

/* Indices [first, end) along one side. */
struct range {
    int first, end;
};

/* What window i covers of a side. */
static struct range covered(const struct pool *p, int i, int side)
{
    int first = 2 * i - p->pad, end = first + p->kernel;

    return (struct range){first < 0 ? 0 : first, end > side ? side : end};
}

/* The windows, of out_side, that cover i. */
static struct range covering(const struct pool *p, int i, int out_side)
{
    int end = (i + p->pad) / 2 + 1;

    return (struct range){i / 2, end > out_side ? out_side : end};
}

/* What the window at (h, w) divides by. */
static float weight_of(const struct pool *p, int h, int w)
{
    struct range rows = covered(p, h, p->H), columns = covered(p, w, p->W);

    if (p->pad > 0)
        return (float)(p->kernel * p->kernel);
    return (float)((rows.end - rows.first) * (columns.end - columns.first));
}

static void pool_quad(const struct pool *p, const float *plane, int h, int w,
                      float *y)
{
    struct range rows = covered(p, h, p->H), columns = covered(p, w, p->W);
    quad sum = {0};

    for (int r = rows.first; r < rows.end; r++)
        for (int c = columns.first; c < columns.end; c++)
            sum += quad_load(plane + ((size_t)r * p->W + c) * p->block, 0);
    quad_store(y, 0, sum / weight_of(p, h, w));
}

static void pool_rows(size_t begin, size_t end, void *task)
{
    const struct pool *p = task;
    size_t in_plane = (size_t)p->H * p->W * p->block;

    for (size_t i = begin; i < end; i++)
        for (int w = 0; w < p->out_W; w++)
            for (int c = 0; c < p->block; c += 4)
                pool_quad(p, p->from + i / p->out_H * in_plane + c,
                          (int)(i % p->out_H), w,
                          p->to + (i * p->out_W + w) * p->block + c);
}

void ld_cpu_avgpool_forward(struct ld_device *dev, float *y, const float *x,
                            struct ld_shape in, int kernel)
{
    struct pool p = pool_of(dev, in, kernel);

    p.to = y;
    p.from = x;
    ld_parallel(ld_planes_of(dev, in).n * p.out_H, GRAIN, pool_rows, &p);
}

static void unpool_quad(const struct pool *p, const float *plane, int h, int w,
                        float *dx)
{
    struct range rows = covering(p, h, p->out_H);
    struct range columns = covering(p, w, p->out_W);
    quad sum = {0};

    for (int r = rows.first; r < rows.end; r++)
        for (int c = columns.first; c < columns.end; c++)
            sum += quad_load(plane + ((size_t)r * p->out_W + c) * p->block, 0) /
                   weight_of(p, r, c);
    quad_store(dx, 0, sum);
}

static void unpool_rows(size_t begin, size_t end, void *task)
{
    const struct pool *p = task;
    size_t out_plane = (size_t)p->out_H * p->out_W * p->block;

    for (size_t i = begin; i < end; i++)
        for (int w = 0; w < p->W; w++)
            for (int c = 0; c < p->block; c += 4)
                unpool_quad(p, p->from + i / p->H * out_plane + c,
                            (int)(i % p->H), w,
                            p->to + (i * p->W + w) * p->block + c);
}

void ld_cpu_avgpool_backward(struct ld_device *dev, float *dx, const float *dy,
                             struct ld_shape in, int kernel)
{
    struct pool p = pool_of(dev, in, kernel);

    p.to = dx;
    p.from = dy;
    ld_parallel(ld_planes_of(dev, in).n * p.H, GRAIN, unpool_rows, &p);
}
