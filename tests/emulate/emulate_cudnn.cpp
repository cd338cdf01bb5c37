/* Convolutions on the CPU: stands in for kernels/cuda/conv_cudnn.cu, by plain
 * loops. It has no plan for maps of an odd width, and none that finishes for
 * those of an odd height, as the real one has none for some questions. */
#include "cuda_bf16.h"
#include "cupti.h"
#include "emulate_tf32.h"
#include "kernels/cuda/conv_cudnn.h"

#include <cstdio>

struct ld_cudnn {
    cudaStream_t stream;
    int n_plans;
};

struct ld_cudnn_plan {
    struct ld_cudnn_question question;
};

namespace
{

enum { ALIGN = 16, WORKSPACE = 4096 };

void must(bool right, const char *what)
{
    if (right)
        return;
    fprintf(stderr, "emulated cuDNN: %s\n", what);
    abort();
}

struct ld_shape out_of(const struct ld_cudnn_question *q)
{
    struct ld_conv_desc desc = {};

    desc.in = q->in;
    desc.O = q->O;
    desc.kernel = q->kernel;
    desc.stride = q->stride;
    desc.pad = q->pad;
    desc.dilation = q->dilation;
    return ld_conv_out(&desc);
}

size_t count(struct ld_shape s)
{
    return (size_t)s.N * s.C * s.H * s.W;
}

/* The numbers, or zeros where they are to be made and not added to. */
double *unpack(const void *from, size_t n, bool bf16, bool made)
{
    double *to = (double *)calloc(n, sizeof(double));

    must(to != NULL, "no memory");
    must(from != NULL && (uintptr_t)from % ALIGN == 0, "a tensor off 16 bytes");
    for (size_t i = 0; i < n && !made; i++)
        to[i] = bf16 ? __bfloat162float(((const __nv_bfloat16 *)from)[i])
                     : ((const float *)from)[i];
    return to;
}

/* What a product reads of floats. */
void cut(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = emulate_tf32((float)x[i]);
}

void pack(void *to, double *from, size_t n, bool bf16, bool made)
{
    for (size_t i = 0; i < n && made; i++)
        if (bf16)
            ((__nv_bfloat16 *)to)[i] = __float2bfloat16((float)from[i]);
        else
            ((float *)to)[i] = (float)from[i];
    free(from);
}

/* One tap of one pixel of the output, for all channels. */
void add_tap(const struct ld_cudnn_question *q, double *x, double *w, double *y)
{
    int C = q->in.C / q->groups, O = q->O / q->groups;
    size_t row = (size_t)q->kernel * q->kernel * C;

    for (int o = 0; o < q->O; o++) {
        double *at_x = x + o / O * C, *at_w = w + o * row, sum = 0, by = y[o];

        if (q->pass == LD_CUDNN_FORWARD)
            for (int c = 0; c < C; c++)
                sum += at_x[c] * at_w[c];
        else if (q->pass == LD_CUDNN_DATA)
            for (int c = 0; c < C; c++)
                at_x[c] += by * at_w[c];
        else
            for (int c = 0; c < C; c++)
                at_w[c] += by * at_x[c];
        y[o] += sum;
    }
}

void convolve(const struct ld_cudnn_question *q, double *x, double *w,
              double *y)
{
    struct ld_shape out = out_of(q);
    size_t C = (size_t)q->in.C / q->groups, pixels = count(out) / out.C;

    for (size_t p = 0; p < pixels; p++)
        for (int tap = 0; tap < q->kernel * q->kernel; tap++) {
            int h = (int)(p / out.W % out.H) * q->stride - q->pad +
                    tap / q->kernel * q->dilation;
            int v = (int)(p % out.W) * q->stride - q->pad +
                    tap % q->kernel * q->dilation;
            size_t n = p / out.W / out.H;

            if (h >= 0 && h < q->in.H && v >= 0 && v < q->in.W)
                add_tap(q, x + ((n * q->in.H + h) * q->in.W + v) * q->in.C,
                        w + tap * C, y + p * out.C);
        }
}

void finish(const struct ld_cudnn_question *q,
            const struct ld_cudnn_operands *o, double *y)
{
    size_t O = (size_t)q->O, n = count(out_of(q));
    double *bias = unpack(o->bias, O, q->bf16, false);
    double *identity = unpack(q->residual ? o->identity : o->bias,
                              q->residual ? n : O, q->bf16, false);

    for (size_t i = 0; i < n; i++) {
        y[i] += bias[i % O] + (q->residual ? identity[i] : 0);
        if (q->relu && !(y[i] > 0))
            y[i] = 0;
    }
    free(bias);
    free(identity);
}

} // namespace

