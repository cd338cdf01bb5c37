#include "kernels/cpu/onednn.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/parallel.h"
#include "kernels/cpu/onednn_api.h"

enum { X, WEIGHTS, BIAS, Y, SCRATCH, N_OPERANDS };

struct ld_dnn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

struct ld_dnn_conv {
    dnnl_primitive_t primitive;
    dnnl_memory_t operand[N_OPERANDS]; /* NULL: the pass has none */
    int argument[N_OPERANDS];          /* DNNL_ARG_.. */
    size_t scratch_bytes;
};

static bool fail(struct ld_err *err, const char *what, dnnl_status_t status)
{
    if (status == dnnl_out_of_memory)
        return ld_fail(err, LD_ERR_MEMORY, "oneDNN: %s: out of memory", what);
    return ld_fail(err, LD_ERR_DEVICE, "oneDNN: %s: %s (status %d)", what,
                   status == dnnl_unimplemented ? "not implemented" : "failed",
                   (int)status);
}

struct ld_dnn *ld_dnn_open(struct ld_err *err)
{
    struct ld_dnn *dnn = ld_new(1, sizeof(*dnn), err);
    dnnl_status_t status;

    if (!dnn)
        return NULL;
    status = dnnl_engine_create(&dnn->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = dnnl_stream_create(&dnn->stream, dnn->engine,
                                    dnnl_stream_default_flags);
    if (status != dnnl_success) {
        fail(err, "the CPU engine", status);
        ld_dnn_close(dnn);
        return NULL;
    }
    return dnn;
}

void ld_dnn_close(struct ld_dnn *dnn)
{
    if (!dnn)
        return;
    if (dnn->stream)
        dnnl_stream_destroy(dnn->stream);
    if (dnn->engine)
        dnnl_engine_destroy(dnn->engine);
    ld_delete(dnn);
}

int ld_dnn_block(void)
{
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();

    /* The codes are sets of bits: a larger set contains the smaller. Off x86
     * the set is empty, and a block of 16 is as good as any. */
    if ((isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core)
        return 16;
    return isa & dnnl_cpu_isa_sse41 ? 8 : 16;
}

struct ld_dnn_dims ld_dnn_dims_of(const struct ld_dnn_ask *ask)
{
    const struct ld_conv_desc *d = ask->desc;
    struct ld_shape in = d->in, out = ld_conv_out(d);
    dnnl_format_tag_t tag = ask->block == 16 ? dnnl_nChw16c : dnnl_nChw8c;

    struct ld_dnn_dims dims = {
        .x = {in.N, in.C, in.H, in.W},
        .w_dims = 4,
        .w = {d->O, in.C, d->kernel, d->kernel},
        .bias = {d->O},
        .y = {out.N, out.C, out.H, out.W},
        .stride = {d->stride, d->stride},
        .dilation = {d->dilation - 1, d->dilation - 1},
        .pad = {d->pad, d->pad},
        .x_tag = d->image ? dnnl_nchw : tag,
        .y_tag = tag,
    };

    if (d->groups > 1) {
        const dnnl_dims_t grouped = {d->groups, d->O / d->groups,
                                     in.C / d->groups, d->kernel, d->kernel};

        dims.w_dims = 5;
        memcpy(dims.w, grouped, sizeof(grouped));
    }
    return dims;
}

static dnnl_query_t weights_query(enum ld_dnn_pass pass)
{
    return pass == LD_DNN_BACKWARD_WEIGHTS ? dnnl_query_diff_weights_md
                                           : dnnl_query_weights_md;
}

/* Where index i of dimension d stands, relative to index 0. */
static size_t place(const struct ld_dnn_blocking *b, int d, size_t i)
{
    size_t at = 0, inside = 1; /* numbers in the cuts after this one */

    for (int k = b->n_cuts - 1; k >= 0; k--) {
        size_t cut = (size_t)b->cut[k];

        if (b->cut_dim[k] == d) {
            at += i % cut * inside;
            i /= cut;
        }
        inside *= cut;
    }
    return at + i * (size_t)b->stride[d];
}

static bool fill_form(struct ld_dnn_form *form, const struct ld_dnn_blocking *b,
                      struct ld_err *err)
{
    int grouped = b->n_dims == 5; /* then the sizes of a group come second */
    const dnnl_dim_t *dim = b->dim + grouped;
    size_t *at;

    form->groups = grouped ? (int)b->dim[0] : 1;
    form->O = (int)dim[0];
    form->I = (int)dim[1];
    form->taps = (int)(dim[2] * dim[3]);
    form->O_padded = (int)b->padded[grouped];
    form->I_padded = (int)b->padded[grouped + 1];
    form->bytes = b->bytes;
    at = ld_new(
        (size_t)(form->groups + form->O_padded + form->I_padded + form->taps),
        sizeof(*at), err);
    if (!at)
        return false;
    form->group_at = at;
    form->o_at = at + form->groups;
    form->i_at = form->o_at + form->O_padded;
    form->tap_at = form->i_at + form->I_padded;
    for (int g = 0; g < form->groups; g++)
        *at++ = grouped ? place(b, 0, (size_t)g) : 0;
    for (int o = 0; o < form->O_padded; o++)
        *at++ = place(b, grouped, (size_t)o);
    for (int i = 0; i < form->I_padded; i++)
        *at++ = place(b, grouped + 1, (size_t)i);
    for (int k = 0; k < form->taps; k++)
        *at++ = place(b, grouped + 2, (size_t)(k / dim[3])) +
                place(b, grouped + 3, (size_t)(k % dim[3]));
    return true;
}

struct ld_dnn_form *ld_dnn_form_new(struct ld_dnn *dnn,
                                    const struct ld_dnn_ask *ask,
                                    struct ld_err *err)
{
    struct ld_dnn_form *form = ld_new(1, sizeof(*form), err);
    dnnl_primitive_desc_t pd = NULL;
    struct ld_dnn_blocking blocking;
    dnnl_status_t status;
    bool ok = false;

    if (!form)
        return NULL;
    status = ld_dnn_describe(&pd, dnn->engine, ask);
    if (status != dnnl_success) {
        fail(err, "the order of a convolution's weights", status);
        goto done;
    }
    form->md = ld_dnn_md_copy(pd, weights_query(ask->pass), err);
    if (!form->md)
        goto done;
    if (!ld_dnn_md_blocking(form->md, &blocking))
        ld_fail(err, LD_ERR_DEVICE, "oneDNN: the weights' order is opaque");
    else
        ok = fill_form(form, &blocking, err);
done:
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (!ok) {
        ld_dnn_form_free(form);
        form = NULL;
    }
    return form;
}

void ld_dnn_form_free(struct ld_dnn_form *form)
{
    if (!form)
        return;
    ld_dnn_md_free(form->md);
    ld_delete((void *)form->group_at);
    ld_delete(form);
}

/* The memory descriptions of a pass, and what the primitive calls them. */
struct role {
    dnnl_query_t query;
    int index, argument; /* index: of several under one query */
};

static const struct role roles[LD_DNN_N_PASSES][N_OPERANDS] = {
    [LD_DNN_FORWARD] =
        {
            [X] = {dnnl_query_src_md, 0, DNNL_ARG_SRC},
            [WEIGHTS] = {dnnl_query_weights_md, 0, DNNL_ARG_WEIGHTS},
            [BIAS] = {dnnl_query_weights_md, 1, DNNL_ARG_BIAS},
            [Y] = {dnnl_query_dst_md, 0, DNNL_ARG_DST},
            [SCRATCH] = {dnnl_query_scratchpad_md, 0, DNNL_ARG_SCRATCHPAD},
        },
    [LD_DNN_BACKWARD_DATA] =
        {
            [X] = {dnnl_query_diff_src_md, 0, DNNL_ARG_DIFF_SRC},
            [WEIGHTS] = {dnnl_query_weights_md, 0, DNNL_ARG_WEIGHTS},
            [Y] = {dnnl_query_diff_dst_md, 0, DNNL_ARG_DIFF_DST},
            [SCRATCH] = {dnnl_query_scratchpad_md, 0, DNNL_ARG_SCRATCHPAD},
        },
    [LD_DNN_BACKWARD_WEIGHTS] =
        {
            [X] = {dnnl_query_src_md, 0, DNNL_ARG_SRC},
            [WEIGHTS] = {dnnl_query_diff_weights_md, 0, DNNL_ARG_DIFF_WEIGHTS},
            [BIAS] = {dnnl_query_diff_weights_md, 1, DNNL_ARG_DIFF_BIAS},
            [Y] = {dnnl_query_diff_dst_md, 0, DNNL_ARG_DIFF_DST},
            [SCRATCH] = {dnnl_query_scratchpad_md, 0, DNNL_ARG_SCRATCHPAD},
        },
};

static dnnl_status_t make_operands(struct ld_dnn_conv *conv,
                                   const struct ld_dnn *dnn,
                                   const_dnnl_primitive_desc_t pd,
                                   enum ld_dnn_pass pass)
{
    dnnl_status_t status = dnnl_success;

    for (int i = 0; i < N_OPERANDS && status == dnnl_success; i++) {
        const struct role *r = &roles[pass][i];

        conv->argument[i] = r->argument;
        if (r->argument)
            status = dnnl_memory_create(
                &conv->operand[i],
                dnnl_primitive_desc_query_md(pd, r->query, r->index),
                dnn->engine, DNNL_MEMORY_NONE);
    }
    return status;
}

struct ld_dnn_conv *ld_dnn_conv_new(struct ld_dnn *dnn,
                                    const struct ld_dnn_ask *ask,
                                    struct ld_err *err)
{
    struct ld_dnn_conv *conv = ld_new(1, sizeof(*conv), err);
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status;

    if (!conv)
        return NULL;
    status = ld_dnn_describe(&pd, dnn->engine, ask);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&conv->primitive, pd);
    if (status == dnnl_success)
        status = make_operands(conv, dnn, pd, ask->pass);
    if (status == dnnl_success) {
        conv->scratch_bytes = dnnl_memory_desc_get_size(
            dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0));
    } else {
        fail(err, "a convolution", status);
        ld_dnn_conv_free(conv);
        conv = NULL;
    }
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    return conv;
}

