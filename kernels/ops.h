/* ops.h - what a device can do: one table, filled once by each backend.
 *
 * Every pointer inside a math call is memory of that device. A math call cannot
 * fail: its shapes were checked when the network was made, and a device fault
 * is kept by the device and reported by sync(). Nor does it wait: what it
 * computes is there for the next call of the table, and for the host after a
 * download() and a sync() or reach(). Each call says whether it overwrites or
 * adds.
 *
 * Layout. A feature map (a "map": N, C, H, W) lies in memory as the device
 * likes; map_bytes() says how much. Its padding channels, if the layout has
 * any, are zero and every call keeps them so. Only at two doors is the order
 * plain: the image going in, (N, 3, H, W), and the logits coming out as rows
 * of a location, (N, A, channels). Parameters and their gradients are plain:
 * (O, C / groups, kernel, kernel) and (C).
 *
 * kernels/cpu is checked against finite differences and golden values; any
 * other backend is checked against kernels/cpu. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/error.h"
#include "kernels/box.h"
#include "kernels/canvas.h"
#include "kernels/device.h"
#include "kernels/loss.h"
#include "kernels/reduce.h"

struct ld_device {
    const struct ld_ops *ops; /* a backend's own struct begins with this */
};

struct ld_shape {
    int N, C, H, W;
};

struct ld_conv_desc {
    struct ld_shape in;
    int O; /* output channels */
    int kernel, stride, pad, dilation;
    bool image;    /* the input is the plain image (N, 3, H, W), not a map */
    bool relu;     /* y = max(0, ...) after bias and residual */
    bool residual; /* an identity is added, a map of the output's size */
    bool train;    /* backward passes will be asked for */
    int groups;    /* output o reads the inputs of its own group alone: C and O
                      are cut alike, weights are (O, C / groups, k, k). 0 is 1 */
    bool adds;     /* backward data adds to dx, which it overwrites else */
};

struct ld_shape ld_conv_out(const struct ld_conv_desc *desc);

struct ld_tape; /* calls of the table, to be done again */

struct ld_conv; /* a prepared convolution: of one device, for one shape */

/* A deformable convolution (v1: Dai et al. 2017; v2, modulated: Zhu et al.
 * 2019). Tap k of an output pixel reads the input not on the grid but beside
 * it, by (dy, dx), bilinearly; beyond the map's border lie zeros. The offsets
 * are a map of the output's size: channels 2 i and 2 i + 1 are dy and dx of
 * i = group * taps + k; if modulated, the last third of the channels holds the
 * logits of the factors, sigmoid(channel 2 taps groups + i). Channel c of the
 * input follows the offsets of group c / (C / deform_groups). */
struct ld_deform_desc {
    struct ld_conv_desc conv; /* of maps, without residual */
    int deform_groups;        /* 1 */
    bool modulated;
};

/* Shape of the map of offsets. */
struct ld_shape ld_deform_offsets(const struct ld_deform_desc *desc);

struct ld_deform; /* prepared, as struct ld_conv */

struct ld_deform_gradients {
    float *dx;              /* overwritten; NULL: not wanted */
    float *doffset;         /* of the map of offsets; overwritten */
    float *dweight, *dbias; /* (O, C / groups, kernel, kernel), (O): added to;
                               dbias may be NULL */
};

/* Batch normalisation on stored statistics, to be folded into a convolution's
 * weights (design: W' = W g/s, b' = beta - mean g/s, s = sqrt(var + eps)). */
struct ld_bn {
    const float *gamma, *beta, *mean, *var; /* (C) */
    float *dgamma, *dbeta; /* (C) added to by bn_unfold; NULL: frozen */
    float eps;
};

/* Batch normalisation with the batch's statistics, then ReLU if `relu`. */
struct ld_bn_train {
    struct ld_shape shape;
    bool relu;
    float eps;
    const float *gamma, *beta;         /* (C) */
    float *running_mean, *running_var; /* (C) 0.9 old + 0.1 batch; the variance
                                          unbiased */
    float *stats;                      /* (C, 2) mean and 1/deviation */
    float *dgamma, *dbeta;             /* (C) added to by backward */
};

