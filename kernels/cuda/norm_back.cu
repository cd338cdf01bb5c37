#include "kernels/cuda/norm.h"
#include "kernels/cuda/norm_parts.h"
#include "kernels/cuda/norm_small.h"

/* The gradient at y, as it passes the ReLU. */
static __device__ float passed(const struct norm &a, const struct straight &l,
                               int c, float dy, float x)
{
    return a.relu && !(normalised(l, c, x) > 0) ? 0 : dy;
}

/* Of each channel of a piece, with g what passes: sums of g, g * (x - mean). */
template <typename T>
static __global__ void sums_kernel(const T *dy, const T *x, struct norm a)
{
    __shared__ float g_sum[LD_CUDA_BLOCK * LD_CUDA_LANES];
    __shared__ float gx_sum[LD_CUDA_BLOCK * LD_CUDA_LANES];
    struct stand s = stand_of(a);
    struct straight l = straight_of(a, (int)blockIdx.z, s.c);
    octet g = {}, gx = {};

    for (int p = s.first; p < s.end; p += s.rows) {
        size_t at = s.at + (size_t)p * s.step;
        octet v = read_octet(x + at), slope = read_octet(dy + at);

        for (int c = 0; c < LD_CUDA_LANES; c++) {
            float pass = passed(a, l, c, slope.v[c], v.v[c]);

            g.v[c] += pass;
            gx.v[c] += pass * (v.v[c] - l.mean.v[c]);
        }
    }
    for (int c = 0; c < LD_CUDA_LANES; c++) {
        g_sum[threadIdx.x * LD_CUDA_LANES + c] = g.v[c];
        gx_sum[threadIdx.x * LD_CUDA_LANES + c] = gx.v[c];
    }
    __syncthreads();
    for (int c = (int)threadIdx.x; c < s.width; c += LD_CUDA_BLOCK) {
        struct pair sum = {};

        for (int r = 0; r < s.rows; r++) {
            sum.a += g_sum[r * s.width + c];
            sum.b += gx_sum[r * s.width + c];
        }
        *part_at(a, c) = sum;
    }
}

/* dx = (g gamma - mean(g gamma) - x^ mean(g gamma x^)) / deviation, where
 * x^ = (x - mean) / deviation and the means are over the set. */
static __device__ void settle_slopes(const struct norm &a, int i, double *room)
{
    struct set s = set_at(a, i);
    double g = 0, gx = 0, r = (double)a.stats[i].b;

    for (int e = (int)threadIdx.x; e < s.rows * s.size; e += SETTLE) {
        struct pair part = part_of(a, s, e);
        double gamma = (double)a.gamma[s.c + e % s.size];

        g += gamma * (double)part.a;
        gx += gamma * (double)part.b;
    }
    g = block_sum(g, room);
    gx = block_sum(gx, room);
    if (threadIdx.x == 0)
        a.slopes[i] = {(float)(-r * r * r * gx / s.numbers),
                       (float)(-r * g / s.numbers)};
}

struct affine {
    float *dgamma, *dbeta;
};

static __device__ void settle_affine(const struct norm &a, int c,
                                     struct affine to, double *room)
{
    double g = 0, gx = 0;

    for (int e = (int)threadIdx.x; e < a.shape.N * a.pieces; e += SETTLE) {
        struct pair part =
            a.parts[(size_t)e * (size_t)ld_cuda_padded(a.shape.C) + c];

        g += (double)part.a;
        gx += (double)part.b * (double)a.stats[set_of(a, e / a.pieces, c)].b;
    }
    g = block_sum(g, room);
    gx = block_sum(gx, room);
    if (threadIdx.x == 0) {
        to.dbeta[c] += (float)g;
        to.dgamma[c] += (float)gx;
    }
}

/* A block for each set, if n_sets counts them, then one for each channel. */
static __global__ void settle_kernel(struct norm a, int n_sets,
                                     struct affine to)
{
    __shared__ double room[LD_CUDA_WARP];
    int i = (int)blockIdx.x;

    if (i < n_sets)
        settle_slopes(a, i, room);
    else
        settle_affine(a, i - n_sets, to, room);
}

template <typename T>
static __global__ void differentiate_kernel(T *dx, const T *dy, const T *x,
                                            struct norm a)
{
    struct stand s = stand_of(a);
    struct straight l = straight_of(a, (int)blockIdx.z, s.c);
    octet by_x = {}, constant = {};

    for (int c = 0; c < LD_CUDA_LANES; c++)
        if (s.c + c < a.shape.C) {
            struct pair slopes = a.slopes[set_of(a, (int)blockIdx.z, s.c + c)];

            by_x.v[c] = slopes.a;
            constant.v[c] = slopes.b;
        }
    for (int p = s.first; p < s.end; p += s.rows) {
        size_t at = s.at + (size_t)p * s.step;
        octet v = read_octet(x + at), slope = read_octet(dy + at);

        for (int c = 0; c < LD_CUDA_LANES; c++)
            slope.v[c] = passed(a, l, c, slope.v[c], v.v[c]) * l.scale.v[c] +
                         (v.v[c] - l.mean.v[c]) * by_x.v[c] + constant.v[c];
        write_octet(dx + at, slope);
    }
}

static void backward(struct ld_device *dev, float *dx, const float *dy,
                     const float *x, struct norm a, struct affine to)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    int n_sets = a.sets ? a.shape.N * a.sets : a.shape.C;

    if (!cut(cuda, &a))
        return;
    if (ld_cuda_norm_is_small(&a)) {
        a.pieces = 1;
        ld_cuda_norm_small_backward(cuda, dx, dy, x, &a);
        launch(cuda, settle_kernel, dim3((unsigned)a.shape.C), SETTLE, a, 0,
               to);
        return;
    }
    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch(cuda, sums_kernel<T>, grid_of(a), LD_CUDA_BLOCK, (const T *)dy,
               (const T *)x, a);
        launch(cuda, settle_kernel, dim3((unsigned)(n_sets + a.shape.C)),
               SETTLE, a, n_sets, to);
        launch(cuda, differentiate_kernel<T>, grid_of(a), LD_CUDA_BLOCK,
               (T *)dx, (const T *)dy, (const T *)x, a);
    });
}

void ld_cuda_gn_relu_backward(struct ld_device *dev, float *dx, const float *dy,
                              const float *x, const struct ld_group_norm *gn)
{
    backward(dev, dx, dy, x, of_groups(gn), {gn->dgamma, gn->dbeta});
}

void ld_cuda_bn_train_backward(struct ld_device *dev, float *dx,
                               const float *dy, const float *x,
                               const struct ld_bn_train *bn)
{
    backward(dev, dx, dy, x, of_batch(bn), {bn->dgamma, bn->dbeta});
}
