/* graph.h - the layers of a network in forward order, without any memory.
 *
 * Made once from a model: lists of parameters, of filters (the parameters of
 * one convolution, which several layers may share), of maps (what flows
 * between layers: the image, feature maps, rows of logits) and of layers.
 * Sizes in pixels come later (plan.h), with a canvas. Indices tie the lists
 * together; -1 is none. Backward walks the layers in reverse. */
#pragma once

#include <stdbool.h>

#include "kernels/base/error.h"
#include "kernels/box.h"

enum {
    LD_GRAPH_PARAMS = 2048,
    LD_GRAPH_FILTERS = 512,
    LD_GRAPH_MAPS = 2048,
    LD_GRAPH_LAYERS = 2048,
};

enum ld_init {
    LD_INIT_CONSTANT, /* `constant` */
    LD_INIT_NORMAL,   /* mean 0, deviation `constant` */
    LD_INIT_KAIMING,  /* normal, variance 2 / fan out (He et al. 2015) */
    LD_INIT_XAVIER,   /* uniform, variance 2 / (fan in + fan out) */
};

struct ld_param_spec {
    char name[64];
    int n_dims, dim[4];
    enum ld_init init;
    float constant;
    bool trained;
};

/* A convolution's parameters; its padding is kernel / 2. */
struct ld_filter {
    int C, O, kernel, stride;
    int groups;       /* as in ld_conv_desc; 0 is made 1 */
    int weight, bias; /* parameters */
    int bn;           /* gamma; beta, mean and variance are the next three */
    bool folded;      /* bn works on stored statistics, inside the weights */
    int offsets;      /* the filter of a deformable one's offsets, or -1 */
    bool modulated;   /* deformable v2 */
    bool trained;
    int layer; /* the first that uses it */
};

enum ld_map_kind { LD_MAP_IMAGE, LD_MAP_FEATURE, LD_MAP_ROWS };

struct ld_map {
    enum ld_map_kind kind;
    int C;            /* channels; of rows: numbers a place, which of RetinaNet
                         are nine rows */
    const char *name; /* "c3", "p7": see ld_net_map. Or NULL */
    bool has_grad;
};

enum ld_layer_kind {
    LD_LAYER_CONV,     /* out = relu?(conv(in) + bias + identity?) */
    LD_LAYER_DEFORM,   /* out = relu?(conv(in read at offset) + bias) */
    LD_LAYER_BN,       /* out = relu?(BN(in)), statistics of the batch */
    LD_LAYER_ADD_RELU, /* out = relu(out + identity); in is out */
    LD_LAYER_POOL,     /* out = maxpool(in) */
    LD_LAYER_AVGPOOL,  /* out = means of in, stride 2 */
    LD_LAYER_CHANNELS, /* some of out = some of in (+ identity) */
    LD_LAYER_UPSAMPLE, /* out += nearest(in) */
    LD_LAYER_RELU,     /* out = relu(in); others read in, too */
    LD_LAYER_GN,       /* out = relu(GN(in)) */
    LD_LAYER_ROWS,     /* a level's part of the rows of out = scale * in */
    LD_LAYER_QUALITY,  /* rows of out = quality logits of the box rows in */
};

/* For people: "forward convolution". */
const char *ld_layer_name(enum ld_layer_kind kind, bool backward);

struct ld_layer {
    enum ld_layer_kind kind;
    int in, out, identity; /* maps */
    int filter;            /* of a CONV, a DEFORM */
    int offset;            /* map, of a DEFORM */
    int param;  /* gamma of BN and GN, then beta; scale of ROWS, or -1; of
                   QUALITY the first of four */
    int level;  /* of ROWS */
    int kernel; /* of AVGPOOL: 2 or 3 */
    int in_at, out_at, C; /* of CHANNELS: first ones and how many */
    bool relu;
    bool trained; /* has parameters that get a gradient */
    bool adds;    /* another layer has written the gradient of `in` by then */
};

