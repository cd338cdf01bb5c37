#include "tests/loss_batch.h"

#include <math.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "kernels/cpu/loss_cpu.h"
#include "kernels/net/assign.h"
#include "tests/suite.h"

const struct ld_loss_rules reference_rules = {
    .qfl = 1,
    .box = 2,
    .dfl = 0.25F,
    .ld = 0.25F,
    .ld_T = 10,
    .vlr = 0.25F,
    .vlr_T = 10,
    .kd = 10,
    .kd_T = 2,
    .norm_images = 2,
};

static const struct ld_assign_rules ASSIGN = {
    .topk = 9, .vlr_mode = LD_VLR_CODE, .vlr_gamma = 0.25F};

void *loss_batch_new(struct loss_batch *t, size_t count, size_t size)
{
    return ld_arena_new(&t->arena, count, size, &(struct ld_err){0});
}

void loss_batch_start(struct loss_batch *t, struct ld_grid grid, int N, int K,
                      int B)
{
    int A = grid.start[grid.n_levels];
    size_t places = (size_t)N * (size_t)A, sides = 4 * (size_t)B;

    *t = (struct loss_batch){.b = {.head = grid.head,
                                   .N = N,
                                   .A = A,
                                   .K = K,
                                   .B = B,
                                   .grid = grid,
                                   .teacher_K = K}};
    t->z = loss_batch_new(t, places * K, sizeof(float));
    t->r = loss_batch_new(t, places * sides, sizeof(float));
    t->teacher_z = loss_batch_new(t, places * K, sizeof(float));
    t->teacher_r = loss_batch_new(t, places * sides, sizeof(float));
    t->valid = loss_batch_new(t, places, 1);
    t->index = loss_batch_new(t, places, sizeof(int32_t));
    t->label = loss_batch_new(t, places, sizeof(int32_t));
    t->box = loss_batch_new(t, places, sizeof(struct ld_box));
    t->vlr = loss_batch_new(t, places, sizeof(float));
    t->row_box = loss_batch_new(t, places * sides, sizeof(float));
    t->row_class = loss_batch_new(t, places * K, sizeof(float));
    t->weight = loss_batch_new(t, places, sizeof(float));
    t->dz = loss_batch_new(t, places * K, sizeof(float));
    t->dr = loss_batch_new(t, places * sides, sizeof(float));
    t->u = loss_batch_new(t, places, sizeof(float));
    t->du = loss_batch_new(t, places, sizeof(float));
    t->b.sums = t->sums;
    t->b.class_logits = t->z;
    t->b.box_logits = t->r;
    t->b.valid = t->valid;
    t->b.index = t->index;
    t->b.label = t->label;
    t->b.box = t->box;
    t->b.vlr = t->vlr;
    t->b.teacher_box = t->row_box;
    t->b.teacher_class = t->row_class;
}

/* Adds an image's rows; `own` is the grid of its canvas. */
void loss_batch_image(struct loss_batch *t, int image,
                      const struct ld_grid *own, const struct ld_box *boxes,
                      const int64_t *labels, int n_boxes)
{
    struct ld_loss_batch *b = &t->b;
    size_t sides = 4 * (size_t)b->B, K = (size_t)b->K;
    struct ld_assignment a;
    struct ld_err err = {0};

    for (int i = 0; i < own->start[own->n_levels]; i++)
        t->valid[image * b->A + ld_grid_move(own, i, &b->grid)] = 1;
    ck_assert(ld_assign(&a, own, boxes, n_boxes, &ASSIGN, &t->arena, &err));
    for (int i = 0; i < a.n_ignored; i++)
        t->valid[image * b->A + ld_grid_move(own, a.ignored[i], &b->grid)] =
            LD_IGNORED;
    t->sums[LD_SUM_POSITIVES] += a.n_main > 1 ? a.n_main : 1;
    for (int i = 0; i < a.n_rows; i++) {
        const struct ld_row *row = &a.rows[i];
        int n = b->n_rows++;
        size_t at =
            (size_t)(image * b->A + ld_grid_move(own, row->location, &b->grid));

        t->index[n] = (int32_t)at;
        t->label[n] = -1;
        if (row->kind & LD_ROW_MAIN) {
            t->label[n] = (int32_t)labels[row->object];
            t->box[n] = boxes[row->object];
        }
        t->vlr[n] = row->vlr;
        memcpy(t->row_box + (size_t)n * sides, t->teacher_r + at * sides,
               sides * sizeof(float));
        memcpy(t->row_class + (size_t)n * K, t->teacher_z + at * K,
               K * sizeof(float));
    }
}

void loss_batch_run(struct loss_batch *t, const struct ld_loss_rules *rules)
{
    ld_cpu_loss_weights(NULL, t->weight, &t->b);
    ld_cpu_loss_run(NULL, &t->terms, t->dz, t->dr, t->du, t->weight, &t->b,
                    rules);
}

void loss_batch_random(struct loss_batch *t, uint64_t seed)
{
    const struct ld_box boxes[] = {{3, 5, 41, 47}, {20.5F, 30, 61, 55}};
    const int64_t labels[] = {2, 0};
    struct ld_grid canvas = ld_grid_of_canvas(64, 96);
    struct ld_grid small = ld_grid_of_canvas(64, 64);
    struct ld_rng rng = ld_rng_seed(seed, 0);
    size_t places;

    loss_batch_start(t, canvas, 2, 3, 17);
    places = 2 * (size_t)t->b.A;
    for (size_t i = 0; i < places * 3; i++) {
        t->z[i] = 2 * ld_rng_normal(&rng) - 1;
        t->teacher_z[i] = 2 * ld_rng_normal(&rng) - 1;
    }
    for (size_t i = 0; i < places * 68; i++) {
        t->r[i] = 2 * ld_rng_normal(&rng);
        t->teacher_r[i] = 2 * ld_rng_normal(&rng);
    }
    loss_batch_image(t, 0, &canvas, boxes, labels, 2);
    loss_batch_image(t, 1, &small, boxes, labels, 1);
    ld_cpu_loss_weights(NULL, t->weight, &t->b);
}

static double term_at(struct loss_batch *t, const struct ld_loss_rules *rules,
                      float *x, float value)
{
    float kept = *x;

    *x = value;
    ld_cpu_loss_run(NULL, &t->terms, t->dz, t->dr, t->du, t->weight, &t->b,
                    rules);
    *x = kept;
    return ld_loss_total(&t->terms);
}

void loss_batch_slopes(struct loss_batch *t, const struct ld_loss_rules *rules,
                       float *x, const float *g, size_t width, int step)
{
    const float h = 0x1p-6F;
    double largest = 0;

    for (size_t i = 0; i < (size_t)t->b.N * (size_t)t->b.A * width; i++)
        largest = fmax(largest, fabs((double)g[i]));
    for (int row = 0; row < t->b.n_rows; row++) {
        for (size_t k = (size_t)(row % step); k < width; k += (size_t)step) {
            size_t i = (size_t)t->index[row] * width + k;
            double up = term_at(t, rules, x + i, x[i] + h);
            double down = term_at(t, rules, x + i, x[i] - h);

            ck_assert_msg(fabs((up - down) / (2 * (double)h) - (double)g[i]) <=
                              1e-3 * largest,
                          "row %d, logit %zu: slope %g, gradient %g", row, k,
                          (up - down) / (2 * (double)h), (double)g[i]);
        }
    }
}
