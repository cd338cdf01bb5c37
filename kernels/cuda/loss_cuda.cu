#include "kernels/cuda/loss_cuda.h"

#include "kernels/cuda/loss_rows.h"

enum { WARPS = (int)LD_CUDA_LOSS_BLOCK / (int)LD_CUDA_WARP, MIN_TILE = 64 };

/* W neighbouring numbers, read and written at once. */
template <int W> struct alignas(sizeof(float) * W) words {
    float v[W];
};

struct tile {
    size_t begin, end; /* locations of all images */
    int level;
};

static __device__ __forceinline__ struct tile
tile_of(const struct loss_job *job)
{
    const struct ld_grid *grid = &job->batch.grid;
    int per_image = job->tile_start[grid->n_levels];
    int image = (int)blockIdx.x / per_image, i = (int)blockIdx.x % per_image;
    size_t first = (size_t)image * (size_t)job->batch.A;
    struct tile t = {0, 0, 0};

    while (i >= job->tile_start[t.level + 1])
        t.level++;
    t.begin = first + (size_t)grid->start[t.level] +
              (size_t)(i - job->tile_start[t.level]) * (size_t)job->tile;
    t.end = first + (size_t)grid->start[t.level + 1];
    if (t.end > t.begin + (size_t)job->tile)
        t.end = t.begin + (size_t)job->tile;
    return t;
}

/* ---- first: as if all were background ---- */

static __device__ void zero_boxes(const struct loss_job *job,
                                  const struct tile *t)
{
    words<4> *to =
        (words<4> *)(job->d_box + t->begin * 4 * (size_t)job->batch.B);
    int n = (int)(t->end - t->begin) * job->batch.B;

    for (int i = (int)threadIdx.x; i < n; i += LD_CUDA_LOSS_BLOCK)
        to[i] = words<4>{};
}

/* K is a multiple of W. Gives this thread's share of the sum. */
template <int W>
static __device__ double plain_background(const struct loss_job *job,
                                          const struct tile *t, float factor)
{
    const struct ld_loss_batch *b = &job->batch;
    size_t first = t->begin * (size_t)b->K;
    const words<W> *z = (const words<W> *)(b->class_logits + first);
    words<W> *dz = (words<W> *)(job->d_class + first);
    int per = b->K / W, n = (int)(t->end - t->begin) * per;
    double sum = 0;

    for (int i = (int)threadIdx.x; i < n; i += LD_CUDA_LOSS_BLOCK) {
        bool counts = b->valid[t->begin + (size_t)(i / per)] == LD_VALID;
        words<W> x = z[i], g;
        float value = 0;

        for (int k = 0; k < W; k++) {
            value += qfl_background(&g.v[k], x.v[k]);
            g.v[k] = counts ? factor * g.v[k] : 0;
        }
        dz[i] = g;
        sum += counts ? (double)value : 0;
    }
    return sum;
}

/* Of GFL V2: a warp a location, whose quality logit all its classes share. */
static __device__ double joint_tile(const struct loss_job *job,
                                    const struct tile *t, float factor)
{
    const struct ld_loss_batch *b = &job->batch;
    size_t K = (size_t)b->K;
    double sum = 0;

    for (size_t at = t->begin + threadIdx.x / LD_CUDA_WARP; at < t->end;
         at += WARPS) {
        bool counts = b->valid[at] == LD_VALID;
        struct sigmoids q = sigmoids_of(b->quality[at]);
        double slopes = 0;

        for (size_t k = (size_t)lane_of(); k < K; k += LD_CUDA_WARP) {
            struct sigmoids s = sigmoids_of(b->class_logits[at * K + k]);
            float slope, value = joint_background(&slope, s, q);

            slope *= factor;
            job->d_class[at * K + k] = counts ? slope * s.rest : 0;
            slopes += (double)slope;
            sum += counts ? (double)value : 0;
        }
        slopes = warp_sum(slopes);
        if (lane_of() == 0)
            job->d_quality[at] = counts ? (float)(slopes * (double)q.rest) : 0;
    }
    return sum;
}