struct ld_graph {
    int n_params, n_filters, n_maps, n_layers;
    struct ld_param_spec param[LD_GRAPH_PARAMS];
    struct ld_filter filter[LD_GRAPH_FILTERS];
    struct ld_map map[LD_GRAPH_MAPS];
    struct ld_layer layer[LD_GRAPH_LAYERS];
    int gn_groups;
    int image, class_rows, box_rows; /* maps */
    int quality_rows;                /* map, or -1: GFL V1 */
    int pyramid[LD_MAX_LEVELS];      /* maps P3 to P7 */
    bool features; /* the caller reads these maps too and, where they have
                      gradients, is the first to write them */
};

/* The functions below add to a list and return the index. */

int ld_graph_param(struct ld_graph *graph, struct ld_param_spec spec);
/* `name`.`part` (C), all `constant` to begin with: a bias, a gamma. */
int ld_graph_vector(struct ld_graph *graph, const char *name, const char *part,
                    int C, float constant, bool trained);
int ld_graph_map(struct ld_graph *graph, enum ld_map_kind kind, int C);

/* Adds a filter with its weight, named `name`.weight, to be drawn as `init`
 * (and `constant`) says. C, O, kernel, stride, groups and trained are the
 * caller's. */
int ld_graph_filter(struct ld_graph *graph, struct ld_filter filter,
                    const char *name, enum ld_init init, float constant);

/* Gives a filter its bias: zero, or what `constant` says. */
void ld_graph_bias(struct ld_graph *graph, int filter, const char *name,
                   float constant);

/* Gives a filter its batch normalisation, folded or with a layer of its own;
 * `gamma` to begin with; gamma and beta are trained if the filter is, or fixed.
 */
void ld_graph_bn(struct ld_graph *graph, int filter, const char *name,
                 float gamma, bool folded, bool fixed);

/* Makes a filter deformable: gives it a filter of its offsets, `name`.weight
 * and `name`.bias, all zero to begin with; with the same input, kernel and
 * stride. v2's has half as many channels more, of the samples' factors. */
void ld_graph_offsets(struct ld_graph *graph, int filter, const char *name,
                      bool modulated);

/* Adds a layer. Each returns the map that comes out. */

/* A convolution with the normalisation and the offsets its filter has. */
int ld_graph_conv(struct ld_graph *graph, int filter, int in, bool relu);
/* The same, plus `identity`, then ReLU; not of a deformable filter. */
int ld_graph_residual(struct ld_graph *graph, int filter, int in, int identity);
int ld_graph_pool(struct ld_graph *graph, int in);
/* Means over windows of `kernel`, 2 or 3, as the device's avgpool_forward. */
int ld_graph_avgpool(struct ld_graph *graph, int in, int kernel);
/* Channels `at` to at + C of `in`, plus `identity` unless that is -1. A map is
 * taken apart by slices and placements that have each of its channels once, or
 * it is placed whole. */
int ld_graph_slice(struct ld_graph *graph, int in, int at, int C, int identity);
/* Makes them channels `out_at` and so on of `out`, whose other channels other
 * placements fill. */
void ld_graph_place(struct ld_graph *graph, int in, int at, int C, int out,
                    int out_at);
void ld_graph_upsample(struct ld_graph *graph, int in, int out);
/* Of a map that layers to come read as it is. */
int ld_graph_relu(struct ld_graph *graph, int in);
int ld_graph_gn(struct ld_graph *graph, int in, int gamma);
void ld_graph_rows(struct ld_graph *graph, int in, int out, int level,
                   int scale);
/* `param`: weight, bias of the first layer, then of the second. After all
 * layers that write `in`. */
void ld_graph_quality(struct ld_graph *graph, int in, int out, int param);

/* To be called last, and again if `features` changes: finds which maps have
 * gradients and who writes first. */
void ld_graph_finish(struct ld_graph *graph);