void ld_dnn_conv_free(struct ld_dnn_conv *conv)
{
    if (!conv)
        return;
    for (int i = 0; i < N_OPERANDS; i++)
        if (conv->operand[i])
            dnnl_memory_destroy(conv->operand[i]);
    if (conv->primitive)
        dnnl_primitive_destroy(conv->primitive);
    ld_delete(conv);
}

size_t ld_dnn_conv_scratch_bytes(const struct ld_dnn_conv *conv)
{
    return conv->scratch_bytes;
}

bool ld_dnn_conv_run(struct ld_dnn *dnn, const struct ld_dnn_conv *conv,
                     const struct ld_dnn_operands *operands, struct ld_err *err)
{
    void *memory[N_OPERANDS] = {operands->x, operands->w, operands->bias,
                                operands->y, operands->scratch};
    dnnl_exec_arg_t args[N_OPERANDS];
    dnnl_status_t status = dnnl_success;
    int n = 0;

    for (int i = 0; i < N_OPERANDS && status == dnnl_success; i++) {
        if (!conv->operand[i])
            continue;
        args[n++] = (dnnl_exec_arg_t){conv->argument[i], conv->operand[i]};
        status = dnnl_memory_set_data_handle(conv->operand[i], memory[i]);
    }
    if (status == dnnl_success)
        status = dnnl_primitive_execute(conv->primitive, dnn->stream, n, args);
    if (status == dnnl_success)
        status = dnnl_stream_wait(dnn->stream);
    return status == dnnl_success || fail(err, "running a convolution", status);
}

bool ld_dnn_product_run(const struct ld_dnn_product *p)
{
    int n_threads = ld_parallel_threads();
    dnnl_status_t status;

    ld_parallel_set_threads(1); /* that this thread would use */
    status = dnnl_sgemm(p->a_turned ? 'T' : 'N', p->b_turned ? 'T' : 'N', p->M,
                        p->N, p->K, 1, p->a, p->lda, p->b, p->ldb,
                        p->add ? 1 : 0, p->c, p->ldc);
    ld_parallel_set_threads(n_threads);
    return status == dnnl_success;
}
