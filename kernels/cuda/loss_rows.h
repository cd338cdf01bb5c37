/* loss_rows.h - the losses of one row, on the device: a warp a row.
 *
 * The lanes share the bins and the classes; what is one number a row each of
 * them computes. Gradients are added to what the pass over the tiles wrote. */
#pragma once

#include "kernels/cuda/loss_box.h"
#include "kernels/cuda/loss_job.h"

struct loss_row {
    int i, level;
    const float *z, *r; /* (K) class logits, (4, B) box logits */
    float *dz, *dr;
    const float *u; /* quality logit, or NULL */
    float *du;
};

static __device__ __forceinline__ int lane_of()
{
    return (int)threadIdx.x % LD_CUDA_WARP;
}

static __device__ __forceinline__ float warp_largest(float x)
{
    for (int with = LD_CUDA_WARP / 2; with > 0; with /= 2) {
        float other = __shfl_xor_sync(0xffffffff, x, with);

        x = other > x ? other : x;
    }
    return x;
}

/* ---- a positive row: its class ---- */

/* The background's share, which the sum over all locations holds, is exchanged
 * for the label's. */
static __device__ __forceinline__ double row_class(const struct loss_job *job,
                                                   const struct loss_factors *f,
                                                   const struct loss_row *row,
                                                   float iou)
{
    int label = job->batch.label[row->i];
    float z = row->z[label], g, other;
    double gain, g_u = 0, g_joint, other_joint, other_u;

    if (ld_cuda_focal(job->batch.head)) {
        gain = focal(&g, z, true) - focal(&other, z, false);
    } else if (!row->u) {
        gain = (double)qfl(&g, z, iou) - (double)qfl(&other, z, 0);
    } else {
        gain = joint_qfl(&g_joint, &g_u, z, *row->u, iou) -
               joint_qfl(&other_joint, &other_u, z, *row->u, 0);
        g = (float)g_joint;
        g_u -= other_u;
    }
    if (lane_of() == 0) {
        row->dz[label] = f->qfl * g;
        if (row->u && !ld_cuda_centred(job->batch.head))
            *row->du += (float)((double)f->qfl * g_u);
    }
    return gain;
}

static __device__ __forceinline__ double
row_centerness(const struct loss_factors *f, const struct loss_row *row,
               double wanted)
{
    double g, value = bce(&g, *row->u, wanted);

    if (lane_of() == 0)
        *row->du = (float)(f->centerness * g);
    return f->centerness * value;
}

/* ---- a positive row: its box ---- */

/* What is needed again of the softmax over one side's bins. */
struct side {
    float top;
    double sum, distance;
};

static __device__ __forceinline__ struct side side_of(const float *r, int B)
{
    struct side side = {-INFINITY, 0, 0};

    for (int k = lane_of(); k < B; k += LD_CUDA_WARP)
        side.top = r[k] > side.top ? r[k] : side.top;
    side.top = warp_largest(side.top);
    for (int k = lane_of(); k < B; k += LD_CUDA_WARP) {
        double e = exp((double)r[k] - (double)side.top);

        side.sum += e;
        side.distance += k * e;
    }
    side.sum = warp_sum(side.sum);
    side.distance = warp_sum(side.distance) / side.sum;
    return side;
}

/* DFL of a side whose wanted distance is y; d_distance and dfl as those of
 * ld_cpu_side_backward. */
static __device__ __forceinline__ double
side_loss(float *dr, const float *r, int B, const struct side *side,
          double d_distance, double dfl, float y)
{
    int left = (int)y;
    double share = (double)y - left;
    double log_sum = (double)side->top + log(side->sum);

    for (int k = lane_of(); k < B; k += LD_CUDA_WARP) {
        double p = exp((double)r[k] - (double)side->top) / side->sum;
        double t = k == left ? 1 - share : k == left + 1 ? share : 0;

        dr[k] += (float)(d_distance * p * (k - side->distance) + dfl * (p - t));
    }
    return (1 - share) * (log_sum - (double)r[left]) +
           share * (log_sum - (double)r[left + 1]);
}

/* Wanted distance of a side, in strides, kept inside the last bin. */
static __device__ __forceinline__ float wanted_distance(double distance, int B)
{
    float top = (float)(B - 1) - 0.1F;
    float y = (float)distance;

    return y < 0 ? 0 : y > top ? top : y;
}

/* A positive's box, in strides. */
struct row_box {
    double centre[4], box[4], target[4];
    struct side side[4];
};

static __device__ __forceinline__ double side_sign(int s)
{
    return s < 2 ? -1 : 1; /* left, top, right, bottom */
}

