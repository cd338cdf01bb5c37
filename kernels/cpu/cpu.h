/* cpu.h - the CPU device: its state, its layout of maps, its table's entries.
 *
 * A map is oneDNN's nChw16c (nChw8c where the library has no AVX-512):
 *
 *     (N, C / block, H, W, block)      channels beyond C are zero
 *
 * A "plane" is one image's block of channels: H * W * block numbers. Because 16
 * is a multiple of either block, every loop of ours walks a plane 16 numbers at
 * a time and lane i of 16 always belongs to channel i % block of the plane. */
#pragma once

#include "kernels/cpu/onednn.h"
#include "kernels/ops.h"

enum { LD_LANES = 16 };

struct ld_cpu {
    struct ld_device device; /* first: a device pointer is one to this */
    struct ld_dnn *dnn;
    int block;           /* channels side by side in a map: 8 or 16 */
    struct ld_err fault; /* the first since the last sync */
};

static inline struct ld_cpu *ld_cpu_of(struct ld_device *dev)
{
    return (struct ld_cpu *)dev;
}

/* How a map lies in memory. */
struct ld_planes {
    int block, n_blocks; /* channels of a plane, planes of an image */
    size_t floats;       /* of a plane */
    size_t n;            /* planes of the map */
};

struct ld_planes ld_planes_of(const struct ld_device *dev,
                              struct ld_shape shape);

/* Cores that this process may use: its affinity mask, cut by the cgroup's quota
 * (cpu.max) of it and of each group above. At least 1. */
int ld_cpu_count_cores(void);

/* ---- entries of the table, by file; ops.h says what they do ---- */

/* avgpool_cpu.c */
void ld_cpu_avgpool_forward(struct ld_device *dev, float *y, const float *x,
                            struct ld_shape in, int kernel);
void ld_cpu_avgpool_backward(struct ld_device *dev, float *dx, const float *dy,
                             struct ld_shape in, int kernel);

/* channels_cpu.c */
void ld_cpu_channels_copy(struct ld_device *dev, float *to, const float *from,
                          const struct ld_channels *c);
void ld_cpu_channels_add(struct ld_device *dev, float *to, const float *from,
                         const struct ld_channels *c);

/* conv_cpu.c */
struct ld_conv *ld_cpu_conv_new(struct ld_device *dev,
                                const struct ld_conv_desc *desc,
                                struct ld_err *err);
void ld_cpu_conv_free(struct ld_device *dev, struct ld_conv *conv);
size_t ld_cpu_conv_scratch_bytes(const struct ld_conv *conv);
size_t ld_cpu_conv_weight_bytes(const struct ld_conv *conv);
void ld_cpu_conv_pack(struct ld_device *dev, const struct ld_conv *conv,
                      void *packed, const float *weight, const float *scale);
void ld_cpu_conv_forward(struct ld_device *dev, const struct ld_conv *conv,
                         float *y, const float *x, const void *packed,
                         const float *bias, const float *identity,
                         void *scratch);
void ld_cpu_conv_backward_data(struct ld_device *dev,
                               const struct ld_conv *conv, float *dx,
                               const float *dy, const void *packed,
                               void *scratch);
void ld_cpu_conv_backward_weights(struct ld_device *dev,
                                  const struct ld_conv *conv, float *dweight,
                                  float *dbias, float *dy, const float *y,
                                  const float *x, void *scratch);

/* deform_cpu.c; the last in deform_grad_cpu.c */
struct ld_deform *ld_cpu_deform_new(struct ld_device *dev,
                                    const struct ld_deform_desc *desc,
                                    struct ld_err *err);
void ld_cpu_deform_free(struct ld_device *dev, struct ld_deform *deform);
size_t ld_cpu_deform_scratch_bytes(const struct ld_deform *deform);
size_t ld_cpu_deform_weight_bytes(const struct ld_deform *deform);
void ld_cpu_deform_pack(struct ld_device *dev, const struct ld_deform *deform,
                        void *packed, const float *weight, const float *scale);