template <int W>
static __device__ __forceinline__ double
background(const struct loss_job *job, const struct tile *t, float factor)
{
    const struct ld_loss_batch *b = &job->batch;
    const float other = 1 - LD_CUDA_LABEL_SHARE;

    if (!ld_cuda_focal(b->head))
        return b->quality ? joint_tile(job, t, factor)
                          : plain_background<W>(job, t, factor);
    if (b->quality)
        for (size_t at = t->begin + threadIdx.x; at < t->end;
             at += LD_CUDA_LOSS_BLOCK)
            job->d_quality[at] = 0;
    return (double)other * plain_background<W>(job, t, other * factor);
}

template <int W> static __global__ void tile_kernel(const struct loss_job job)
{
    __shared__ double room[LD_CUDA_WARP];
    struct tile t = tile_of(&job);
    double sum;

    zero_boxes(&job, &t);
    sum = block_sum(background<W>(&job, &t, job.factors->qfl), room);
    if (threadIdx.x == 0)
        job.of_tile[blockIdx.x] = sum;
}

/* ---- then the rows ---- */

/* A warp a row; every gridDim-th eight rows to a block. Apart from the tiles,
 * for it takes five times their registers. */
static __global__ void rows_kernel(const struct loss_job job)
{
    __shared__ struct ld_loss_terms of_warp[WARPS];
    const struct ld_loss_batch *b = &job.batch;
    int warp = (int)threadIdx.x / LD_CUDA_WARP;
    double *to = &job.of_rows[blockIdx.x].value[0][0];

    if (lane_of() == 0)
        of_warp[warp] = {};
    for (int i = (int)blockIdx.x * WARPS + warp; i < b->n_rows;
         i += (int)gridDim.x * WARPS) {
        int level = level_of(&b->grid, b->index[i] % b->A);
        struct loss_partial out = {};

        if (!b->valid[b->index[i]])
            continue;
        row_run(&out, &job, job.factors, level, i);
        if (lane_of() == 0)
            for (int term = 0; term < LD_N_TERMS; term++)
                of_warp[warp].value[term][level] += out.value[term];
    }
    __syncthreads();
    if (threadIdx.x >= LD_N_TERMS * (int)LD_MAX_LEVELS)
        return;
    to[threadIdx.x] = 0;
    for (int i = 0; i < WARPS; i++)
        to[threadIdx.x] += (&of_warp[i].value[0][0])[threadIdx.x];
}

/* ---- before, and after ---- */

static __device__ double side_norm(const struct loss_job *job, double weight)
{
    if (job->rules.ld_norm == LD_NORM_PER_IMAGE)
        return (double)job->rules.norm_images / job->batch.N;
    return job->rules.ld_norm == LD_NORM_AVG_FACTOR ? 1 / weight : 1;
}

static __device__ void write_factors(const struct loss_job *job,
                                     const int n_main[LD_MAX_LEVELS],
                                     const int n_vlr[LD_MAX_LEVELS])
{
    const struct ld_loss_rules *rules = &job->rules;
    const double *sums = job->batch.sums;
    double positives = at_least(sums[LD_SUM_POSITIVES], 1);
    double weight = sums[LD_SUM_WEIGHT] + 1e-6;
    double norm = side_norm(job, weight);
    struct loss_factors *f = job->factors;

    f->classes = (double)rules->qfl / positives;
    f->qfl = (float)f->classes;
    f->centerness = (double)rules->centerness / positives;
    f->positives = 1 / positives;
    f->weight = 1 / weight;
    f->ld = (double)(rules->ld / 4) * norm;
    f->vlr = (double)(rules->vlr / 16) * norm;
    for (int level = 0; level < LD_MAX_LEVELS; level++) {
        f->kd[level] = (double)rules->kd / n_main[level];
        f->vlr_kd[level] = (double)rules->vlr_kd / n_vlr[level];
    }
}

/* Counts the rows of each level: one block. */
static __global__ void factors_kernel(const struct loss_job job)
{
    __shared__ int room[LD_CUDA_WARP];
    const struct ld_loss_batch *b = &job.batch;
    int n_main[LD_MAX_LEVELS] = {}, n_vlr[LD_MAX_LEVELS] = {};

    for (int i = (int)threadIdx.x; i < b->n_rows; i += (int)blockDim.x) {
        int level = level_of(&b->grid, b->index[i] % b->A);
        bool valid = b->valid[b->index[i]] != 0;

        for (int l = 0; l < LD_MAX_LEVELS; l++) {
            n_main[l] += l == level && valid && b->label[i] >= 0;
            n_vlr[l] += l == level && valid && b->vlr[i] > 0;
        }
    }
    for (int l = 0; l < LD_MAX_LEVELS; l++) {
        n_main[l] = block_sum(n_main[l], room);
        n_vlr[l] = block_sum(n_vlr[l], room);
    }
    if (threadIdx.x == 0)
        write_factors(&job, n_main, n_vlr);
}

