#include "kernels/cpu/conv_cpu.h"

#include "kernels/base/mem.h"
#include "kernels/base/parallel.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/thin_cpu.h"
#include "kernels/cpu/weights_cpu.h"

enum { ALIGN = 64 };

/* Packed weights are one or two regions: the forward pass's order, and, in
 * training, that of backward data. A pass reads the one whose form it took. */
struct ld_conv {
    struct ld_conv_desc desc; /* as the library runs it */
    struct ld_shape in;       /* of the map; desc.in is thinned if .. */
    int thinning;             /* .. this, the stride of a 1x1, is over 1 */
    int merged;               /* groups that are one of desc's */
    struct ld_dnn_conv *pass[LD_DNN_N_PASSES];
    struct ld_dnn_form *form[2];  /* of the regions; [1] may be NULL */
    struct ld_dnn_form *gradient; /* of the weights' gradient, or NULL */
    int region[LD_DNN_N_PASSES];  /* read by the pass */
    size_t thin_bytes;            /* of the thinned map, in scratch; or 0 */
    size_t addend_bytes;          /* of a gradient to be added; or 0 */
    float *no_bias;               /* (O) zeros */
};

/* F(4x4, 3x3) does in 36 products a tile of 4x4 what takes 144 directly, and
 * transforms the weights, each call, at the price of some more tiles. Measured
 * by bench-conv (oneDNN 2.6.3, one AVX-512 core, 64 to 512 channels, 2 to 625
 * tiles), its gain is 2.2 (outputs / 16) / (tiles + 32) forward, and as much or
 * more in backward: twice as fast on 256 channels at 64x64, a sixth on two maps
 * of 16x16, half as fast at 8x8. Above 256x256 channels the transformed weights
 * outgrow the caches (backward weights of 512 at 16x16: 0.9) and their scratch,
 * 36 numbers a weight and thread, the rest of a training run's: 80 MB of R-18's
 * 818; so they must bring more tiles. 16 channels or fewer leave its products
 * idle: 0.8 at best. */
bool ld_conv_prefers_winograd(const struct ld_conv_desc *desc)
{
    struct ld_shape out = ld_conv_out(desc);
    size_t tiles = (size_t)out.N * ((out.H + 3) / 4) * ((out.W + 3) / 4);
    size_t outputs = (size_t)out.N * out.H * out.W; /* of a channel */
    size_t wide = (size_t)desc->in.C * desc->O / (256 * 256);
    size_t price = 32 * (wide > 1 ? wide : 1); /* in tiles */

    return desc->groups <= 1 && desc->kernel == 3 && desc->stride == 1 &&
           desc->dilation == 1 && desc->in.C > 16 && desc->O > 16 &&
           outputs / 8 >= tiles + price;
}

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* The orders of packed weights may not depend on the map's size: levels that
 * share weights share one packed copy. So the library is asked for its
 * preference on one made-up map. */
static struct ld_dnn_form *form_of(struct ld_cpu *cpu,
                                   const struct ld_conv_desc *desc,
                                   enum ld_dnn_pass pass, struct ld_err *err)
{
    struct ld_conv_desc made_up = *desc;
    struct ld_dnn_ask ask = {&made_up, cpu->block, pass, false, NULL};

    made_up.in.N = 1;
    made_up.in.H = made_up.in.W = 33 + 2 * desc->kernel * desc->dilation;
    made_up.residual = made_up.relu = false;
    return ld_dnn_form_new(cpu->dnn, &ask, err);
}

static bool make_forms(struct ld_cpu *cpu, struct ld_conv *conv,
                       struct ld_err *err)
{
    const struct ld_conv_desc *desc = &conv->desc;

    conv->form[0] = form_of(cpu, desc, LD_DNN_FORWARD, err);
    if (!conv->form[0])
        return false;
    if (!desc->train)
        return true;
    conv->gradient = form_of(cpu, desc, LD_DNN_BACKWARD_WEIGHTS, err);
    if (!desc->image && conv->gradient)
        conv->form[1] = form_of(cpu, desc, LD_DNN_BACKWARD_DATA, err);
    return conv->gradient && (desc->image || conv->form[1]);
}

/* Weights for Winograd come in the order of the forward pass, also in backward
 * data. */
static struct ld_dnn_conv *make_winograd(struct ld_cpu *cpu,
                                         const struct ld_conv *conv,
                                         enum ld_dnn_pass pass)
{
    bool weights = pass == LD_DNN_BACKWARD_WEIGHTS;
    struct ld_dnn_ask ask = {&conv->desc, cpu->block, pass, true,
                             weights ? conv->gradient : conv->form[0]};
    struct ld_err ignored = {0}; /* a direct one comes instead */

    if (!ld_conv_prefers_winograd(&conv->desc))
        return NULL;
    return ld_dnn_conv_new(cpu->dnn, &ask, &ignored);
}

