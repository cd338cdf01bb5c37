#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/cpu/cpu.h"

enum { GRAIN = 64, MAX_PIECES = 256 };

/* How the channels of one place lie in a map. */
struct places {
    struct ld_planes planes;
    struct ld_shape shape;
    const int32_t *place;
};

static struct places places_of(struct ld_device *dev, struct ld_shape shape,
                               const int32_t *place)
{
    return (struct places){ld_planes_of(dev, shape), shape, place};
}

/* Offset of the first channel of block b at place i of the list. */
static size_t block_at(const struct places *p, size_t i, int b)
{
    size_t places = (size_t)p->shape.H * (size_t)p->shape.W;
    size_t at = (size_t)p->place[i];
    size_t plane = at / places * (size_t)p->planes.n_blocks + (size_t)b;

    return plane * p->planes.floats + at % places * (size_t)p->planes.block;
}

/* Channels of block b that are no padding. */
static int lanes_of(const struct places *p, int b)
{
    int left = p->shape.C - b * p->planes.block;

    return left < p->planes.block ? left : p->planes.block;
}

struct gather {
    struct places at;
    float *out;
    const float *map;
};

static void gather_range(size_t begin, size_t end, void *task)
{
    const struct gather *g = task;

    for (size_t i = begin; i < end; i++)
        for (int b = 0; b < g->at.planes.n_blocks; b++)
            memcpy(g->out + i * (size_t)g->at.shape.C +
                       (size_t)(b * g->at.planes.block),
                   g->map + block_at(&g->at, i, b),
                   (size_t)lanes_of(&g->at, b) * sizeof(float));
}

void ld_cpu_map_gather(struct ld_device *dev, float *out, const float *map,
                       struct ld_shape shape, const int32_t *place, int n)
{
    struct gather g = {places_of(dev, shape, place), out, map};

    ld_parallel((size_t)n, GRAIN, gather_range, &g);
}

struct loss {
    struct places at;
    float *dmap;
    const float *map;
    const struct ld_feature_rows *rows;
    size_t grain;
    double *partial; /* a number a piece */
};

/* Writes the gradient of one place's block; returns its part of |x - t|^2. */
static float block_loss(float *dx, const float *x, const float *t, float weight,
                        int lanes)
{
    float sum = 0;

    for (int c = 0; c < lanes; c++) {
        float difference = x[c] - t[c];

        sum += difference * difference;
        dx[c] = 2 * weight * difference;
    }
    return sum;
}

static void loss_range(size_t begin, size_t end, void *task)
{
    const struct loss *l = task;
    double sum = 0;

    for (size_t i = begin; i < end; i++) {
        const float *t = l->rows->teacher + i * (size_t)l->at.shape.C;
        float weight = l->rows->weight[i];
        double squares = 0;

        for (int b = 0; b < l->at.planes.n_blocks; b++) {
            size_t at = block_at(&l->at, i, b);

            squares += (double)block_loss(l->dmap + at, l->map + at,
                                          t + b * l->at.planes.block, weight,
                                          lanes_of(&l->at, b));
        }
        sum += (double)weight * squares;
    }
    l->partial[begin / l->grain] = sum;
}

void ld_cpu_feature_loss(struct ld_device *dev, double *sum, float *dmap,
                         const float *map, const struct ld_feature_rows *rows)
{
    double partial[MAX_PIECES] = {0};
    struct loss l = {
        .at = places_of(dev, rows->shape, rows->place),
        .dmap = dmap,
        .map = map,
        .rows = rows,
        .grain = (size_t)rows->n / MAX_PIECES + 1,
        .partial = partial,
    };

    memset(dmap, 0, l.at.planes.n * l.at.planes.floats * sizeof(*dmap));
    ld_parallel((size_t)rows->n, l.grain, loss_range, &l);
    *sum = 0;
    for (int i = 0; i < MAX_PIECES; i++)
        *sum += partial[i];
}
