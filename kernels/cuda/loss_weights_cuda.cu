#include "kernels/cuda/loss_cuda.h"
#include "kernels/cuda/loss_rows.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/sum_cuda.h"

/* ---- weights ---- */

/* NaN if any of them is. */
static __device__ float largest_sigmoid(const float *logits, int K)
{
    float top = -INFINITY, nan = 0;

    for (int k = lane_of(); k < K; k += LD_CUDA_WARP) {
        float x = logits[k];

        top = x > top ? x : top;
        nan = x != x ? x : nan;
    }
    return 1 / (1 + expf(-warp_largest(top))) + warp_sum(nan);
}

/* Writes a row's weight; gives what it adds to their sum. */
static __device__ double row_weight(float *weight,
                                    const struct ld_loss_batch *b, int i)
{
    size_t at = (size_t)b->index[i];
    bool centred = ld_cuda_centred(b->head), positive = b->label[i] >= 0;
    bool scored = positive || (b->head == LD_HEAD_FCOS && b->vlr[i] > 0);
    int location = b->index[i] % b->A;
    float w = 0, x, y;

    if (scored && b->valid[at])
        w = largest_sigmoid(b->class_logits + at * (size_t)b->K, b->K) *
            (b->quality && !centred ? sigmoids_of(b->quality[at]).p : 1);
    if (lane_of() == 0)
        *weight = w;
    if (!centred)
        return (double)w;
    centre_of(&b->grid, level_of(&b->grid, location), location, &x, &y);
    return positive && b->valid[at] ? centerness(b->box[i], x, y) : 0;
}

/* A warp a row; a number a block. */
static __global__ void weights_kernel(float *weight, double *partial,
                                      const struct ld_loss_batch batch)
{
    __shared__ double room[LD_CUDA_WARP];
    int n_warps = (int)blockDim.x / LD_CUDA_WARP;
    int first = (int)(blockIdx.x * blockDim.x + threadIdx.x) / LD_CUDA_WARP;
    double sum = 0;

    for (int i = first; i < batch.n_rows; i += (int)gridDim.x * n_warps)
        sum += row_weight(weight + i, &batch, i);
    sum = block_sum(lane_of() == 0 ? sum : 0, room);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

void ld_cuda_loss_weights(struct ld_device *dev, float *weight,
                          const struct ld_loss_batch *batch)
{
    enum { ROWS = LD_CUDA_BLOCK / LD_CUDA_WARP, MOST = 1024 };
    struct ld_cuda *cuda = ld_cuda_of(dev);
    double *partial = (double *)cuda->workspace;
    int n = (batch->n_rows + ROWS - 1) / ROWS;

    n = n < MOST ? n : MOST;
    launch(cuda, weights_kernel, dim3((unsigned)n), LD_CUDA_BLOCK, weight,
           partial, *batch);
    ld_cuda_sum(cuda, batch->sums + LD_SUM_WEIGHT, partial, n);
}

/* ---- faults ---- */

static __global__ void check_kernel(struct ld_cuda_alarm *alarm,
                                    const struct ld_loss_terms *terms,
                                    int64_t step)
{
    int term = 0;

    for (; term < LD_N_TERMS; term++) {
        double sum = 0;

        for (int level = 0; level < LD_MAX_LEVELS; level++)
            sum += terms->value[term][level];
        if (!(fabs(sum) < (double)INFINITY))
            break;
    }
    if (term < LD_N_TERMS && atomicCAS(&alarm->raised, (int)LD_CUDA_CALM,
                                       (int)LD_CUDA_LOSS) == LD_CUDA_CALM) {
        alarm->term = term;
        alarm->step = step;
    }
}

void ld_cuda_loss_check(struct ld_device *dev,
                        const struct ld_loss_terms *terms, int64_t step)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);

    launch(cuda, check_kernel, dim3(1), 1, cuda->alarm, terms, step);
}
