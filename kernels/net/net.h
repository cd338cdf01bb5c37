/* net.h - a detector whose box sides are distributions (ResNet, FPN, the head
 * of GFL, ATSS or FCOS), forwards and backwards.
 *
 *     net = ld_net_new(dev, &model, LD_NET_TRAIN, err);
 *     ld_net_init(net, seed);            or ld_net_load(net, tensors, ...)
 *     ld_net_resize(net, N, H, W, err);  plans memory; a shape seen before is
 *                                        found again
 *     dev->ops->upload(dev, ld_net_input(net), pixels, bytes);
 *     ld_net_forward(net);
 *     ... a loss writes the gradients of the rows ...
 *     ld_net_backward(net);              adds into every param's grad
 *
 * Parameters, gradients and momentum are one device allocation; feature maps
 * another, laid out by lifetimes and grown to the largest canvas seen. */
#pragma once

#include "kernels/base/trace.h"
#include "kernels/ops.h"
#include "kernels/reduce.h"
#include "kernels/rules.h"
#include "kernels/tensor.h"

/* False with LD_ERR_USAGE naming the field (`where` is put before it). */
bool ld_model_check(const struct ld_model *model, const char *where,
                    struct ld_err *err);

/* Class logits a location: one a class, and the background's if it has one. */
int ld_model_class_logits(const struct ld_model *model);

enum ld_net_use { LD_NET_INFER, LD_NET_TRAIN };

struct ld_param {
    struct ld_tensor value; /* device memory, named as mmdetection
                               names it: "bbox_head.gfl_cls.bias" */
    float *grad, *momentum; /* NULL unless trained */
    bool trained;           /* false: frozen, or a running statistic */
};

struct ld_net;

/* NULL with LD_ERR_MEMORY, LD_ERR_DEVICE or LD_ERR_USAGE. */
struct ld_net *ld_net_new(struct ld_device *dev, const struct ld_model *model,
                          enum ld_net_use use, struct ld_err *err);
void ld_net_free(struct ld_net *net); /* NULL is fine */
const struct ld_model *ld_net_model(const struct ld_net *net);

/* As the reference: convolutions of the backbone Kaiming normal (fan out), the
 * gamma of each block's last BN zero; FPN Xavier uniform; head N(0, 0.01), bias
 * of the classes -log(99). Depends on the seed and the names alone. */
void ld_net_init(struct ld_net *net, uint64_t seed);

/* Copies tensors (host) into the parameters of the same name. `partial` allows
 * missing and unexpected names, though not that all are missing, and leaves
 * tensors of the head that have another shape (of other classes) as they are;
 * any other shape that differs is refused. LD_ERR_MISMATCH counts what is
 * missing, unexpected and of another shape, and names the first 20 of each. */
bool ld_net_load(struct ld_net *net, const struct ld_tensor *tensors, int n,
                 bool partial, struct ld_err *err);

/* Parameters and running statistics, in the order of the checkpoint. After
 * writing to a value: ld_net_changed. */
struct ld_param *ld_net_params(struct ld_net *net, int *count);
void ld_net_changed(struct ld_net *net);

/* Readies the network for a batch of N images on a canvas of H x W pixels,
 * usually multiples of 32. After the first time a canvas of the last 32 sizes
 * takes no allocation. LD_ERR_USAGE for a size that is not 1 to 16384,
 * LD_ERR_MEMORY, LD_ERR_DEVICE; then resize again before the next pass. */
bool ld_net_resize(struct ld_net *net, int N, int H, int W, struct ld_err *err);

/* Device memory, in place until the next ld_net_resize. What it holds lives as
 * short as it can: write the input before each forward pass, which overwrites
 * it; read the rows before the backward pass, which overwrites them; write
 * their gradients between the two. */
float *ld_net_input(const struct ld_net *net); /* (N, 3, H, W) */
/* Draws a picture of the host, rgb (from_H, from_W, 3), into image i of the
 * input: on the canvas of the batch, whatever that of `d`. LD_ERR_MISMATCH if
 * it does not fit, LD_ERR_MEMORY. */
bool ld_net_show(struct ld_net *net, int i, const uint8_t *rgb,
                 const struct ld_draw *d, struct ld_err *err);
struct ld_grid ld_net_grid(const struct ld_net *net);
float *ld_net_class_rows(const struct ld_net *net); /* (N, A, class logits) */
float *ld_net_box_rows(const struct ld_net *net);   /* (N, A, 4, B) */
/* (N, A) logits: a class's score is sigmoid(class) sigmoid(quality). NULL for
 * GFL V1, whose scores are sigmoid(class). Of ATSS and FCOS centerness. */
float *ld_net_quality_rows(const struct ld_net *net);
float *ld_net_class_rows_grad(const struct ld_net *net);
float *ld_net_box_rows_grad(const struct ld_net *net);
float *ld_net_quality_rows_grad(const struct ld_net *net); /* NULL likewise */

/* For those who read the maps P3 to P7 themselves. To be called before the
 * first ld_net_resize: from then on they are readable after a forward pass, and
 * before a backward pass their gradients must be written, 0 where there is
 * none. Costs the memory to keep both. */
void ld_net_keep_features(struct ld_net *net);
const float *ld_net_feature(const struct ld_net *net, int level,
                            struct ld_shape *shape); /* (N, C, H, W) */
float *ld_net_feature_grad(const struct ld_net *net, int level);

/* Feature maps by name, for tests and for reading features: "c2".."c5",
 * "p3".."p7", after a forward pass. NULL for a map whose memory another has
 * taken over by then. */
const float *ld_net_map(const struct ld_net *net, const char *name,
                        struct ld_shape *shape);

void ld_net_forward(struct ld_net *net);
void ld_net_zero_grad(struct ld_net *net);
void ld_net_backward(struct ld_net *net);

/* The gradients of all trained parameters (count), one after the other in the
 * order of the parameters, with gaps between that stay 0. */
float *ld_net_gradients(const struct ld_net *net, size_t *count);

/* From now on ld_net_backward calls `fn` after each layer: this pass adds no
 * more to the gradients from number `from` on, which falls to 0. */
typedef void ld_gradients_fn(void *context, size_t from);
bool ld_net_watch(struct ld_net *net, ld_gradients_fn *fn, void *context,
                  struct ld_err *err);

/* From now on each layer is a span of the lane, which is that of the thread that
 * calls; on a device that does the work later, the time of the calls. */
void ld_net_trace(struct ld_net *net, struct ld_lane *lane);

/* Makes parameters, statistics and momentum those of rank 0. */
void ld_net_share(struct ld_net *net, struct ld_reducer *reducer);
/* The same of running statistics alone, which each rank gathers on its own. */
void ld_net_share_statistics(struct ld_net *net, struct ld_reducer *reducer);

/* Moves every trained parameter: the biases of convolutions by `bias`. */
void ld_net_sgd(struct ld_net *net, struct ld_sgd s, struct ld_sgd bias);