static bool make_pass(struct ld_cpu *cpu, struct ld_conv *conv,
                      enum ld_dnn_pass pass, struct ld_err *err)
{
    struct ld_dnn_ask ask = {&conv->desc, cpu->block, pass, false, NULL};

    conv->pass[pass] = make_winograd(cpu, conv, pass);
    if (conv->pass[pass])
        return true;
    conv->region[pass] = pass == LD_DNN_BACKWARD_DATA;
    ask.form = pass == LD_DNN_BACKWARD_WEIGHTS ? conv->gradient
                                               : conv->form[conv->region[pass]];
    conv->pass[pass] = ld_dnn_conv_new(cpu->dnn, &ask, err);
    return conv->pass[pass] != NULL;
}

static bool make_passes(struct ld_cpu *cpu, struct ld_conv *conv,
                        struct ld_err *err)
{
    const struct ld_conv_desc *desc = &conv->desc;

    if (!make_pass(cpu, conv, LD_DNN_FORWARD, err))
        return false;
    if (!desc->train)
        return true;
    if (!desc->image && !make_pass(cpu, conv, LD_DNN_BACKWARD_DATA, err))
        return false;
    return make_pass(cpu, conv, LD_DNN_BACKWARD_WEIGHTS, err);
}

/* The library's fast loops take groups of whole blocks; for others it falls
 * back to plain ones, 500 times slower. So as many groups become one as fill a
 * block in and out, their weights along its diagonal. With 4 channels a group
 * that is 4 times the arithmetic: 128 channels at 200x336 take 18, 20 and 24 ms
 * forward, data and weights on one core of a Sapphire Rapids Xeon, where the
 * library's own groups take 11 s and the dense convolution's Winograd 46 to 48
 * ms. */
static int groups_to_merge(const struct ld_conv_desc *desc, int block)
{
    int C = desc->in.C / desc->groups, O = desc->O / desc->groups;

    for (int n = 1; n < desc->groups; n++)
        if (desc->groups % n == 0 && n * C % block == 0 && n * O % block == 0)
            return n;
    return desc->groups;
}

static void set_desc(struct ld_conv *conv, const struct ld_conv_desc *desc,
                     int block)
{
    bool thin = desc->kernel == 1 && desc->pad == 0 && !desc->image;

    conv->desc = *desc;
    conv->merged = desc->groups > 1 ? groups_to_merge(desc, block) : 1;
    conv->desc.groups = desc->groups / conv->merged;
    conv->in = desc->in;
    conv->thinning = thin ? desc->stride : 1;
    if (conv->thinning > 1) {
        conv->desc.in = ld_thin_shape(desc->in, desc->stride);
        conv->desc.stride = 1;
    }
}

struct ld_conv *ld_cpu_conv_new(struct ld_device *dev,
                                const struct ld_conv_desc *desc,
                                struct ld_err *err)
{
    struct ld_conv *conv = ld_new(1, sizeof(*conv), err);

    if (!conv)
        return NULL;
    set_desc(conv, desc, ld_cpu_of(dev)->block);
    conv->thin_bytes = conv->thinning > 1
                           ? aligned(dev->ops->map_bytes(dev, conv->desc.in))
                           : 0;
    if (desc->adds)
        conv->addend_bytes = aligned(dev->ops->map_bytes(dev, conv->in));
    conv->no_bias = ld_new((size_t)desc->O, sizeof(float), err);
    if (!conv->no_bias || !make_forms(ld_cpu_of(dev), conv, err) ||
        !make_passes(ld_cpu_of(dev), conv, err)) {
        ld_cpu_conv_free(dev, conv);
        return NULL;
    }
    return conv;
}

void ld_cpu_conv_free(struct ld_device *dev, struct ld_conv *conv)
{
    (void)dev;
    if (!conv)
        return;
    for (int i = 0; i < LD_DNN_N_PASSES; i++)
        ld_dnn_conv_free(conv->pass[i]);
    ld_dnn_form_free(conv->form[0]);
    ld_dnn_form_free(conv->form[1]);
    ld_dnn_form_free(conv->gradient);
    ld_delete(conv->no_bias);
    ld_delete(conv);
}

/* Scratch is the thinned map, then the library's, then, of backward data, what
 * is to be added, of backward weights the packed gradient of the weights and
 * that of the bias. */
static size_t library_scratch(const struct ld_conv *conv)
{
    size_t most = 0;

    for (int i = 0; i < LD_DNN_N_PASSES; i++) {
        size_t bytes =
            conv->pass[i] ? ld_dnn_conv_scratch_bytes(conv->pass[i]) : 0;

        most = bytes > most ? bytes : most;
    }
    return conv->thin_bytes + aligned(most);
}

