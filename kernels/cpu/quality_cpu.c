#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/loss_math.h"
#include "kernels/cpu/quads.h"

/* Locations go 16 at a time, one a lane: arrays end with [LD_LANES], read as
 * quads. Pieces of the rows add up the gradients of the parameters for
 * themselves; the pieces are added in order. */
enum {
    QUADS = LD_LANES / 4,
    SIDES = 4,
    TOP = LD_QUALITY_TOP,
    SIDE_STATS = TOP + 1,
    STATS = LD_QUALITY_STATS,
    HIDDEN = LD_QUALITY_HIDDEN,
    MAX_BINS = 256,
    MAX_PIECES = 32,
};

/* One side of 16 locations. */
struct side {
    float e[MAX_BINS][LD_LANES]; /* exp(logit - the largest) */
    float share[LD_LANES];       /* 1 / sum of e */
    float top[TOP][LD_LANES];    /* largest probabilities, falling */
    float bin[TOP][LD_LANES];    /* where they stand: small whole numbers */
};

/* 16 locations. */
struct block {
    struct side side[SIDES];
    float stat[STATS][LD_LANES];
    float hidden[HIDDEN][LD_LANES];
    float d_hidden[HIDDEN][LD_LANES]; /* of backward; before the ReLU */
    float d_stat[STATS][LD_LANES];
};

/* Gradients of the parameters. */
struct sums {
    double weight0[HIDDEN * STATS], bias0[HIDDEN], weight2[HIDDEN], bias2;
};

struct quality_task {
    const struct ld_quality *q;
    const float *rows; /* (n, 4, B) */
    float *logit;      /* of forward */
    const float *dlogit;
    float *d_rows;
    size_t grain;
    struct sums *piece;
};

/* ---- statistics ---- */

/* Bins become rows; lanes from `count` on repeat the last location. */
static void load_side(struct side *side, const float *rows, size_t stride,
                      int count, int B)
{
    for (int l = 0; l < LD_LANES; l++) {
        const float *row = rows + (size_t)(l < count ? l : count - 1) * stride;

        for (int k = 0; k < B; k++)
            side->e[k][l] = row[k];
    }
}

/* A NaN among the logits makes the sum NaN. */
static void exps(struct side *side, int B)
{
    float most[LD_LANES], sum[LD_LANES] = {0};

    memcpy(most, side->e[0], sizeof(most));
    for (int k = 1; k < B; k++)
        for (int l = 0; l < LD_LANES; l++)
            most[l] = side->e[k][l] > most[l] ? side->e[k][l] : most[l];
    for (int k = 0; k < B; k++)
        for (int l = 0; l < LD_LANES; l++) {
            side->e[k][l] = ld_cpu_exp(side->e[k][l] - most[l]);
            sum[l] += side->e[k][l];
        }
    for (int l = 0; l < LD_LANES; l++)
        side->share[l] = 1 / sum[l];
}

/* Exchanges x and y where the mask says so. */
static inline void exchange(quad_mask where, quad *x, quad *y)
{
    quad_mask differ = ((quad_mask)*x ^ (quad_mask)*y) & where;

    *x = (quad)((quad_mask)*x ^ differ);
    *y = (quad)((quad_mask)*y ^ differ);
}

/* The largest of four locations' bins: each place keeps the larger of its
 * number and the one on its way down. */
static inline void sort_quad(struct side *side, int B, int q)
{
    quad top[TOP], bin[TOP];

    for (int j = 0; j < TOP; j++)
        top[j] = bin[j] = (quad){-1, -1, -1, -1};
    for (int k = 0; k < B; k++) {
        float number = (float)k;
        quad x = quad_load(side->e[k], q);
        quad at = {number, number, number, number};

        for (int j = 0; j < TOP; j++) {
            quad_mask more = x > top[j];

            exchange(more, &x, &top[j]);
            exchange(more, &at, &bin[j]);
        }
    }
    for (int j = 0; j < TOP; j++) {
        quad_store(side->top[j], q, top[j] * quad_load(side->share, q));
        quad_store(side->bin[j], q, bin[j]);
    }
}

static void side_stats(float stat[SIDE_STATS][LD_LANES], struct side *side,
                       int B)
{
    exps(side, B);
    for (int q = 0; q < QUADS; q++)
        sort_quad(side, B, q);
    memset(stat[TOP], 0, sizeof(stat[TOP]));
    for (int j = 0; j < TOP; j++)
        for (int l = 0; l < LD_LANES; l++) {
            stat[j][l] = side->top[j][l];
            stat[TOP][l] += side->top[j][l] / TOP;
        }
}

