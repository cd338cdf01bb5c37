/* norm_parts.h - what the two directions of a normalisation share: how a map is
 * cut into pieces, and whose statistics a channel has.
 *
 * Each direction is three kernels: sums of each channel over pieces of the map;
 * from these, in a fixed order and in double, what belongs to a set of
 * statistics (a group of channels of an image, or a channel of all images);
 * and the map again, number by number. Forward moves three times the map's
 * bytes, backward five times; all else is small (norm_small.h: fewer). */
#pragma once

#include "kernels/cuda/lanes.h"

enum {
    WIDTH = 256, /* channels that a block has side by side */
    PIECE = 32,  /* places of a piece, at least */
    BLOCKS =
        1024, /* that a large map keeps busy: about what a GPU runs at once */
    SETTLE = 128, /* threads that settle one set */
};

struct alignas(8) pair {
    float a, b;
};

/* Of the workspace the pieces take the first half, at most
 * max(BLOCKS * WIDTH, N * C) pairs, and the sets the second. */
static const size_t HALF = LD_CUDA_WORKSPACE / 2 / sizeof(struct pair);

struct norm {
    struct ld_shape shape;
    int size;          /* channels of a set */
    int sets;          /* of an image; 0: all images share theirs */
    int pieces, piece; /* of an image's places; places of one */
    bool relu;
    float eps;
    const float *gamma, *beta; /* (C) */
    struct pair *stats;        /* (sets) mean and 1/deviation */
    struct pair *parts;        /* (N, pieces, padded C) */
    struct pair *slopes;       /* (sets) of x - mean, and constant */
};

/* Blocks side by side, for all channels. */
static inline int columns_of(const struct norm *a)
{
    return (ld_cuda_padded(a->shape.C) + WIDTH - 1) / WIDTH;
}

/* False, a fault of the device: more images than there is room for. */
static inline bool cut(struct ld_cuda *cuda, struct norm *a)
{
    size_t numbers = (size_t)a->shape.N * (size_t)ld_cuda_padded(a->shape.C);
    int places = a->shape.H * a->shape.W;
    int most = BLOCKS / (a->shape.N * columns_of(a));
    int pieces = (places + PIECE - 1) / PIECE;

    pieces = pieces < most ? pieces : most;
    pieces = pieces > 1 ? pieces : 1;
    a->piece = (places + pieces - 1) / pieces;
    a->pieces = (places + a->piece - 1) / a->piece;
    a->parts = (struct pair *)cuda->workspace;
    a->slopes = a->parts + HALF;
    return numbers <= HALF ||
           ld_fail(&cuda->fault, LD_ERR_DEVICE,
                   "cuda: normalising %d images of %d channels at once, "
                   "expected at most %zu images",
                   a->shape.N, a->shape.C,
                   HALF / (size_t)ld_cuda_padded(a->shape.C));
}

static __device__ __forceinline__ int places_of(const struct norm &a, int piece)
{
    return min(a.piece, a.shape.H * a.shape.W - piece * a.piece);
}

static __device__ __forceinline__ int set_of(const struct norm &a, int n, int c)
{
    return n * a.sets + c / a.size;
}

/* ---- a block's piece: channels side by side, places below each other ---- */

struct stand {
    int c;         /* first channel of the thread's group */
    int row, rows; /* of the block; the thread's places are row, row + rows.. */
    int width;     /* channels of the block */
    int first, end;  /* the thread's places; none: a thread too many */
    size_t at, step; /* of place 0 in the map; between places */
};

static __device__ __forceinline__ struct stand stand_of(const struct norm &a)
{
    int padded = ld_cuda_padded(a.shape.C);
    int first = (int)blockIdx.y * WIDTH;
    int groups = min(padded - first, (int)WIDTH) / LD_CUDA_LANES;
    struct stand s;

    s.c = first + (int)threadIdx.x % groups * LD_CUDA_LANES;
    s.row = (int)threadIdx.x / groups;
    s.rows = LD_CUDA_BLOCK / groups;
    s.width = groups * LD_CUDA_LANES;
    s.first = (int)blockIdx.x * a.piece;
    s.end = s.first + places_of(a, (int)blockIdx.x);
    if (s.row >= s.rows)
        s.end = s.first;
    s.first += s.row;
    s.step = (size_t)padded;
    s.at =
        (size_t)blockIdx.z * ((size_t)a.shape.H * (size_t)a.shape.W) * s.step +
        (size_t)s.c;
    return s;
}

static inline dim3 grid_of(const struct norm &a)
{
    return dim3((unsigned)a.pieces, (unsigned)columns_of(&a),
                (unsigned)a.shape.N);
}

static __device__ __forceinline__ struct pair *part_at(const struct norm &a,
                                                       int channel)
{
    size_t piece = (size_t)blockIdx.z * gridDim.x + blockIdx.x;

    return a.parts + piece * (size_t)ld_cuda_padded(a.shape.C) +
           blockIdx.y * WIDTH + channel;
}

/* Parts [0, count) of set i. */
struct set {
    int row, rows;  /* its pieces, counted over the images */
    int c, size;    /* its channels */
    double numbers; /* of the map */
};

static __device__ __forceinline__ struct set set_at(const struct norm &a, int i)
{
    int images = a.sets ? 1 : a.shape.N;

    return {a.sets ? i / a.sets * a.pieces : 0, images * a.pieces,
            (a.sets ? i % a.sets : i) * a.size, a.size,
            (double)images * a.shape.H * a.shape.W * a.size};
}

static __device__ __forceinline__ struct pair
part_of(const struct norm &a, const struct set &s, int e)
{
    size_t row = (size_t)(s.row + e / s.size);

    return a.parts[row * (size_t)ld_cuda_padded(a.shape.C) + s.c + e % s.size];
}

/* ---- number by number ---- */

/* y = (x - mean) * scale + beta. Of padding channels all is 0. */
struct straight {
    octet mean, scale, beta;
};

static __device__ __forceinline__ struct straight
straight_of(const struct norm &a, int n, int first)
{
    struct straight out = {};

    for (int c = 0; c < LD_CUDA_LANES; c++)
        if (first + c < a.shape.C) {
            struct pair stats = a.stats[set_of(a, n, first + c)];

            out.mean.v[c] = stats.a;
            out.scale.v[c] = stats.b * a.gamma[first + c];
            out.beta.v[c] = a.beta[first + c];
        }
    return out;
}

static __device__ __forceinline__ float normalised(const struct straight &l,
                                                   int c, float x)
{
    return (x - l.mean.v[c]) * l.scale.v[c] + l.beta.v[c];
}

/* ---- the table's two kinds ---- */

static inline struct norm of_groups(const struct ld_group_norm *gn)
{
    struct norm a = {};

    a.shape = gn->shape;
    a.size = gn->shape.C / gn->groups;
    a.sets = gn->groups;
    a.relu = true;
    a.eps = gn->eps;
    a.gamma = gn->gamma;
    a.beta = gn->beta;
    a.stats = (struct pair *)gn->stats;
    return a;
}

static inline struct norm of_batch(const struct ld_bn_train *bn)
{
    struct norm a = {};

    a.shape = bn->shape;
    a.size = 1;
    a.relu = bn->relu;
    a.eps = bn->eps;
    a.gamma = bn->gamma;
    a.beta = bn->beta;
    a.stats = (struct pair *)bn->stats;
    return a;
}
