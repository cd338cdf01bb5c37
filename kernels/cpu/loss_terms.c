#include "kernels/cpu/loss_terms.h"

#include <math.h>
#include <stdbool.h>

#include "kernels/cpu/loss_math.h"

static const double EPS = 1e-6;

enum { CHUNK = 256, LANES = 8 };

/* ---- one side ---- */

static float largest(const float *x, int n)
{
    float top = x[0];

    for (int k = 1; k < n; k++)
        top = x[k] > top ? x[k] : top;
    return top;
}

struct ld_cpu_side ld_cpu_side_of(const float *logits, int B)
{
    struct ld_cpu_side side = {.top = largest(logits, B)};

    for (int k = 0; k < B; k++) {
        double e = exp((double)logits[k] - side.top);

        side.sum += e;
        side.distance += k * e;
    }
    side.distance /= side.sum;
    return side;
}

double ld_cpu_dfl(const float *logits, const struct ld_cpu_side *side, float y)
{
    int left = (int)y;
    double right_share = (double)y - left;
    double log_sum = side->top + log(side->sum);

    return (1 - right_share) * (log_sum - logits[left]) +
           right_share * (log_sum - logits[left + 1]);
}

void ld_cpu_side_backward(float *g, const float *logits, int B,
                          const struct ld_cpu_side *side, double d_distance,
                          double dfl, float y)
{
    int left = (int)y;
    double right_share = (double)y - left;

    for (int k = 0; k < B; k++) {
        double p = exp((double)logits[k] - side->top) / side->sum;
        double t = k == left       ? 1 - right_share
                   : k == left + 1 ? right_share
                                   : 0;

        g[k] += (float)(d_distance * p * (k - side->distance) + dfl * (p - t));
    }
}

/* ---- one box ---- */

/* A box against its target: intersection, union and hull, and how the first
 * and the last change with the box's four edges. */
struct overlap {
    double inter, both, hull_w, hull_h;
    double d_inter[4], d_both[4], d_hull_w[4], d_hull_h[4];
};

static struct overlap overlap_of(const double b[4], const double t[4])
{
    double w = b[2] - b[0], h = b[3] - b[1];
    double iw = fmin(b[2], t[2]) - fmax(b[0], t[0]);
    double ih = fmin(b[3], t[3]) - fmax(b[1], t[1]);
    struct overlap o = {
        .hull_w = fmax(b[2], t[2]) - fmin(b[0], t[0]),
        .hull_h = fmax(b[3], t[3]) - fmin(b[1], t[1]),
        .d_hull_w = {b[0] < t[0] ? -1 : 0, 0, b[2] > t[2] ? 1 : 0, 0},
        .d_hull_h = {0, b[1] < t[1] ? -1 : 0, 0, b[3] > t[3] ? 1 : 0},
    };
    const double d_area[4] = {-h, -w, h, w};

    if (iw > 0 && ih > 0) {
        o.inter = iw * ih;
        o.d_inter[0] = b[0] > t[0] ? -ih : 0;
        o.d_inter[1] = b[1] > t[1] ? -iw : 0;
        o.d_inter[2] = b[2] < t[2] ? ih : 0;
        o.d_inter[3] = b[3] < t[3] ? iw : 0;
    }
    /* The areas carry a NaN of the box on, which fmin and fmax drop. */
    o.both = w * h + (t[2] - t[0]) * (t[3] - t[1]) - o.inter;
    for (int i = 0; i < 4; i++)
        o.d_both[i] = d_area[i] - o.d_inter[i];
    return o;
}

static double at_least(double x, double floor)
{
    return x < floor ? floor : x; /* keeps NaN */
}

