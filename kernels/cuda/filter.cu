#include "kernels/cuda/filter.h"

enum { ALIGN = 256, LEAST_CHANNELS = 64 };

size_t ld_cuda_aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

size_t ld_cuda_number_bytes(const struct ld_cuda *cuda)
{
    return ld_cuda_is_bf16(cuda) ? sizeof(bf16) : sizeof(float);
}

/* How many of desc's groups become one. */
static int groups_to_join(const struct ld_conv_desc *desc)
{
    int C = desc->in.C / desc->groups, O = desc->O / desc->groups;

    for (int n = 1; n < desc->groups; n++)
        if (desc->groups % n == 0 && n * C % LD_CUDA_LANES == 0 &&
            n * O % LD_CUDA_LANES == 0 && n * C >= LEAST_CHANNELS &&
            n * O >= LEAST_CHANNELS)
            return n;
    return desc->groups;
}

struct ld_cuda_filter ld_cuda_filter_of(const struct ld_conv_desc *desc)
{
    struct ld_cuda_filter f = {};
    int C = desc->image ? desc->in.C : ld_cuda_padded(desc->in.C);

    f.desc = *desc;
    f.desc.groups = desc->groups ? desc->groups : 1;
    f.out = ld_conv_out(desc);
    f.groups = f.desc.groups / groups_to_join(&f.desc);
    f.group_C = C / f.groups;
    f.group_O = ld_cuda_padded(desc->O) / f.groups;
    f.taps = desc->kernel * desc->kernel;
    f.K = (size_t)ld_cuda_padded(f.taps * f.group_C);
    f.row = f.K * (size_t)f.groups;
    return f;
}

size_t ld_cuda_filter_values(const struct ld_cuda_filter *f)
{
    return f->row * (size_t)f->group_O;
}

/* ---- packing ---- */

/* Place in the plain weights of number k of row o of the packed ones, or -1:
 * padding, or another group of those that were joined. */
static __device__ ptrdiff_t plain_place(const struct ld_cuda_filter &f, int o,
                                        int k)
{
    int C = f.desc.in.C / f.desc.groups, O = f.desc.O / f.desc.groups;
    int tap = k / f.group_C;
    int c = o / f.group_O * f.group_C + k % f.group_C - o / O * C;

    if (o >= f.desc.O || tap >= f.taps || c < 0 || c >= C)
        return -1;
    return ((ptrdiff_t)o * C + c) * f.taps + tap;
}

template <typename T>
static __global__ void pack_kernel(T *packed, const float *weight,
                                   const float *scale, struct ld_cuda_filter f)
{
    size_t i = ld_cuda_item();
    int o = (int)(i / f.K);
    ptrdiff_t at;

    if (i >= f.row * (size_t)f.group_O)
        return;
    at = plain_place(f, o, (int)(i % f.K));
    packed[i] =
        to_number<T>(at < 0 ? 0.0F : weight[at] * (scale ? scale[o] : 1.0F));
}

void ld_cuda_filter_pack(struct ld_cuda *cuda, const struct ld_cuda_filter *f,
                         void *packed, const float *weight, const float *scale)
{
    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, pack_kernel<T>, ld_cuda_filter_values(f), (T *)packed,
                    weight, scale, *f);
    });
}

template <typename T>
static __global__ void unpack_add_kernel(float *dweight, const T *gradient,
                                         struct ld_cuda_filter f)
{
    size_t i = ld_cuda_item();
    int o = (int)(i / f.K);
    ptrdiff_t at;

    if (i >= f.row * (size_t)f.group_O)
        return;
    at = plain_place(f, o, (int)(i % f.K));
    if (at >= 0)
        dweight[at] += to_float(gradient[i]);
}

void ld_cuda_filter_unpack_add(struct ld_cuda *cuda,
                               const struct ld_cuda_filter *f, float *dweight,
                               const void *gradient, bool of_maps)
{
    size_t n = ld_cuda_filter_values(f);

    if (of_maps && ld_cuda_is_bf16(cuda))
        launch_flat(cuda, unpack_add_kernel<bf16>, n, dweight,
                    (const bf16 *)gradient, *f);
    else
        launch_flat(cuda, unpack_add_kernel<float>, n, dweight,
                    (const float *)gradient, *f);
}

/* ---- products ---- */

static struct ld_cuda_product_desc forward_desc(const struct ld_cuda_filter *f,
                                                size_t n, bool whole)
{
    size_t O = (size_t)f->group_O;
    struct ld_cuda_product_desc d = {};

    d.m = O;
    d.n = n;
    d.k = f->K;
    d.a = {true, f->K, O * f->K};
    d.b = {false, f->row, f->K};
    d.d = {false, O * (size_t)f->groups, O};
    d.batch = f->groups;
    d.bias = whole;
    d.relu = whole && f->desc.relu;
    return d;
}

