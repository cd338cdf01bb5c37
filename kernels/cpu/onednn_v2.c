/* oneDNN 2.x: operations are described by structures, memory by value. */
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/onednn_api.h"

struct maps {
    dnnl_memory_desc_t x, w, bias, y;
};

static void describe_maps(struct maps *m, const struct ld_dnn_dims *dims,
                          const struct ld_dnn_form *form)
{
    dnnl_memory_desc_init_by_tag(&m->x, 4, dims->x, dnnl_f32, dims->x_tag);
    dnnl_memory_desc_init_by_tag(&m->y, 4, dims->y, dnnl_f32, dims->y_tag);
    dnnl_memory_desc_init_by_tag(&m->bias, 1, dims->bias, dnnl_f32, dnnl_x);
    if (form)
        m->w = *(const dnnl_memory_desc_t *)form->md;
    else
        dnnl_memory_desc_init_by_tag(&m->w, dims->w_dims, dims->w, dnnl_f32,
                                     dnnl_format_tag_any);
}

static dnnl_status_t make_attr(dnnl_primitive_attr_t *attr,
                               const struct ld_dnn_ask *ask)
{
    bool after = ask->pass == LD_DNN_FORWARD;
    dnnl_post_ops_t post = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(attr);

    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(
            *attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success)
        status = dnnl_post_ops_create(&post);
    if (status == dnnl_success && after && ask->desc->residual)
        status = dnnl_post_ops_append_sum(post, 1);
    if (status == dnnl_success && after && ask->desc->relu)
        status = dnnl_post_ops_append_eltwise(post, 1, dnnl_eltwise_relu, 0, 0);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(*attr, post);
    if (post)
        dnnl_post_ops_destroy(post);
    return status;
}

static dnnl_status_t init(dnnl_convolution_desc_t *op, enum ld_dnn_pass pass,
                          dnnl_alg_kind_t algorithm, const struct maps *m,
                          const struct ld_dnn_dims *d)
{
    if (pass == LD_DNN_BACKWARD_DATA)
        return dnnl_dilated_convolution_backward_data_desc_init(
            op, algorithm, &m->x, &m->w, &m->y, d->stride, d->dilation, d->pad,
            d->pad);
    if (pass == LD_DNN_BACKWARD_WEIGHTS)
        return dnnl_dilated_convolution_backward_weights_desc_init(
            op, algorithm, &m->x, &m->w, &m->bias, &m->y, d->stride,
            d->dilation, d->pad, d->pad);
    /* "training" also in inference: there Winograd would ask for weights
     * transformed beforehand, an order of its own. */
    return dnnl_dilated_convolution_forward_desc_init(
        op, dnnl_forward_training, algorithm, &m->x, &m->w, &m->bias, &m->y,
        d->stride, d->dilation, d->pad, d->pad);
}

/* A backward pass wants to see the forward pass it belongs to. */
static dnnl_status_t describe_hint(dnnl_primitive_desc_t *hint,
                                   dnnl_engine_t engine,
                                   const struct ld_dnn_dims *dims)
{
    dnnl_convolution_desc_t op;
    struct maps m;
    dnnl_status_t status;

    describe_maps(&m, dims, NULL);
    status = init(&op, LD_DNN_FORWARD, dnnl_convolution_direct, &m, dims);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(hint, &op, NULL, engine, NULL);
    return status;
}

dnnl_status_t ld_dnn_describe(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                              const struct ld_dnn_ask *ask)
{
    struct ld_dnn_dims dims = ld_dnn_dims_of(ask);
    dnnl_primitive_desc_t hint = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_convolution_desc_t op;
    struct maps m;
    dnnl_status_t status;

    describe_maps(&m, &dims, ask->form);
    status = init(&op, ask->pass,
                  ask->winograd ? dnnl_convolution_winograd
                                : dnnl_convolution_direct,
                  &m, &dims);
    if (status == dnnl_success && ask->pass != LD_DNN_FORWARD)
        status = describe_hint(&hint, engine, &dims);
    if (status == dnnl_success)
        status = make_attr(&attr, ask);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(pd, &op, attr, engine, hint);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    if (hint)
        dnnl_primitive_desc_destroy(hint);
    return status;
}

void *ld_dnn_md_copy(const_dnnl_primitive_desc_t pd, dnnl_query_t what,
                     struct ld_err *err)
{
    dnnl_memory_desc_t *md = ld_new(1, sizeof(*md), err);

    if (md)
        *md = *dnnl_primitive_desc_query_md(pd, what, 0);
    return md;
}

void ld_dnn_md_free(void *md)
{
    ld_delete(md);
}

bool ld_dnn_md_blocking(const void *md, struct ld_dnn_blocking *out)
{
    const dnnl_memory_desc_t *m = md;
    const dnnl_blocking_desc_t *b = &m->format_desc.blocking;

    if (m->format_kind != dnnl_blocked || (m->ndims != 4 && m->ndims != 5))
        return false;
    out->n_dims = m->ndims;
    memcpy(out->dim, m->dims, sizeof(out->dim));
    memcpy(out->padded, m->padded_dims, sizeof(out->padded));
    memcpy(out->stride, b->strides, sizeof(out->stride));
    memcpy(out->cut, b->inner_blks, sizeof(out->cut));
    memcpy(out->cut_dim, b->inner_idxs, sizeof(out->cut_dim));
    out->n_cuts = b->inner_nblks;
    out->bytes = dnnl_memory_desc_get_size(m);
    return true;
}