/* Group normalisation, then ReLU. */
struct ld_group_norm {
    struct ld_shape shape;
    int groups; /* C % groups == 0 */
    float eps;
    const float *gamma, *beta; /* (C) */
    float *stats;              /* (N, groups, 2) mean and 1/deviation */
    float *dgamma, *dbeta;     /* (C) added to by backward */
};

/* C channels of two maps that differ in channels alone: `from_at` and what
 * follows of the one, `to_at` and what follows of the other. */
struct ld_channels {
    struct ld_shape to, from;
    int to_at, from_at, C;
};

/* Where a level's map stands among the rows of all levels. */
struct ld_rows {
    struct ld_shape shape; /* of the map */
    int start, A;          /* first location of the level; of all levels */
    const float *scale;    /* one number; NULL is 1 */
    float *dscale;         /* added to by backward; NULL: none */
};

/* Places of a map and the teacher's features there. */
struct ld_feature_rows {
    struct ld_shape shape; /* of the map */
    int n;
    const int32_t *place; /* (n) image * H * W + row * W + column; each once */
    const float *weight;  /* (n) */
    const float *teacher; /* (n, C) */
};

enum {
    LD_QUALITY_TOP = 4,    /* largest probabilities of a side */
    LD_QUALITY_STATS = 20, /* these and their mean, of four sides */
    LD_QUALITY_HIDDEN = 64,
};

/* The quality of a location, read off its box distributions (Li et al. 2021,
 * GFL V2, section 3.2): of each side's softmax the four largest, falling (of
 * equals the lower bin first), and their mean; 20 -> 64, ReLU -> 1. */
struct ld_quality {
    size_t n; /* rows of all images: N A */
    int B;    /* at least 4 */
    const float *weight0, *bias0, *weight2, *bias2; /* (64, 20), (64); (64), 1
                                                     */
    float *dweight0, *dbias0, *dweight2, *dbias2;   /* added to by backward */
};

struct ld_sgd {
    float rate, momentum,
        decay;    /* v = momentum v + (g + decay p); p -= rate v */
    int64_t step; /* from 1: which one a fault names */
};

/* What a device did. */
struct ld_activity {
    const char *name;
    int64_t began, ended; /* ld_clock() of kernels/base/trace.h */
    int queue;            /* what is of one queue runs in order */
    bool kernel;          /* or else a copy, or memory cleared */
};

typedef void ld_activity_fn(void *context, const struct ld_activity *activity);

struct ld_ops {
    const char *name; /* "cpu" or "cuda" */
    void (*close)(struct ld_device *dev);

    /* ---- memory ---- */
    void *(*alloc)(struct ld_device *dev, size_t bytes,
                   struct ld_err *err); /* zeroed, aligned to 64 */
    void (*release)(struct ld_device *dev, void *memory); /* NULL is fine */
    /* from_host may be overwritten once it returns. */
    void (*upload)(struct ld_device *dev, void *to, const void *from_host,
                   size_t bytes);
    /* The bytes are there after the next sync(), or reach() of a later mark:
     * until then to_host must stay, and nobody may read it. */
    void (*download)(struct ld_device *dev, void *to_host, const void *from,
                     size_t bytes);
    void (*zero)(struct ld_device *dev, void *memory, size_t bytes);
    void (*copy)(struct ld_device *dev, void *to, const void *from,
                 size_t bytes);
    /* Waits for all work. False with the device's first fault since the last
     * sync, which it forgets. */
    bool (*sync)(struct ld_device *dev, struct ld_err *err);
    /* A place in the work, after all that was asked for so far; reach() waits
     * for that much and no more, and gives faults as sync() does. */
    uint64_t (*mark)(struct ld_device *dev);
    bool (*reach)(struct ld_device *dev, uint64_t mark, struct ld_err *err);

    /* ---- tapes ---- */
    /* Math calls between record() and recorded() are not done but put on a
     * tape, with their pointers and numbers; no others may come between. play()
     * does them, in order, for less of the host's time. record() may be false:
     * not now. recorded() is NULL where the device can't have these calls on a
     * tape: nothing was done then, and it is no fault. A device that gains
     * nothing by tapes has all four NULL. */
    bool (*record)(struct ld_device *dev);
    struct ld_tape *(*recorded)(struct ld_device *dev);
    void (*play)(struct ld_device *dev, const struct ld_tape *tape);
    void (*tape_free)(struct ld_device *dev, struct ld_tape *tape);

