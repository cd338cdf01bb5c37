#include "kernels/cpu/loss_cpu.h"

#include <math.h>
#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/cpu/loss_terms.h"

/* The batch's locations are cut into at most this many pieces. Each adds up its
 * own terms, and the pieces are added in order. */
enum { MAX_PIECES = 256, MIN_PIECE = 64 };

/* A network has no more (kernels/net/gfl.c). */
enum { MAX_BINS = 256, MAX_LOGITS = 10001 };

/* What one loss_run needs everywhere. */
struct loss_job {
    const struct ld_loss_batch *batch;
    const struct ld_loss_rules *rules;
    const float *weight;
    double n_positive, weight_sum;
    float *d_class, *d_box, *d_quality;
    float qfl;      /* factor of a QFL gradient */
    double ld, vlr; /* factors of a side's KL, but for w and v */
    double n_main[LD_MAX_LEVELS], n_vlr[LD_MAX_LEVELS]; /* rows of a level */
    size_t grain;                                       /* locations a piece */
    struct ld_loss_terms piece[MAX_PIECES];
};

/* One row: where it stands and what is its own. */
struct loss_row {
    int i, level;
    const float *z, *r; /* (K) class logits, (4, B) box logits */
    float *dz, *dr;
    const float *u; /* quality logit, or NULL */
    float *du;
};

static float sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}

static float largest_sigmoid(const float *logits, int K)
{
    float top = logits[0];

    for (int k = 0; k < K; k++) {
        if (isnan(logits[k]))
            return logits[k];
        top = logits[k] > top ? logits[k] : top;
    }
    return sigmoid(top);
}

static double wanted_centerness(const struct ld_loss_batch *batch, int i)
{
    struct ld_box b = batch->box[i];
    float x, y;

    ld_grid_centre(&batch->grid, batch->index[i] % batch->A, &x, &y);
    return ld_cpu_centerness(
        (const double[4]){(double)x - b.x0, (double)y - b.y0, (double)b.x1 - x,
                          (double)b.y1 - y});
}

static bool is_focal(enum ld_head head)
{
    return head == LD_HEAD_RETINA || ld_head_has_centerness(head);
}

/* Rows that the student's best score weighs. */
static bool is_scored(const struct ld_loss_batch *batch, int i)
{
    return batch->label[i] >= 0 ||
           (batch->head == LD_HEAD_FCOS && batch->vlr[i] > 0);
}

void ld_cpu_loss_weights(struct ld_device *dev, float *weight,
                         const struct ld_loss_batch *batch)
{
    bool centred = ld_head_has_centerness(batch->head);
    bool joint = batch->quality && !centred;
    double sum = 0;

    (void)dev;
    for (int i = 0; i < batch->n_rows; i++) {
        size_t at = (size_t)batch->index[i];

        weight[i] = 0;
        if (!batch->valid[at])
            continue;
        if (is_scored(batch, i))
            weight[i] =
                largest_sigmoid(batch->class_logits + at * batch->K, batch->K) *
                (joint ? sigmoid(batch->quality[at]) : 1);
        if (!centred)
            sum += (double)weight[i];
        else if (batch->label[i] >= 0)
            sum += wanted_centerness(batch, i);
    }
    batch->sums[LD_SUM_WEIGHT] = sum;
}

/* ---- a positive row ---- */

static double box_loss(double g[4], const struct ld_loss_rules *rules,
                       const double box[4], const double target[4])
{
    if (rules->box_loss == LD_BOX_CIOU)
        return ld_cpu_ciou(g, box, target);
    return ld_cpu_giou(g, box, target);
}

static struct ld_box rounded(const double b[4])
{
    return (struct ld_box){(float)b[0], (float)b[1], (float)b[2], (float)b[3]};
}

/* Quality of the label's class: the background's share, which the sum over all
 * classes holds, is exchanged for it. */
static void row_quality(struct loss_job *job, struct ld_loss_terms *out,
                        const struct loss_row *row, float quality)
{
    int label = job->batch->label[row->i];
    float g, background;
    double gain = ld_cpu_qfl(&g, row->z[label], quality) -
                  ld_cpu_qfl(&background, row->z[label], 0);

    out->value[LD_TERM_QFL][row->level] += gain;
    row->dz[label] = job->qfl * g;
}

/* The same of GFL V2. */
static void row_joint(struct loss_job *job, struct ld_loss_terms *out,
                      const struct loss_row *row, float quality)
{
    float z = row->z[job->batch->label[row->i]], u = *row->u;
    double g, g_u, background, background_u;
    double gain = ld_cpu_joint_qfl(&g, &g_u, z, u, quality) -
                  ld_cpu_joint_qfl(&background, &background_u, z, u, 0);

    out->value[LD_TERM_QFL][row->level] += gain;
    row->dz[job->batch->label[row->i]] = (float)((double)job->qfl * g);
    *row->du += (float)((double)job->qfl * (g_u - background_u));
}

