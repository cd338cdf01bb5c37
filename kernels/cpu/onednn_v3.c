/* oneDNN 3.x: primitives are described in one call, memory by handles. */
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/onednn_api.h"

struct maps {
    dnnl_memory_desc_t x, w, bias, y; /* NULL: none */
};

static void maps_free(struct maps *m)
{
    dnnl_memory_desc_t each[] = {m->x, m->w, m->bias, m->y};

    for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++)
        if (each[i])
            dnnl_memory_desc_destroy(each[i]);
}

static dnnl_status_t maps_new(struct maps *m, const struct ld_dnn_dims *dims,
                              const struct ld_dnn_form *form)
{
    dnnl_status_t status;

    *m = (struct maps){0};
    status = dnnl_memory_desc_create_with_tag(&m->x, 4, dims->x, dnnl_f32,
                                              dims->x_tag);
    if (status == dnnl_success)
        status = dnnl_memory_desc_create_with_tag(&m->y, 4, dims->y, dnnl_f32,
                                                  dims->y_tag);
    if (status == dnnl_success)
        status = dnnl_memory_desc_create_with_tag(&m->bias, 1, dims->bias,
                                                  dnnl_f32, dnnl_x);
    if (status == dnnl_success)
        status = form ? dnnl_memory_desc_clone(&m->w, form->md)
                      : dnnl_memory_desc_create_with_tag(&m->w, dims->w_dims,
                                                         dims->w, dnnl_f32,
                                                         dnnl_format_tag_any);
    return status;
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
        status = dnnl_post_ops_append_sum(post, 1, 0, dnnl_f32);
    if (status == dnnl_success && after && ask->desc->relu)
        status = dnnl_post_ops_append_eltwise(post, dnnl_eltwise_relu, 0, 0);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(*attr, post);
    if (post)
        dnnl_post_ops_destroy(post);
    return status;
}

/* "training" also in inference: there Winograd would ask for weights
 * transformed beforehand, an order of its own. */
static dnnl_status_t
describe_forward(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                 dnnl_alg_kind_t algorithm, const struct maps *m,
                 const struct ld_dnn_dims *d, dnnl_primitive_attr_t attr)
{
    return dnnl_convolution_forward_primitive_desc_create(
        pd, engine, dnnl_forward_training, algorithm, m->x, m->w, m->bias, m->y,
        d->stride, d->dilation, d->pad, d->pad, attr);
}

static dnnl_status_t
describe_backward(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                  const struct ld_dnn_ask *ask, const struct maps *m,
                  const struct ld_dnn_dims *d, dnnl_primitive_desc_t hint,
                  dnnl_primitive_attr_t attr)
{
    dnnl_alg_kind_t algorithm =
        ask->winograd ? dnnl_convolution_winograd : dnnl_convolution_direct;

    if (ask->pass == LD_DNN_BACKWARD_DATA)
        return dnnl_convolution_backward_data_primitive_desc_create(
            pd, engine, algorithm, m->x, m->w, m->y, d->stride, d->dilation,
            d->pad, d->pad, hint, attr);
    return dnnl_convolution_backward_weights_primitive_desc_create(
        pd, engine, algorithm, m->x, m->w, m->bias, m->y, d->stride,
        d->dilation, d->pad, d->pad, hint, attr);
}

/* A backward pass wants to see the forward pass it belongs to. */
static dnnl_status_t describe_hint(dnnl_primitive_desc_t *hint,
                                   dnnl_engine_t engine,
                                   const struct ld_dnn_dims *dims)
{
    struct maps m;
    dnnl_status_t status = maps_new(&m, dims, NULL);

    if (status == dnnl_success)
        status = describe_forward(hint, engine, dnnl_convolution_direct, &m,
                                  dims, NULL);
    maps_free(&m);
    return status;
}

dnnl_status_t ld_dnn_describe(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                              const struct ld_dnn_ask *ask)
{
    struct ld_dnn_dims dims = ld_dnn_dims_of(ask);
    dnnl_primitive_desc_t hint = NULL;
    dnnl_primitive_attr_t attr = NULL;
    struct maps m;
    dnnl_status_t status = maps_new(&m, &dims, ask->form);

    if (status == dnnl_success)
        status = make_attr(&attr, ask);
    if (status == dnnl_success && ask->pass == LD_DNN_FORWARD) {
        status = describe_forward(pd, engine,
                                  ask->winograd ? dnnl_convolution_winograd
                                                : dnnl_convolution_direct,
                                  &m, &dims, attr);
        goto done;
    }
    if (status == dnnl_success)
        status = describe_hint(&hint, engine, &dims);
    if (status == dnnl_success)
        status = describe_backward(pd, engine, ask, &m, &dims, hint, attr);
done:
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    if (hint)
        dnnl_primitive_desc_destroy(hint);
    maps_free(&m);
    return status;
}

void *ld_dnn_md_copy(const_dnnl_primitive_desc_t pd, dnnl_query_t what,
                     struct ld_err *err)
{
    dnnl_memory_desc_t md = NULL;

    if (dnnl_memory_desc_clone(
            &md, dnnl_primitive_desc_query_md(pd, what, 0)) != dnnl_success)
        ld_fail(err, LD_ERR_MEMORY, "oneDNN: a memory description: no memory");
    return md;
}

void ld_dnn_md_free(void *md)
{
    if (md)
        dnnl_memory_desc_destroy(md);
}

static bool query_dims(const void *md, dnnl_query_t what, dnnl_dims_t to)
{
    const dnnl_dims_t *from = NULL;

    if (dnnl_memory_desc_query(md, what, &from) != dnnl_success || !from)
        return false;
    memcpy(to, *from, sizeof(*from));
    return true;
}

bool ld_dnn_md_blocking(const void *md, struct ld_dnn_blocking *out)
{
    dnnl_format_kind_t kind = dnnl_format_kind_undef;
    int32_t n_dims = 0, n_cuts = 0;

    if (dnnl_memory_desc_query(md, dnnl_query_format_kind, &kind) !=
            dnnl_success ||
        dnnl_memory_desc_query(md, dnnl_query_ndims_s32, &n_dims) !=
            dnnl_success ||
        kind != dnnl_blocked || (n_dims != 4 && n_dims != 5) ||
        dnnl_memory_desc_query(md, dnnl_query_inner_nblks_s32, &n_cuts) !=
            dnnl_success)
        return false;
    out->n_dims = n_dims;
    out->n_cuts = n_cuts;
    out->bytes = dnnl_memory_desc_get_size(md);
    return query_dims(md, dnnl_query_dims, out->dim) &&
           query_dims(md, dnnl_query_padded_dims, out->padded) &&
           query_dims(md, dnnl_query_strides, out->stride) &&
           query_dims(md, dnnl_query_inner_blks, out->cut) &&
           query_dims(md, dnnl_query_inner_idxs, out->cut_dim);
}