    size_t (*map_bytes)(struct ld_device *dev, struct ld_shape shape);
    /* Numbers of a map, padding included. */
    size_t (*map_values)(struct ld_device *dev, struct ld_shape shape);
    /* Between a map and plain (N, C, H, W); for tests and feature rows. */
    void (*map_pack)(struct ld_device *dev, float *map, const float *plain,
                     struct ld_shape shape);
    void (*map_unpack)(struct ld_device *dev, float *plain, const float *map,
                       struct ld_shape shape);

    /* ---- convolution ---- */
    /* Prepares all passes that desc asks for. The caller frees. NULL with
     * LD_ERR_DEVICE if the library has no such convolution. */
    struct ld_conv *(*conv_new)(struct ld_device *dev,
                                const struct ld_conv_desc *desc,
                                struct ld_err *err);
    void (*conv_free)(struct ld_device *dev, struct ld_conv *conv);
    /* Scratch that any pass of this convolution may use, in bytes. */
    size_t (*conv_scratch_bytes)(const struct ld_conv *conv);
    /* Device bytes of the packed weights. They and their order depend on desc
     * without the sizes N, H and W alone, so the five levels of a shared head
     * pack once and use one copy. */
    size_t (*conv_weight_bytes)(const struct ld_conv *conv);
    /* packed = weight (O, C / groups, k, k), row o times scale[o] (NULL: 1), in
     * the forms that the passes of `conv` read. Overwrites. */
    void (*conv_pack)(struct ld_device *dev, const struct ld_conv *conv,
                      void *packed, const float *weight, const float *scale);
    /* y = relu?(conv(x) + bias + identity?); bias (O) or NULL; identity may be
     * y, and is NULL unless desc.residual. The ReLU may turn a NaN into 0. */
    void (*conv_forward)(struct ld_device *dev, const struct ld_conv *conv,
                         float *y, const float *x, const void *packed,
                         const float *bias, const float *identity,
                         void *scratch);
    /* dx = conv^T(dy), or +=, if desc.adds. dy is the gradient after
     * relu_backward. */
    void (*conv_backward_data)(struct ld_device *dev,
                               const struct ld_conv *conv, float *dx,
                               const float *dy, const void *packed,
                               void *scratch);
    /* First, unless `y` is NULL, relu_backward of dy and y. Then dweight (O, C
     * / groups, k, k) += , dbias (O) +=, the latter unless NULL. */
    void (*conv_backward_weights)(struct ld_device *dev,
                                  const struct ld_conv *conv, float *dweight,
                                  float *dbias, float *dy, const float *y,
                                  const float *x, void *scratch);

    /* ---- deformable convolution: the same calls ---- */
    struct ld_deform *(*deform_new)(struct ld_device *dev,
                                    const struct ld_deform_desc *desc,
                                    struct ld_err *err);
    void (*deform_free)(struct ld_device *dev, struct ld_deform *deform);
    size_t (*deform_scratch_bytes)(const struct ld_deform *deform);
    size_t (*deform_weight_bytes)(const struct ld_deform *deform);
    /* weight is (O, C / groups, kernel, kernel). */
    void (*deform_pack)(struct ld_device *dev, const struct ld_deform *deform,
                        void *packed, const float *weight, const float *scale);
    /* y = relu?(conv(x sampled at offset) + bias); bias (O) or NULL. */
    void (*deform_forward)(struct ld_device *dev,
                           const struct ld_deform *deform, float *y,
                           const float *x, const float *offset,
                           const void *packed, const float *bias,
                           void *scratch);
    /* All gradients in one pass; dy is the gradient after relu_backward. At a
     * whole-numbered position, where the bilinear weights have a kink, the
     * derivative is that of the cell that begins there; outside it is 0. */
    void (*deform_backward)(struct ld_device *dev,
                            const struct ld_deform *deform,
                            const struct ld_deform_gradients *to,
                            const float *dy, const float *x,
                            const float *offset, const void *packed,
                            void *scratch);

