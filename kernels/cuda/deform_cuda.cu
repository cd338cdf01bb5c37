#include "kernels/cuda/deform_cuda.h"

#include "kernels/cuda/memory.h"
#include "kernels/cuda/sample.h"

extern "C" {
#include "kernels/base/mem.h"
}

static const size_t COLUMN_BYTES = (size_t)64 << 20; /* of a tile */

/* Tiles are whole images, or parts of one. */
struct ld_deform {
    struct ld_cuda_sampling sampling;
    size_t number_bytes;
    size_t area; /* pixels of an output image */
    size_t tile; /* pixels whose columns are made at once */
    int images;  /* of a tile, 1 where it is a part of one */
    struct ld_cuda_products whole, rest; /* for a tile, and for what is left */
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- making ---- */

static bool check(const struct ld_deform_desc *desc, struct ld_err *err)
{
    const struct ld_conv_desc *c = &desc->conv;
    struct ld_shape out = ld_conv_out(c);
    int groups = c->groups ? c->groups : 1;

    if (c->kernel >= 1 && c->stride >= 1 && c->dilation >= 1 && c->in.N >= 1 &&
        c->in.C >= 1 && c->O >= 1 && out.H >= 1 && out.W >= 1 &&
        c->in.C % groups == 0 && c->O % groups == 0 &&
        desc->deform_groups >= 1 && c->in.C % desc->deform_groups == 0)
        return true;
    return ld_fail(err, LD_ERR_DEVICE,
                   "cuda: no deformable convolution of (%d, %d, %d, %d) to %d "
                   "channels with kernel %d, groups %d, deform_groups %d",
                   c->in.N, c->in.C, c->in.H, c->in.W, c->O, c->kernel, groups,
                   desc->deform_groups);
}

static void set_sizes(struct ld_cuda *cuda, struct ld_deform *d,
                      const struct ld_deform_desc *desc)
{
    const struct ld_cuda_filter *f = &d->sampling.filter;
    size_t most, N = (size_t)desc->conv.in.N;

    d->sampling.filter = ld_cuda_filter_of(&desc->conv);
    d->sampling.offsets = ld_deform_offsets(desc);
    d->sampling.deform_groups = desc->deform_groups;
    d->sampling.modulated = desc->modulated;
    d->number_bytes = ld_cuda_number_bytes(cuda);
    d->area = (size_t)f->out.H * f->out.W;
    most = COLUMN_BYTES / (f->row * d->number_bytes);
    most = most > 0 ? most : 1;
    d->images = (int)least(most / d->area, N);
    d->tile = d->images > 0 ? d->images * d->area : most;
    d->images = d->images > 0 ? d->images : 1;
}

struct ld_deform *ld_cuda_deform_new(struct ld_device *dev,
                                     const struct ld_deform_desc *desc,
                                     struct ld_err *err)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    int wanted = LD_CUDA_FORWARD |
                 (desc->conv.train ? LD_CUDA_DATA | LD_CUDA_WEIGHTS : 0);
    struct ld_deform *d;
    size_t group, rest;

    if (!check(desc, err))
        return NULL;
    d = (struct ld_deform *)ld_new(1, sizeof(*d), err);
    if (!d)
        return NULL;
    set_sizes(cuda, d, desc);
    group = d->images * d->area;
    rest = group > d->tile ? group % d->tile
                           : desc->conv.in.N % d->images * d->area;
    if (ld_cuda_products_make(cuda, &d->whole, &d->sampling.filter, d->tile,
                              wanted, err) &&
        ld_cuda_products_make(cuda, &d->rest, &d->sampling.filter, rest, wanted,
                              err))
        return d;
    ld_cuda_deform_free(dev, d);
    return NULL;
}

void ld_cuda_deform_free(struct ld_device *dev, struct ld_deform *deform)
{
    (void)dev;
    if (!deform)
        return;
    ld_cuda_products_free(&deform->whole);
    ld_cuda_products_free(&deform->rest);
    ld_delete(deform);
}

/* ---- memory ---- */

