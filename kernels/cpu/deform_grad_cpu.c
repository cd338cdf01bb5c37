#include <stdatomic.h>
#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/cpu/deform_cpu.h"

/* Pixels at a time: columns and their gradients, 150 kB each in a plane of 16
 * channels, stay in a core's second cache. */
enum { STRIP = 256, PIXEL_GRAIN = 64 };

struct backward {
    const struct ld_deform *d;
    struct ld_deform_gradients to;
    const float *weights;
    float *dx, *doffset;          /* of the image at hand, as .. */
    const float *dy, *x, *offset; /* .. these */
    struct ld_sample *samples;    /* of all its pixels */
    float *dy_rows;               /* dy as (pixels, O) */
    float *products;              /* (pieces, pixels, taps, 4) */
    float *dweights;              /* packed, summed over the images */
    float *lanes;                 /* two strips of columns each */
    bool first;                   /* image of the batch */
    _Atomic bool failed;
};

/* ---- scratch, in this order ---- */

static size_t rounded(size_t numbers)
{
    return (numbers + LD_LANES - 1) / LD_LANES * LD_LANES;
}

static size_t sample_numbers(const struct ld_deform *d)
{
    return rounded(d->area * d->taps * d->desc.deform_groups *
                   sizeof(struct ld_sample) / sizeof(float));
}

static size_t row_numbers(const struct ld_deform *d)
{
    return rounded(d->area * d->out.C);
}

static size_t product_numbers(const struct ld_deform *d)
{
    return rounded(d->n_pieces * d->area * d->taps * 4);
}

static size_t weight_numbers(const struct ld_deform *d)
{
    return rounded((size_t)d->groups * d->group_K * d->group_O);
}

static size_t strip_numbers(const struct ld_deform *d)
{
    return rounded((size_t)STRIP * d->taps * d->block);
}

size_t ld_deform_grad_scratch(const struct ld_deform *d)
{
    return (sample_numbers(d) + row_numbers(d) + product_numbers(d) +
            weight_numbers(d) + d->grad_lanes * 2 * strip_numbers(d)) *
           sizeof(float);
}

static void lay_out(struct backward *b, void *scratch)
{
    float *at = scratch;

    b->samples = scratch;
    b->dy_rows = at += sample_numbers(b->d);
    b->products = at += row_numbers(b->d);
    b->dweights = at += product_numbers(b->d);
    b->lanes = at + weight_numbers(b->d);
}

/* ---- dy, in another order ---- */

static void make_rows(struct backward *b, size_t begin, size_t end)
{
    const struct ld_deform *d = b->d;
    int O = d->out.C, block = d->block;

    for (int first = 0; first < O; first += block) {
        const float *plane = b->dy + (size_t)first * d->area;
        int lanes = O - first < block ? O - first : block;

        for (size_t p = begin; p < end; p++)
            memcpy(b->dy_rows + p * O + first, plane + p * block,
                   (size_t)lanes * sizeof(float));
    }
}

static void prepare_pixels(size_t begin, size_t end, void *task)
{
    struct backward *b = task;
    size_t taps = (size_t)b->d->taps * b->d->desc.deform_groups;

    make_rows(b, begin, end);
    ld_deform_sample(b->d, b->samples + begin * taps, b->offset, begin, end);
}

static void sum_bias(size_t begin, size_t end, void *task)
{
    struct backward *b = task;
    int block = b->d->block;

    for (size_t plane = begin; plane < end; plane++) {
        const float *dy = b->dy + plane * b->d->area * block;
        double sum[LD_LANES] = {0};

        for (size_t p = 0; p < b->d->area; p++)
            for (int i = 0; i < block; i++)
                sum[i] += (double)dy[p * block + i];
        for (int i = 0; i < block; i++)
            if ((int)plane * block + i < b->d->out.C)
                b->to.dbias[plane * block + i] += (float)sum[i];
    }
}

/* ---- planes of the input ---- */

/* A plane's part of the columns of a strip, and the gradients of both. */
struct strip {
    int plane;
    size_t begin, n_pixels;
    float *columns, *dcolumns;
};

static const float *dy_of(const struct backward *b, const struct strip *s)
{
    int group = s->plane / b->d->group_planes;

    return b->dy_rows + s->begin * b->d->out.C + (size_t)group * b->d->group_O;
}

static size_t weights_at(const struct backward *b, int plane)
{
    return (size_t)plane * b->d->taps * b->d->block * b->d->group_O;
}

static bool make_dcolumns(const struct backward *b, const struct strip *s)
{
    const struct ld_deform *d = b->d;
    struct ld_dnn_product run = {
        .M = (int)s->n_pixels,
        .N = d->taps * d->block,
        .K = d->group_O,
        .a = dy_of(b, s),
        .lda = d->out.C,
        .b = b->weights + weights_at(b, s->plane),
        .b_turned = true,
        .ldb = d->group_O,
        .c = s->dcolumns,
        .ldc = d->taps * d->block,
    };

    return ld_dnn_product_run(&run);
}

static bool add_dweights(const struct backward *b, const struct strip *s)
{
    const struct ld_deform *d = b->d;
    struct ld_dnn_product run = {
        .M = d->taps * d->block,
        .N = d->group_O,
        .K = (int)s->n_pixels,
        .a = s->columns,
        .a_turned = true,
        .lda = d->taps * d->block,
        .b = dy_of(b, s),
        .ldb = d->out.C,
        .c = b->dweights + weights_at(b, s->plane),
        .ldc = d->group_O,
        .add = !b->first || s->begin > 0,
    };

    return ld_dnn_product_run(&run);
}

