#include "kernels/cuda/conv_cuda.h"

#include "kernels/cuda/columns.h"
#include "kernels/cuda/conv_cudnn.h"
#include "kernels/cuda/map.h"

extern "C" {
#include "kernels/base/mem.h"
}

/* Columns of a tile: more than a GPU's processors need to be busy with one
 * product; and what a plan of cuDNN may use: room for the largest map of a
 * training step in another order. */
static const size_t COLUMN_BYTES = (size_t)64 << 20;
static const size_t PLAN_BYTES = (size_t)320 << 20;

/* Backward data goes by bands of rows, each with all the columns that read
 * them, so that no two add to the same place. All bands have `band_n` images
 * and `band_rows` rows but the last. */
struct ld_conv {
    struct ld_cuda_filter filter;
    size_t number_bytes;
    bool direct;   /* the map is its own columns */
    size_t pixels; /* of the output */
    size_t tile;   /* pixels whose columns are made at once */
    struct ld_cuda_products whole, rest; /* for a tile, and the last one */
    int band_n, band_rows, band_out_rows;
    struct ld_cuda_products band, last_band;
    struct ld_cudnn_plan *plan[LD_CUDNN_N_PASSES]; /* NULL: not cuDNN's */
    struct ld_cudnn_plan *finishing; /* forward, with bias and all: or NULL */
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- making ---- */

static bool check(const struct ld_conv_desc *desc, struct ld_err *err)
{
    struct ld_shape out = ld_conv_out(desc);
    int groups = desc->groups ? desc->groups : 1;

    if (desc->kernel >= 1 && desc->stride >= 1 && desc->dilation >= 1 &&
        desc->in.N >= 1 && desc->in.C >= 1 && desc->O >= 1 && out.H >= 1 &&
        out.W >= 1 && desc->in.C % groups == 0 && desc->O % groups == 0)
        return true;
    return ld_fail(err, LD_ERR_DEVICE,
                   "cuda: no convolution of (%d, %d, %d, %d) to %d channels "
                   "with kernel %d, stride %d, pad %d, dilation %d, groups %d",
                   desc->in.N, desc->in.C, desc->in.H, desc->in.W, desc->O,
                   desc->kernel, desc->stride, desc->pad, desc->dilation,
                   groups);
}

static void set_sizes(struct ld_conv *conv)
{
    const struct ld_conv_desc *desc = &conv->filter.desc;
    struct ld_shape out = conv->filter.out;
    size_t column = conv->filter.row * conv->number_bytes;
    size_t area = (size_t)out.H * out.W, most = COLUMN_BYTES / column;
    int reach = desc->dilation * (desc->kernel - 1), rows;

    conv->direct = desc->kernel == 1 && desc->stride == 1 && desc->pad == 0 &&
                   !desc->image;
    conv->pixels = area * out.N;
    conv->tile =
        conv->direct ? conv->pixels : least(conv->pixels, most > 0 ? most : 1);
    conv->band_n = (int)least(conv->tile / area, out.N);
    conv->band_rows = desc->in.H;
    conv->band_out_rows = out.H;
    if (conv->band_n > 0)
        return;
    /* Not one image: as many rows as are read by what fits. */
    rows = ((int)(conv->tile / out.W) - 1) * desc->stride + 1 - reach;
    conv->band_n = 1;
    conv->band_rows = rows > desc->stride ? rows : desc->stride;
    rows = (conv->band_rows - 1 + reach) / desc->stride + 1;
    conv->band_out_rows = rows < out.H ? rows : out.H;
}

static size_t band_pixels(const struct ld_conv *conv, int n)
{
    return (size_t)n * conv->band_out_rows * conv->filter.out.W;
}

/* Passes that the convolution will be asked for. */
static int passes_of(const struct ld_conv_desc *desc)
{
    return LD_CUDA_FORWARD | (desc->train ? LD_CUDA_WEIGHTS : 0) |
           (desc->train && !desc->image ? LD_CUDA_DATA : 0);
}

static struct ld_cudnn_question question_of(const struct ld_cuda *cuda,
                                            const struct ld_cuda_filter *f)
{
    struct ld_cudnn_question q = {};

    q.in = f->desc.in;
    q.in.C = f->group_C * f->groups;
    q.O = f->group_O * f->groups;
    q.kernel = f->desc.kernel;
    q.stride = f->desc.stride;
    q.pad = f->desc.pad;
    q.dilation = f->desc.dilation;
    q.groups = f->groups;
    q.bf16 = ld_cuda_is_bf16(cuda);
    q.most_workspace = PLAN_BYTES;
    return q;
}

/* With bias, identity and ReLU in one where cuDNN has that; without also where
 * there may be none of them. */
static bool make_forward_plans(struct ld_cudnn *cudnn, struct ld_conv *conv,
                               struct ld_cudnn_question q)
{
    const struct ld_conv_desc *desc = &conv->filter.desc;