    /* scale (C) and shift (C) of a batch norm on stored statistics. */
    void (*bn_fold)(struct ld_device *dev, float *scale, float *shift,
                    const struct ld_bn *bn, int C);
    /* From the gradients of the folded weights and bias to those of weight,
     * gamma and beta: dweight += dfolded * scale; dbeta += dshift;
     * dgamma += (<dfolded_o, weight_o> - mean_o dshift_o) / s_o.
     * weight, dweight and dfolded are (O, n). */
    void (*bn_unfold)(struct ld_device *dev, float *dweight,
                      const float *dfolded, const float *dshift,
                      const float *weight, const struct ld_bn *bn, int O,
                      int n);

    /* ---- layers on maps ---- */
    /* dy *= (y > 0), in place. */
    void (*relu_backward)(struct ld_device *dev, float *dy, const float *y,
                          struct ld_shape shape);
    void (*add)(struct ld_device *dev, float *y, const float *x,
                struct ld_shape shape); /* y += x */
    /* y = max(0, y + x) */
    void (*add_relu)(struct ld_device *dev, float *y, const float *x,
                     struct ld_shape shape);

    /* 3x3, stride 2, pad 1, padding counts as minus infinity. `from` (one byte
     * an output value, in the order of the output map: map_values bytes)
     * remembers the winner; NULL if there is no backward. */
    void (*maxpool_forward)(struct ld_device *dev, float *y, uint8_t *from,
                            const float *x, struct ld_shape in);
    void (*maxpool_backward)(struct ld_device *dev, float *dx, const float *dy,
                             const uint8_t *from,
                             struct ld_shape in); /* overwrites dx */

    /* Means over windows with stride 2. kernel 3: pad 1, a sum over 9 also
     * where the window sticks out. kernel 2: no padding; where an odd side ends
     * a window has fewer values, and is the mean of these. y is (N, C, (H - 1)
     * / 2 + 1, (W - 1) / 2 + 1). */
    void (*avgpool_forward)(struct ld_device *dev, float *y, const float *x,
                            struct ld_shape in, int kernel);
    void (*avgpool_backward)(struct ld_device *dev, float *dx, const float *dy,
                             struct ld_shape in,
                             int kernel); /* overwrites dx */

    /* to[:, to_at + c] = from[:, from_at + c], or +=; other channels stay. A
     * copy to the last channel clears the padding, so that parts copied in any
     * order make a whole map. */
    void (*channels_copy)(struct ld_device *dev, float *to, const float *from,
                          const struct ld_channels *c);
    void (*channels_add)(struct ld_device *dev, float *to, const float *from,
                         const struct ld_channels *c);

    /* y (N, C, out_H, out_W) += nearest(x (N, C, H, W)):
     * source row = floor(row * H / out_H). */
    void (*upsample_add)(struct ld_device *dev, float *y, const float *x,
                         struct ld_shape in, int out_H, int out_W);
    /* dx += the sums of dy over each source value's copies. */
    void (*upsample_add_backward)(struct ld_device *dev, float *dx,
                                  const float *dy, struct ld_shape in,
                                  int out_H, int out_W);

    /* y = relu(GN(x)); fills stats. */
    void (*gn_relu_forward)(struct ld_device *dev, float *y, const float *x,
                            const struct ld_group_norm *gn);
    /* dx = : overwrites, and may be dy itself. The mask is made from x again.
     */
    void (*gn_relu_backward)(struct ld_device *dev, float *dx, const float *dy,
                             const float *x, const struct ld_group_norm *gn);

    /* y = relu?(BN(x)); fills stats, moves the running statistics. */
    void (*bn_train_forward)(struct ld_device *dev, float *y, const float *x,
                             const struct ld_bn_train *bn);
    /* As gn_relu_backward. */
    void (*bn_train_backward)(struct ld_device *dev, float *dx, const float *dy,
                              const float *x, const struct ld_bn_train *bn);