static void scatter_pieces(const struct backward *b, const struct strip *s)
{
    const struct ld_deform *d = b->d;
    size_t plane = (size_t)s->plane * d->in.H * d->in.W * d->block;
    size_t taps = (size_t)d->taps * d->desc.deform_groups;

    for (int i = 0; i < d->n_pieces; i++) {
        const struct ld_piece *piece = &d->piece[i];
        size_t tap = (size_t)piece->deform_group * d->taps;
        struct ld_scatter scatter = {
            .columns = s->columns,
            .products = b->products + ((i * d->area) + s->begin) * d->taps * 4,
            .dplane = b->dx ? b->dx + plane : NULL,
            .dcolumns = s->dcolumns,
            .plane = b->x + plane,
            .samples = b->samples + s->begin * taps + tap,
            .n_pixels = s->n_pixels,
        };

        if (piece->plane == s->plane)
            ld_deform_scatter(d, piece, &scatter);
    }
}

static void run_plane(struct backward *b, int plane, float *scratch)
{
    const struct ld_deform *d = b->d;
    size_t floats = (size_t)d->in.H * d->in.W * d->block;
    struct strip s = {.plane = plane,
                      .columns = scratch,
                      .dcolumns = scratch + strip_numbers(d)};

    if (b->dx)
        memset(b->dx + (size_t)plane * floats, 0, floats * sizeof(float));
    for (; s.begin < d->area; s.begin += STRIP) {
        size_t left = d->area - s.begin;

        s.n_pixels = left < STRIP ? left : STRIP;
        if (!make_dcolumns(b, &s))
            b->failed = true;
        scatter_pieces(b, &s);
        if (!add_dweights(b, &s))
            b->failed = true;
    }
}

static void run_lanes(size_t begin, size_t end, void *task)
{
    struct backward *b = task;

    for (size_t lane = begin; lane < end; lane++)
        for (int plane = (int)lane; plane < b->d->planes;
             plane += b->d->grad_lanes)
            run_plane(b, plane, b->lanes + lane * 2 * strip_numbers(b->d));
}

/* ---- offsets ---- */

static float *channel_of(const struct backward *b, size_t pixel, int channel)
{
    int block = b->d->block;

    return &b->doffset[((size_t)(channel / block) * b->d->area + pixel) *
                           block +
                       channel % block];
}

/* Sums, over the pieces that follow the same offsets, in their order. */
static void sum_products(const struct backward *b, int i, size_t pixel,
                         float sum[4])
{
    const struct ld_deform *d = b->d;
    int group = i / d->taps, k = i % d->taps;

    memset(sum, 0, 4 * sizeof(*sum));
    for (int j = 0; j < d->n_pieces; j++) {
        const float *product =
            b->products + ((j * d->area + pixel) * d->taps + k) * 4;

        if (d->piece[j].deform_group == group)
            for (int q = 0; q < 4; q++)
                sum[q] += product[q];
    }
}

static void finish_pixels(size_t begin, size_t end, void *task)
{
    struct backward *b = task;
    const struct ld_deform *d = b->d;
    int n = d->taps * d->desc.deform_groups;
    int padded = (d->offset.C + d->block - 1) / d->block * d->block;

    for (size_t pixel = begin; pixel < end; pixel++) {
        for (int i = 0; i < n; i++) {
            float sum[4], derivative[3];

            sum_products(b, i, pixel, sum);
            ld_deform_derivative(d, derivative, b->offset, pixel, i, sum);
            *channel_of(b, pixel, 2 * i) = derivative[0];
            *channel_of(b, pixel, 2 * i + 1) = derivative[1];
            if (d->desc.modulated)
                *channel_of(b, pixel, 2 * n + i) = derivative[2];
        }
        for (int c = d->offset.C; c < padded; c++)
            *channel_of(b, pixel, c) = 0;
    }
}

/* ---- weights ---- */

static void unpack_planes(size_t begin, size_t end, void *task)
{
    const struct backward *b = task;
    const struct ld_deform *d = b->d;

    for (size_t plane = begin; plane < end; plane++)
        ld_deform_unpack_add(d, b->to.dweight, b->dweights, (int)plane);
}

/* ---- */

static void run_image(struct backward *b)
{
    const struct ld_deform *d = b->d;
    size_t out_planes = ((size_t)d->out.C + d->block - 1) / d->block;

    ld_parallel(d->area, PIXEL_GRAIN, prepare_pixels, b);
    if (b->to.dbias)
        ld_parallel(out_planes, 1, sum_bias, b);
    ld_parallel((size_t)d->grad_lanes, 1, run_lanes, b);
    ld_parallel(d->area, PIXEL_GRAIN, finish_pixels, b);
}

void ld_cpu_deform_backward(struct ld_device *dev,
                            const struct ld_deform *deform,
                            const struct ld_deform_gradients *to,
                            const float *dy, const float *x,
                            const float *offset, const void *packed,
                            void *scratch)
{
    struct backward b = {.d = deform, .to = *to, .weights = packed};
    size_t in = deform->in_floats, offsets = deform->offset_floats;

    lay_out(&b, scratch);
    for (size_t n = 0; n < (size_t)deform->in.N; n++) {
        b.first = n == 0;
        b.dx = to->dx ? to->dx + n * in : NULL;
        b.doffset = to->doffset + n * offsets;
        b.dy = dy + n * deform->out_floats;
        b.x = x + n * in;
        b.offset = offset + n * offsets;
        run_image(&b);
    }
    ld_parallel((size_t)deform->planes, 1, unpack_planes, &b);
    if (b.failed)
        ld_fail(&ld_cpu_of(dev)->fault, LD_ERR_MEMORY,
                "oneDNN: a matrix product: out of memory");
}