static void block_stats(struct block *b, const float *rows, int count, int B)
{
    for (int s = 0; s < SIDES; s++) {
        load_side(&b->side[s], rows + s * B, (size_t)(SIDES * B), count, B);
        side_stats(&b->stat[(size_t)(s * SIDE_STATS)], &b->side[s], B);
    }
}

/* ---- the two layers ---- */

/* sum[i] = the sum over s of weight[i by][s step] x[s], two sums at once so
 * that what is read of x serves both. */
static inline void two_sums(float sum[2][LD_LANES], const float *weight, int by,
                            int step, float (*x)[LD_LANES], int n)
{
    quad a[QUADS] = {0}, b[QUADS] = {0};

    for (int s = 0; s < n; s++)
        for (int q = 0; q < QUADS; q++) {
            a[q] += weight[s * step] * quad_load(x[s], q);
            b[q] += weight[by + s * step] * quad_load(x[s], q);
        }
    for (int q = 0; q < QUADS; q++) {
        quad_store(sum[0], q, a[q]);
        quad_store(sum[1], q, b[q]);
    }
}

static void hidden_forward(struct block *b, const struct ld_quality *q)
{
    for (int o = 0; o < HIDDEN; o += 2)
        two_sums(&b->hidden[o], q->weight0 + (size_t)(o * STATS), STATS, 1,
                 b->stat, STATS);
    for (int o = 0; o < HIDDEN; o++)
        for (int l = 0; l < LD_LANES; l++) {
            float sum = b->hidden[o][l] + q->bias0[o];

            b->hidden[o][l] = sum < 0 ? 0 : sum; /* keeps NaN */
        }
}

static void forward_range(size_t begin, size_t end, void *task)
{
    const struct quality_task *t = task;
    const struct ld_quality *q = t->q;
    struct block b;

    for (size_t at = begin; at < end; at += LD_LANES) {
        int count = end - at < LD_LANES ? (int)(end - at) : LD_LANES;
        float sum[LD_LANES];

        block_stats(&b, t->rows + at * SIDES * (size_t)q->B, count, q->B);
        hidden_forward(&b, q);
        for (int l = 0; l < LD_LANES; l++)
            sum[l] = q->bias2[0];
        for (int o = 0; o < HIDDEN; o++)
            for (int l = 0; l < LD_LANES; l++)
                sum[l] += q->weight2[o] * b.hidden[o][l];
        memcpy(t->logit + at, sum, (size_t)count * sizeof(float));
    }
}

static size_t grain_of(size_t n)
{
    return (n / MAX_PIECES / LD_LANES + 1) * LD_LANES;
}

void ld_cpu_quality_forward(struct ld_device *dev, float *logit,
                            const float *box_rows, const struct ld_quality *q)
{
    struct quality_task t = {.q = q, .rows = box_rows, .logit = logit};

    (void)dev;
    ld_parallel(q->n, grain_of(q->n), forward_range, &t);
}

/* ---- backward ---- */

/* Of the second layer and the ReLU. */
static void hidden_backward(struct block *b, struct sums *sums,
                            const float dlogit[LD_LANES],
                            const struct ld_quality *q)
{
    for (int o = 0; o < HIDDEN; o++) {
        float weight = 0, bias = 0;

        for (int l = 0; l < LD_LANES; l++) {
            float g = q->weight2[o] * dlogit[l];

            b->d_hidden[o][l] = b->hidden[o][l] > 0 ? g : 0;
            weight += dlogit[l] * b->hidden[o][l];
            bias += b->d_hidden[o][l];
        }
        sums->weight2[o] += (double)weight;
        sums->bias0[o] += (double)bias;
    }
    for (int l = 0; l < LD_LANES; l++)
        sums->bias2 += (double)dlogit[l];
}

static void add_quad(double *to, quad sum)
{
    for (int i = 0; i < 4; i++)
        to[i] += (double)sum[i];
}

static void weights_backward(const struct block *b, struct sums *sums)
{
    float stat[LD_LANES][STATS];

    for (int s = 0; s < STATS; s++)
        for (int l = 0; l < LD_LANES; l++)
            stat[l][s] = b->stat[s][l];
    for (int o = 0; o < HIDDEN; o += 2) {
        quad even[STATS / 4] = {0}, odd[STATS / 4] = {0};

        for (int l = 0; l < LD_LANES; l++)
            for (int i = 0; i < STATS / 4; i++) {
                even[i] += b->d_hidden[o][l] * quad_load(stat[l], i);
                odd[i] += b->d_hidden[o + 1][l] * quad_load(stat[l], i);
            }
        for (int i = 0; i < STATS / 4; i++) {
            add_quad(sums->weight0 + o * STATS + 4 * i, even[i]);
            add_quad(sums->weight0 + (o + 1) * STATS + 4 * i, odd[i]);
        }
    }
}

