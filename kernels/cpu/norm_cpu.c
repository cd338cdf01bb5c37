#include <math.h>

#include "kernels/base/parallel.h"
#include "kernels/cpu/lanes_cpu.h"

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Sets what forward reads of channel c of a block, in every lane of it. */
static void set_lanes(struct ld_lanes *l, int block, int c, float mean,
                      float scale, float beta)
{
    for (int i = c; i < LD_LANES; i += block) {
        l->mean[i] = mean;
        l->scale[i] = scale;
        l->beta[i] = beta;
    }
}

static void set_slopes(struct ld_lanes *l, int block, int c, float by_x,
                       float constant)
{
    for (int i = c; i < LD_LANES; i += block) {
        l->by_x[i] = by_x;
        l->constant[i] = constant;
    }
}

/* ---- group normalisation ----
 *
 * Work is cut into units: the fewest whole blocks that hold whole groups. With
 * 256 channels in 32 groups a unit is one block of two groups. No unit holds
 * more groups than a block has channels. */
struct group_task {
    float *out;          /* y, or dx */
    const float *dy, *x; /* dy: of backward */
    const struct ld_group_norm *gn;
    struct ld_planes planes;
    int group_size;  /* channels */
    int unit_blocks; /* blocks of a unit */
};

struct group_sum {
    double g, gx; /* times gamma, over the group's channels */
};

static int common_divisor(int a, int b)
{
    return b == 0 ? a : common_divisor(b, a % b);
}

static struct group_task group_task_of(struct ld_device *dev, float *out,
                                       const float *dy, const float *x,
                                       const struct ld_group_norm *gn)
{
    struct ld_planes planes = ld_planes_of(dev, gn->shape);
    int size = gn->shape.C / gn->groups;

    return (struct group_task){
        .out = out,
        .dy = dy,
        .x = x,
        .gn = gn,
        .planes = planes,
        .group_size = size,
        .unit_blocks = size / common_divisor(size, planes.block),
    };
}

static size_t n_units(const struct group_task *t)
{
    return (size_t)((t->planes.n_blocks + t->unit_blocks - 1) / t->unit_blocks);
}

/* Of the unit that block b is in. */
static int first_group_of(const struct group_task *t, int b)
{
    int first_block = b / t->unit_blocks * t->unit_blocks;

    return first_block * t->planes.block / t->group_size;
}

static size_t plane_at(const struct group_task *t, int n, int b)
{
    return ((size_t)n * t->planes.n_blocks + b) * t->planes.floats;
}

static float *stats_at(const struct group_task *t, int n, int group)
{
    return t->gn->stats + 2 * ((size_t)n * t->gn->groups + group);
}

static int channels_of(const struct group_task *t, int b)
{
    return least(t->planes.block, t->gn->shape.C - b * t->planes.block);
}

static struct ld_lanes group_lanes(const struct group_task *t, int n, int b)
{
    const struct ld_group_norm *gn = t->gn;
    struct ld_lanes l = {.relu = true};

    for (int i = 0; i < channels_of(t, b); i++) {
        int c = b * t->planes.block + i;
        const float *stats = stats_at(t, n, c / t->group_size);

        set_lanes(&l, t->planes.block, i, stats[0], stats[1] * gn->gamma[c],
                  gn->beta[c]);
    }
    return l;
}

/* Fills the statistics of the groups in blocks [first, last). */
static void group_stats(const struct group_task *t, int n, int first, int last)
{
    struct ld_moments group[LD_LANES] = {0};
    int first_group = first_group_of(t, first);

    for (int b = first; b < last; b++) {
        struct ld_moments channel[LD_LANES] = {0};

        ld_lanes_moments(channel, t->x + plane_at(t, n, b), t->planes.floats,
                         t->planes.block);
        for (int i = 0; i < channels_of(t, b); i++) {
            int g = (b * t->planes.block + i) / t->group_size;

            ld_moments_merge(&group[g - first_group], channel[i]);
        }
    }
    for (int g = 0; g < LD_LANES && group[g].count > 0; g++) {
        float *stats = stats_at(t, n, first_group + g);
        double variance = group[g].m2 / group[g].count;

        stats[0] = (float)group[g].mean;
        stats[1] = (float)(1 / sqrt(variance + (double)t->gn->eps));
    }
}

