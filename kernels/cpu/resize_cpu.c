#include <math.h>
#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/quads.h"

/* Work is cut into rows of a plane: whole maps of 64 channels have only four
 * planes an image. */
enum { GRAIN = 4 };

/* ---- max pool 3x3, stride 2, pad 1 ---- */

struct pool {
    float *y;           /* of forward */
    uint8_t *from;      /* of forward; may be NULL */
    const float *x;     /* of forward */
    float *dx;          /* of backward */
    const float *dy;    /* of backward */
    const uint8_t *won; /* of backward */
    int H, W, out_H, out_W, block;
};

static struct pool pool_of(struct ld_device *dev, struct ld_shape in)
{
    return (struct pool){.H = in.H,
                         .W = in.W,
                         .out_H = (in.H - 1) / 2 + 1,
                         .out_W = (in.W - 1) / 2 + 1,
                         .block = ld_planes_of(dev, in).block};
}

/* Four channels of the window at (h, w); `plane` starts at them. As torch, the
 * first of equals wins and a NaN beats all. */
static void pool_quad(const struct pool *p, const float *plane, int h, int w,
                      float *y, uint8_t *from)
{
    int first = (h == 0) * 3 + (w == 0);
    quad best = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    quad_mask winner = {first, first, first, first};

    for (int k = 0; k < 9; k++) {
        int row = 2 * h - 1 + k / 3, column = 2 * w - 1 + k % 3;
        quad x;
        quad_mask wins;

        if (row < 0 || row >= p->H || column < 0 || column >= p->W)
            continue;
        x = quad_load(plane + ((size_t)row * p->W + column) * p->block, 0);
        wins = (x > best) | (x != x);
        best = quad_choose(wins, x, best);
        winner = (wins & k) | (~wins & winner);
    }
    quad_store(y, 0, best);
    for (int c = 0; from && c < 4; c++)
        from[c] = (uint8_t)winner[c];
}

static void pool_rows(size_t begin, size_t end, void *task)
{
    const struct pool *p = task;
    size_t in_plane = (size_t)p->H * p->W * p->block;

    for (size_t i = begin; i < end; i++) {
        const float *plane = p->x + i / p->out_H * in_plane;
        size_t row = i * p->out_W * p->block;

        for (int w = 0; w < p->out_W; w++)
            for (int c = 0; c < p->block; c += 4) {
                size_t at = row + (size_t)w * p->block + c;

                pool_quad(p, plane + c, (int)(i % p->out_H), w, p->y + at,
                          p->from ? p->from + at : NULL);
            }
    }
}

void ld_cpu_maxpool_forward(struct ld_device *dev, float *y, uint8_t *from,
                            const float *x, struct ld_shape in)
{
    struct pool p = pool_of(dev, in);

    p.y = y;
    p.from = from;
    p.x = x;
    ld_parallel(ld_planes_of(dev, in).n * p.out_H, GRAIN, pool_rows, &p);
}

/* Four channels of dx at (h, w): the dy of those of its up to four windows that
 * it won. `at` is where the plane of dy starts, at these channels. */
static void unpool_quad(const struct pool *p, size_t at, int h, int w,
                        float *dx)
{
    quad sum = {0};

    for (int i = 0; i < 4; i++) {
        int row = h / 2 + i / 2, column = w / 2 + i % 2;
        int k = (h + 1 - 2 * row) * 3 + w + 1 - 2 * column;
        size_t place = at + ((size_t)row * p->out_W + column) * p->block;
        const uint8_t *won = p->won + place;

        if (row > (h + 1) / 2 || column > (w + 1) / 2 || row >= p->out_H ||
            column >= p->out_W)
            continue;
        sum += quad_choose((quad_mask){won[0], won[1], won[2], won[3]} == k,
                           quad_load(p->dy + place, 0), (quad){0});
    }
    quad_store(dx, 0, sum);
}

static void unpool_rows(size_t begin, size_t end, void *task)
{
    const struct pool *p = task;
    size_t out_plane = (size_t)p->out_H * p->out_W * p->block;

    for (size_t i = begin; i < end; i++)
        for (int w = 0; w < p->W; w++)
            for (int c = 0; c < p->block; c += 4)
                unpool_quad(p, i / p->H * out_plane + c, (int)(i % p->H), w,
                            p->dx + (i * p->W + w) * p->block + c);
}

void ld_cpu_maxpool_backward(struct ld_device *dev, float *dx, const float *dy,
                             const uint8_t *from, struct ld_shape in)
{
    struct pool p = pool_of(dev, in);

    p.dx = dx;
    p.dy = dy;
    p.won = from;
    ld_parallel(ld_planes_of(dev, in).n * p.H, GRAIN, unpool_rows, &p);
}

/* ---- nearest neighbours ---- */

struct upsample {
    float *to;
    const float *from;
    int H, W, out_H, out_W, block;
};

static int source(int i, int size, int out_size)
{
    return (int)((int64_t)i * size / out_size);
}

/* First output index whose source is i. */
static int first_copy(int i, int size, int out_size)
{
    return (int)(((int64_t)i * out_size + size - 1) / size);
}

static void upsample_rows(size_t begin, size_t end, void *task)
{
    const struct upsample *u = task;

    for (size_t i = begin; i < end; i++) {
        size_t plane = i / u->out_H;
        int h = source((int)(i % u->out_H), u->H, u->out_H);
        float *to = u->to + i * u->out_W * u->block;
        const float *from = u->from + (plane * u->H + h) * u->W * u->block;

        for (int w = 0; w < u->out_W; w++)
            for (int c = 0; c < u->block; c++)
                to[w * u->block + c] +=
                    from[source(w, u->W, u->out_W) * u->block + c];
    }
}

void ld_cpu_upsample_add(struct ld_device *dev, float *y, const float *x,
                         struct ld_shape in, int out_H, int out_W)
{
    struct ld_planes planes = ld_planes_of(dev, in);
    struct upsample u = {y, x, in.H, in.W, out_H, out_W, planes.block};

    ld_parallel(planes.n * out_H, GRAIN, upsample_rows, &u);
}

/* Adds one output row of dy to the row of dx that it was copied from. */
static void gather_row(const struct upsample *u, float *dx, const float *dy)
{
    for (int w = 0; w < u->out_W; w++)
        for (int c = 0; c < u->block; c++)
            dx[source(w, u->W, u->out_W) * u->block + c] +=
                dy[w * u->block + c];
}

static void gather_rows(size_t begin, size_t end, void *task)
{
    const struct upsample *u = task;

    for (size_t i = begin; i < end; i++) {
        size_t plane = i / u->H;
        int h = (int)(i % u->H);
        int last = first_copy(h + 1, u->H, u->out_H);

        for (int r = first_copy(h, u->H, u->out_H); r < last; r++)
            gather_row(u, u->to + i * u->W * u->block,
                       u->from + (plane * u->out_H + r) * u->out_W * u->block);
    }
}

void ld_cpu_upsample_add_backward(struct ld_device *dev, float *dx,
                                  const float *dy, struct ld_shape in,
                                  int out_H, int out_W)
{
    struct ld_planes planes = ld_planes_of(dev, in);
    struct upsample u = {dx, dy, in.H, in.W, out_H, out_W, planes.block};

    ld_parallel(planes.n * in.H, GRAIN, gather_rows, &u);
}
