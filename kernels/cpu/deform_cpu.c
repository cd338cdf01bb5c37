#include "kernels/cpu/deform_cpu.h"

#include <stdatomic.h>

#include "kernels/base/mem.h"
#include "kernels/base/parallel.h"

/* Numbers of a strip's columns: 1 MB, half of a core's second cache; and bounds
 * within which the library's matrix product runs at full speed (measured: 165
 * to 172 GFLOP/s on 64 to 384 pixels, 161 on 48, of 176 at most). */
enum { STRIP_NUMBERS = 1 << 18, LEAST_STRIP = 64, MOST_STRIP = 256 };

static int least(int a, int b)
{
    return a < b ? a : b;
}

static void set_groups(struct ld_deform *d)
{
    int groups = d->conv_groups, C = d->in.C / groups, together = 1;

    while (together < groups &&
           (groups % together != 0 || together * C % d->block != 0))
        together++;
    d->groups = groups / together;
    d->group_planes = d->planes / d->groups;
    d->group_K = d->group_planes * d->taps * d->block;
    d->group_O = d->out.C / d->groups;
}

static void set_strips(struct ld_deform *d)
{
    size_t n_threads = (size_t)ld_parallel_threads();
    size_t all;

    d->strip = STRIP_NUMBERS / d->group_K;
    d->strip = d->strip < LEAST_STRIP ? LEAST_STRIP : d->strip;
    d->strip = least(d->strip, MOST_STRIP);
    d->n_strips = (d->area + d->strip - 1) / d->strip;
    all = d->n_strips * d->in.N;
    d->lanes = (int)(all < n_threads ? all : n_threads);
    d->grad_lanes = least((int)n_threads, d->planes);
}

static void set_pieces(struct ld_deform *d)
{
    int C = d->in.C, share = C / d->desc.deform_groups;

    for (int c = 0; c < C;) {
        struct ld_piece *piece = &d->piece[d->n_pieces++];
        int plane_end = (c / d->block + 1) * d->block;

        piece->plane = c / d->block;
        piece->deform_group = c / share;
        piece->first = c % d->block;
        c = least((c / share + 1) * share, plane_end);
        piece->end = c == C ? d->block : c - piece->plane * d->block;
    }
}

static size_t image_floats(struct ld_device *dev, struct ld_shape shape)
{
    struct ld_planes planes = ld_planes_of(dev, shape);

    return (size_t)planes.n_blocks * planes.floats;
}

static void set_sizes(struct ld_device *dev, struct ld_deform *d,
                      const struct ld_deform_desc *desc)
{
    struct ld_planes planes = ld_planes_of(dev, desc->conv.in);

    d->desc = *desc;
    d->conv_groups = desc->conv.groups ? desc->conv.groups : 1;
    d->in = desc->conv.in;
    d->out = ld_conv_out(&desc->conv);
    d->offset = ld_deform_offsets(desc);
    d->block = planes.block;
    d->planes = planes.n_blocks;
    d->taps = desc->conv.kernel * desc->conv.kernel;
    d->area = (size_t)d->out.H * d->out.W;
    d->in_floats = image_floats(dev, d->in);
    d->out_floats = image_floats(dev, d->out);
    d->offset_floats = image_floats(dev, d->offset);
}

struct ld_deform *ld_cpu_deform_new(struct ld_device *dev,
                                    const struct ld_deform_desc *desc,
                                    struct ld_err *err)
{
    struct ld_deform *d = ld_new(1, sizeof(*d), err);

    if (!d)
        return NULL;
    set_sizes(dev, d, desc);
    d->piece = ld_new((size_t)(d->planes + desc->deform_groups),
                      sizeof(*d->piece), err);
    if (!d->piece) {
        ld_delete(d);
        return NULL;
    }
    set_groups(d);
    set_strips(d);
    set_pieces(d);
    return d;
}

void ld_cpu_deform_free(struct ld_device *dev, struct ld_deform *deform)
{
    (void)dev;
    if (!deform)
        return;
    ld_delete(deform->piece);
    ld_delete(deform);
}

/* ---- weights ---- */

size_t ld_cpu_deform_weight_bytes(const struct ld_deform *d)
{
    return (size_t)d->groups * d->group_K * d->group_O * sizeof(float);
}

struct pack {
    const struct ld_deform *d;
    float *packed;
    const float *weight, *scale;
};

/* The number of the weight (o, c, tap 0), or -1: the two are of different
 * groups, or c is padding. */
static ptrdiff_t weight_at(const struct ld_deform *d, int o, int c)
{
    int C = d->in.C / d->conv_groups, O = d->out.C / d->conv_groups;

    if (c >= d->in.C || c / C != o / O)
        return -1;
    return ((ptrdiff_t)o * C + c % C) * d->taps;
}

static void pack_planes(size_t begin, size_t end, void *task)
{
    const struct pack *p = task;
    int block = p->d->block, taps = p->d->taps, O = p->d->group_O;

    for (size_t plane = begin; plane < end; plane++) {
        float *to = p->packed + plane * taps * block * O;
        int first = (int)plane / p->d->group_planes * O;

        for (int o = first; o < first + O; o++, to++)
            for (int i = 0; i < block; i++) {
                ptrdiff_t at = weight_at(p->d, o, (int)plane * block + i);
                float scale = p->scale ? p->scale[o] : 1;

                for (int k = 0; k < taps; k++)
                    to[(size_t)(k * block + i) * O] =
                        at < 0 ? 0 : p->weight[at + k] * scale;
            }
    }
}

void ld_cpu_deform_pack(struct ld_device *dev, const struct ld_deform *deform,
                        void *packed, const float *weight, const float *scale)
{
    struct pack p = {deform, packed, weight, scale};

    (void)dev;
    ld_parallel((size_t)deform->planes, 1, pack_planes, &p);
}