/* A block adds up a term of a level: (term, level). */
static __global__ void terms_kernel(struct ld_loss_terms *out,
                                    const struct loss_job job)
{
    __shared__ double room[LD_CUDA_WARP];
    int term = (int)blockIdx.x, level = (int)blockIdx.y;
    int n_levels = job.batch.grid.n_levels;
    int first = level < n_levels ? job.tile_start[level] : 0;
    int n = level < n_levels ? job.tile_start[level + 1] - first : 0;
    double sum = 0;

    for (int i = (int)threadIdx.x; i < job.n_row_blocks; i += (int)blockDim.x)
        sum += job.of_rows[i].value[term][level];
    if (term == LD_TERM_QFL)
        for (int i = (int)threadIdx.x; i < n * job.batch.N;
             i += (int)blockDim.x)
            sum +=
                job.of_tile[i / n * job.tile_start[n_levels] + first + i % n];
    sum = block_sum(sum, room);
    if (threadIdx.x == 0)
        out->value[term][level] =
            sum * (term == LD_TERM_QFL ? job.factors->classes : 1);
}

/* Tiles as small as the partial sums' room allows. */
static void cut(struct loss_job *job)
{
    const struct ld_grid *grid = &job->batch.grid;
    int n_levels = grid->n_levels;

    job->tile = MIN_TILE / 2;
    do {
        job->tile *= 2;
        for (int l = 0; l < n_levels; l++)
            job->tile_start[l + 1] =
                job->tile_start[l] +
                (grid->start[l + 1] - grid->start[l] + job->tile - 1) /
                    job->tile;
    } while ((size_t)job->batch.N * (size_t)job->tile_start[n_levels] >
             LD_CUDA_MAX_TILES);
}

static void place(struct loss_job *job, void *workspace)
{
    int n = (job->batch.n_rows + WARPS - 1) / WARPS;

    static_assert(
        sizeof(struct loss_factors) + LD_CUDA_MAX_TILES * sizeof(double) +
                LD_CUDA_MAX_ROW_BLOCKS * sizeof(struct ld_loss_terms) <=
            LD_CUDA_WORKSPACE,
        "the partial sums have room");
    job->n_row_blocks = n < LD_CUDA_MAX_ROW_BLOCKS ? n : LD_CUDA_MAX_ROW_BLOCKS;
    job->factors = (struct loss_factors *)workspace;
    job->of_tile = (double *)(job->factors + 1);
    job->of_rows = (struct ld_loss_terms *)(job->of_tile + LD_CUDA_MAX_TILES);
}

void ld_cuda_loss_run(struct ld_device *dev, struct ld_loss_terms *out,
                      float *d_class_logits, float *d_box_logits,
                      float *d_quality, const float *weight,
                      const struct ld_loss_batch *batch,
                      const struct ld_loss_rules *rules)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    struct loss_job job = {};
    unsigned n_tiles;

    job.batch = *batch;
    job.rules = *rules;
    job.weight = weight;
    job.d_class = d_class_logits;
    job.d_box = d_box_logits;
    job.d_quality = d_quality;
    cut(&job);
    place(&job, cuda->workspace);
    n_tiles = (unsigned)(batch->N * job.tile_start[batch->grid.n_levels]);
    launch(cuda, factors_kernel, dim3(1), 1024, job);
    launch(cuda, batch->K % 4 == 0 ? tile_kernel<4> : tile_kernel<1>,
           dim3(n_tiles), LD_CUDA_LOSS_BLOCK, job);
    launch(cuda, rows_kernel, dim3((unsigned)job.n_row_blocks),
           LD_CUDA_LOSS_BLOCK, job);
    launch(cuda, terms_kernel, dim3(LD_N_TERMS, LD_MAX_LEVELS), 256, out, job);
}
