/* loss_terms.h - each loss for one side, one box or one run of logits: its
 * value and, in the same pass, its gradient.
 *
 * Nothing here knows of batches, rows or weights of a recipe; loss_cpu.c puts
 * the terms together. Logits and their gradients are float32; what is one
 * number a side or a box is double. A NaN logit makes its value NaN. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* What is needed again of the softmax over one side's bins. */
struct ld_cpu_side {
    float top;       /* the largest logit */
    double sum;      /* of exp(logit - top) */
    double distance; /* sum_k k softmax_k, in strides */
};

struct ld_cpu_side ld_cpu_side_of(const float *logits, int B);

/* Distribution focal loss (Li et al. 2020, eq. 6) of one side, whose wanted
 * distance is 0 <= y <= B - 1.1 strides. */
double ld_cpu_dfl(const float *logits, const struct ld_cpu_side *side, float y);

/* g_k += d_distance * p_k (k - distance) + dfl * (p_k - t_k): the gradients
 * that reach a side through its distance, and of dfl times its DFL. */
void ld_cpu_side_backward(float *g, const float *logits, int B,
                          const struct ld_cpu_side *side, double d_distance,
                          double dfl, float y);

/* 1 - GIoU (Rezatofighi et al. 2019) of boxes (x0, y0, x1, y1), and its
 * gradient with respect to `box`: overwrites g. Union and hull are clamped
 * below at 1e-6. */
double ld_cpu_giou(double g[4], const double box[4], const double target[4]);

/* 1 - CIoU (Zheng et al. 2020) as the reference codes it: alpha takes part in
 * the gradient, and 1e-6 is added to the union, to the squared diagonal of the
 * hull and to the heights. */
double ld_cpu_ciou(double g[4], const double box[4], const double target[4]);

/* T^2 / n * KL(softmax(teacher / T) || softmax(student / T)), a mean over the n
 * entries; g += weight * its gradient with respect to the student's logits. */
double ld_cpu_kl(float *g, const float *student, const float *teacher, int n,
                 float T, double weight);

/* Quality focal loss (Li et al. 2020, eq. 4, beta 2) of one logit with quality
 * y in [0, 1]; *g is its gradient: overwrites. */
double ld_cpu_qfl(float *g, float logit, float y);

/* Sigmoid focal loss (Lin et al. 2017, gamma 2, alpha 0.25) of one logit, of
 * the label's class or of another; *g is its gradient: overwrites. */
double ld_cpu_focal(float *g, float logit, bool is_label);

/* Binary cross entropy of sigmoid(logit) with y in [0, 1]; *g is its gradient:
 * overwrites. */
double ld_cpu_bce(double *g, float logit, double y);

/* How central a place is in its box (Tian et al. 2019, eq. 3), 0 to 1, from
 * its distances to the four sides, all positive. */
double ld_cpu_centerness(const double side[4]);

/* Quality focal loss of a probability p = sigmoid(logit) sigmoid(quality) (Li
 * et al. 2021, GFL V2), whose logs are clamped below at -100; *g and *g_quality
 * are its gradients: overwrites. */
double ld_cpu_joint_qfl(double *g, double *g_quality, float logit,
                        float quality, float y);

/* The sum of n such losses with y = 0 that share one quality, and weight *
 * their gradients, which overwrite g (n) and *g_quality. */
double ld_cpu_joint_background(float *g, float *g_quality, const float *logits,
                               size_t n, float quality, float weight);

/* The sum of n quality focal losses with y = 0, and g = weight * their
 * gradients: overwrites. */
double ld_cpu_qfl_background(float *g, const float *logits, size_t n,
                             float weight);

/* The same of the focal loss: no logit is the label's. */
double ld_cpu_focal_background(float *g, const float *logits, size_t n,
                               float weight);