/* Focal loss, in the same way. */
static void row_focal(struct loss_job *job, struct ld_loss_terms *out,
                      const struct loss_row *row)
{
    int label = job->batch->label[row->i];
    float g, background;
    double gain = ld_cpu_focal(&g, row->z[label], true) -
                  ld_cpu_focal(&background, row->z[label], false);

    out->value[LD_TERM_QFL][row->level] += gain;
    row->dz[label] = job->qfl * g;
}

static void row_centerness(struct loss_job *job, struct ld_loss_terms *out,
                           const struct loss_row *row, double centerness)
{
    double factor = job->rules->centerness / job->n_positive, g_u;

    out->value[LD_TERM_CENTERNESS][row->level] +=
        factor * ld_cpu_bce(&g_u, *row->u, centerness);
    *row->du = (float)(factor * g_u);
}

/* Wanted distance of a side, in strides, kept inside the last bin. */
static float wanted(double distance, int B)
{
    float top = (float)(B - 1) - 0.1F;
    float y = (float)distance;

    return y < 0 ? 0 : y > top ? top : y;
}

/* The class loss of a positive, whose box overlaps its target's by `iou`. */
static void row_class(struct loss_job *job, struct ld_loss_terms *out,
                      const struct loss_row *row, float iou)
{
    if (is_focal(job->batch->head))
        row_focal(job, out, row);
    else
        (row->u ? row_joint : row_quality)(job, out, row, iou);
    if (ld_head_has_centerness(job->batch->head))
        row_centerness(job, out, row, wanted_centerness(job->batch, row->i));
}

/* The share of a positive's box in the mean of its losses. */
static double box_weight(const struct loss_job *job, int i)
{
    const struct ld_loss_batch *batch = job->batch;

    if (batch->head == LD_HEAD_RETINA)
        return 1 / job->n_positive;
    return (ld_head_has_centerness(batch->head) ? wanted_centerness(batch, i)
                                                : (double)job->weight[i]) /
           job->weight_sum;
}

/* Class loss, box loss and DFL of a positive. Everything is in strides here. */
static void row_detect(struct loss_job *job, struct ld_loss_terms *out,
                       const struct loss_row *row)
{
    const struct ld_loss_batch *batch = job->batch;
    static const int sign[4] = {-1, -1, 1, 1}; /* left, top, right, bottom */
    int B = batch->B, location = batch->index[row->i] % batch->A;
    float stride = (float)batch->grid.stride[row->level], x, y;
    struct ld_box b = batch->box[row->i];
    const double target[4] = {b.x0 / stride, b.y0 / stride, b.x1 / stride,
                              b.y1 / stride};
    double centre[4], box[4], g[4];
    double w = box_weight(job, row->i);
    double c_dfl = job->rules->dfl * w / 4, c_box = job->rules->box * w;
    struct ld_cpu_side side[4];

    ld_grid_centre(&batch->grid, location, &x, &y);
    for (int s = 0; s < 4; s++) {
        centre[s] = (s % 2 == 0 ? x : y) / stride;
        side[s] = ld_cpu_side_of(row->r + s * B, B);
        box[s] = centre[s] + sign[s] * side[s].distance;
    }
    row_class(job, out, row, ld_box_iou(rounded(box), rounded(target)));
    out->value[LD_TERM_BOX][row->level] +=
        c_box * box_loss(g, job->rules, box, target);
    for (int s = 0; s < 4; s++) {
        const float *r = row->r + s * B;
        float want = wanted(sign[s] * (target[s] - centre[s]), B);

        out->value[LD_TERM_DFL][row->level] +=
            c_dfl * ld_cpu_dfl(r, &side[s], want);
        ld_cpu_side_backward(row->dr + s * B, r, B, &side[s],
                             c_box * sign[s] * g[s], c_dfl, want);
    }
}

/* ---- rows with a teacher ---- */

/* A row's numbers of its step as logits: `groups` runs of `width`, the first
 * of which is 0 if the others are relative to it. */
static void restore(float *logits, const int16_t *kept, float step, int groups,
                    int width, int relative)
{
    for (int g = 0; g < groups; g++)
        for (int k = 0; k < width; k++)
            logits[g * width + k] =
                k < relative ? 0 : step * kept[(k - relative) * groups + g];
}

/* Each side is a distribution; the reference's RetinaNet takes all four for
 * one. */
