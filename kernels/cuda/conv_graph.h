/* conv_graph.h - what a convolution asks of cuDNN, in the graph API's
 * descriptors: between conv_graph.cu, which makes them, and conv_cudnn.cu,
 * which finds an engine for them. */
#pragma once

#include <cudnn_graph.h>

#include "kernels/cuda/conv_cudnn.h"

struct ld_cudnn {
    decltype(&cudnnGetVersion) version;
    decltype(&cudnnCreate) create;
    decltype(&cudnnDestroy) destroy;
    decltype(&cudnnSetStream) set_stream;
    decltype(&cudnnGetErrorString) error_text;
    decltype(&cudnnBackendCreateDescriptor) create_descriptor;
    decltype(&cudnnBackendDestroyDescriptor) destroy_descriptor;
    decltype(&cudnnBackendSetAttribute) set;
    decltype(&cudnnBackendGetAttribute) get;
    decltype(&cudnnBackendFinalize) finalize;
    decltype(&cudnnBackendExecute) execute;
    cudnnHandle_t handle;            /* NULL: it only plans, .. */
    cudnnBackendDescriptor_t device; /* .. for this GPU */
    struct ld_cudnn_plan *plans;     /* of all convolutions */
};

/* Of a graph's tensors. */
enum {
    LD_CUDNN_X = 1,
    LD_CUDNN_W,
    LD_CUDNN_Y,
    LD_CUDNN_BIAS,
    LD_CUDNN_IDENTITY,
    LD_CUDNN_BETWEEN /* and so on: of those that are never in memory */
};

enum { LD_CUDNN_DESCRIPTORS = 64 };

/* The descriptors of one question: made, and destroyed together. The first
 * failure stands; what is made of a failed one fails too. */
struct ld_cudnn_graph {
    struct ld_cudnn *c;
    cudnnBackendDescriptor_t made[LD_CUDNN_DESCRIPTORS];
    int n_made;
    bool failed;
};

cudnnBackendDescriptor_t ld_cudnn_make(struct ld_cudnn_graph *g,
                                       cudnnBackendDescriptorType_t type);
void ld_cudnn_set(struct ld_cudnn_graph *g, cudnnBackendDescriptor_t d,
                  cudnnBackendAttributeName_t name,
                  cudnnBackendAttributeType_t type, int64_t count,
                  const void *values);
void ld_cudnn_set_descriptor(struct ld_cudnn_graph *g,
                             cudnnBackendDescriptor_t d,
                             cudnnBackendAttributeName_t name,
                             cudnnBackendDescriptor_t value);
void ld_cudnn_finish(struct ld_cudnn_graph *g, cudnnBackendDescriptor_t d);
void ld_cudnn_destroy_all(struct ld_cudnn_graph *g);

/* The graph of the operations that the question is about. */
cudnnBackendDescriptor_t ld_cudnn_graph_of(struct ld_cudnn_graph *g,
                                           const struct ld_cudnn_question *q);
