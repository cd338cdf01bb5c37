/* loss_box.h - box losses of one box, on the device: value and gradient.
 *
 * As kernels/cpu/loss_terms.h, in double. */
#pragma once

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/loss_class.h"

static const double LD_CUDA_BOX_EPS = 1e-6;

/* A box against its target: intersection, union and hull, and how they change
 * with the box's four edges. */
struct overlap {
    double inter, both, hull_w, hull_h;
    double d_inter[4], d_both[4], d_hull_w[4], d_hull_h[4];
};

static __device__ __forceinline__ void
overlap_slopes(struct overlap *o, const double b[4], const double t[4])
{
    double w = b[2] - b[0], h = b[3] - b[1];
    double iw = fmin(b[2], t[2]) - fmax(b[0], t[0]);
    double ih = fmin(b[3], t[3]) - fmax(b[1], t[1]);
    const double d_area[4] = {-h, -w, h, w};
    bool meet = iw > 0 && ih > 0;

    for (int i = 0; i < 4; i++) {
        bool inside = i < 2 ? b[i] > t[i] : b[i] < t[i];
        bool outside = i < 2 ? b[i] < t[i] : b[i] > t[i];
        double sign = i < 2 ? -1 : 1;

        o->d_inter[i] = meet && inside ? sign * (i % 2 == 0 ? ih : iw) : 0;
        o->d_both[i] = d_area[i] - o->d_inter[i];
        o->d_hull_w[i] = outside && i % 2 == 0 ? sign : 0;
        o->d_hull_h[i] = outside && i % 2 == 1 ? sign : 0;
    }
    o->inter = meet ? iw * ih : 0;
}

static __device__ __forceinline__ struct overlap overlap_of(const double b[4],
                                                            const double t[4])
{
    struct overlap o;

    overlap_slopes(&o, b, t);
    o.hull_w = fmax(b[2], t[2]) - fmin(b[0], t[0]);
    o.hull_h = fmax(b[3], t[3]) - fmin(b[1], t[1]);
    /* The areas carry a NaN of the box on, which fmin and fmax drop. */
    o.both =
        (b[2] - b[0]) * (b[3] - b[1]) + (t[2] - t[0]) * (t[3] - t[1]) - o.inter;
    return o;
}

static __device__ __forceinline__ double giou(double g[4], const double box[4],
                                              const double target[4])
{
    struct overlap o = overlap_of(box, target);
    double hull = o.hull_w * o.hull_h;
    double u = at_least(o.both, LD_CUDA_BOX_EPS);
    double c = at_least(hull, LD_CUDA_BOX_EPS);
    double u_moves = o.both >= LD_CUDA_BOX_EPS;
    double c_moves = hull >= LD_CUDA_BOX_EPS;

    for (int i = 0; i < 4; i++) {
        double du = o.d_both[i] * u_moves;
        double dc =
            c_moves * (o.d_hull_w[i] * o.hull_h + o.d_hull_h[i] * o.hull_w);

        g[i] = -(o.d_inter[i] / u - o.inter * du / (u * u) + du / c -
                 u * dc / (c * c));
    }
    return 1 - (o.inter / u - (c - u) / c);
}

/* v of CIoU, how far the ratios of width to height are apart, and its
 * gradient. */
static __device__ __forceinline__ double
ratio_gap(double dv[4], const double box[4], const double target[4])
{
    const double pi2 = 9.86960440108935861883;
    double w = box[2] - box[0], h = box[3] - box[1] + LD_CUDA_BOX_EPS;
    double gap = atan((target[2] - target[0]) /
                      (target[3] - target[1] + LD_CUDA_BOX_EPS)) -
                 atan(w / h);
    double k = 8 / pi2 * gap / (w * w + h * h);

    dv[0] = k * h;
    dv[1] = -k * w;
    dv[2] = -k * h;
    dv[3] = k * w;
    return 4 / pi2 * gap * gap;
}

static __device__ __forceinline__ double ciou(double g[4], const double box[4],
                                              const double target[4])
{
    struct overlap o = overlap_of(box, target);
    double u = o.both + LD_CUDA_BOX_EPS, iou = o.inter / u;
    double ex = target[0] + target[2] - box[0] - box[2];
    double ey = target[1] + target[3] - box[1] - box[3];
    double rho2 = (ex * ex + ey * ey) / 4;
    double c2 = o.hull_w * o.hull_w + o.hull_h * o.hull_h + LD_CUDA_BOX_EPS;
    double dv[4], v = ratio_gap(dv, box, target), den = 1 - iou + v;

    for (int i = 0; i < 4; i++) {
        double d_iou = (o.d_inter[i] - iou * o.d_both[i]) / u;
        double d_rho2 = -(i % 2 == 0 ? ex : ey) / 2;
        double d_c2 = 2 * (o.hull_w * o.d_hull_w[i] + o.hull_h * o.d_hull_h[i]);
        double d_ratio =
            (2 * v * dv[i] * den - v * v * (dv[i] - d_iou)) / (den * den);

        g[i] = -d_iou + (d_rho2 - rho2 * d_c2 / c2) / c2 + d_ratio;
    }
    return 1 - iou + rho2 / c2 + v * v / den;
}

/* IoU in float, as ld_box_iou. */
static __device__ __forceinline__ float box_iou(const double a[4],
                                                const double b[4])
{
    float x[4], t[4];

    for (int i = 0; i < 4; i++) {
        x[i] = (float)a[i];
        t[i] = (float)b[i];
    }
    float w = (x[2] < t[2] ? x[2] : t[2]) - (x[0] > t[0] ? x[0] : t[0]);
    float h = (x[3] < t[3] ? x[3] : t[3]) - (x[1] > t[1] ? x[1] : t[1]);
    float inter = (w > 0 ? w : 0) * (h > 0 ? h : 0);
    float both =
        (x[2] - x[0]) * (x[3] - x[1]) + (t[2] - t[0]) * (t[3] - t[1]) - inter;

    return inter / (both > 1e-6F ? both : 1e-6F);
}