/* The input as the library reads it. */
static void *thinned(struct ld_device *dev, const struct ld_conv *conv,
                     const float *x, void *scratch)
{
    if (conv->thinning == 1)
        return (void *)x;
    ld_thin_gather(dev, scratch, x, conv->in, conv->thinning);
    return scratch;
}

size_t ld_cpu_conv_scratch_bytes(const struct ld_conv *conv)
{
    size_t weights = 0, data = conv->addend_bytes;

    if (conv->gradient)
        weights = aligned(conv->gradient->bytes) +
                  aligned((size_t)conv->desc.O * sizeof(float));
    return library_scratch(conv) + (weights > data ? weights : data);
}

static size_t region_at(const struct ld_conv *conv, int region)
{
    return region == 0 ? 0 : aligned(conv->form[0]->bytes);
}

size_t ld_cpu_conv_weight_bytes(const struct ld_conv *conv)
{
    size_t bytes = aligned(conv->form[0]->bytes);

    return conv->form[1] ? bytes + aligned(conv->form[1]->bytes) : bytes;
}

void ld_cpu_conv_pack(struct ld_device *dev, const struct ld_conv *conv,
                      void *packed, const float *weight, const float *scale)
{
    (void)dev;
    for (int i = 0; i < 2; i++)
        if (conv->form[i])
            ld_weights_pack((float *)((char *)packed + region_at(conv, i)),
                            conv->form[i], conv->merged, weight, scale);
}

/* The library takes pointers to non-const, and writes to none that a pass
 * only reads. */
static void run(struct ld_device *dev, const struct ld_conv *conv,
                enum ld_dnn_pass pass, const struct ld_dnn_operands *operands)
{
    struct ld_cpu *cpu = ld_cpu_of(dev);

    ld_dnn_conv_run(cpu->dnn, conv->pass[pass], operands, &cpu->fault);
}

static void *region_read(const struct ld_conv *conv, enum ld_dnn_pass pass,
                         const void *packed)
{
    return (char *)packed + region_at(conv, conv->region[pass]);
}

void ld_cpu_conv_forward(struct ld_device *dev, const struct ld_conv *conv,
                         float *y, const float *x, const void *packed,
                         const float *bias, const float *identity,
                         void *scratch)
{
    struct ld_dnn_operands operands = {
        .x = thinned(dev, conv, x, scratch),
        .w = region_read(conv, LD_DNN_FORWARD, packed),
        .bias = bias ? (void *)bias : conv->no_bias,
        .y = y,
        .scratch = (char *)scratch + conv->thin_bytes,
    };

    if (identity && identity != y) /* the library adds to y */
        dev->ops->copy(dev, y, identity,
                       dev->ops->map_bytes(dev, ld_conv_out(&conv->desc)));
    run(dev, conv, LD_DNN_FORWARD, &operands);
}

void ld_cpu_conv_backward_data(struct ld_device *dev,
                               const struct ld_conv *conv, float *dx,
                               const float *dy, const void *packed,
                               void *scratch)
{
    float *sum = dx;
    struct ld_dnn_operands operands;

    if (conv->desc.adds)
        dx = (float *)((char *)scratch + library_scratch(conv));
    operands = (struct ld_dnn_operands){
        .x = conv->thinning == 1 ? (void *)dx : scratch,
        .w = region_read(conv, LD_DNN_BACKWARD_DATA, packed),
        .y = (void *)dy,
        .scratch = (char *)scratch + conv->thin_bytes,
    };

    run(dev, conv, LD_DNN_BACKWARD_DATA, &operands);
    if (conv->thinning > 1)
        ld_thin_scatter(dev, dx, scratch, conv->in, conv->thinning);
    if (conv->desc.adds)
        ld_cpu_add(dev, sum, dx, conv->in);
}

void ld_cpu_conv_backward_weights(struct ld_device *dev,
                                  const struct ld_conv *conv, float *dweight,
                                  float *dbias, float *dy, const float *y,
                                  const float *x, void *scratch)
{
    char *packed = (char *)scratch + library_scratch(conv);
    float *bias = (float *)(packed + aligned(conv->gradient->bytes));
    struct ld_dnn_operands operands = {
        .x = thinned(dev, conv, x, scratch),
        .w = packed,
        .bias = bias,
        .y = (void *)dy,
        .scratch = (char *)scratch + conv->thin_bytes,
    };

    if (y)
        ld_cpu_relu_backward(dev, dy, y, ld_conv_out(&conv->desc));
    run(dev, conv, LD_DNN_BACKWARD_WEIGHTS, &operands);
    ld_weights_unpack_add(dweight, (const float *)packed, conv->gradient,
                          conv->merged);
    for (int o = 0; dbias && o < conv->desc.O; o++)
        dbias[o] += bias[o];
}