static void row_sides(struct loss_job *job, struct ld_loss_terms *out,
                      const struct loss_row *row, enum ld_term term,
                      double factor)
{
    const struct ld_loss_batch *batch = job->batch;
    int B = batch->B, sides = 4 * B;
    int n = batch->head == LD_HEAD_RETINA ? sides : B;
    size_t i = (size_t)row->i;
    float T = term == LD_TERM_LD ? job->rules->ld_T : job->rules->vlr_T;
    float room[4 * MAX_BINS];
    const float *teacher = room;

    if (batch->teacher_box)
        teacher = batch->teacher_box + i * (size_t)sides;
    else
        restore(room, batch->teacher_box_kept + i * (size_t)(sides - sides / n),
                batch->teacher_box_step[i], sides / n, n, 1);
    for (int at = 0; at < sides; at += n)
        out->value[term][row->level] +=
            factor *
            ld_cpu_kl(row->dr + at, row->r + at, teacher + at, n, T, factor);
}

static void row_classes(struct loss_job *job, struct ld_loss_terms *out,
                        const struct loss_row *row, enum ld_term term,
                        double factor)
{
    const struct ld_loss_batch *batch = job->batch;
    int K = batch->teacher_K;
    size_t i = (size_t)row->i, first = i * (size_t)K;
    float room[MAX_LOGITS];
    const float *teacher = room;

    if (batch->teacher_class)
        teacher = batch->teacher_class + first;
    else
        restore(room, batch->teacher_class_kept + first,
                batch->teacher_class_step[i], 1, K, 0);
    out->value[term][row->level] +=
        factor *
        ld_cpu_kl(row->dz, row->z, teacher, K, job->rules->kd_T, factor);
}

static void row_run(struct loss_job *job, struct ld_loss_terms *out, int i)
{
    const struct ld_loss_batch *batch = job->batch;
    const struct ld_loss_rules *rules = job->rules;
    size_t at = (size_t)batch->index[i];
    size_t K = (size_t)batch->K, sides = 4 * (size_t)batch->B;
    int level = ld_grid_level(&batch->grid, batch->index[i] % batch->A);
    struct loss_row row = {i,
                           level,
                           batch->class_logits + at * K,
                           batch->box_logits + at * sides,
                           job->d_class + at * K,
                           job->d_box + at * sides,
                           batch->quality ? batch->quality + at : NULL,
                           batch->quality ? job->d_quality + at : NULL};
    bool positive = batch->label[i] >= 0, valuable = batch->vlr[i] > 0;
    bool box = batch->teacher_box || batch->teacher_box_kept;
    bool classes = batch->teacher_class || batch->teacher_class_kept;

    if (positive)
        row_detect(job, out, &row);
    if (positive && box && rules->ld > 0)
        row_sides(job, out, &row, LD_TERM_LD, job->ld * job->weight[i]);
    if (valuable && box && rules->vlr > 0)
        row_sides(job, out, &row, LD_TERM_VLR,
                  job->vlr * batch->vlr[i] *
                      (batch->head == LD_HEAD_FCOS ? job->weight[i] : 1));
    if (positive && classes && rules->kd > 0)
        row_classes(job, out, &row, LD_TERM_KD, rules->kd / job->n_main[level]);
    if (valuable && classes && rules->vlr_kd > 0)
        row_classes(job, out, &row, LD_TERM_VLR_KD,
                    rules->vlr_kd / job->n_vlr[level]);
}

/* ---- a piece of the batch ---- */

/* Class loss of locations as if they were background, and its gradients. */
static double background(struct loss_job *job, size_t begin, size_t end)
{
    const struct ld_loss_batch *batch = job->batch;
    size_t K = (size_t)batch->K;
    double sum = 0;

    if (is_focal(batch->head)) {
        if (job->d_quality)
            memset(job->d_quality + begin, 0, (end - begin) * sizeof(float));
        return ld_cpu_focal_background(job->d_class + begin * K,
                                       batch->class_logits + begin * K,
                                       (end - begin) * K, job->qfl);
    }
    if (!batch->quality)
        return ld_cpu_qfl_background(job->d_class + begin * K,
                                     batch->class_logits + begin * K,
                                     (end - begin) * K, job->qfl);
    for (size_t at = begin; at < end; at++)
        sum += ld_cpu_joint_background(
            job->d_class + at * K, job->d_quality + at,
            batch->class_logits + at * K, K, batch->quality[at], job->qfl);
    return sum;
}