static void group_forward(size_t begin, size_t end, void *task)
{
    const struct group_task *t = task;

    for (size_t i = begin; i < end; i++) {
        int n = (int)(i / n_units(t));
        int first = (int)(i % n_units(t)) * t->unit_blocks;
        int last = least(first + t->unit_blocks, t->planes.n_blocks);

        group_stats(t, n, first, last);
        for (int b = first; b < last; b++) {
            struct ld_lanes l = group_lanes(t, n, b);
            size_t at = plane_at(t, n, b);

            ld_lanes_forward(t->out + at, t->x + at, t->planes.floats, &l);
        }
    }
}

void ld_cpu_gn_relu_forward(struct ld_device *dev, float *y, const float *x,
                            const struct ld_group_norm *gn)
{
    struct group_task t = group_task_of(dev, y, NULL, x, gn);

    ld_parallel(gn->shape.N * n_units(&t), 1, group_forward, &t);
}

/* Adds block b's channels to the sums of their groups, and to the gradients of
 * gamma and beta. group[0] is the first group of the unit. */
static void group_sums(const struct group_task *t, int n, int b,
                       struct group_sum *group)
{
    int first_group = first_group_of(t, b);
    const struct ld_group_norm *gn = t->gn;
    struct ld_lanes l = group_lanes(t, n, b);
    struct ld_lane_sums sums = {0};
    size_t at = plane_at(t, n, b);

    ld_lanes_sums(&sums, t->dy + at, t->x + at, t->planes.floats,
                  t->planes.block, &l);
    for (int i = 0; i < channels_of(t, b); i++) {
        int c = b * t->planes.block + i, g = c / t->group_size;

        group[g - first_group].g += (double)gn->gamma[c] * sums.g[i];
        group[g - first_group].gx += (double)gn->gamma[c] * sums.gx[i];
        gn->dbeta[c] += (float)sums.g[i];
        gn->dgamma[c] += (float)(sums.gx[i] * (double)stats_at(t, n, g)[1]);
    }
}

/* dx = (g gamma - mean(g gamma) - x^ mean(g gamma x^)) / deviation, where
 * x^ = (x - mean) / deviation and the means are over the group. */
static void group_apply(const struct group_task *t, int n, int b,
                        const struct group_sum *group)
{
    double count = (double)t->group_size * t->gn->shape.H * t->gn->shape.W;
    struct ld_lanes l = group_lanes(t, n, b);
    size_t at = plane_at(t, n, b);
    int first_group = first_group_of(t, b);

    for (int i = 0; i < channels_of(t, b); i++) {
        int g = (b * t->planes.block + i) / t->group_size;
        const struct group_sum *sum = &group[g - first_group];
        double r = (double)stats_at(t, n, g)[1];

        set_slopes(&l, t->planes.block, i,
                   (float)(-r * r * r * sum->gx / count),
                   (float)(-r * sum->g / count));
    }
    ld_lanes_backward(t->out + at, t->dy + at, t->x + at, t->planes.floats, &l);
}

/* One unit of every image: the images' parts of dgamma are added in order. */
static void group_backward(size_t begin, size_t end, void *task)
{
    const struct group_task *t = task;

    for (size_t i = begin; i < end; i++) {
        int first = (int)i * t->unit_blocks;
        int last = least(first + t->unit_blocks, t->planes.n_blocks);

        for (int n = 0; n < t->gn->shape.N; n++) {
            struct group_sum sums[LD_LANES] = {0};

            for (int b = first; b < last; b++)
                group_sums(t, n, b, sums);
            for (int b = first; b < last; b++)
                group_apply(t, n, b, sums);
        }
    }
}

void ld_cpu_gn_relu_backward(struct ld_device *dev, float *dx, const float *dy,
                             const float *x, const struct ld_group_norm *gn)
{
    struct group_task t = group_task_of(dev, dx, dy, x, gn);

    ld_parallel(n_units(&t), 1, group_backward, &t);
}

/* ---- batch normalisation with the batch's statistics, block by block ---- */

struct batch_task {
    float *out;
    const float *dy, *x;
    const struct ld_bn_train *bn;
    struct ld_planes planes;
};

static float *batch_plane(const struct batch_task *t, const float *map, int n,
                          size_t b)
{
    return (float *)map +
           ((size_t)n * t->planes.n_blocks + b) * t->planes.floats;
}

static int batch_channels(const struct batch_task *t, size_t b)
{
    return least(t->planes.block, t->bn->shape.C - (int)b * t->planes.block);
}

