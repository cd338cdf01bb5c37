#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/loss_math.h"

/* Locations go 16 at a time, one a lane: arrays end with [LD_LANES], and the
 * loops over them become vectors. Pieces of the rows add up the gradients of
 * the parameters for themselves; the pieces are added in order. */
enum {
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

/* Puts bin k among the largest: each place keeps the larger of its number and
 * the one on its way down. */
static void insert_bin(struct side *side, int k)
{
    for (int l = 0; l < LD_LANES; l++) {
        float x = side->e[k][l], at = (float)k;

        for (int j = 0; j < TOP; j++) {
            float here = side->top[j][l], bin = side->bin[j][l];
            bool more = x > here;

            side->top[j][l] = more ? x : here;
            side->bin[j][l] = more ? at : bin;
            x = more ? here : x;
            at = more ? bin : at;
        }
    }
}

static void side_stats(float stat[SIDE_STATS][LD_LANES], struct side *side,
                       int B)
{
    exps(side, B);
    for (int j = 0; j < TOP; j++)
        for (int l = 0; l < LD_LANES; l++)
            side->top[j][l] = side->bin[j][l] = -1;
    for (int k = 0; k < B; k++)
        insert_bin(side, k);
    memset(stat[TOP], 0, sizeof(stat[TOP]));
    for (int j = 0; j < TOP; j++)
        for (int l = 0; l < LD_LANES; l++) {
            side->top[j][l] *= side->share[l];
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

static void hidden_forward(struct block *b, const struct ld_quality *q)
{
    for (int o = 0; o < HIDDEN; o++) {
        float sum[LD_LANES];

        for (int l = 0; l < LD_LANES; l++)
            sum[l] = q->bias0[o];
        for (int s = 0; s < STATS; s++)
            for (int l = 0; l < LD_LANES; l++)
                sum[l] += q->weight0[o * STATS + s] * b->stat[s][l];
        for (int l = 0; l < LD_LANES; l++)
            b->hidden[o][l] = sum[l] < 0 ? 0 : sum[l]; /* keeps NaN */
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

static void weights_backward(const struct block *b, struct sums *sums)
{
    float stat[LD_LANES][STATS];

    for (int s = 0; s < STATS; s++)
        for (int l = 0; l < LD_LANES; l++)
            stat[l][s] = b->stat[s][l];
    for (int o = 0; o < HIDDEN; o++) {
        float sum[STATS] = {0};

        for (int l = 0; l < LD_LANES; l++)
            for (int s = 0; s < STATS; s++)
                sum[s] += b->d_hidden[o][l] * stat[l][s];
        for (int s = 0; s < STATS; s++)
            sums->weight0[o * STATS + s] += (double)sum[s];
    }
}

static void stats_backward(struct block *b, const struct ld_quality *q)
{
    for (int s = 0; s < STATS; s++) {
        float sum[LD_LANES] = {0};

        for (int o = 0; o < HIDDEN; o++)
            for (int l = 0; l < LD_LANES; l++)
                sum[l] += q->weight0[o * STATS + s] * b->d_hidden[o][l];
        memcpy(b->d_stat[s], sum, sizeof(sum));
    }
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
        for (int l = 0; l < LD_LANES; l++) {
            float g = -sum[l];

            for (int j = 0; j < TOP; j++)
                g += side->bin[j][l] == (float)k ? d_stat[j][l] : 0;
            side->e[k][l] *= side->share[l] * g;
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