    /* ---- the door out ---- */
    /* rows[n, start + h W + w, c] = scale * map[n, c, h, w], for rows of A
     * locations an image. */
    void (*rows_forward)(struct ld_device *dev, float *rows, const float *map,
                         const struct ld_rows *r);
    /* dmap = scale * drows (overwrites); dscale += <drows, map>. */
    void (*rows_backward)(struct ld_device *dev, float *dmap,
                          const float *drows, const float *map,
                          const struct ld_rows *r);
    /* logit (n) of each row's quality, from its box logits (n, 4, B). */
    void (*quality_forward)(struct ld_device *dev, float *logit,
                            const float *box_rows, const struct ld_quality *q);
    /* d_box_rows += : the statistics pass gradients on. */
    void (*quality_backward)(struct ld_device *dev, float *d_box_rows,
                             const float *dlogit, const float *box_rows,
                             const struct ld_quality *q);
    /* out[i, :] = rows[index[i], :], `width` numbers each; index on the
     * device. */
    void (*rows_gather)(struct ld_device *dev, float *out, const float *rows,
                        const int32_t *index, int n, int width);

    /* out[i, :] (n, C) = the channels of a map at place[i], which counts as in
     * ld_feature_rows; place on the device. */
    void (*map_gather)(struct ld_device *dev, float *out, const float *map,
                       struct ld_shape shape, const int32_t *place, int n);

    /* ---- the door in: kernels/canvas.h ---- */
    /* planes (3, canvas_H, canvas_W) of the network's input = the picture
     * rgb (from_H, from_W, 3), drawn as `d` says: every number is written. */
    void (*draw)(struct ld_device *dev, float *planes, const uint8_t *rgb,
                 const struct ld_draw *d);

    /* ---- losses: kernels/loss.h ---- */
    /* weight[i] = max_c sigmoid(class_logits) of each positive row, times its
     * sigmoid(quality). Their sum overwrites batch->sums[LD_SUM_WEIGHT]. */
    void (*loss_weights)(struct ld_device *dev, float *weight,
                         const struct ld_loss_batch *batch);
    /* Values and gradients of every term in one pass over the rows;
     * overwrites `out`, d_class_logits, d_box_logits and d_quality (NULL as
     * batch->quality is). */
    void (*loss_run)(struct ld_device *dev, struct ld_loss_terms *out,
                     float *d_class_logits, float *d_box_logits,
                     float *d_quality, const float *weight,
                     const struct ld_loss_batch *batch,
                     const struct ld_loss_rules *rules);

    /* Feature imitation: *sum = the sum over places of
     * weight |student - teacher|^2; overwrites dmap with its gradient, 0 at all
     * other places. Source: spec losses 7. */
    void (*feature_loss)(struct ld_device *dev, double *sum, float *dmap,
                         const float *map, const struct ld_feature_rows *rows);
    /* A term that is not finite is a fault, kernels/fault.h's. */
    void (*loss_check)(struct ld_device *dev, const struct ld_loss_terms *terms,
                       int64_t step);

    /* ---- optimizer ---- */
    /* A velocity that is not finite is a fault, kernels/fault.h's. Moves
     * nothing while the device holds a fault: the parameters stay those before
     * the step that went wrong. */
    void (*sgd)(struct ld_device *dev, float *param, float *momentum,
                const float *grad, size_t count, struct ld_sgd s);

    /* ---- several ranks: kernels/reduce.h ---- */
    /* NULL, both, where the device's memory is the host's, whose own ways to
     * send it then do. One rank makes an id, which its host sends to all; with
     * it each waits for the others and gets its reducer, to be freed before the
     * device is closed. NULL or false with LD_ERR_DEVICE. */
    bool (*reducer_id)(struct ld_device *dev, char id[LD_REDUCER_ID],
                       struct ld_err *err);
    struct ld_reducer *(*reducer_new)(struct ld_device *dev,
                                      const char id[LD_REDUCER_ID], int rank,
                                      int n_ranks, struct ld_err *err);

    /* ---- looking on ---- */
    /* NULL, both, where a call's work is done when it comes back. From the one
     * to the other the device notes what it does; stop waits for all work and
     * gives `fn` what was noted, in any order, the names for that call alone.
     * False with LD_ERR_DEVICE: it cannot be noted, or some of it was lost. */
    bool (*profile_start)(struct ld_device *dev, struct ld_err *err);
    bool (*profile_stop)(struct ld_device *dev, ld_activity_fn *fn,
                         void *context, struct ld_err *err);
};
