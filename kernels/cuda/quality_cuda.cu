#include "kernels/cuda/quality_cuda.h"

enum {
    SIDES = 4,
    TOP = LD_QUALITY_TOP,
    STATS = LD_QUALITY_STATS,
    HIDDEN = LD_QUALITY_HIDDEN,
    THREADS = 128, /* of a block, one a location */
    MAX_BLOCKS = 256,
    CHUNK = 16,           /* hidden numbers whose gradients lie in shared
                             memory at a time */
    PER_UNIT = STATS + 2, /* gradients of a hidden number's parameters: of
                             weight0, bias0 and weight2 */
    SHARE = (CHUNK * PER_UNIT + THREADS - 1) / THREADS, /* of a thread */
    PARAMS = HIDDEN * PER_UNIT + 1, /* and of bias2, the last */
};

/* The parameters, in shared memory. */
struct layers {
    float weight0[HIDDEN * STATS], bias0[HIDDEN], weight2[HIDDEN], bias2;
};

static __device__ void load(struct layers *to, const struct ld_quality *q)
{
    for (int i = (int)threadIdx.x; i < HIDDEN * STATS; i += THREADS)
        to->weight0[i] = q->weight0[i];
    for (int o = (int)threadIdx.x; o < HIDDEN; o += THREADS) {
        to->bias0[o] = q->bias0[o];
        to->weight2[o] = q->weight2[o];
    }
    if (threadIdx.x == 0)
        to->bias2 = q->bias2[0];
    __syncthreads();
}

/* ---- statistics ---- */

/* A side's softmax and its largest probabilities, falling. */
struct side {
    float most, share; /* the largest logit; 1 / sum of exp(logit - most) */
    float top[TOP];
    int bin[TOP]; /* where they stand */
};

static __device__ __forceinline__ struct side side_of(const float *logits,
                                                      int B)
{
    struct side s = {logits[0], 0, {-1, -1, -1, -1}, {-1, -1, -1, -1}};
    float sum = 0;

    for (int k = 1; k < B; k++)
        s.most = logits[k] > s.most ? logits[k] : s.most;
    for (int k = 0; k < B; k++) {
        float x = expf(logits[k] - s.most);
        int at = k;

        sum += x;
        for (int j = 0; j < TOP; j++) { /* each place keeps the larger */
            bool more = x > s.top[j];
            float x_was = x;
            int at_was = at;

            x = more ? s.top[j] : x;
            at = more ? s.bin[j] : at;
            s.top[j] = more ? x_was : s.top[j];
            s.bin[j] = more ? at_was : s.bin[j];
        }
    }
    s.share = 1 / sum; /* of a NaN logit NaN */
    for (int j = 0; j < TOP; j++)
        s.top[j] *= s.share;
    return s;
}

static __device__ __forceinline__ void location_stats(float stat[STATS],
                                                      struct side side[SIDES],
                                                      const float *row, int B)
{
    for (int s = 0; s < SIDES; s++) {
        float *to = stat + s * (TOP + 1);

        side[s] = side_of(row + s * B, B);
        to[TOP] = 0;
        for (int j = 0; j < TOP; j++) {
            to[j] = side[s].top[j];
            to[TOP] += side[s].top[j] / (float)TOP;
        }
    }
}

static __device__ __forceinline__ float hidden_of(const struct layers *l, int o,
                                                  const float stat[STATS])
{
    float sum = 0;

    for (int s = 0; s < STATS; s++)
        sum += l->weight0[o * STATS + s] * stat[s];
    sum += l->bias0[o];
    return sum < 0 ? 0 : sum; /* keeps NaN */
}

static __global__ void forward_kernel(float *logit, const float *rows,
                                      const struct ld_quality q)
{
    __shared__ struct layers layers;
    size_t at = ld_cuda_item();
    struct side side[SIDES];
    float stat[STATS], sum;

    load(&layers, &q);
    if (at >= q.n)
        return;
    location_stats(stat, side, rows + at * SIDES * (size_t)q.B, q.B);
    sum = layers.bias2;
    for (int o = 0; o < HIDDEN; o++)
        sum += layers.weight2[o] * hidden_of(&layers, o, stat);
    logit[at] = sum;
}

void ld_cuda_quality_forward(struct ld_device *dev, float *logit,
                             const float *box_rows, const struct ld_quality *q)
{
    launch(ld_cuda_of(dev), forward_kernel,
           dim3((unsigned)((q->n + THREADS - 1) / THREADS)), THREADS, logit,
           box_rows, *q);
}

/* ---- backward ---- */

/* What the threads of a block tell each other of their locations: a column
 * each. */
struct exchange {
    float stat[STATS + 1][THREADS + 1]; /* the last is 1: the biases' */
    float d_hidden[CHUNK][THREADS + 1]; /* before the ReLU */
    float d_weight2[CHUNK][THREADS + 1];
};

/* Hidden numbers from `first` on: d_stat += theirs; the columns. */
static __device__ __forceinline__ void hidden_backward(struct exchange *x,
                                                       float d_stat[STATS],
                                                       const float stat[STATS],
                                                       const struct layers *l,
                                                       int first, float dlogit)
{
    for (int i = 0; i < CHUNK; i++) {
        int o = first + i;
        float h = hidden_of(l, o, stat);
        float d = h > 0 ? l->weight2[o] * dlogit : 0;

        for (int s = 0; s < STATS; s++)
            d_stat[s] += l->weight0[o * STATS + s] * d;
        x->d_hidden[i][threadIdx.x] = d;
        x->d_weight2[i][threadIdx.x] = dlogit * h;
    }
}

