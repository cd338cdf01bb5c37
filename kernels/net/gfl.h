/* gfl.h - the layers of GFL: ResNet, FPN and the head of two towers.
 *
 * Sources: He et al. 2016 (ResNet; "style pytorch": a bottleneck's stride is on
 * its 3x3), Xie et al. 2017 (ResNeXt: that 3x3 in groups), Lin et al. 2017
 * (FPN; P6 and P7 from P5's output), Li et al. 2020 (GFL). Parameters have the
 * names and the order of mmdetection. */
#pragma once

#include "kernels/net/graph.h"
#include "kernels/rules.h"

enum { LD_MAX_HEAD_CONVS = 8 };

/* Fills an empty graph. `train`: there will be a backward pass; without one
 * nothing has a gradient and every batch norm is folded. */
void ld_gfl_build(struct ld_graph *graph, const struct ld_model *model,
                  bool train);

/* Channels of the 3x3 convolution in a bottleneck of layer `stage`, 1 to 4; in
 * Res2Net those of one split. */
int ld_model_inner(const struct ld_model *model, int stage);

/* Adds the backbone behind map `image`; out[] is C3, C4, C5. */
void ld_resnet_build(struct ld_graph *graph, const struct ld_model *model,
                     bool train, int out[3]);