/* Scratch: samples and columns; in backward also the columns' gradient, the
 * sums of dx, and the packed gradient of the weights. */
struct layout {
    struct ld_cuda_sample *samples;
    char *columns, *dcolumns, *gradient;
    unsigned long long *sums;
    struct ld_cuda_fixed *fixed;
    size_t bytes;
};

static char *take(struct layout *l, char *scratch, size_t bytes)
{
    char *at = scratch + l->bytes;

    l->bytes += ld_cuda_aligned(bytes);
    return at;
}

static size_t sums_bytes(const struct ld_deform *d)
{
    const struct ld_cuda_filter *f = &d->sampling.filter;
    size_t pixels = (size_t)d->images * f->desc.in.H * f->desc.in.W;

    return pixels * f->group_C * f->groups * sizeof(unsigned long long);
}

static struct layout layout_of(const struct ld_deform *d, void *scratch)
{
    const struct ld_cuda_filter *f = &d->sampling.filter;
    size_t columns = d->tile * f->row * d->number_bytes;
    size_t samples = d->tile * ld_cuda_samples(&d->sampling);
    char *from = (char *)scratch;
    struct layout l = {};

    l.samples =
        (struct ld_cuda_sample *)take(&l, from, samples * sizeof(*l.samples));
    l.columns = take(&l, from, columns);
    if (!f->desc.train)
        return l;
    l.dcolumns = take(&l, from, columns);
    l.gradient = take(&l, from, ld_cuda_filter_values(f) * sizeof(float));
    l.sums = (unsigned long long *)take(&l, from, sums_bytes(d));
    l.fixed = (struct ld_cuda_fixed *)take(&l, from, sizeof(*l.fixed));
    return l;
}

size_t ld_cuda_deform_scratch_bytes(const struct ld_deform *deform)
{
    return layout_of(deform, NULL).bytes; /* its addresses are not used */
}

size_t ld_cuda_deform_weight_bytes(const struct ld_deform *deform)
{
    return ld_cuda_filter_values(&deform->sampling.filter) *
           deform->number_bytes;
}

void ld_cuda_deform_pack(struct ld_device *dev, const struct ld_deform *deform,
                         void *packed, const float *weight, const float *scale)
{
    ld_cuda_filter_pack(ld_cuda_of(dev), &deform->sampling.filter, packed,
                        weight, scale);
}

/* ---- passes ---- */

/* Calls work(first, n) for the tiles, in their order, of images `image` and
 * those that go with it. */
template <typename F>
static void for_tiles(const struct ld_deform *d, int image, F work)
{
    size_t N = (size_t)d->sampling.filter.out.N;
    size_t first = (size_t)image * d->area;
    size_t end = least((size_t)image + d->images, N) * d->area;

    for (; first < end; first += d->tile)
        work(first, least(d->tile, end - first));
}

static const struct ld_cuda_products *products_of(const struct ld_deform *d,
                                                  size_t n)
{
    return n == d->tile ? &d->whole : &d->rest;
}

/* Pixel `first` of a map of O channels. */
static char *pixel_of(const struct ld_deform *d, const void *map, size_t first)
{
    const struct ld_cuda_filter *f = &d->sampling.filter;

    return (char *)map + first * f->group_O * f->groups * d->number_bytes;
}

static void make_columns(struct ld_cuda *cuda, const struct ld_deform *d,
                         const struct layout *l, const float *x,
                         const float *offset, size_t first, size_t n)
{
    ld_cuda_sample_find(cuda, &d->sampling, l->samples, offset, first, n);
    ld_cuda_sample_columns(cuda, &d->sampling, l->columns, x, l->samples, n);
}