double ld_cpu_giou(double g[4], const double box[4], const double target[4])
{
    struct overlap o = overlap_of(box, target);
    double u = at_least(o.both, EPS), c = at_least(o.hull_w * o.hull_h, EPS);
    double u_moves = o.both >= EPS, c_moves = o.hull_w * o.hull_h >= EPS;

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
static double ratio_gap(double dv[4], const double box[4],
                        const double target[4])
{
    double w = box[2] - box[0], h = box[3] - box[1] + EPS;
    double gap = atan((target[2] - target[0]) / (target[3] - target[1] + EPS)) -
                 atan(w / h);
    double k = 8 / (M_PI * M_PI) * gap / (w * w + h * h);

    dv[0] = k * h;
    dv[1] = -k * w;
    dv[2] = -k * h;
    dv[3] = k * w;
    return 4 / (M_PI * M_PI) * gap * gap;
}

double ld_cpu_ciou(double g[4], const double box[4], const double target[4])
{
    struct overlap o = overlap_of(box, target);
    double u = o.both + EPS, iou = o.inter / u;
    double ex = target[0] + target[2] - box[0] - box[2];
    double ey = target[1] + target[3] - box[1] - box[3];
    double rho2 = (ex * ex + ey * ey) / 4;
    double c2 = o.hull_w * o.hull_w + o.hull_h * o.hull_h + EPS;
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

/* ---- one distribution against another ---- */

/* Softmaxes of student and teacher, as far as a sum over all entries gives. */
struct two_sums {
    float top[2], scale;
    double sum[2];
    double dot; /* sum of e_teacher * (log e_teacher - log e_student) */
};

/* e[0] = exp((student - its top) / T), e[1] the teacher's; n <= CHUNK */
static void two_exps(float e[2][CHUNK], const float *student,
                     const float *teacher, int n, const struct two_sums *s)
{
    for (int k = 0; k < n; k++) {
        e[0][k] = ld_cpu_exp((student[k] - s->top[0]) * s->scale);
        e[1][k] = ld_cpu_exp((teacher[k] - s->top[1]) * s->scale);
    }
}

static struct two_sums two_sums_of(float e[2][CHUNK], const float *student,
                                   const float *teacher, int n, float T)
{
    struct two_sums s = {.top = {largest(student, n), largest(teacher, n)},
                         .scale = 1 / T};

    for (int begin = 0; begin < n; begin += CHUNK) {
        const float *x = student + begin, *y = teacher + begin;
        int count = n - begin < CHUNK ? n - begin : CHUNK;

        two_exps(e, x, y, count, &s);
        for (int k = 0; k < count; k++) {
            float gap = (y[k] - s.top[1]) - (x[k] - s.top[0]);

            s.sum[0] += e[0][k];
            s.sum[1] += e[1][k];
            s.dot += (double)e[1][k] * (double)(gap * s.scale);
        }
    }
    return s;
}

double ld_cpu_kl(float *g, const float *student, const float *teacher, int n,
                 float T, double weight)
{
    float e[2][CHUNK];
    struct two_sums s = two_sums_of(e, student, teacher, n, T);
    float d = (float)(weight * T / n);
    float share[2] = {(float)(1 / s.sum[0]), (float)(1 / s.sum[1])};

    for (int begin = 0; begin < n; begin += CHUNK) {
        int count = n - begin < CHUNK ? n - begin : CHUNK;

        if (n > CHUNK) /* else they are there from the sums */
            two_exps(e, student + begin, teacher + begin, count, &s);
        for (int k = 0; k < count; k++)
            g[begin + k] += d * (e[0][k] * share[0] - e[1][k] * share[1]);
    }
    return (double)T * T / n *
           (s.dot / s.sum[1] + log(s.sum[0]) - log(s.sum[1]));
}

/* ---- classes ---- */

/* sigmoid(z), 1 - sigmoid(z) and log(1 + exp(z)), each to full precision */
struct sigmoid {
    float p, rest, softplus;
};

static inline struct sigmoid sigmoid_of(float z)
{
    float e = ld_cpu_exp(z < 0 ? z : -z);
    float large = 1 / (1 + e), small = e * large;
    float positive = z < 0 ? 0 : z; /* keeps NaN */

    return (struct sigmoid){
        .p = z < 0 ? small : large,
        .rest = z < 0 ? large : small,
        .softplus = positive + ld_cpu_log1p(e),
    };
}

double ld_cpu_qfl(float *g, float logit, float y)
{
    struct sigmoid s = sigmoid_of(logit);
    float gap = s.p - y;
    float entropy = s.softplus - logit * y;

    *g = gap * gap * gap + 2 * gap * s.p * s.rest * entropy;
    return (double)(gap * gap * entropy);
}

/* Eight sums side by side, added up in a fixed order. */
static double sum_of(const float *x, size_t n)
{
    double lane[LANES] = {0}, sum = 0;
    size_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; k++)
            lane[k] += (double)x[i + k];
    }
    for (; i < n; i++)
        sum += (double)x[i];
    for (int k = 0; k < LANES; k++)
        sum += lane[k];
    return sum;
}

