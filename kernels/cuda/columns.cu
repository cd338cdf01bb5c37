#include "kernels/cuda/columns.h"

/* Where tap `tap` of an output pixel reads; false: in the padding. */
static __device__ bool source_of(const struct ld_cuda_filter &f, size_t pixel,
                                 int tap, size_t *source)
{
    const struct ld_conv_desc &d = f.desc;
    int column = (int)(pixel % f.out.W), row = (int)(pixel / f.out.W % f.out.H);
    size_t n = pixel / f.out.W / f.out.H;
    int h = row * d.stride - d.pad + tap / d.kernel * d.dilation;
    int w = column * d.stride - d.pad + tap % d.kernel * d.dilation;

    *source = (n * d.in.H + h) * d.in.W + w;
    return h >= 0 && h < d.in.H && w >= 0 && w < d.in.W;
}

/* A thread has a lane of channels of a pixel. */
template <typename T>
static __global__ void map_kernel(lanes<T> *columns, const lanes<T> *x,
                                  size_t first, size_t n,
                                  struct ld_cuda_filter f)
{
    size_t i = ld_cuda_item();
    int of_group = f.group_C / LD_CUDA_LANES, n_lanes = of_group * f.groups;
    int lane = (int)(i % n_lanes);
    size_t pixel = i / n_lanes, source;

    if (pixel >= n)
        return;
    columns += pixel * n_lanes * f.taps +
               (size_t)(lane / of_group) * of_group * f.taps + lane % of_group;
    for (int tap = 0; tap < f.taps; tap++) {
        lanes<T> value = {};

        if (source_of(f, first + pixel, tap, &source))
            value = x[source * n_lanes + lane];
        columns[tap * of_group] = value;
    }
}

/* A thread has eight numbers of a column. */
template <typename T>
static __global__ void image_kernel(lanes<T> *columns, const float *x,
                                    size_t first, size_t n,
                                    struct ld_cuda_filter f)
{
    size_t i = ld_cuda_item(), n_lanes = f.K / LD_CUDA_LANES;
    size_t pixel = i / n_lanes, area = (size_t)f.desc.in.H * f.desc.in.W;
    int k = (int)(i % n_lanes) * LD_CUDA_LANES, C = f.desc.in.C;
    lanes<T> value = {};

    if (pixel >= n)
        return;
    for (int j = 0; j < LD_CUDA_LANES; j++, k++) {
        size_t at;

        if (k / C < f.taps && source_of(f, first + pixel, k / C, &at))
            value.v[j] =
                to_number<T>(x[(at / area * C + k % C) * area + at % area]);
    }
    columns[i] = value;
}

void ld_cuda_columns_make(struct ld_cuda *cuda, const struct ld_cuda_filter *f,
                          void *columns, const void *x, size_t first, size_t n)
{
    size_t image_lanes = n * (f->K / LD_CUDA_LANES);
    size_t map_lanes = n * (size_t)(f->group_C * f->groups / LD_CUDA_LANES);

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        if (f->desc.image)
            launch_flat(cuda, image_kernel<T>, image_lanes, (lanes<T> *)columns,
                        (const float *)x, first, n, *f);
        else
            launch_flat(cuda, map_kernel<T>, map_lanes, (lanes<T> *)columns,
                        (const lanes<T> *)x, first, n, *f);
    });
}

/* ---- back ---- */

/* Along one axis: which of `size` outputs reads `at` by its k-th tap; -1: none.
 */
static __device__ int reader_of(const struct ld_conv_desc &d, int at, int k,
                                int size)
{
    int from = at + d.pad - k * d.dilation;

    return from >= 0 && from % d.stride == 0 && from / d.stride < size
               ? from / d.stride
               : -1;
}

/* A thread has a lane of channels of a pixel of dx. */
template <typename T>
static __global__ void gather_kernel(lanes<T> *dx, const lanes<T> *dcolumns,
                                     struct ld_cuda_band band,
                                     struct ld_cuda_filter f)
{
    const struct ld_conv_desc &d = f.desc;
    int of_group = f.group_C / LD_CUDA_LANES, n_lanes = of_group * f.groups;
    size_t i = ld_cuda_item(), at = i / n_lanes;
    int lane = (int)(i % n_lanes), w = (int)(at % d.in.W);
    int h = band.row + (int)(at / d.in.W % band.rows);
    int n = (int)(at / d.in.W / band.rows);
    float sum[LD_CUDA_LANES] = {};
    lanes<T> value;

    if (n >= band.n)
        return;
    dx +=
        (((size_t)(band.image + n) * d.in.H + h) * d.in.W + w) * n_lanes + lane;
    dcolumns += (size_t)(lane / of_group) * of_group * f.taps + lane % of_group;
    for (int tap = 0; tap < f.taps; tap++) {
        int row = reader_of(d, h, tap / d.kernel, f.out.H);
        int column = reader_of(d, w, tap % d.kernel, f.out.W);
        size_t pixel =
            ((size_t)n * band.out_rows + row - band.out_row) * f.out.W + column;

        if (row < 0 || column < 0)
            continue;
        value = dcolumns[pixel * n_lanes * f.taps + tap * of_group];
        for (int c = 0; c < LD_CUDA_LANES; c++)
            sum[c] += to_float(value.v[c]);
    }
    if (d.adds)
        value = *dx;
    for (int c = 0; c < LD_CUDA_LANES; c++)
        value.v[c] =
            to_number<T>(d.adds ? to_float(value.v[c]) + sum[c] : sum[c]);
    *dx = value;
}

void ld_cuda_columns_gather(struct ld_cuda *cuda,
                            const struct ld_cuda_filter *f, void *dx,
                            const void *dcolumns,
                            const struct ld_cuda_band *band)
{
    size_t n_lanes = (size_t)(f->group_C * f->groups / LD_CUDA_LANES);
    size_t count = (size_t)band->n * band->rows * f->desc.in.W * n_lanes;

    with_numbers(cuda, [&](auto zero) {
        using T = decltype(zero);
        launch_flat(cuda, gather_kernel<T>, count, (lanes<T> *)dx,
                    (const lanes<T> *)dcolumns, *band, *f);
    });
}
