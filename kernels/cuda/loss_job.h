/* loss_job.h - what the kernels of one loss_run share. */
#pragma once

#include "kernels/cuda/cuda.h"

enum {
    LD_CUDA_LOSS_BLOCK = 256, /* threads of a tile */
    LD_CUDA_MAX_TILES = 16384,
    LD_CUDA_MAX_ROW_BLOCKS = 2048,
};

/* What terms are multiplied by, known only on the device. */
struct loss_factors {
    double classes, centerness; /* a class loss, a centerness */
    double positives, weight;   /* 1 / positives; 1 / the sum of weights */
    double ld, vlr;             /* a side's KL, but for w and v */
    double kd[LD_MAX_LEVELS], vlr_kd[LD_MAX_LEVELS];
    float qfl; /* the gradient of a class loss */
};

/* What one row adds to each term. */
struct loss_partial {
    double value[LD_N_TERMS];
};

/* The locations are cut into tiles, one a block. A tile is of one image and of
 * one level: tile_start[level] is the level's first in each image. */
struct loss_job {
    struct ld_loss_batch batch;
    struct ld_loss_rules rules;
    const float *weight;
    float *d_class, *d_box, *d_quality;
    int tile; /* locations of one */
    int tile_start[LD_MAX_LEVELS + 1];
    int n_row_blocks;
    struct loss_factors *factors;  /* these in the workspace: */
    double *of_tile;               /* (N, tiles of an image) */
    struct ld_loss_terms *of_rows; /* (n_row_blocks) */
};

static __host__ __device__ __forceinline__ bool
ld_cuda_centred(enum ld_head head)
{
    return head == LD_HEAD_ATSS || head == LD_HEAD_FCOS;
}

static __host__ __device__ __forceinline__ bool ld_cuda_focal(enum ld_head head)
{
    return head == LD_HEAD_RETINA || ld_cuda_centred(head);
}

static __device__ __forceinline__ int level_of(const struct ld_grid *grid,
                                               int location)
{
    int level = 0;

    while (location >= grid->start[level + 1])
        level++;
    return level;
}

/* As ld_grid_centre. */
static __device__ __forceinline__ void centre_of(const struct ld_grid *grid,
                                                 int level, int location,
                                                 float *x, float *y)
{
    int anchors = grid->head == LD_HEAD_RETINA ? LD_RETINA_ANCHORS : 1;
    int place = (location - grid->start[level]) / anchors;
    int stride = grid->stride[level];
    int first = grid->head == LD_HEAD_FCOS ? stride / 2 : 0;

    *x = (float)(place % grid->W[level] * stride + first);
    *y = (float)(place / grid->W[level] * stride + first);
}
