/* stage.h - what a backbone's stages and blocks have in common: for resnet.c,
 * which builds them, and res2net.c, whose stem and blocks are others. */
#pragma once

#include "kernels/net/gfl.h"

enum { LD_STAGE_PREFIX = 40 }; /* "backbone.layer3.22" */

struct ld_stage {
    struct ld_graph *graph;
    char prefix[LD_STAGE_PREFIX]; /* of the block at hand */
    bool bottleneck;
    bool caffe;      /* its first 1x1 has the stride; gamma, beta are fixed */
    int planes;      /* channels inside a block; in Res2Net of one split */
    int groups;      /* of its 3x3, if it is a bottleneck */
    int out;         /* channels that leave it */
    int stride;      /* of the block at hand */
    enum ld_dcn dcn; /* of its 3x3, if it is a bottleneck */
    bool folded;     /* BN on stored statistics */
    bool trained;
};

/* A convolution and its batch norm; deformable, where the stage is, if it is a
 * 3x3; a block's last norm begins at zero, so that
 * the block begins as the identity. Returns the filter. */
int ld_stage_filter(const struct ld_stage *stage, struct ld_filter filter,
                    const char *conv, const char *bn, bool last);

/* Res2Net v1d (Gao et al. 2019): the stem behind map `image`, and a block
 * behind map `x`, a stage's first or another. Return the map that comes out. */
int ld_res2net_stem(const struct ld_stage *stage, int image, int width);
int ld_res2net_block(const struct ld_stage *stage, int x, bool first);