    q.finishes = true;
    q.residual = desc->residual;
    q.relu = desc->relu;
    conv->finishing = ld_cudnn_plan_new(cudnn, &q);
    q.finishes = q.residual = q.relu = false;
    if (!conv->finishing || !(desc->residual || desc->relu))
        conv->plan[LD_CUDNN_FORWARD] = ld_cudnn_plan_new(cudnn, &q);
    return conv->finishing || conv->plan[LD_CUDNN_FORWARD];
}

/* cuDNN's plans of all but direct ones and the stem; returns the passes that
 * are left. */
static int make_plans(struct ld_cuda *cuda, struct ld_conv *conv, int passes)
{
    struct ld_cudnn *cudnn = cuda->math->cudnn;
    struct ld_cudnn_question q = question_of(cuda, &conv->filter);

    if (!cudnn || conv->direct || conv->filter.desc.image)
        return passes;
    if (passes & LD_CUDA_FORWARD && make_forward_plans(cudnn, conv, q))
        passes &= ~LD_CUDA_FORWARD;
    q.pass = LD_CUDNN_WEIGHTS;
    if (passes & LD_CUDA_WEIGHTS)
        conv->plan[q.pass] = ld_cudnn_plan_new(cudnn, &q);
    if (conv->plan[q.pass])
        passes &= ~LD_CUDA_WEIGHTS;
    q.pass = LD_CUDNN_DATA;
    q.adds = conv->filter.desc.adds;
    if (passes & LD_CUDA_DATA)
        conv->plan[q.pass] = ld_cudnn_plan_new(cudnn, &q);
    if (conv->plan[q.pass])
        passes &= ~LD_CUDA_DATA;
    return passes;
}

static bool make_products(struct ld_cuda *cuda, struct ld_conv *conv,
                          int passes, struct ld_err *err)
{
    const struct ld_cuda_filter *f = &conv->filter;
    int on_tiles = passes & (LD_CUDA_FORWARD | LD_CUDA_WEIGHTS);
    int last = f->out.N % conv->band_n;

    return ld_cuda_products_make(cuda, &conv->whole, f, conv->tile, on_tiles,
                                 err) &&
           ld_cuda_products_make(cuda, &conv->rest, f,
                                 conv->pixels % conv->tile, on_tiles, err) &&
           ld_cuda_products_make(cuda, &conv->band, f,
                                 band_pixels(conv, conv->band_n),
                                 passes & LD_CUDA_DATA, err) &&
           ld_cuda_products_make(cuda, &conv->last_band, f,
                                 band_pixels(conv, last), passes & LD_CUDA_DATA,
                                 err);
}

struct ld_conv *ld_cuda_conv_new(struct ld_device *dev,
                                 const struct ld_conv_desc *desc,
                                 struct ld_err *err)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    struct ld_conv *conv;

