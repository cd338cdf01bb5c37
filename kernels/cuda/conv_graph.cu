#include "kernels/cuda/conv_graph.h"

enum { MOST_OPERATIONS = 4 };

/* ---- descriptors ---- */

cudnnBackendDescriptor_t ld_cudnn_make(struct ld_cudnn_graph *g,
                                       cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t d = NULL;

    if (g->n_made == LD_CUDNN_DESCRIPTORS ||
        g->c->create_descriptor(type, &d) != CUDNN_STATUS_SUCCESS) {
        g->failed = true;
        return NULL;
    }
    g->made[g->n_made++] = d;
    return d;
}

void ld_cudnn_set(struct ld_cudnn_graph *g, cudnnBackendDescriptor_t d,
                  cudnnBackendAttributeName_t name,
                  cudnnBackendAttributeType_t type, int64_t count,
                  const void *values)
{
    if (!g->failed &&
        g->c->set(d, name, type, count, values) != CUDNN_STATUS_SUCCESS)
        g->failed = true;
}

void ld_cudnn_set_descriptor(struct ld_cudnn_graph *g,
                             cudnnBackendDescriptor_t d,
                             cudnnBackendAttributeName_t name,
                             cudnnBackendDescriptor_t value)
{
    ld_cudnn_set(g, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

void ld_cudnn_finish(struct ld_cudnn_graph *g, cudnnBackendDescriptor_t d)
{
    if (!g->failed && g->c->finalize(d) != CUDNN_STATUS_SUCCESS)
        g->failed = true;
}

void ld_cudnn_destroy_all(struct ld_cudnn_graph *g)
{
    for (int i = g->n_made - 1; i >= 0; i--)
        (void)g->c->destroy_descriptor(g->made[i]);
}

/* Of (N, C, H, W) in NHWC order; one between operations is of float. */
static cudnnBackendDescriptor_t tensor(struct ld_cudnn_graph *g, int64_t id,
                                       bool bf16, const int64_t dim[4])
{
    cudnnBackendDescriptor_t d =
        ld_cudnn_make(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    bool between = id >= LD_CUDNN_BETWEEN;
    cudnnDataType_t type =
        bf16 && !between ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    int64_t stride[4] = {dim[1] * dim[2] * dim[3], 1, dim[1] * dim[3], dim[1]};
    int64_t alignment = 16;

    ld_cudnn_set(g, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1,
                 &type);
    ld_cudnn_set(g, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dim);
    ld_cudnn_set(g, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride);
    ld_cudnn_set(g, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    ld_cudnn_set(g, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1,
                 &alignment);
    ld_cudnn_set(g, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1,
                 &between);
    ld_cudnn_finish(g, d);
    return d;
}

/* ---- operations ---- */

static cudnnBackendDescriptor_t window(struct ld_cudnn_graph *g,
                                       const struct ld_cudnn_question *q)
{
    cudnnBackendDescriptor_t d =
        ld_cudnn_make(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t n = 2, stride[2] = {q->stride, q->stride};
    int64_t pad[2] = {q->pad, q->pad}, dilation[2] = {q->dilation, q->dilation};

    ld_cudnn_set(g, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE,
                 1, &compute);
    ld_cudnn_set(g, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE,
                 CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    ld_cudnn_set(g, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1,
                 &n);
    ld_cudnn_set(g, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64,
                 2, stride);
    ld_cudnn_set(g, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2,
                 pad);
    ld_cudnn_set(g, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64,
                 2, pad);
    ld_cudnn_set(g, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2,
                 dilation);
    ld_cudnn_finish(g, d);
    return d;
}

/* How an operation's parts are called. */
struct names {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t x, w, y, window, alpha, beta;
};

static const struct names names_of[LD_CUDNN_N_PASSES] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

/* The pass itself; `y` is the tensor of its y. */
static cudnnBackendDescriptor_t convolution(struct ld_cudnn_graph *g,
                                            const struct ld_cudnn_question *q,
                                            cudnnBackendDescriptor_t y)
{
    const struct names *names = &names_of[q->pass];
    int64_t x[4] = {q->in.N, q->in.C, q->in.H, q->in.W};
    int64_t w[4] = {q->O, q->in.C / q->groups, q->kernel, q->kernel};
    cudnnBackendDescriptor_t d = ld_cudnn_make(g, names->type);
    float alpha = 1, beta = q->adds ? 1 : 0;

    ld_cudnn_set_descriptor(g, d, names->x, tensor(g, LD_CUDNN_X, q->bf16, x));
    ld_cudnn_set_descriptor(g, d, names->w, tensor(g, LD_CUDNN_W, q->bf16, w));
    ld_cudnn_set_descriptor(g, d, names->y, y);
    ld_cudnn_set_descriptor(g, d, names->window, window(g, q));
    ld_cudnn_set(g, d, names->alpha, CUDNN_TYPE_FLOAT, 1, &alpha);
    ld_cudnn_set(g, d, names->beta, CUDNN_TYPE_FLOAT, 1, &beta);
    ld_cudnn_finish(g, d);
    return d;
}

/* to = from + more, or, if `more` is NULL, max(0, from) */
static cudnnBackendDescriptor_t pointwise(struct ld_cudnn_graph *g,
                                          cudnnBackendDescriptor_t to,
                                          cudnnBackendDescriptor_t from,
                                          cudnnBackendDescriptor_t more)
{
    cudnnBackendDescriptor_t work =
        ld_cudnn_make(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    cudnnBackendDescriptor_t d =
        ld_cudnn_make(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    cudnnPointwiseMode_t mode =
        more ? CUDNN_POINTWISE_ADD : CUDNN_POINTWISE_RELU_FWD;
    cudnnDataType_t type = CUDNN_DATA_FLOAT;

    ld_cudnn_set(g, work, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE,
                 1, &mode);
    ld_cudnn_set(g, work, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE,
                 1, &type);
    ld_cudnn_finish(g, work);
    ld_cudnn_set_descriptor(g, d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
                            work);
    ld_cudnn_set_descriptor(g, d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, from);
    if (more)
        ld_cudnn_set_descriptor(g, d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
                                more);
    ld_cudnn_set_descriptor(g, d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, to);
    ld_cudnn_finish(g, d);
    return d;
}

/* Operations one after the other, each but the last with a tensor between it
 * and the next. */
struct chain {
    cudnnBackendDescriptor_t operation[MOST_OPERATIONS], end;
    int n, n_left; /* operations that are there; that will come */
};

/* What the next operation writes: y itself if it is the last. */
static cudnnBackendDescriptor_t next_end(struct ld_cudnn_graph *g,
                                         struct chain *c, bool bf16,
                                         const int64_t y[4])
{
    c->end = tensor(g, c->n_left-- > 1 ? LD_CUDNN_BETWEEN + c->n : LD_CUDNN_Y,
                    bf16, y);
    return c->end;
}

/* The identity before the bias: engines that come compiled know this order. */
static void add_finish(struct ld_cudnn_graph *g,
                       const struct ld_cudnn_question *q, struct chain *c,
                       const int64_t y[4])
{
    int64_t bias[4] = {1, y[1], 1, 1};
    cudnnBackendDescriptor_t from = c->end, more;

    if (q->residual) {
        more = tensor(g, LD_CUDNN_IDENTITY, q->bf16, y);
        c->operation[c->n++] =
            pointwise(g, next_end(g, c, q->bf16, y), from, more);
        from = c->end;
    }
    more = tensor(g, LD_CUDNN_BIAS, q->bf16, bias);
    c->operation[c->n++] = pointwise(g, next_end(g, c, q->bf16, y), from, more);
    from = c->end;
    if (q->relu)
        c->operation[c->n++] =
            pointwise(g, next_end(g, c, q->bf16, y), from, NULL);
}

static struct chain chain_of(struct ld_cudnn_graph *g,
                             const struct ld_cudnn_question *q)
{
    struct ld_conv_desc desc = {.in = q->in,
                                .O = q->O,
                                .kernel = q->kernel,
                                .stride = q->stride,
                                .pad = q->pad,
                                .dilation = q->dilation};
    struct ld_shape out = ld_conv_out(&desc);
    int64_t y[4] = {out.N, out.C, out.H, out.W};
    struct chain c = {};

    c.n_left = q->finishes ? 2 + q->residual + q->relu : 1;
    c.operation[c.n++] = convolution(g, q, next_end(g, &c, q->bf16, y));
    if (q->finishes)
        add_finish(g, q, &c, y);
    return c;
}

cudnnBackendDescriptor_t ld_cudnn_graph_of(struct ld_cudnn_graph *g,
                                           const struct ld_cudnn_question *q)
{
    struct chain c = chain_of(g, q);
    cudnnBackendDescriptor_t d =
        ld_cudnn_make(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);

    ld_cudnn_set(g, d, CUDNN_ATTR_OPERATIONGRAPH_OPS,
                 CUDNN_TYPE_BACKEND_DESCRIPTOR, c.n, c.operation);
    if (g->c->handle)
        ld_cudnn_set(g, d, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE,
                     1, &g->c->handle);
    ld_cudnn_finish(g, d);
    return d;
}