static __device__ __forceinline__ struct row_box
row_box_of(const struct loss_job *job, const struct loss_row *row, float x,
           float y)
{
    struct ld_box b = job->batch.box[row->i];
    float stride = (float)job->batch.grid.stride[row->level];
    int B = job->batch.B;
    struct row_box o;

    o.target[0] = (double)(b.x0 / stride);
    o.target[1] = (double)(b.y0 / stride);
    o.target[2] = (double)(b.x1 / stride);
    o.target[3] = (double)(b.y1 / stride);
    for (int s = 0; s < 4; s++) {
        o.centre[s] = (double)((s % 2 == 0 ? x : y) / stride);
        o.side[s] = side_of(row->r + s * B, B);
        o.box[s] = o.centre[s] + side_sign(s) * o.side[s].distance;
    }
    return o;
}

static __device__ __forceinline__ void
row_sides_loss(struct loss_partial *out, const struct loss_job *job,
               const struct loss_row *row, const struct row_box *o, double w)
{
    int B = job->batch.B;
    double c_dfl = (double)job->rules.dfl * w / 4;
    double c_box = (double)job->rules.box * w, g[4];

    out->value[LD_TERM_BOX] += c_box * (job->rules.box_loss == LD_BOX_CIOU
                                            ? ciou(g, o->box, o->target)
                                            : giou(g, o->box, o->target));
    for (int s = 0; s < 4; s++) {
        double sign = side_sign(s);
        float want = wanted_distance(sign * (o->target[s] - o->centre[s]), B);

        out->value[LD_TERM_DFL] +=
            c_dfl * side_loss(row->dr + s * B, row->r + s * B, B, &o->side[s],
                              c_box * sign * g[s], c_dfl, want);
    }
}

/* Class loss, box loss and DFL of a positive. */
static __device__ __forceinline__ void row_detect(struct loss_partial *out,
                                                  const struct loss_job *job,
                                                  const struct loss_factors *f,
                                                  const struct loss_row *row)
{
    const struct ld_loss_batch *batch = &job->batch;
    bool centred = ld_cuda_centred(batch->head);
    double central = 0, w;
    struct row_box o;
    float x, y;

    centre_of(&batch->grid, row->level, batch->index[row->i] % batch->A, &x,
              &y);
    o = row_box_of(job, row, x, y);
    out->value[LD_TERM_QFL] += row_class(job, f, row, box_iou(o.box, o.target));
    if (centred) {
        central = centerness(batch->box[row->i], x, y);
        out->value[LD_TERM_CENTERNESS] += row_centerness(f, row, central);
    }
    w = batch->head == LD_HEAD_RETINA
            ? f->positives
            : (centred ? central : (double)job->weight[row->i]) * f->weight;
    row_sides_loss(out, job, row, &o, w);
}

/* ---- rows with a teacher ---- */

/* A row of the teacher's: plain, or kept as whole numbers of a step. */
struct teacher_row {
    const float *plain; /* NULL: kept */
    const int16_t *kept;
    float step;
    int groups, width, relative; /* as kernels/loss.h says */
};

/* The product is rounded, as the plain number is: it is not to be fused with
 * what is taken from it. */
static __device__ __forceinline__ float
teacher_logit(const struct teacher_row *t, int i)
{
    int k = i % t->width - t->relative;

    if (t->plain)
        return t->plain[i];
    return k < 0 ? 0
                 : __fmul_rn(t->step, t->kept[k * t->groups + i / t->width]);
}

/* T^2 / n * KL(softmax(teacher / T) || softmax(student / T)), of the teacher's
 * logits from `at` on; g += weight * its gradient. */
static __device__ __forceinline__ double kl(float *g, const float *student,
                                            const struct teacher_row *teacher,
                                            int at, int n, float T,
                                            double weight)
{
    float top[2] = {-INFINITY, -INFINITY}, scale = 1 / T;
    double sum[2] = {0, 0}, dot = 0;
    float d = (float)(weight * (double)T / n), share[2];

    for (int k = lane_of(); k < n; k += LD_CUDA_WARP) {
        top[0] = student[k] > top[0] ? student[k] : top[0];
        top[1] = fmaxf(top[1], teacher_logit(teacher, at + k));
    }
    top[0] = warp_largest(top[0]);
    top[1] = warp_largest(top[1]);
    for (int k = lane_of(); k < n; k += LD_CUDA_WARP) {
        float x = student[k] - top[0],
              y = teacher_logit(teacher, at + k) - top[1];
        float e = expf(y * scale);

        sum[0] += (double)expf(x * scale);
        sum[1] += (double)e;
        dot += (double)e * (double)((y - x) * scale);
    }
    for (int i = 0; i < 2; i++) {
        sum[i] = warp_sum(sum[i]);
        share[i] = (float)(1 / sum[i]);
    }
    dot = warp_sum(dot);
    for (int k = lane_of(); k < n; k += LD_CUDA_WARP)
        g[k] += d * (expf((student[k] - top[0]) * scale) * share[0] -
                     expf((teacher_logit(teacher, at + k) - top[1]) * scale) *
                         share[1]);
    __syncwarp(); /* the next term may share the bins among lanes otherwise */
    return (double)T * T / n * (dot / sum[1] + log(sum[0]) - log(sum[1]));
}