/* This thread's share of the chunk's parameters: sums over the locations. */
static __device__ __forceinline__ void add_sums(double sum[SHARE],
                                                const struct exchange *x)
{
    for (int j = 0; j < SHARE; j++) {
        int i = (int)threadIdx.x + j * THREADS, s = i % PER_UNIT;
        float part = 0;

        if (i >= CHUNK * PER_UNIT)
            break;
        for (int l = 0; l < THREADS; l++)
            part += s <= STATS ? x->d_hidden[i / PER_UNIT][l] * x->stat[s][l]
                               : x->d_weight2[i / PER_UNIT][l];
        sum[j] += (double)part;
    }
}

/* dlogit_k = p_k (g_k - sum of p g), where g is not 0 for the largest alone. */
static __device__ __forceinline__ void
side_backward(float *d_row, const float *row, const struct side *side,
              const float d_stat[TOP + 1], int B)
{
    float g[TOP], sum = 0;

    for (int j = 0; j < TOP; j++) {
        g[j] = d_stat[j] + d_stat[TOP] / (float)TOP;
        sum += side->top[j] * g[j];
    }
    for (int k = 0; k < B; k++) {
        float p = expf(row[k] - side->most) * side->share, own = -sum;

        for (int j = 0; j < TOP; j++)
            own += side->bin[j] == k ? g[j] : 0;
        d_row[k] += p * own;
    }
}

/* A block takes every gridDim-th tile of THREADS locations. Numbers beyond the
 * last location are 0. */
static __global__ void backward_kernel(double *partial, float *d_rows,
                                       const float *dlogit, const float *rows,
                                       const struct ld_quality q)
{
    __shared__ struct layers layers;
    __shared__ struct exchange x;
    __shared__ double room[LD_CUDA_WARP];
    double sum[HIDDEN / CHUNK][SHARE] = {}, bias2 = 0;
    double *to = partial + (size_t)blockIdx.x * PARAMS;
    size_t width = SIDES * (size_t)q.B;

    load(&layers, &q);
    for (size_t first = (size_t)blockIdx.x * THREADS; first < q.n;
         first += (size_t)gridDim.x * THREADS) {
        size_t at = first + threadIdx.x;
        bool there = at < q.n;
        float stat[STATS] = {}, d_stat[STATS] = {};
        float dl = there ? dlogit[at] : 0;
        struct side side[SIDES];

        if (there)
            location_stats(stat, side, rows + at * width, q.B);
        for (int s = 0; s < STATS; s++)
            x.stat[s][threadIdx.x] = stat[s];
        x.stat[STATS][threadIdx.x] = 1;
        for (int c = 0; c < HIDDEN / CHUNK; c++) {
            hidden_backward(&x, d_stat, stat, &layers, c * CHUNK, dl);
            __syncthreads();
            add_sums(sum[c], &x);
            __syncthreads();
        }
        for (int s = 0; there && s < SIDES; s++)
            side_backward(d_rows + at * width + s * q.B,
                          rows + at * width + s * q.B, &side[s],
                          d_stat + s * (TOP + 1), q.B);
        bias2 += (double)dl;
    }
    for (int c = 0; c < HIDDEN / CHUNK; c++)
        for (int j = 0; j < SHARE; j++) {
            int i = (int)threadIdx.x + j * THREADS;

            if (i < CHUNK * PER_UNIT)
                to[c * CHUNK * PER_UNIT + i] = sum[c][j];
        }
    bias2 = block_sum(bias2, room);
    if (threadIdx.x == 0)
        to[PARAMS - 1] = bias2;
}

/* Adds up a parameter's gradient. */
static __global__ void params_kernel(const struct ld_quality q,
                                     const double *partial, int n_blocks)
{
    int i = (int)ld_cuda_item(), o = i / PER_UNIT, s = i % PER_UNIT;
    double sum = 0;

    if (i >= PARAMS)
        return;
    for (int b = 0; b < n_blocks; b++)
        sum += partial[(size_t)b * PARAMS + (size_t)i];
    if (i == PARAMS - 1)
        q.dbias2[0] += (float)sum;
    else if (s < STATS)
        q.dweight0[o * STATS + s] += (float)sum;
    else if (s == STATS)
        q.dbias0[o] += (float)sum;
    else
        q.dweight2[o] += (float)sum;
}

void ld_cuda_quality_backward(struct ld_device *dev, float *d_box_rows,
                              const float *dlogit, const float *box_rows,
                              const struct ld_quality *q)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    double *partial = (double *)cuda->workspace;
    size_t tiles = (q->n + THREADS - 1) / THREADS;
    int n = tiles < MAX_BLOCKS ? (int)tiles : MAX_BLOCKS;

    static_assert(MAX_BLOCKS * PARAMS * sizeof(double) <= LD_CUDA_WORKSPACE,
                  "the partial sums have room");
    launch(cuda, backward_kernel, dim3((unsigned)n), THREADS, partial,
           d_box_rows, dlogit, box_rows, *q);
    launch_flat(cuda, params_kernel, (size_t)PARAMS, *q, partial, n);
}
