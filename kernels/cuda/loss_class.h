/* loss_class.h - class losses of one logit, on the device: value and gradient.
 *
 * kernels/cpu/loss_terms.h says what each is; the numbers are float and double
 * where they are there. A NaN logit makes its value NaN. */
#pragma once

#include "kernels/cuda/cuda.h"

/* alpha of the focal loss (Lin et al. 2017) */
static const float LD_CUDA_LABEL_SHARE = 0.25F;

/* sigmoid(z), 1 - sigmoid(z) and log(1 + exp(z)), each to full precision */
struct sigmoids {
    float p, rest, softplus;
};

static __device__ __forceinline__ struct sigmoids sigmoids_of(float z)
{
    float e = expf(z < 0 ? z : -z);
    float large = 1 / (1 + e), small = e * large;
    float positive = z < 0 ? 0 : z; /* keeps NaN */

    return (struct sigmoids){z < 0 ? small : large, z < 0 ? large : small,
                             positive + log1pf(e)};
}

static __device__ __forceinline__ double at_least(double x, double floor)
{
    return x < floor ? floor : x; /* keeps NaN */
}

/* ---- quality focal loss ---- */

static __device__ __forceinline__ float qfl_background(float *g, float logit)
{
    struct sigmoids s = sigmoids_of(logit);
    float p2 = s.p * s.p;

    *g = p2 * (s.p + 2 * s.rest * s.softplus);
    return p2 * s.softplus;
}

static __device__ __forceinline__ float qfl(float *g, float logit, float y)
{
    struct sigmoids s = sigmoids_of(logit);
    float gap = s.p - y;
    float entropy = s.softplus - logit * y;

    *g = gap * gap * gap + 2 * gap * s.p * s.rest * entropy;
    return gap * gap * entropy;
}

static __device__ __forceinline__ double focal(float *g, float logit,
                                               bool is_label)
{
    float share = is_label ? LD_CUDA_LABEL_SHARE : 1 - LD_CUDA_LABEL_SHARE;
    double value = (double)qfl(g, is_label ? -logit : logit, 0);

    *g *= is_label ? -share : share;
    return value * (double)share;
}

/* ---- quality focal loss of a product of probabilities ---- */

/* -log(1 - p), given rest = 1 - p to full precision; at most 100 */
static __device__ __forceinline__ float minus_log_rest(float p, float rest)
{
    if (rest >= 0.5F)
        return log1pf(p / rest);
    return rest < 0x1p-126F ? 100 : -logf(rest);
}

/* *slope times the logit's 1 - sigmoid is its gradient. */
static __device__ __forceinline__ float
joint_background(float *slope, struct sigmoids s, struct sigmoids q)
{
    float p = s.p * q.p, rest = s.rest + s.p * q.rest;
    float entropy = minus_log_rest(p, rest);
    float spread = p * rest < 1e-12F ? 1e-12F : p * rest;

    *slope = p * p * (p * p / spread + 2 * entropy);
    return p * p * entropy;
}

static __device__ __forceinline__ double clamped_log(double x)
{
    return at_least(log(x), -100);
}

static __device__ __forceinline__ double
joint_qfl(double *g, double *g_quality, float logit, float quality, float y)
{
    double s = 1 / (1 + exp(-(double)logit)),
           s_rest = 1 / (1 + exp((double)logit));
    double q = 1 / (1 + exp(-(double)quality));
    double q_rest = 1 / (1 + exp((double)quality));
    double p = s * q, rest = s_rest + s * q_rest, gap = p - (double)y;
    double entropy =
        -(double)y * clamped_log(p) -
        (1 - (double)y) * (p < 0.5 ? log1p(-p) : clamped_log(rest));
    double dp = gap * gap * gap / at_least(p * rest, 1e-12) + 2 * gap * entropy;

    *g = dp * p * s_rest;
    *g_quality = dp * p * q_rest;
    return gap * gap * entropy;
}

/* ---- centerness ---- */

static __device__ __forceinline__ double bce(double *g, float logit, double y)
{
    double z = (double)logit, e = exp(z < 0 ? z : -z);

    *g = (z < 0 ? e : 1) / (1 + e) - y;
    return (z < 0 ? 0 : z) - z * y + log1p(e);
}

static __device__ __forceinline__ double balance(double a, double b)
{
    return a < b ? a / b : b / a;
}

/* How central a place (x, y) is in a box. */
static __device__ __forceinline__ double centerness(struct ld_box b, float x,
                                                    float y)
{
    return sqrt(balance((double)x - (double)b.x0, (double)b.x1 - (double)x) *
                balance((double)y - (double)b.y0, (double)b.y1 - (double)y));
}