static void no_gradient(struct loss_job *job, size_t begin, size_t end)
{
    size_t K = (size_t)job->batch->K;

    memset(job->d_class + begin * K, 0, (end - begin) * K * sizeof(float));
    if (job->d_quality)
        memset(job->d_quality + begin, 0, (end - begin) * sizeof(float));
}

/* Class loss as if every location were background; 0 gradient where it is
 * invalid or ignored. */
static void piece_background(struct loss_job *job, struct ld_loss_terms *out,
                             size_t begin, size_t end)
{
    const struct ld_loss_batch *batch = job->batch;
    size_t A = (size_t)batch->A, stop;

    for (size_t at = begin; at < end; at = stop) {
        int level = ld_grid_level(&batch->grid, (int)(at % A));
        size_t level_end = at - at % A + (size_t)batch->grid.start[level + 1];
        uint8_t valid = batch->valid[at];

        for (stop = at + 1; stop < end && stop < level_end; stop++) {
            if (batch->valid[stop] != valid)
                break;
        }
        if (valid == LD_VALID)
            out->value[LD_TERM_QFL][level] += background(job, at, stop);
        else
            no_gradient(job, at, stop);
    }
}

/* First row whose index is not below `location`. */
static int first_row(const struct ld_loss_batch *batch, size_t location)
{
    int low = 0, high = batch->n_rows;

    while (low < high) {
        int middle = low + (high - low) / 2;

        if ((size_t)batch->index[middle] < location)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void piece_run(size_t begin, size_t end, void *task)
{
    struct loss_job *job = task;
    const struct ld_loss_batch *batch = job->batch;
    size_t sides = 4 * (size_t)batch->B;
    struct ld_loss_terms out = {0};

    memset(job->d_box + begin * sides, 0,
           (end - begin) * sides * sizeof(float));
    piece_background(job, &out, begin, end);
    for (int i = first_row(batch, begin); i < batch->n_rows; i++) {
        if ((size_t)batch->index[i] >= end)
            break;
        if (batch->valid[batch->index[i]])
            row_run(job, &out, i);
    }
    for (int level = 0; level < LD_MAX_LEVELS; level++)
        out.value[LD_TERM_QFL][level] *= job->rules->qfl / job->n_positive;
    job->piece[begin / job->grain] = out;
}

/* ---- the batch ---- */

static double ld_factor(const struct ld_loss_batch *batch,
                        const struct ld_loss_rules *rules, double weight_sum)
{
    switch (rules->ld_norm) {
    case LD_NORM_PER_IMAGE:
        return (double)rules->norm_images / batch->N;
    case LD_NORM_AVG_FACTOR:
        return 1 / weight_sum;
    default:
        return 1;
    }
}

static void count_rows(struct loss_job *job)
{
    const struct ld_loss_batch *batch = job->batch;

    for (int i = 0; i < batch->n_rows; i++) {
        int level = ld_grid_level(&batch->grid, batch->index[i] % batch->A);
        int valid = batch->valid[batch->index[i]] != 0;

        job->n_main[level] += valid && batch->label[i] >= 0;
        job->n_vlr[level] += valid && batch->vlr[i] > 0;
    }
}

void ld_cpu_loss_run(struct ld_device *dev, struct ld_loss_terms *out,
                     float *d_class_logits, float *d_box_logits,
                     float *d_quality, const float *weight,
                     const struct ld_loss_batch *batch,
                     const struct ld_loss_rules *rules)
{
    size_t count = (size_t)batch->N * (size_t)batch->A;
    size_t grain = (count + MAX_PIECES - 1) / MAX_PIECES;
    double n_positive = fmax(batch->sums[LD_SUM_POSITIVES], 1);
    double weight_sum = batch->sums[LD_SUM_WEIGHT] + 1e-6;
    double norm = ld_factor(batch, rules, weight_sum);
    struct loss_job job = {
        .batch = batch,
        .rules = rules,
        .weight = weight,
        .n_positive = n_positive,
        .weight_sum = weight_sum,
        .d_class = d_class_logits,
        .d_box = d_box_logits,
        .d_quality = d_quality,
        .qfl = (float)(rules->qfl / n_positive),
        .ld = rules->ld / 4 * norm,
        .vlr = rules->vlr / 16 * norm,
        .grain = grain < MIN_PIECE ? MIN_PIECE : grain,
    };

    (void)dev;
    count_rows(&job);
    ld_parallel(count, job.grain, piece_run, &job);
    *out = (struct ld_loss_terms){0};
    for (size_t p = 0; p < MAX_PIECES; p++) {
        for (int term = 0; term < LD_N_TERMS; term++) {
            for (int level = 0; level < LD_MAX_LEVELS; level++)
                out->value[term][level] += job.piece[p].value[term][level];
        }
    }
}
