#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/cpu/cpu.h"

enum { GRAIN = 128, MAX_PIECES = 64 };

struct rows {
    float *rows;        /* of forward */
    const float *drows; /* of backward */
    float *dmap;
    const float *map;
    struct ld_planes planes;
    const struct ld_rows *r;
    size_t grain;
    double *partial; /* of <drows, map>, a number a piece */
};

/* Location `place` of the level, counted over the images. */
static size_t row_at(const struct rows *t, size_t place)
{
    const struct ld_rows *r = t->r;
    size_t level = (size_t)r->shape.H * r->shape.W;
    size_t row = place / level * r->A + r->start + place % level;

    return row * r->shape.C;
}

static size_t map_at(const struct rows *t, size_t place, int b)
{
    size_t level = (size_t)t->r->shape.H * t->r->shape.W;
    size_t plane = place / level * t->planes.n_blocks + b;

    return plane * t->planes.floats + place % level * t->planes.block;
}

static int lanes_of(const struct rows *t, int b)
{
    int left = t->r->shape.C - b * t->planes.block;

    return left < t->planes.block ? left : t->planes.block;
}

static void forward_range(size_t begin, size_t end, void *task)
{
    const struct rows *t = task;
    float scale = t->r->scale ? *t->r->scale : 1;

    for (size_t p = begin; p < end; p++) {
        float *row = t->rows + row_at(t, p);

        for (int b = 0; b < t->planes.n_blocks; b++) {
            const float *from = t->map + map_at(t, p, b);
            int lanes = lanes_of(t, b);

            for (int c = 0; c < lanes; c++)
                row[b * t->planes.block + c] = scale * from[c];
        }
    }
}

void ld_cpu_rows_forward(struct ld_device *dev, float *rows, const float *map,
                         const struct ld_rows *r)
{
    struct rows t = {.rows = rows,
                     .map = map,
                     .planes = ld_planes_of(dev, r->shape),
                     .r = r};

    ld_parallel((size_t)r->shape.N * r->shape.H * r->shape.W, GRAIN,
                forward_range, &t);
}

/* Writes one location's block of dmap; returns its part of <drows, map>. */
static float backward_block(float *to, const float *drow, const float *from,
                            float scale, int lanes, int block)
{
    float sum = 0;

    for (int c = 0; c < lanes; c++) {
        sum += drow[c] * from[c];
        to[c] = scale * drow[c];
    }
    for (int c = lanes; c < block; c++)
        to[c] = 0;
    return sum;
}

static void backward_range(size_t begin, size_t end, void *task)
{
    const struct rows *t = task;
    float scale = t->r->scale ? *t->r->scale : 1;
    int block = t->planes.block;
    double sum = 0;

    for (size_t p = begin; p < end; p++) {
        const float *drow = t->drows + row_at(t, p);

        for (int b = 0; b < t->planes.n_blocks; b++) {
            size_t at = map_at(t, p, b);

            sum += (double)backward_block(t->dmap + at, drow + b * block,
                                          t->map + at, scale, lanes_of(t, b),
                                          block);
        }
    }
    t->partial[begin / t->grain] = sum;
}

void ld_cpu_rows_backward(struct ld_device *dev, float *dmap,
                          const float *drows, const float *map,
                          const struct ld_rows *r)
{
    size_t places = (size_t)r->shape.N * r->shape.H * r->shape.W;
    double partial[MAX_PIECES] = {0}, sum = 0;
    struct rows t = {.drows = drows,
                     .dmap = dmap,
                     .map = map,
                     .planes = ld_planes_of(dev, r->shape),
                     .r = r,
                     .grain = places / MAX_PIECES + 1,
                     .partial = partial};

    ld_parallel(places, t.grain, backward_range, &t);
    for (int i = 0; i < MAX_PIECES; i++)
        sum += partial[i];
    if (r->dscale)
        *r->dscale += (float)sum;
}

struct gather {
    float *out;
    const float *rows;
    const int32_t *index;
    size_t width;
};

static void gather_range(size_t begin, size_t end, void *task)
{
    const struct gather *g = task;

    for (size_t i = begin; i < end; i++)
        memcpy(g->out + i * g->width, g->rows + (size_t)g->index[i] * g->width,
               g->width * sizeof(float));
}

void ld_cpu_rows_gather(struct ld_device *dev, float *out, const float *rows,
                        const int32_t *index, int n, int width)
{
    struct gather g = {out, rows, index, (size_t)width};

    (void)dev;
    ld_parallel((size_t)n, GRAIN, gather_range, &g);
}