static void stats_backward(struct block *b, const struct ld_quality *q)
{
    for (int s = 0; s < STATS; s += 2)
        two_sums(&b->d_stat[s], q->weight0 + s, 1, STATS, b->d_hidden, HIDDEN);
}

/* dlogit_k = p_k (g_k - sum of p g), where g is not 0 for the largest alone;
 * takes the place of e. */
static void side_backward(struct side *side, float d_stat[SIDE_STATS][LD_LANES],
                          int B)
{
    float sum[LD_LANES] = {0};

    for (int j = 0; j < TOP; j++)
        for (int l = 0; l < LD_LANES; l++) {
            d_stat[j][l] += d_stat[TOP][l] / TOP;
            sum[l] += side->top[j][l] * d_stat[j][l];
        }
    for (int k = 0; k < B; k++)
        for (int q = 0; q < QUADS; q++) {
            quad p = quad_load(side->e[k], q) * quad_load(side->share, q);
            quad g = -quad_load(sum, q);

            for (int j = 0; j < TOP; j++)
                g += (quad)((quad_load(side->bin[j], q) == (float)k) &
                            (quad_mask)quad_load(d_stat[j], q));
            quad_store(side->e[k], q, p * g);
        }
}

static void add_side(float *d_rows, const struct side *side, size_t stride,
                     int count, int B)
{
    for (int l = 0; l < count; l++)
        for (int k = 0; k < B; k++)
            d_rows[(size_t)l * stride + (size_t)k] += side->e[k][l];
}

static void backward_range(size_t begin, size_t end, void *task)
{
    const struct quality_task *t = task;
    const struct ld_quality *q = t->q;
    size_t stride = SIDES * (size_t)q->B;
    struct sums sums = {0};
    struct block b;

    for (size_t at = begin; at < end; at += LD_LANES) {
        int count = end - at < LD_LANES ? (int)(end - at) : LD_LANES;
        float dlogit[LD_LANES] = {0};

        memcpy(dlogit, t->dlogit + at, (size_t)count * sizeof(float));
        block_stats(&b, t->rows + at * stride, count, q->B);
        hidden_forward(&b, q);
        hidden_backward(&b, &sums, dlogit, q);
        weights_backward(&b, &sums);
        stats_backward(&b, q);
        for (int s = 0; s < SIDES; s++) {
            side_backward(&b.side[s], &b.d_stat[(size_t)(s * SIDE_STATS)],
                          q->B);
            add_side(t->d_rows + at * stride + s * q->B, &b.side[s], stride,
                     count, q->B);
        }
    }
    t->piece[begin / t->grain] = sums;
}

static void add_sums(struct sums *to, const struct sums *from)
{
    for (int i = 0; i < HIDDEN * STATS; i++)
        to->weight0[i] += from->weight0[i];
    for (int o = 0; o < HIDDEN; o++) {
        to->bias0[o] += from->bias0[o];
        to->weight2[o] += from->weight2[o];
    }
    to->bias2 += from->bias2;
}

void ld_cpu_quality_backward(struct ld_device *dev, float *d_box_rows,
                             const float *dlogit, const float *box_rows,
                             const struct ld_quality *q)
{
    struct sums piece[MAX_PIECES] = {0};
    struct quality_task t = {.q = q,
                             .rows = box_rows,
                             .dlogit = dlogit,
                             .d_rows = d_box_rows,
                             .grain = grain_of(q->n),
                             .piece = piece};

    (void)dev;
    ld_parallel(q->n, t.grain, backward_range, &t);
    for (int i = 1; i < MAX_PIECES; i++)
        add_sums(&piece[0], &piece[i]);
    for (int i = 0; i < HIDDEN * STATS; i++)
        q->dweight0[i] += (float)piece[0].weight0[i];
    for (int o = 0; o < HIDDEN; o++) {
        q->dbias0[o] += (float)piece[0].bias0[o];
        q->dweight2[o] += (float)piece[0].weight2[o];
    }
    q->dbias2[0] += (float)piece[0].bias2;
}