/* Each side is a distribution; the reference's RetinaNet takes all four for
 * one. */
static __device__ __forceinline__ double row_sides(const struct loss_job *job,
                                                   const struct loss_row *row,
                                                   float T, double factor)
{
    const struct ld_loss_batch *b = &job->batch;
    int B = b->B, n = b->head == LD_HEAD_RETINA ? 4 * B : B;
    size_t i = (size_t)row->i, sides = 4 * (size_t)B;
    struct teacher_row teacher = {NULL, NULL, 0, 4 * B / n, n, 1};
    double sum = 0;

    if (b->teacher_box) {
        teacher.plain = b->teacher_box + i * sides;
    } else {
        teacher.kept = b->teacher_box_kept + i * (sides - sides / (size_t)n);
        teacher.step = b->teacher_box_step[i];
    }
    for (int at = 0; at < 4 * B; at += n)
        sum +=
            factor * kl(row->dr + at, row->r + at, &teacher, at, n, T, factor);
    return sum;
}

static __device__ __forceinline__ double row_classes(const struct loss_job *job,
                                                     const struct loss_row *row,
                                                     double factor)
{
    const struct ld_loss_batch *b = &job->batch;
    size_t i = (size_t)row->i, K = (size_t)b->teacher_K;
    struct teacher_row teacher = {NULL, NULL, 0, 1, b->teacher_K, 0};

    if (b->teacher_class) {
        teacher.plain = b->teacher_class + i * K;
    } else {
        teacher.kept = b->teacher_class_kept + i * K;
        teacher.step = b->teacher_class_step[i];
    }
    return factor * kl(row->dz, row->z, &teacher, 0, b->teacher_K,
                       job->rules.kd_T, factor);
}

static __device__ __forceinline__ void row_teacher(struct loss_partial *out,
                                                   const struct loss_job *job,
                                                   const struct loss_factors *f,
                                                   const struct loss_row *row)
{
    const struct ld_loss_batch *batch = &job->batch;
    const struct ld_loss_rules *rules = &job->rules;
    bool box = batch->teacher_box || batch->teacher_box_kept;
    bool classes = batch->teacher_class || batch->teacher_class_kept;
    bool positive = batch->label[row->i] >= 0;
    float v = batch->vlr[row->i];

    if (positive && box && rules->ld > 0)
        out->value[LD_TERM_LD] +=
            row_sides(job, row, rules->ld_T, f->ld * job->weight[row->i]);
    if (v > 0 && box && rules->vlr > 0)
        out->value[LD_TERM_VLR] += row_sides(
            job, row, rules->vlr_T,
            f->vlr * v *
                (batch->head == LD_HEAD_FCOS ? job->weight[row->i] : 1));
    if (positive && classes && rules->kd > 0)
        out->value[LD_TERM_KD] += row_classes(job, row, f->kd[row->level]);
    if (v > 0 && classes && rules->vlr_kd > 0)
        out->value[LD_TERM_VLR_KD] +=
            row_classes(job, row, f->vlr_kd[row->level]);
}

static __device__ __forceinline__ void row_run(struct loss_partial *out,
                                               const struct loss_job *job,
                                               const struct loss_factors *f,
                                               int level, int i)
{
    const struct ld_loss_batch *batch = &job->batch;
    size_t at = (size_t)batch->index[i];
    size_t K = (size_t)batch->K, sides = 4 * (size_t)batch->B;
    struct loss_row row = {i,
                           level,
                           batch->class_logits + at * K,
                           batch->box_logits + at * sides,
                           job->d_class + at * K,
                           job->d_box + at * sides,
                           batch->quality ? batch->quality + at : NULL,
                           batch->quality ? job->d_quality + at : NULL};

    if (batch->label[i] >= 0)
        row_detect(out, job, f, &row);
    __syncwarp();
    row_teacher(out, job, f, &row);
}
