/* onednn_api.h - what differs between oneDNN's C interfaces 2.x and 3.x.
 *
 * Implemented by onednn_v2.c and by onednn_v3.c, used by onednn.c alone. */
#pragma once

#include <oneapi/dnnl/dnnl.h>

#include "kernels/cpu/onednn.h"

/* Describes the pass that `ask` names, with the scratchpad the user's. Returns
 * dnnl_unimplemented where the library has no such algorithm. The caller
 * destroys *pd. */
dnnl_status_t ld_dnn_describe(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                              const struct ld_dnn_ask *ask);

/* A copy of one of pd's memory descriptions, freed by ld_dnn_md_free. NULL with
 * LD_ERR_MEMORY. */
void *ld_dnn_md_copy(const_dnnl_primitive_desc_t pd, dnnl_query_t what,
                     struct ld_err *err);
void ld_dnn_md_free(void *md); /* NULL is fine */

/* A blocked order of ([groups,] O, I, kernel, kernel) weights: the distance of
 * blocks in each dimension, and how a block is cut further, outermost cut
 * first. */
struct ld_dnn_blocking {
    int n_dims; /* 4, or 5 with groups */
    dnnl_dims_t dim, padded, stride;
    int n_cuts;
    dnnl_dims_t cut, cut_dim; /* size, and the dimension it cuts */
    size_t bytes;
};

/* False if the order is not a blocked one of four or five dimensions. */
bool ld_dnn_md_blocking(const void *md, struct ld_dnn_blocking *out);

/* Sizes of a request as the library wants them. */
struct ld_dnn_dims {
    int w_dims; /* 4, or 5 with groups */
    dnnl_dims_t x, w, bias, y, stride, dilation, pad;
    dnnl_format_tag_t x_tag, y_tag;
};

struct ld_dnn_dims ld_dnn_dims_of(const struct ld_dnn_ask *ask);
