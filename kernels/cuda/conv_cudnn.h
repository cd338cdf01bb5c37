/* conv_cudnn.h - convolutions of cuDNN 9, by its graph API, where it is found.
 *
 * cuDNN's library is opened at run time. Only engines are taken that come
 * compiled, give the same bits each time and need little workspace. Builds
 * without cuDNN's header have conv_no_cudnn.cu, which finds none. */
#pragma once

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "kernels/ops.h"

struct ld_cudnn;

/* On the GPU of this thread, or, if `gpu_json` is not NULL, only planning for
 * the GPU that this text describes, as cuDNN's deviceless mode wants it. NULL
 * where there is no library, it is not version 9, or it does not start. */
struct ld_cudnn *ld_cudnn_open(const char *gpu_json, cudaStream_t stream);
void ld_cudnn_close(struct ld_cudnn *cudnn);        /* NULL is fine */
int ld_cudnn_version(const struct ld_cudnn *cudnn); /* 91900: 9.19.0 */

enum ld_cudnn_pass {
    LD_CUDNN_FORWARD, /* y = conv(x) */
    LD_CUDNN_DATA,    /* dx = conv^T(dy) */
    LD_CUDNN_WEIGHTS, /* dw = <dy, x>, in the numbers of maps */
    LD_CUDNN_N_PASSES
};

/* Maps are NHWC, the weights (O, kernel, kernel, C / groups); all of bf16 or
 * all of float, whose products are then of tf32. */
struct ld_cudnn_question {
    struct ld_shape in;
    int O, kernel, stride, pad, dilation, groups;
    enum ld_cudnn_pass pass;
    bool bf16;
    bool adds;     /* to what it makes, which is overwritten else */
    bool finishes; /* forward: y = relu?(conv(x) + identity? + bias), .. */
    bool residual, relu;   /* .. with these; they count for nothing else */
    size_t most_workspace; /* bytes */
};

/* A plan, shared by all that ask for the same, until each has freed it. NULL if
 * cuDNN has no such engine, or without memory. */
struct ld_cudnn_plan;
struct ld_cudnn_plan *
ld_cudnn_plan_new(struct ld_cudnn *cudnn,
                  const struct ld_cudnn_question *question);
void ld_cudnn_plan_free(struct ld_cudnn *cudnn, struct ld_cudnn_plan *plan);
size_t ld_cudnn_plan_workspace(const struct ld_cudnn_plan *plan);

/* x, w and y are of the pass, which writes one of them. bias, (O) numbers of
 * maps, and identity are read by a plan that finishes; identity is not y. All
 * are aligned to 16 bytes. */
struct ld_cudnn_operands {
    void *x, *w, *y;
    const void *bias, *identity;
    void *workspace;
};

/* On a fault false, with LD_ERR_DEVICE. */
bool ld_cudnn_plan_run(struct ld_cudnn *cudnn, const struct ld_cudnn_plan *plan,
                       const struct ld_cudnn_operands *operands,
                       struct ld_err *err);

#ifdef __cplusplus
}
#endif
