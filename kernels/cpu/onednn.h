/* onednn.h - convolutions of oneDNN, 2.x or 3.x, behind a few calls.
 *
 * onednn.c holds what both versions of the C interface share, onednn_v2.c and
 * onednn_v3.c (one of them is built, by the library that was found) what they
 * do not. The library allocates its primitives itself. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/error.h"
#include "kernels/ops.h"

enum ld_dnn_pass {
    LD_DNN_FORWARD,
    LD_DNN_BACKWARD_DATA,
    LD_DNN_BACKWARD_WEIGHTS,
    LD_DNN_N_PASSES,
};

struct ld_dnn;      /* an engine and a stream on the CPU */
struct ld_dnn_conv; /* one pass of one convolution, ready to run */

/* An order of weights in memory. Element (group, o, i, tap) of the padded array
 * lies at group_at[group] + o_at[o] + i_at[i] + tap_at[tap]: true of every
 * blocked order. */
struct ld_dnn_form {
    void *md; /* the library's own description */
    int groups;
    int O, I, taps, O_padded, I_padded; /* of a group */
    size_t bytes;
    const size_t *group_at, *o_at, *i_at, *tap_at; /* of one allocation,
                                                      group_at */
};

/* Which convolution. All maps are in blocks of `block` channels. */
struct ld_dnn_ask {
    const struct ld_conv_desc *desc;
    int block;
    enum ld_dnn_pass pass;
    bool winograd;                  /* F(4x4, 3x3) by name */
    const struct ld_dnn_form *form; /* of the weights; NULL: the library's
                                       choice */
};

/* NULL with LD_ERR_DEVICE or LD_ERR_MEMORY. */
struct ld_dnn *ld_dnn_open(struct ld_err *err);
void ld_dnn_close(struct ld_dnn *dnn); /* NULL is fine */

/* Channels of a block that the library is fastest with here: 16, or 8 on x86
 * without AVX-512. */
int ld_dnn_block(void);

/* The order the library prefers for the weights of this pass. The caller frees.
 * NULL with LD_ERR_DEVICE or LD_ERR_MEMORY. */
struct ld_dnn_form *ld_dnn_form_new(struct ld_dnn *dnn,
                                    const struct ld_dnn_ask *ask,
                                    struct ld_err *err);
void ld_dnn_form_free(struct ld_dnn_form *form); /* NULL is fine */

/* Forward and backward weights take a bias (O) always; forward adds into y if
 * desc->residual and clamps at 0 if desc->relu. NULL with LD_ERR_DEVICE where
 * the library has no such convolution, LD_ERR_MEMORY. */
struct ld_dnn_conv *ld_dnn_conv_new(struct ld_dnn *dnn,
                                    const struct ld_dnn_ask *ask,
                                    struct ld_err *err);
void ld_dnn_conv_free(struct ld_dnn_conv *conv); /* NULL is fine */
size_t ld_dnn_conv_scratch_bytes(const struct ld_dnn_conv *conv);

/* x is the input or its gradient, w the weights or their gradient, and so on:
 * the pass says which are read and which are overwritten. Backward data ignores
 * `bias`. Waits for the result. */
struct ld_dnn_operands {
    void *x, *w, *bias, *y, *scratch;
};
bool ld_dnn_conv_run(struct ld_dnn *dnn, const struct ld_dnn_conv *conv,
                     const struct ld_dnn_operands *operands,
                     struct ld_err *err);

/* C (M, N) = A (M, K) B (K, N), plus C if `add`; a turned operand lies in
 * memory the other way round, (K, M) or (N, K). lda, ldb, ldc: numbers from one
 * row in memory to the next. */
struct ld_dnn_product {
    int M, N, K;
    bool a_turned, b_turned, add;
    const float *a, *b;
    float *c;
    int lda, ldb, ldc;
};

/* On the calling thread alone, so that the order of sums does not depend on how
 * many there are. False: the library has no memory for it. */
bool ld_dnn_product_run(const struct ld_dnn_product *product);