static struct ld_cuda_product_desc data_desc(const struct ld_cuda_filter *f,
                                             size_t n)
{
    size_t O = (size_t)f->group_O;
    struct ld_cuda_product_desc d = {};

    d.m = f->K;
    d.n = n;
    d.k = O;
    d.a = {false, f->K, O * f->K};
    d.b = {false, O * (size_t)f->groups, O};
    d.d = {false, f->row, f->K};
    d.batch = f->groups;
    return d;
}

static struct ld_cuda_product_desc weights_desc(const struct ld_cuda_filter *f,
                                                size_t n)
{
    size_t O = (size_t)f->group_O;
    struct ld_cuda_product_desc d = {};

    d.m = f->K;
    d.n = O;
    d.k = n;
    d.a = {false, f->row, f->K};
    d.b = {true, O * (size_t)f->groups, O};
    d.d = {false, f->K, O * f->K};
    d.batch = f->groups;
    d.to_float = true;
    return d;
}

/* With bias and ReLU in it where the library has that. */
static struct ld_cuda_product *make_forward(struct ld_cuda *cuda,
                                            struct ld_cuda_products *p,
                                            const struct ld_cuda_filter *f,
                                            size_t n, struct ld_err *err)
{
    struct ld_cuda_product_desc desc = forward_desc(f, n, f->groups == 1);
    struct ld_err ignored = {};

    if (f->groups == 1) {
        p->forward = ld_cuda_product_new(cuda, &desc, &ignored);
        p->whole = p->forward != NULL;
    }
    if (!p->forward) {
        desc = forward_desc(f, n, false);
        p->forward = ld_cuda_product_new(cuda, &desc, err);
    }
    return p->forward;
}

bool ld_cuda_products_make(struct ld_cuda *cuda,
                           struct ld_cuda_products *products,
                           const struct ld_cuda_filter *filter, size_t n,
                           int wanted, struct ld_err *err)
{
    struct ld_cuda_product_desc desc;

    if (n == 0)
        return true;
    if (wanted & LD_CUDA_FORWARD &&
        !make_forward(cuda, products, filter, n, err))
        return false;
    if (wanted & LD_CUDA_DATA) {
        desc = data_desc(filter, n);
        products->data = ld_cuda_product_new(cuda, &desc, err);
        if (!products->data)
            return false;
    }
    if (wanted & LD_CUDA_WEIGHTS) {
        desc = weights_desc(filter, n);
        products->weights = ld_cuda_product_new(cuda, &desc, err);
        if (!products->weights)
            return false;
    }
    return true;
}

void ld_cuda_products_free(struct ld_cuda_products *products)
{
    ld_cuda_product_free(products->forward);
    ld_cuda_product_free(products->data);
    ld_cuda_product_free(products->weights);
}

/* ---- bias and ReLU ---- */

template <typename T>
static __global__ void bias_pack_kernel(T *packed, const float *bias, int O)
{
    int o = (int)ld_cuda_item();

    if (o < ld_cuda_padded(O))
        packed[o] = to_number<T>(bias && o < O ? bias[o] : 0.0F);
}

const void *ld_cuda_bias_pack(struct ld_cuda *cuda, const float *bias, int O)
{
    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, bias_pack_kernel<T>, (size_t)ld_cuda_padded(O),
                    (T *)cuda->workspace, bias, O);
    });
    return cuda->workspace;
}

template <typename T>
static __global__ void
finish_kernel(lanes<T> *y, const lanes<T> *from, const lanes<T> *identity,
              const float *bias, struct ld_shape shape, bool relu)
{
    size_t i = ld_cuda_item();
    int n_lanes = ld_cuda_padded(shape.C) / LD_CUDA_LANES;
    int first = (int)(i % n_lanes) * LD_CUDA_LANES;
    lanes<T> sum, before = {};

    if (i >= ld_cuda_values(shape) / LD_CUDA_LANES)
        return;
    sum = from[i];
    if (identity)
        before = identity[i];
    for (int c = 0; c < LD_CUDA_LANES; c++) {
        float value = to_float(sum.v[c]);

        if (bias && first + c < shape.C)
            value += bias[first + c];
        if (identity)
            value += to_float(before.v[c]);
        sum.v[c] = to_number<T>(relu && !(value > 0) ? 0.0F : value);
    }
    y[i] = sum;
}

void ld_cuda_finish_run(struct ld_cuda *cuda, const struct ld_cuda_finish *f)
{
    if (f->from == f->y && !f->identity && !f->bias && !f->relu)
        return;
    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, finish_kernel<T>,
                    ld_cuda_values(f->shape) / LD_CUDA_LANES, (lanes<T> *)f->y,
                    (const lanes<T> *)f->from, (const lanes<T> *)f->identity,
                    f->bias, f->shape, f->relu);
    });
}

/* ---- the bias's gradient ---- */