static struct ld_lanes batch_lanes(const struct batch_task *t, size_t b)
{
    const struct ld_bn_train *bn = t->bn;
    struct ld_lanes l = {.relu = bn->relu};

    for (int i = 0; i < batch_channels(t, b); i++) {
        size_t c = b * t->planes.block + i;
        const float *stats = bn->stats + 2 * c;

        set_lanes(&l, t->planes.block, i, stats[0], stats[1] * bn->gamma[c],
                  bn->beta[c]);
    }
    return l;
}

/* torch.nn.BatchNorm2d: momentum 0.1, running variance unbiased. */
static void batch_stats(const struct batch_task *t, size_t b)
{
    const struct ld_bn_train *bn = t->bn;
    struct ld_moments channel[LD_LANES] = {0};

    for (int n = 0; n < bn->shape.N; n++)
        ld_lanes_moments(channel, batch_plane(t, t->x, n, b), t->planes.floats,
                         t->planes.block);
    for (int i = 0; i < batch_channels(t, b); i++) {
        size_t c = b * t->planes.block + i;
        double count = channel[i].count, variance = channel[i].m2 / count;
        double unbiased = channel[i].m2 / (count > 1 ? count - 1 : 1);

        bn->stats[2 * c] = (float)channel[i].mean;
        bn->stats[2 * c + 1] = (float)(1 / sqrt(variance + (double)bn->eps));
        bn->running_mean[c] +=
            0.1F * ((float)channel[i].mean - bn->running_mean[c]);
        bn->running_var[c] += 0.1F * ((float)unbiased - bn->running_var[c]);
    }
}

static void batch_forward(size_t begin, size_t end, void *task)
{
    const struct batch_task *t = task;

    for (size_t b = begin; b < end; b++) {
        struct ld_lanes l;

        batch_stats(t, b);
        l = batch_lanes(t, b);
        for (int n = 0; n < t->bn->shape.N; n++)
            ld_lanes_forward(batch_plane(t, t->out, n, b),
                             batch_plane(t, t->x, n, b), t->planes.floats, &l);
    }
}

void ld_cpu_bn_train_forward(struct ld_device *dev, float *y, const float *x,
                             const struct ld_bn_train *bn)
{
    struct batch_task t = {y, NULL, x, bn, ld_planes_of(dev, bn->shape)};

    ld_parallel((size_t)t.planes.n_blocks, 1, batch_forward, &t);
}

/* As group_apply, with one channel of all images for a group. */
static void batch_slopes(const struct batch_task *t, size_t b,
                         const struct ld_lane_sums *sums, struct ld_lanes *l)
{
    const struct ld_bn_train *bn = t->bn;
    double count = (double)bn->shape.N * bn->shape.H * bn->shape.W;

    for (int i = 0; i < batch_channels(t, b); i++) {
        size_t c = b * t->planes.block + i;
        double r = (double)bn->stats[2 * c + 1], gamma = (double)bn->gamma[c];

        set_slopes(l, t->planes.block, i,
                   (float)(-r * r * r * gamma * sums->gx[i] / count),
                   (float)(-r * gamma * sums->g[i] / count));
        bn->dgamma[c] += (float)(sums->gx[i] * r);
        bn->dbeta[c] += (float)sums->g[i];
    }
}

static void batch_backward(size_t begin, size_t end, void *task)
{
    const struct batch_task *t = task;
    size_t floats = t->planes.floats;

    for (size_t b = begin; b < end; b++) {
        struct ld_lanes l = batch_lanes(t, b);
        struct ld_lane_sums sums = {0};

        for (int n = 0; n < t->bn->shape.N; n++)
            ld_lanes_sums(&sums, batch_plane(t, t->dy, n, b),
                          batch_plane(t, t->x, n, b), floats, t->planes.block,
                          &l);
        batch_slopes(t, b, &sums, &l);
        for (int n = 0; n < t->bn->shape.N; n++)
            ld_lanes_backward(batch_plane(t, t->out, n, b),
                              batch_plane(t, t->dy, n, b),
                              batch_plane(t, t->x, n, b), floats, &l);
    }
}

void ld_cpu_bn_train_backward(struct ld_device *dev, float *dx, const float *dy,
                              const float *x, const struct ld_bn_train *bn)
{
    struct batch_task t = {dx, dy, x, bn, ld_planes_of(dev, bn->shape)};

    ld_parallel((size_t)t.planes.n_blocks, 1, batch_backward, &t);
}