void ld_cuda_deform_forward(struct ld_device *dev,
                            const struct ld_deform *deform, float *y,
                            const float *x, const float *offset,
                            const void *packed, const float *bias,
                            void *scratch)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    const struct ld_conv_desc *desc = &deform->sampling.filter.desc;
    struct layout l = layout_of(deform, scratch);
    struct ld_cuda_factors f = {};

    f.a = packed;
    f.b = l.columns;
    f.bias = ld_cuda_bias_pack(cuda, bias, desc->O);
    auto tile = [&](size_t first, size_t n) {
        const struct ld_cuda_products *p = products_of(deform, n);
        struct ld_cuda_finish finish = {};

        make_columns(cuda, deform, &l, x, offset, first, n);
        f.d = pixel_of(deform, y, first);
        ld_cuda_product_run(cuda, p->forward, &f);
        finish.y = f.d;
        finish.from = f.d;
        finish.bias = bias;
        finish.shape = {1, desc->O, 1, (int)n};
        finish.relu = desc->relu;
        if (!p->whole)
            ld_cuda_finish_run(cuda, &finish);
    };
    for (int image = 0; image < desc->in.N; image += deform->images)
        for_tiles(deform, image, tile);
}

/* ---- backward ---- */

struct backward {
    const struct ld_deform *d;
    const struct ld_deform_gradients *to;
    const float *dy, *x, *offset;
    const void *packed;
    struct layout l;
};

static void backward_tile(struct ld_cuda *cuda, const struct backward *b,
                          size_t first, size_t n)
{
    const struct ld_deform *d = b->d;
    const struct ld_shape *in = &d->sampling.filter.desc.in;
    const struct ld_cuda_products *p = products_of(d, n);
    size_t image = first / d->area / d->images * d->images;
    struct ld_cuda_factors f = {};
    struct ld_cuda_scatter s = {};

    make_columns(cuda, d, &b->l, b->x, b->offset, first, n);
    f.d = b->l.gradient;
    f.a = b->l.columns;
    f.b = pixel_of(d, b->dy, first);
    f.c = first > 0 ? f.d : NULL;
    ld_cuda_product_run(cuda, p->weights, &f);
    f.d = b->l.dcolumns;
    f.a = b->packed;
    f.c = NULL;
    ld_cuda_product_run(cuda, p->data, &f);
    s.doffset = b->to->doffset;
    s.dx = b->to->dx ? b->l.sums : NULL;
    s.x_pixel = image * in->H * in->W;
    s.fixed = b->l.fixed;
    s.dcolumns = b->l.dcolumns;
    s.x = b->x;
    s.offset = b->offset;
    s.samples = b->l.samples;
    s.first = first;
    s.n = n;
    ld_cuda_sample_scatter(cuda, &d->sampling, &s);
}

static void backward_images(struct ld_cuda *cuda, const struct backward *b,
                            int image)
{
    const struct ld_deform *d = b->d;
    const struct ld_shape *in = &d->sampling.filter.desc.in;
    size_t n = least((size_t)d->images, (size_t)(in->N - image));
    size_t pixels = (size_t)in->H * in->W;

    if (b->to->dx)
        ld_cuda_zero(&cuda->device, b->l.sums, sums_bytes(d));
    for_tiles(d, image, [&](size_t first, size_t n_pixels) {
        backward_tile(cuda, b, first, n_pixels);
    });
    if (b->to->dx)
        ld_cuda_fixed_read(cuda, &d->sampling, b->to->dx, b->l.sums, b->l.fixed,
                           image * pixels, n * pixels);
}

void ld_cuda_deform_backward(struct ld_device *dev,
                             const struct ld_deform *deform,
                             const struct ld_deform_gradients *to,
                             const float *dy, const float *x,
                             const float *offset, const void *packed,
                             void *scratch)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    const struct ld_cuda_filter *f = &deform->sampling.filter;
    struct backward b = {
        deform, to, dy, x, offset, packed, layout_of(deform, scratch)};

    ld_cuda_fixed_set(cuda, &deform->sampling, b.l.fixed, dy, packed);
    for (int image = 0; image < f->out.N; image += deform->images)
        backward_images(cuda, &b, image);
    ld_cuda_filter_unpack_add(cuda, f, to->dweight, b.l.gradient, false);
    if (to->dbias)
        ld_cuda_bias_add(cuda, to->dbias, (void *)dy, NULL, f->out);
}