    if (!check(desc, err))
        return NULL;
    conv = (struct ld_conv *)ld_new(1, sizeof(*conv), err);
    if (!conv)
        return NULL;
    conv->filter = ld_cuda_filter_of(desc);
    conv->number_bytes = ld_cuda_number_bytes(cuda);
    set_sizes(conv);
    if (make_products(cuda, conv, make_plans(cuda, conv, passes_of(desc)), err))
        return conv;
    ld_cuda_conv_free(dev, conv);
    return NULL;
}

void ld_cuda_conv_free(struct ld_device *dev, struct ld_conv *conv)
{
    if (!conv)
        return;
    ld_cuda_products_free(&conv->whole);
    ld_cuda_products_free(&conv->rest);
    ld_cuda_products_free(&conv->band);
    ld_cuda_products_free(&conv->last_band);
    for (int i = 0; i < LD_CUDNN_N_PASSES; i++)
        ld_cudnn_plan_free(ld_cuda_of(dev)->math->cudnn, conv->plan[i]);
    ld_cudnn_plan_free(ld_cuda_of(dev)->math->cudnn, conv->finishing);
    ld_delete(conv);
}

/* ---- memory ---- */

/* Scratch of a pass, one behind the other: of cuDNN's forward an identity out
 * of y's way, or the sums before it is added; of backward weights the packed
 * gradient; then columns, or cuDNN's workspace. */
static size_t apart_bytes(const struct ld_conv *conv)
{
    bool planned = conv->finishing || conv->plan[LD_CUDNN_FORWARD];
    size_t O = (size_t)conv->filter.group_O * conv->filter.groups;

    return planned && conv->filter.desc.residual
               ? ld_cuda_aligned(conv->pixels * O * conv->number_bytes)
               : 0;
}

static size_t gradient_bytes(const struct ld_conv *conv)
{
    return conv->filter.desc.train
               ? ld_cuda_aligned(ld_cuda_filter_values(&conv->filter) *
                                 sizeof(float))
               : 0;
}

static size_t columns_bytes(const struct ld_conv *conv, size_t pixels)
{
    return conv->direct ? 0 : pixels * conv->filter.row * conv->number_bytes;
}

/* Of columns or cuDNN's. */
static size_t pass_bytes(const struct ld_conv *conv, enum ld_cudnn_pass pass)
{
    const struct ld_cudnn_plan *plan = conv->plan[pass];
    size_t bytes = plan ? ld_cudnn_plan_workspace(plan) : 0, finishing;

    if (pass == LD_CUDNN_FORWARD && conv->finishing) {
        finishing = ld_cudnn_plan_workspace(conv->finishing);
        return bytes > finishing ? bytes : finishing;
    }
    if (plan)
        return bytes;
    if (pass == LD_CUDNN_DATA)
        return conv->band.data
                   ? columns_bytes(conv, band_pixels(conv, conv->band_n))
                   : 0;
    return columns_bytes(conv, conv->tile);
}

size_t ld_cuda_conv_scratch_bytes(const struct ld_conv *conv)
{
    size_t bytes = apart_bytes(conv) + pass_bytes(conv, LD_CUDNN_FORWARD);
    size_t data = pass_bytes(conv, LD_CUDNN_DATA);
    size_t weights = gradient_bytes(conv);

    if (weights > 0)
        weights += pass_bytes(conv, LD_CUDNN_WEIGHTS);
    bytes = bytes > data ? bytes : data;
    return bytes > weights ? bytes : weights;
}

size_t ld_cuda_conv_weight_bytes(const struct ld_conv *conv)
{
    return ld_cuda_filter_values(&conv->filter) * conv->number_bytes;
}

void ld_cuda_conv_pack(struct ld_device *dev, const struct ld_conv *conv,
                       void *packed, const float *weight, const float *scale)
{
    ld_cuda_filter_pack(ld_cuda_of(dev), &conv->filter, packed, weight, scale);
}

/* ---- passes ---- */

/* Pixel `first` of a map of O channels. */
static char *pixel_of(const struct ld_conv *conv, const void *map, size_t first)
{
    size_t O = (size_t)conv->filter.group_O * conv->filter.groups;

    return (char *)map + first * O * conv->number_bytes;
}