void ld_cpu_deform_forward(struct ld_device *dev,
                           const struct ld_deform *deform, float *y,
                           const float *x, const float *offset,
                           const void *packed, const float *bias,
                           void *scratch);
void ld_cpu_deform_backward(struct ld_device *dev,
                            const struct ld_deform *deform,
                            const struct ld_deform_gradients *to,
                            const float *dy, const float *x,
                            const float *offset, const void *packed,
                            void *scratch);

/* quality_cpu.c */
void ld_cpu_quality_forward(struct ld_device *dev, float *logit,
                            const float *box_rows, const struct ld_quality *q);
void ld_cpu_quality_backward(struct ld_device *dev, float *d_box_rows,
                             const float *dlogit, const float *box_rows,
                             const struct ld_quality *q);

/* norm_cpu.c */
void ld_cpu_gn_relu_forward(struct ld_device *dev, float *y, const float *x,
                            const struct ld_group_norm *gn);
void ld_cpu_gn_relu_backward(struct ld_device *dev, float *dx, const float *dy,
                             const float *x, const struct ld_group_norm *gn);
void ld_cpu_bn_train_forward(struct ld_device *dev, float *y, const float *x,
                             const struct ld_bn_train *bn);
void ld_cpu_bn_train_backward(struct ld_device *dev, float *dx, const float *dy,
                              const float *x, const struct ld_bn_train *bn);

/* param_cpu.c */
void ld_cpu_bn_fold(struct ld_device *dev, float *scale, float *shift,
                    const struct ld_bn *bn, int C);
void ld_cpu_bn_unfold(struct ld_device *dev, float *dweight,
                      const float *dfolded, const float *dshift,
                      const float *weight, const struct ld_bn *bn, int O,
                      int n);
void ld_cpu_sgd(struct ld_device *dev, float *param, float *momentum,
                const float *grad, size_t count, struct ld_sgd s);

/* map_cpu.c */
void ld_cpu_map_pack(struct ld_device *dev, float *map, const float *plain,
                     struct ld_shape shape);
void ld_cpu_map_unpack(struct ld_device *dev, float *plain, const float *map,
                       struct ld_shape shape);
void ld_cpu_relu_backward(struct ld_device *dev, float *dy, const float *y,
                          struct ld_shape shape);
void ld_cpu_add(struct ld_device *dev, float *y, const float *x,
                struct ld_shape shape);
void ld_cpu_add_relu(struct ld_device *dev, float *y, const float *x,
                     struct ld_shape shape);

/* resize_cpu.c */
void ld_cpu_maxpool_forward(struct ld_device *dev, float *y, uint8_t *from,
                            const float *x, struct ld_shape in);
void ld_cpu_maxpool_backward(struct ld_device *dev, float *dx, const float *dy,
                             const uint8_t *from, struct ld_shape in);
void ld_cpu_upsample_add(struct ld_device *dev, float *y, const float *x,
                         struct ld_shape in, int out_H, int out_W);
void ld_cpu_upsample_add_backward(struct ld_device *dev, float *dx,
                                  const float *dy, struct ld_shape in,
                                  int out_H, int out_W);

/* rows_cpu.c */
void ld_cpu_rows_forward(struct ld_device *dev, float *rows, const float *map,
                         const struct ld_rows *r);
void ld_cpu_rows_backward(struct ld_device *dev, float *dmap,
                          const float *drows, const float *map,
                          const struct ld_rows *r);
void ld_cpu_rows_gather(struct ld_device *dev, float *out, const float *rows,
                        const int32_t *index, int n, int width);

/* draw_cpu.c */
void ld_cpu_draw(struct ld_device *dev, float *planes, const uint8_t *rgb,
                 const struct ld_draw *d);

/* feature_cpu.c */
void ld_cpu_map_gather(struct ld_device *dev, float *out, const float *map,
                       struct ld_shape shape, const int32_t *place, int n);
void ld_cpu_feature_loss(struct ld_device *dev, double *sum, float *dmap,
                         const float *map, const struct ld_feature_rows *rows);
