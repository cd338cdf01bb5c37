#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/quads.h"

enum { GRAIN = 8 };

struct move {
    float *to;
    const float *from;
    struct ld_channels c;
    struct ld_planes to_planes, from_planes;
    int first; /* block of `to` that is written to */
    int n;     /* such blocks */
    bool adds;
};

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* `lanes` neighbouring channels of W pixels, none beyond its block. */
static void move_run(const struct move *m, float *to, const float *from,
                     int lanes)
{
    int block = m->to_planes.block;

    for (int w = 0; w < m->c.to.W; w++, to += block, from += block) {
        int l = 0;

        for (; l + 4 <= lanes; l += 4) {
            quad value = quad_load(from + l, 0);

            quad_store(to + l, 0,
                       m->adds ? (quad)(quad_load(to + l, 0) + value) : value);
        }
        for (; l < lanes; l++)
            to[l] = m->adds ? to[l] + from[l] : from[l];
    }
}

/* Row h of image n in channel c's block, at that channel. */
static size_t row_at(const struct ld_planes *p, struct ld_shape shape, int n,
                     int c, int h)
{
    size_t plane = (size_t)n * p->n_blocks + c / p->block;

    return (plane * shape.H + h) * shape.W * p->block + c % p->block;
}

/* The padding of a row, whose channels end at lane `end` of their block. */
static void clear_padding(float *row, int end, int W, int block)
{
    for (int w = 0; end > 0 && w < W; w++)
        memset(row + (size_t)w * block + end, 0,
               (size_t)(block - end) * sizeof(float));
}

/* Item i is a row of a block that is written to. */
static void move_rows(size_t begin, size_t end, void *task)
{
    const struct move *m = task;
    const struct ld_channels *c = &m->c;
    int block = m->to_planes.block;

    for (size_t i = begin; i < end; i++) {
        int h = (int)(i % c->to.H), b = m->first + (int)(i / c->to.H % m->n);
        int image = (int)(i / c->to.H / m->n), lanes;
        int last = least((b + 1) * block, c->to_at + c->C);
        int at = b * block > c->to_at ? b * block : c->to_at;

        for (; at < last; at += lanes) {
            int from = at - c->to_at + c->from_at;

            lanes = least(last - at, block - from % block);
            move_run(m, m->to + row_at(&m->to_planes, c->to, image, at, h),
                     m->from + row_at(&m->from_planes, c->from, image, from, h),
                     lanes);
        }
        if (last == c->to.C)
            clear_padding(m->to +
                              row_at(&m->to_planes, c->to, image, b * block, h),
                          last % block, c->to.W, block);
    }
}

static void move_channels(struct ld_device *dev, struct move m)
{
    int block;

    m.to_planes = ld_planes_of(dev, m.c.to);
    m.from_planes = ld_planes_of(dev, m.c.from);
    block = m.to_planes.block;
    m.first = m.c.to_at / block;
    m.n = (m.c.to_at + m.c.C - 1) / block + 1 - m.first;
    ld_parallel((size_t)m.c.to.N * m.n * m.c.to.H, GRAIN, move_rows, &m);
}

void ld_cpu_channels_copy(struct ld_device *dev, float *to, const float *from,
                          const struct ld_channels *c)
{
    move_channels(dev, (struct move){.to = to, .from = from, .c = *c});
}

void ld_cpu_channels_add(struct ld_device *dev, float *to, const float *from,
                         const struct ld_channels *c)
{
    move_channels(dev,
                  (struct move){.to = to, .from = from, .c = *c, .adds = true});
}