/* The columns of n pixels: made in `room`, or the map's own. */
static const void *columns_of(struct ld_cuda *cuda, const struct ld_conv *conv,
                              const void *x, size_t first, size_t n, void *room)
{
    if (conv->direct)
        return x;
    ld_cuda_columns_make(cuda, &conv->filter, room, x, first, n);
    return room;
}

static void run_plan(struct ld_cuda *cuda, const struct ld_cudnn_plan *plan,
                     const struct ld_cudnn_operands *operands)
{
    (void)ld_cudnn_plan_run(cuda->math->cudnn, plan, operands, &cuda->fault);
}

static void forward_by_tiles(struct ld_cuda *cuda, const struct ld_conv *conv,
                             const struct ld_cuda_finish *whole, const float *x,
                             const void *packed, void *scratch)
{
    struct ld_cuda_factors f = {};

    f.a = packed;
    if (conv->whole.whole || conv->rest.whole)
        f.bias = ld_cuda_bias_pack(cuda, whole->bias, whole->shape.C);
    for (size_t first = 0; first < conv->pixels; first += conv->tile) {
        size_t n = least(conv->tile, conv->pixels - first);
        const struct ld_cuda_products *p =
            n == conv->tile ? &conv->whole : &conv->rest;
        struct ld_cuda_finish finish = *whole;

        f.b = columns_of(cuda, conv, x, first, n, scratch);
        f.d = pixel_of(conv, whole->y, first);
        if (whole->identity)
            f.c = pixel_of(conv, whole->identity, first);
        ld_cuda_product_run(cuda, p->forward, &f);
        finish.y = f.d;
        finish.from = f.d;
        finish.identity = NULL; /* it is in already */
        finish.shape = {1, whole->shape.C, 1, (int)n};
        if (!p->whole)
            ld_cuda_finish_run(cuda, &finish);
    }
}

/* One that reads what it writes elsewhere is not promised to work in place. */
static void run_finishing(struct ld_cuda *cuda, const struct ld_conv *conv,
                          const struct ld_cuda_finish *f,
                          struct ld_cudnn_operands *o, void *apart)
{
    struct ld_device *dev = &cuda->device;

    o->y = f->y;
    o->identity = f->identity;
    if (f->identity == f->y) {
        dev->ops->copy(dev, apart, f->y, ld_cuda_map_bytes(dev, f->shape));
        o->identity = apart;
    }
    o->bias = ld_cuda_bias_pack(cuda, f->bias, f->shape.C);
    run_plan(cuda, conv->finishing, o);
}

void ld_cuda_conv_forward(struct ld_device *dev, const struct ld_conv *conv,
                          float *y, const float *x, const void *packed,
                          const float *bias, const float *identity,
                          void *scratch)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    struct ld_cudnn_plan *plan = conv->plan[LD_CUDNN_FORWARD];
    struct ld_cuda_finish f = {};
    struct ld_cudnn_operands o = {(void *)x, (void *)packed};

    f.y = y;
    f.identity = identity;
    f.bias = bias;
    f.shape = conv->filter.out;
    f.relu = conv->filter.desc.relu;
    o.workspace = (char *)scratch + apart_bytes(conv);
    if (conv->finishing && (bias || !plan)) {
        run_finishing(cuda, conv, &f, &o, scratch);
    } else if (plan) {
        f.from = o.y = identity ? scratch : (void *)y;
        run_plan(cuda, plan, &o);
        ld_cuda_finish_run(cuda, &f);
    } else {
        forward_by_tiles(cuda, conv, &f, x, packed, scratch);
    }
}

/* The band from row `row` of image `image` on: the rows of the output that read
 * its rows, moved so that there are as many as in any other. */