double ld_cpu_qfl_background(float *g, const float *logits, size_t n,
                             float weight)
{
    float value[CHUNK];
    double sum = 0;

    for (size_t begin = 0; begin < n; begin += CHUNK) {
        size_t count = n - begin < CHUNK ? n - begin : CHUNK;

        for (size_t i = 0; i < count; i++) {
            struct sigmoid s = sigmoid_of(logits[begin + i]);
            float p2 = s.p * s.p;

            value[i] = p2 * s.softplus;
            g[begin + i] = weight * (p2 * (s.p + 2 * s.rest * s.softplus));
        }
        sum += sum_of(value, count);
    }
    return sum;
}

/* ---- classes, focal ----
 *
 * Focal loss with gamma 2 is QFL of quality 0 times a factor; at the label's
 * class, where p and 1 - p change places, of the negated logit. */

static const float LABEL_SHARE = 0.25F; /* alpha */

double ld_cpu_focal(float *g, float logit, bool is_label)
{
    double value = ld_cpu_qfl(g, is_label ? -logit : logit, 0);

    *g *= is_label ? -LABEL_SHARE : 1 - LABEL_SHARE;
    return value * (double)(is_label ? LABEL_SHARE : 1 - LABEL_SHARE);
}

double ld_cpu_focal_background(float *g, const float *logits, size_t n,
                               float weight)
{
    return (double)(1 - LABEL_SHARE) *
           ld_cpu_qfl_background(g, logits, n, (1 - LABEL_SHARE) * weight);
}

/* ---- centerness ---- */

double ld_cpu_bce(double *g, float logit, double y)
{
    double z = logit, e = exp(-fabs(z));

    *g = (z < 0 ? e : 1) / (1 + e) - y;
    return (z < 0 ? 0 : z) - z * y + log1p(e);
}

static double balance(double a, double b)
{
    return a < b ? a / b : b / a;
}

double ld_cpu_centerness(const double side[4])
{
    return sqrt(balance(side[0], side[2]) * balance(side[1], side[3]));
}

/* ---- classes, of a product of probabilities ---- */

/* -log(1 - p) of 0 <= p <= 1, given rest = 1 - p to full precision; at most
 * 100, as the reference clamps it, and already where rest is denormal (88). */
static inline float minus_log_rest(float p, float rest)
{
    const float ln2 = 0x1.62e43p-1F;
    uint32_t bits = ld_cpu_bits(rest);
    float halvings = (float)(127 - (int32_t)(bits >> 23));
    float mantissa = ld_cpu_from_bits((bits & 0x7FFFFFU) | 0x3F800000U);
    bool near = rest >= 0.5F; /* log(1 + p / rest), exact for a small p */
    float log1p = ld_cpu_log1p(near ? p / rest : mantissa - 1);
    float far = rest < 0x1p-126F ? 100 : halvings * ln2 - log1p;

    return near ? log1p : far;
}

static double clamped_log(double x)
{
    double y = log(x);

    return y < -100 ? -100 : y; /* keeps NaN */
}

double ld_cpu_joint_qfl(double *g, double *g_quality, float logit,
                        float quality, float y)
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

double ld_cpu_joint_background(float *g, float *g_quality, const float *logits,
                               size_t n, float quality, float weight)
{
    struct sigmoid q = sigmoid_of(quality);
    float value[CHUNK], slope[CHUNK];
    double sum = 0, slopes = 0;

    for (size_t begin = 0; begin < n; begin += CHUNK) {
        size_t count = n - begin < CHUNK ? n - begin : CHUNK;

        for (size_t i = 0; i < count; i++) {
            struct sigmoid s = sigmoid_of(logits[begin + i]);
            float p = s.p * q.p, rest = s.rest + s.p * q.rest;
            float entropy = minus_log_rest(p, rest);
            float spread = p * rest < 1e-12F ? 1e-12F : p * rest;

            value[i] = p * p * entropy;
            slope[i] = weight * (p * p * (p * p / spread + 2 * entropy));
            g[begin + i] = slope[i] * s.rest;
        }
        sum += sum_of(value, count);
        slopes += sum_of(slope, count);
    }
    *g_quality = (float)(slopes * (double)q.rest);
    return sum;
}
