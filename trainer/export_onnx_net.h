/* export_onnx_net.h - a detector's layers as nodes of an ONNX graph. */
#pragma once

#include "kernels/net/graph.h"
#include "kernels/tensor.h"
#include "trainer/export_onnx_graph.h"

/* What the head gives, level by level; names of values. */
struct ld_onnx_logits {
    const char *classes[LD_MAX_LEVELS]; /* (1, class logits, H, W) */
    const char *boxes[LD_MAX_LEVELS];   /* (1, 4 * B, H, W) */
    /* NULL, or the four parameters of GFL V2's quality (kernels/ops.h). */
    const struct ld_tensor *quality;
};

/* Adds every layer of an inference graph behind the value `image`. `params` are
 * the graph's, in its order. */
void ld_onnx_network(struct ld_onnx *onnx, const struct ld_graph *graph,
                     const struct ld_tensor *params, const char *image,
                     struct ld_onnx_logits *out);