static struct ld_cuda_band band_at(const struct ld_conv *conv, int image,
                                   int row)
{
    const struct ld_conv_desc *desc = &conv->filter.desc;
    int from = row + desc->pad - desc->dilation * (desc->kernel - 1);
    int most = conv->filter.out.H - conv->band_out_rows;
    struct ld_cuda_band b = {};

    b.image = image;
    b.n = desc->in.N - image < conv->band_n ? desc->in.N - image : conv->band_n;
    b.row = row;
    b.rows =
        desc->in.H - row < conv->band_rows ? desc->in.H - row : conv->band_rows;
    b.out_row = from > 0 ? (from + desc->stride - 1) / desc->stride : 0;
    b.out_row = b.out_row < most ? b.out_row : most;
    b.out_rows = conv->band_out_rows;
    return b;
}

static void data_of_band(struct ld_cuda *cuda, const struct ld_conv *conv,
                         float *dx, const float *dy, struct ld_cuda_factors *f,
                         const struct ld_cuda_band *band)
{
    size_t first = ((size_t)band->image * conv->filter.out.H + band->out_row) *
                   conv->filter.out.W;
    const struct ld_cuda_products *p =
        band->n == conv->band_n ? &conv->band : &conv->last_band;

    f->b = pixel_of(conv, dy, first);
    ld_cuda_product_run(cuda, p->data, f);
    if (!conv->direct)
        ld_cuda_columns_gather(cuda, &conv->filter, dx, f->d, band);
}

void ld_cuda_conv_backward_data(struct ld_device *dev,
                                const struct ld_conv *conv, float *dx,
                                const float *dy, const void *packed,
                                void *scratch)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    const struct ld_conv_desc *desc = &conv->filter.desc;
    struct ld_cuda_factors f = {};
    struct ld_cudnn_operands o = {dx, (void *)packed, (void *)dy};

    o.workspace = scratch;
    if (conv->plan[LD_CUDNN_DATA]) {
        run_plan(cuda, conv->plan[LD_CUDNN_DATA], &o);
        return;
    }
    f.a = packed;
    f.d = conv->direct ? (void *)dx : scratch;
    if (conv->direct && desc->adds)
        f.c = dx;
    for (int image = 0; image < desc->in.N; image += conv->band_n)
        for (int row = 0; row < desc->in.H; row += conv->band_rows) {
            struct ld_cuda_band band = band_at(conv, image, row);

            data_of_band(cuda, conv, dx, dy, &f, &band);
        }
}

static void weights_by_tiles(struct ld_cuda *cuda, const struct ld_conv *conv,
                             void *gradient, const float *dy, const float *x,
                             void *room)
{
    struct ld_cuda_factors f = {};

    f.d = gradient;
    for (size_t first = 0; first < conv->pixels; first += conv->tile) {
        size_t n = least(conv->tile, conv->pixels - first);
        const struct ld_cuda_products *p =
            n == conv->tile ? &conv->whole : &conv->rest;

        f.a = columns_of(cuda, conv, x, first, n, room);
        f.b = pixel_of(conv, dy, first);
        f.c = first > 0 ? gradient : NULL;
        ld_cuda_product_run(cuda, p->weights, &f);
    }
}

void ld_cuda_conv_backward_weights(struct ld_device *dev,
                                   const struct ld_conv *conv, float *dweight,
                                   float *dbias, float *dy, const float *y,
                                   const float *x, void *scratch)
{
    struct ld_cuda *cuda = ld_cuda_of(dev);
    char *room = (char *)scratch + gradient_bytes(conv);
    bool planned = conv->plan[LD_CUDNN_WEIGHTS] != NULL;
    struct ld_cudnn_operands o = {(void *)x, scratch, dy};

    o.workspace = room;
    if (dbias)
        ld_cuda_bias_add(cuda, dbias, dy, y, conv->filter.out);
    else if (y)
        ld_cuda_relu_backward(dev, dy, y, conv->filter.out);
    if (planned)
        run_plan(cuda, conv->plan[LD_CUDNN_WEIGHTS], &o);
    else
        weights_by_tiles(cuda, conv, scratch, dy, x, room);
    ld_cuda_filter_unpack_add(cuda, &conv->filter, dweight, scratch, planned);
}