void ld_deform_unpack_add(const struct ld_deform *d, float *weight,
                          const float *packed, int plane)
{
    int block = d->block, O = d->group_O, first = plane / d->group_planes * O;
    const float *from = packed + (size_t)plane * d->taps * block * O;

    for (int o = first; o < first + O; o++, from++)
        for (int i = 0; i < block; i++) {
            ptrdiff_t at = weight_at(d, o, plane * block + i);

            for (int k = 0; at >= 0 && k < d->taps; k++)
                weight[at + k] += from[(size_t)(k * block + i) * O];
        }
}

/* ---- forward ---- */

struct forward {
    const struct ld_deform *d;
    float *y;
    const float *x, *offset, *weights, *bias;
    float *scratch;
    _Atomic bool failed;
};

/* A lane's scratch: columns, then the product, then the samples. */
static size_t column_numbers(const struct ld_deform *d)
{
    return (size_t)d->strip * d->group_K;
}

static size_t product_numbers(const struct ld_deform *d)
{
    return ((size_t)d->strip * d->out.C + LD_LANES - 1) / LD_LANES * LD_LANES;
}

static size_t lane_numbers(const struct ld_deform *d)
{
    size_t samples = (size_t)d->strip * d->taps * d->desc.deform_groups;

    return column_numbers(d) + product_numbers(d) +
           samples * sizeof(struct ld_sample) / sizeof(float);
}

size_t ld_cpu_deform_scratch_bytes(const struct ld_deform *d)
{
    size_t forward = d->lanes * lane_numbers(d) * sizeof(float);
    size_t backward = d->desc.conv.train ? ld_deform_grad_scratch(d) : 0;

    return forward > backward ? forward : backward;
}

/* y (planes) = relu?(product (pixels, O) + bias) */
static void store(const struct forward *f, float *y, const float *product,
                  size_t n_pixels)
{
    const struct ld_deform *d = f->d;
    int O = d->out.C, block = d->block;
    bool relu = d->desc.conv.relu;

    for (int first = 0; first < O; first += block, y += d->area * block)
        for (size_t p = 0; p < n_pixels; p++) {
            const float *from = product + p * O + first;
            float *to = y + p * block;
            int lanes = least(block, O - first);

            for (int i = 0; i < lanes; i++) {
                float value = from[i] + (f->bias ? f->bias[first + i] : 0);

                to[i] = relu && value < 0 ? 0 : value;
            }
            for (int i = lanes; i < block; i++)
                to[i] = 0;
        }
}

/* The product of one group's columns. */
static void run_group(struct forward *f, int group, const float *x,
                      float *columns, float *product,
                      const struct ld_sample *samples, size_t n_pixels)
{
    const struct ld_deform *d = f->d;
    struct ld_dnn_product run = {
        .M = (int)n_pixels,
        .N = d->group_O,
        .K = d->group_K,
        .a = columns,
        .lda = d->group_K,
        .b = f->weights + (size_t)group * d->group_K * d->group_O,
        .ldb = d->group_O,
        .c = product + (size_t)group * d->group_O,
        .ldc = d->out.C,
    };

    for (int i = 0; i < d->n_pieces; i++) {
        const struct ld_piece *piece = &d->piece[i];
        size_t at = (size_t)(piece->plane % d->group_planes) * d->taps;

        if (piece->plane / d->group_planes == group)
            ld_deform_gather(
                d, piece, columns + at * d->block, (size_t)d->group_K,
                x + (size_t)piece->plane * d->in.H * d->in.W * d->block,
                samples + (size_t)piece->deform_group * d->taps, n_pixels);
    }
    if (!ld_dnn_product_run(&run))
        f->failed = true;
}

static void run_strip(struct forward *f, float *columns, size_t strip)
{
    const struct ld_deform *d = f->d;
    float *product = columns + column_numbers(d);
    struct ld_sample *samples = (void *)(product + product_numbers(d));
    size_t n = strip / d->n_strips, begin = strip % d->n_strips * d->strip;
    size_t left = d->area - begin, n_pixels = d->strip;

    n_pixels = left < n_pixels ? left : n_pixels;
    ld_deform_sample(d, samples, f->offset + n * d->offset_floats, begin,
                     begin + n_pixels);
    for (int group = 0; group < d->groups; group++)
        run_group(f, group, f->x + n * d->in_floats, columns, product, samples,
                  n_pixels);
    store(f, f->y + n * d->out_floats + begin * d->block, product, n_pixels);
}

/* A lane takes every lanes-th strip, each with the lane's own scratch. */
static void run_lanes(size_t begin, size_t end, void *task)
{
    struct forward *f = task;
    const struct ld_deform *d = f->d;
    size_t all = d->n_strips * d->in.N;

    for (size_t lane = begin; lane < end; lane++)
        for (size_t strip = lane; strip < all; strip += (size_t)d->lanes)
            run_strip(f, f->scratch + lane * lane_numbers(d), strip);
}

void ld_cpu_deform_forward(struct ld_device *dev,
                           const struct ld_deform *deform, float *y,
                           const float *x, const float *offset,
                           const void *packed, const float *bias, void *scratch)
{
    struct forward f = {
        .d = deform,
        .y = y,
        .x = x,
        .offset = offset,
        .weights = packed,
        .bias = bias,
        .scratch = scratch,
    };

    ld_parallel((size_t)deform->lanes, 1, run_lanes, &f);
    if (f.failed)
        ld_fail(&ld_cpu_of(dev)->fault, LD_ERR_MEMORY,
                "oneDNN: a matrix product: out of memory");
}