struct ld_cudnn *ld_cudnn_open(const char *, cudaStream_t stream)
{
    struct ld_cudnn *cudnn = (struct ld_cudnn *)calloc(1, sizeof(*cudnn));

    must(cudnn != NULL, "no memory");
    cudnn->stream = stream;
    return cudnn;
}

void ld_cudnn_close(struct ld_cudnn *cudnn)
{
    must(!cudnn || cudnn->n_plans == 0, "closed with plans");
    free(cudnn);
}

int ld_cudnn_version(const struct ld_cudnn *)
{
    return 90000;
}

struct ld_cudnn_plan *ld_cudnn_plan_new(struct ld_cudnn *cudnn,
                                        const struct ld_cudnn_question *q)
{
    struct ld_cudnn_plan *plan;

    must(q->in.C % (8 * q->groups) == 0 && q->O % (8 * q->groups) == 0,
         "channels that are not padded");
    must(!q->finishes || q->pass == LD_CUDNN_FORWARD, "finishes backward");
    if (q->in.W % 2 == 1 || (q->finishes && q->in.H % 2 == 1))
        return NULL;
    plan = (struct ld_cudnn_plan *)calloc(1, sizeof(*plan));
    must(plan != NULL, "no memory");
    plan->question = *q;
    cudnn->n_plans++;
    return plan;
}

void ld_cudnn_plan_free(struct ld_cudnn *cudnn, struct ld_cudnn_plan *plan)
{
    if (plan)
        cudnn->n_plans--;
    free(plan);
}

size_t ld_cudnn_plan_workspace(const struct ld_cudnn_plan *)
{
    return WORKSPACE;
}

static void run(const struct ld_cudnn_question *q,
                const struct ld_cudnn_operands *o)
{
    size_t n_x = count(q->in), n_y = count(out_of(q));
    size_t n_w = (size_t)q->O * q->kernel * q->kernel * (q->in.C / q->groups);
    bool forward = q->pass == LD_CUDNN_FORWARD, data = q->pass == LD_CUDNN_DATA;
    bool weights = q->pass == LD_CUDNN_WEIGHTS;
    double *x = unpack(o->x, n_x, q->bf16, data && !q->adds);
    double *w = unpack(o->w, n_w, q->bf16, weights && !q->adds);
    double *y = unpack(o->y, n_y, q->bf16, forward && !q->adds);

    must((uintptr_t)o->workspace % ALIGN == 0, "a workspace off 16 bytes");
    memset(o->workspace, 0xff, WORKSPACE);
    if (!q->bf16 && !data)
        cut(x, n_x);
    if (!q->bf16 && !weights)
        cut(w, n_w);
    if (!q->bf16 && !forward)
        cut(y, n_y);
    convolve(q, x, w, y);
    if (q->finishes)
        finish(q, o, y);
    pack(o->x, x, n_x, q->bf16, data);
    pack(o->w, w, n_w, q->bf16, weights);
    pack(o->y, y, n_y, q->bf16, forward);
}

bool ld_cudnn_plan_run(struct ld_cudnn *cudnn, const struct ld_cudnn_plan *plan,
                       const struct ld_cudnn_operands *operands,
                       struct ld_err *)
{
    struct ld_cudnn_question q = plan->question;
    struct ld_cudnn_operands o = *operands;

    must(!q.finishes || !q.residual || o.identity != o.y,
         "an identity that is written");
    (void)emulate_enqueue(cudnn->stream, [=]() {
        emulate_activity activity(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, 0,
                                  "emulated_convolution");

        run(&q, &o);
        return cudaSuccess;
    });
    return true;
}