/* A block sums a share of the pixels, of at most 32 lanes of channels: a thread
 * every so many pixels of one lane, then the threads of a lane in their order.
 * That many blocks keep a GPU's memory busy. */
enum { MOST_LANES = 32, MOST_BLOCKS = 512, LEAST_PIXELS = 64 };

template <typename T>
static __device__ void mask(lanes<T> *dy, const lanes<T> &y)
{
    for (int c = 0; c < LD_CUDA_LANES; c++)
        if (!(to_float(y.v[c]) > 0))
            dy->v[c] = to_number<T>(0);
}

template <typename T>
static __global__ void sum_pixels_kernel(float *sums, lanes<T> *dy,
                                         const lanes<T> *y, size_t n_pixels,
                                         int n_lanes)
{
    __shared__ float room[LD_CUDA_BLOCK][LD_CUDA_LANES];
    int first = (int)blockIdx.y * MOST_LANES;
    int width = min(n_lanes - first, (int)MOST_LANES);
    int rows = LD_CUDA_BLOCK / width, row = (int)threadIdx.x / width;
    int lane = first + (int)threadIdx.x % width;
    size_t share = (n_pixels + gridDim.x - 1) / gridDim.x;
    size_t end = min(n_pixels, (blockIdx.x + 1) * share);
    float sum[LD_CUDA_LANES] = {};

    if (row < rows)
        for (size_t p = blockIdx.x * share + row; p < end; p += rows) {
            lanes<T> x = dy[p * n_lanes + lane];

            if (y) {
                mask(&x, y[p * n_lanes + lane]);
                dy[p * n_lanes + lane] = x;
            }
            for (int c = 0; c < LD_CUDA_LANES; c++)
                sum[c] += to_float(x.v[c]);
        }
    for (int c = 0; c < LD_CUDA_LANES; c++)
        room[threadIdx.x][c] = sum[c];
    __syncthreads();
    for (int i = (int)threadIdx.x; i < width * LD_CUDA_LANES;
         i += LD_CUDA_BLOCK) {
        float all = 0;

        for (int r = 0; r < rows; r++)
            all += room[r * width + i / LD_CUDA_LANES][i % LD_CUDA_LANES];
        sums[(size_t)blockIdx.x * n_lanes * LD_CUDA_LANES +
             first * LD_CUDA_LANES + i] = all;
    }
}

/* A block has a warp's width of channels; its rows take the shares in turn. */
enum { SHARE_ROWS = 16, SHARE_BLOCK = SHARE_ROWS * (int)LD_CUDA_WARP };

static __global__ void sum_shares_kernel(float *dbias, const float *sums,
                                         int n_shares, int C)
{
    __shared__ float room[SHARE_ROWS][LD_CUDA_WARP];
    int column = (int)threadIdx.x % LD_CUDA_WARP;
    int row = (int)threadIdx.x / LD_CUDA_WARP;
    int c = (int)blockIdx.x * LD_CUDA_WARP + column;
    float sum = 0;

    if (c < C)
        for (int i = row; i < n_shares; i += SHARE_ROWS)
            sum += sums[(size_t)i * ld_cuda_padded(C) + c];
    room[row][column] = sum;
    __syncthreads();
    if (row > 0 || c >= C)
        return;
    sum = 0;
    for (int r = 0; r < SHARE_ROWS; r++)
        sum += room[r][column];
    dbias[c] += sum;
}

void ld_cuda_bias_add(struct ld_cuda *cuda, float *dbias, void *dy,
                      const void *y, struct ld_shape shape)
{
    size_t n_pixels = (size_t)shape.N * shape.H * shape.W;
    size_t most = (n_pixels + LEAST_PIXELS - 1) / LEAST_PIXELS;
    size_t padded = (size_t)ld_cuda_padded(shape.C);
    size_t room = LD_CUDA_WORKSPACE / (padded * sizeof(float));
    unsigned n_lanes = (unsigned)(padded / LD_CUDA_LANES), n_shares;
    unsigned n_columns = (n_lanes + MOST_LANES - 1) / MOST_LANES;
    unsigned n_blocks = ((unsigned)shape.C + LD_CUDA_WARP - 1) / LD_CUDA_WARP;
    float *sums = (float *)cuda->workspace;

    room = room < MOST_BLOCKS / n_columns ? room : MOST_BLOCKS / n_columns;
    n_shares = (unsigned)(most < room ? most : room);
    n_shares = n_shares > 0 ? n_shares : 1;
    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch(cuda, sum_pixels_kernel<T>, dim3(n_shares, n_columns),
               LD_CUDA_BLOCK, sums, (lanes<T> *)dy, (const lanes<T> *)y,
               n_pixels, (int)n_lanes);
    });
    launch(cuda, sum_shares_kernel, dim3(n_blocks), SHARE_BLOCK, dbias,
           (const float *)sums, (int)n_shares, shape.C);
}
