#include "kernels/cuda/norm.h"

#include "kernels/cuda/norm_parts.h"
#include "kernels/cuda/norm_small.h"

/* ---- moments ---- */

/* The rows' means and sums of squared deviations (Chan, Golub, LeVeque 1983)
 * as those of the piece. Deviations from the first row's mean are small. */
static __device__ struct pair merged(const float *mean, const float *squares,
                                     const struct stand &s, int places)
{
    int rows = min(s.rows, places);
    float shift = 0, sum = 0;

    for (int r = 0; r < rows; r++) {
        int n = (places - r + s.rows - 1) / s.rows;

        shift += (float)n * (mean[r * s.width] - mean[0]);
    }
    shift /= (float)places;
    for (int r = 0; r < rows; r++) {
        int n = (places - r + s.rows - 1) / s.rows;
        float gap = mean[r * s.width] - mean[0] - shift;

        sum += squares[r * s.width] + (float)n * gap * gap;
    }
    return {mean[0] + shift, sum};
}

/* A thread takes deviations from its first number: no digits cancel where a
 * channel is far from zero. */
template <typename T>
static __global__ void moments_kernel(const T *x, struct norm a)
{
    __shared__ float mean[LD_CUDA_BLOCK * LD_CUDA_LANES];
    __shared__ float squares[LD_CUDA_BLOCK * LD_CUDA_LANES];
    struct stand s = stand_of(a);
    octet pivot = {}, sum = {}, square = {};
    float n = 0;

    if (s.first < s.end)
        pivot = read_octet(x + s.at + (size_t)s.first * s.step);
    for (int p = s.first; p < s.end; p += s.rows, n++) {
        octet v = read_octet(x + s.at + (size_t)p * s.step);

        for (int c = 0; c < LD_CUDA_LANES; c++) {
            float gap = v.v[c] - pivot.v[c];

            sum.v[c] += gap;
            square.v[c] += gap * gap;
        }
    }
    for (int c = 0; c < LD_CUDA_LANES; c++) {
        int i = (int)threadIdx.x * LD_CUDA_LANES + c;
        float shift = n > 0 ? sum.v[c] / n : 0;

        mean[i] = pivot.v[c] + shift;
        squares[i] = square.v[c] - sum.v[c] * shift;
    }
    __syncthreads();
    for (int c = (int)threadIdx.x; c < s.width; c += LD_CUDA_BLOCK)
        *part_at(a, c) =
            merged(mean + c, squares + c, s, places_of(a, (int)blockIdx.x));
}

struct running {
    float *mean, *var; /* NULL: none are kept */
};

/* torch.nn.BatchNorm2d: momentum 0.1, running variance unbiased. */
static __device__ void run_on(struct running to, int i, double mean, double m2,
                              double count)
{
    double unbiased = m2 / (count > 1 ? count - 1 : 1);

    to.mean[i] += 0.1F * ((float)mean - to.mean[i]);
    to.var[i] += 0.1F * ((float)unbiased - to.var[i]);
}

static __global__ void stats_kernel(struct norm a, struct running to)
{
    __shared__ double room[LD_CUDA_WARP];
    int i = (int)blockIdx.x;
    struct set s = set_at(a, i);
    double mean = 0, m2 = 0;

    for (int e = (int)threadIdx.x; e < s.rows * s.size; e += SETTLE)
        mean += (double)part_of(a, s, e).a *
                places_of(a, (s.row + e / s.size) % a.pieces);
    mean = block_sum(mean, room) / s.numbers;
    for (int e = (int)threadIdx.x; e < s.rows * s.size; e += SETTLE) {
        struct pair part = part_of(a, s, e);
        double gap = (double)part.a - mean;

        m2 += (double)part.b +
              gap * gap * places_of(a, (s.row + e / s.size) % a.pieces);
    }
    m2 = block_sum(m2, room);
    if (threadIdx.x != 0)
        return;
    a.stats[i] = {(float)mean,
                  (float)(1 / sqrt(m2 / s.numbers + (double)a.eps))};
    if (to.mean)
        run_on(to, i, mean, m2, s.numbers);
}

/* ---- number by number ---- */

template <typename T>
static __global__ void normalise_kernel(T *y, const T *x, struct norm a)
{
    struct stand s = stand_of(a);
    struct straight l = straight_of(a, (int)blockIdx.z, s.c);

    for (int p = s.first; p < s.end; p += s.rows) {
        size_t at = s.at + (size_t)p * s.step;
        octet v = read_octet(x + at);

        for (int c = 0; c < LD_CUDA_LANES; c++) {
            float value = normalised(l, c, v.v[c]);

            v.v[c] = a.relu && value < 0 ? 0 : value; /* a NaN stays one */
        }
        write_octet(y + at, v);
    }
}

static void forward(struct ld_device *dev, float *y, const float *x,
                    struct norm a, struct running to)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    int n_sets = a.sets ? a.shape.N * a.sets : a.shape.C;

    if (ld_cuda_norm_is_small(&a)) {
        ld_cuda_norm_small_forward(cuda, y, x, &a);
        return;
    }
    if (!cut(cuda, &a))
        return;
    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch(cuda, moments_kernel<T>, grid_of(a), LD_CUDA_BLOCK, (const T *)x,
               a);
        launch(cuda, stats_kernel, dim3((unsigned)n_sets), SETTLE, a, to);
        launch(cuda, normalise_kernel<T>, grid_of(a), LD_CUDA_BLOCK, (T *)y,
               (const T *)x, a);
    });
}

/* ---- the table's calls ---- */

void ld_cuda_gn_relu_forward(struct ld_device *dev, float *y, const float *x,
                             const struct ld_group_norm *gn)
{
    forward(dev, y, x, of_groups(gn), {});
}

void ld_cuda_bn_train_forward(struct ld_device *dev, float *y, const float *x,
                              const struct ld_bn_train *bn)
{
    forward(dev, y, x, of_batch(bn), {bn->running_mean, bn->running_var});
}
