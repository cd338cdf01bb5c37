#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/loss_cpu.h"
#include "kernels/cpu/loss_terms.h"
#include "tests/golden.h"
#include "tests/loss_device.h"
#include "tests/suite.h"

/* The losses of the heads with a centerness: focal loss, its cross entropy, and
 * what it weighs. */

/* A hundred roundings of 6e-8. */
static const double FLOAT32 = 1e-5;

/* ---- terms ---- */

/* Lin et al. 2017, eq. 5, by the letter; the logs as softplus. */
static double focal_in_double(double z, bool is_label, double *g)
{
    double p = 1 / (1 + exp(-z)), rest = 1 / (1 + exp(z));
    double tail = log1p(exp(-fabs(z)));
    double log_p = fmin(z, 0) - tail, log_rest = fmin(-z, 0) - tail;

    if (is_label) {
        *g = 0.25 * rest * rest * (2 * p * log_p + p - 1);
        return -0.25 * rest * rest * log_p;
    }
    *g = 0.75 * p * p * (p - 2 * rest * log_rest);
    return -0.75 * p * p * log_rest;
}

START_TEST(focal_is_right_from_logit_minus_25_to_25)
{
    double worst = 0;

    for (int i = -2500; i <= 2500; i++) {
        float z = (float)i / 100, got_g;

        for (int label = 0; label < 2; label++) {
            double g, want = focal_in_double((double)z, label, &g);
            double got = ld_cpu_focal(&got_g, z, label);

            worst = fmax(worst, fabs(got - want) / want);
            worst = fmax(worst, fabs((double)got_g - g) / fabs(g));
        }
    }
    printf("# focal: worst relative error %.2g\n", worst);
    ck_assert_double_lt(worst, FLOAT32);
}
END_TEST

START_TEST(focal_of_a_run_is_the_sum_of_its_logits)
{
    struct ld_rng rng = ld_rng_seed(7, 0);
    float z[1000], g[1000], one;
    double sum = 0, worst = 0, got;

    for (int i = 0; i < 1000; i++)
        z[i] = 3 * ld_rng_normal(&rng);
    got = ld_cpu_focal_background(g, z, 1000, 0.5F);
    for (int i = 0; i < 1000; i++) {
        sum += ld_cpu_focal(&one, z[i], false);
        worst = fmax(worst, fabs((double)(g[i] - 0.5F * one)));
    }
    ck_assert_double_eq_tol(got, sum, FLOAT32 * sum);
    ck_assert_double_lt(worst, 1e-6); /* of gradients up to 1 */
}
END_TEST

START_TEST(cross_entropy_is_right_and_its_gradient_its_slope)
{
    double worst = 0, worst_slope = 0;

    for (int i = -300; i <= 300; i++) {
        float z = (float)i / 16, h = 0x1p-8F;
        double y = (double)(i + 300) / 600, p = 1 / (1 + exp(-(double)z));
        double want = -y * log(p) - (1 - y) * log1p(-p), g, unused;
        double slope =
            (ld_cpu_bce(&unused, z + h, y) - ld_cpu_bce(&unused, z - h, y)) /
            (2 * (double)h);

        worst = fmax(worst, fabs(ld_cpu_bce(&g, z, y) - want));
        worst_slope = fmax(worst_slope, fabs(g - slope));
    }
    /* 1 - p loses 1e-16 e^19; the slope h^2 / 6 of a third derivative < 0.1 */
    ck_assert_double_lt(worst, 1e-7);
    ck_assert_double_lt(worst_slope, 1e-6);
    ck_assert_double_eq_tol(ld_cpu_bce(&worst, 500, 0), 500, 1e-9);
    ck_assert_double_lt(ld_cpu_bce(&worst, -500, 0), 1e-200);
}
END_TEST

START_TEST(centerness_is_1_in_the_middle_and_falls_to_the_sides)
{
    ck_assert_double_eq(ld_cpu_centerness((double[4]){3, 5, 3, 5}), 1);
    ck_assert_double_eq_tol(ld_cpu_centerness((double[4]){1, 5, 4, 5}), 0.5,
                            1e-15);
    ck_assert_double_eq_tol(ld_cpu_centerness((double[4]){4, 9, 1, 1}),
                            sqrt(0.25 / 9), 1e-15);
}
END_TEST

START_TEST(a_nan_makes_these_terms_nan)
{
    double g;
    float f;

    ck_assert(isnan(ld_cpu_focal(&f, NAN, true)));
    ck_assert(isnan(ld_cpu_focal(&f, NAN, false)));
    ck_assert(isnan(ld_cpu_focal_background(&f, &(float){NAN}, 1, 1)));
    ck_assert(isnan(ld_cpu_bce(&g, NAN, 0.5)));
}
END_TEST

/* ---- a batch ---- */

static void head_batch(struct loss_batch *t, enum ld_head head)
{
    struct ld_rng rng = ld_rng_seed(3, 1);

    loss_batch_random(t, 11);
    for (size_t i = 0; i < 2 * (size_t)t->b.A; i++)
        t->u[i] = 2 * ld_rng_normal(&rng);
    t->b.quality = t->u;
    t->b.head = head;
    ld_cpu_loss_weights(NULL, t->weight, &t->b);
}

static float *copied(struct loss_batch *t, const float *from, size_t width)
{
    size_t count = 2 * (size_t)t->b.A * width;
    float *to = loss_batch_new(t, count, sizeof(*to));

    memcpy(to, from, count * sizeof(*to));
    return to;
}

/* Class and centerness logits under all their terms at once. */
START_TEST(gradients_of_classes_and_centerness_are_slopes)
{
    const struct ld_loss_rules rules = {
        .qfl = 1.5F, .centerness = 0.5F, .kd = 1, .kd_T = 2};
    enum ld_head head = _i ? LD_HEAD_FCOS : LD_HEAD_ATSS;
    struct loss_batch t;
    float *dz, *du;

    ld_parallel_set_threads(1);
    head_batch(&t, head);
    ld_cpu_loss_run(NULL, &t.terms, t.dz, t.dr, t.du, t.weight, &t.b, &rules);
    ck_assert_double_gt(ld_loss_term(&t.terms, LD_TERM_CENTERNESS), 0);
    dz = copied(&t, t.dz, 3);
    du = copied(&t, t.du, 1);
    loss_batch_slopes(&t, &rules, t.z, dz, 3, 1);
    loss_batch_slopes(&t, &rules, t.u, du, 1, 1);
    ld_arena_free(&t.arena);
}
END_TEST

START_TEST(gradients_of_the_boxes_are_slopes)
{
    const struct ld_loss_rules rules = {.box = 2,
                                        .dfl = 0.25F,
                                        .ld = 0.25F,
                                        .ld_T = 10,
                                        .vlr = 0.15F,
                                        .vlr_T = 10};
    enum ld_head head = _i ? LD_HEAD_FCOS : LD_HEAD_ATSS;
    struct loss_batch t;
    float *dr;

    ld_parallel_set_threads(1);
    head_batch(&t, head);
    ld_cpu_loss_run(NULL, &t.terms, t.dz, t.dr, t.du, t.weight, &t.b, &rules);
    dr = copied(&t, t.dr, 68);
    loss_batch_slopes(&t, &rules, t.r, dr, 68, 9);
    ld_arena_free(&t.arena);
}
END_TEST

START_TEST(weights_are_best_scores_and_their_sum_is_of_centerness)
{
    enum ld_head head = _i ? LD_HEAD_FCOS : LD_HEAD_ATSS;
    struct loss_batch t;
    double sum = 0, worst = 0;
    int n_vlr = 0;

    head_batch(&t, head);
    for (int row = 0; row < t.b.n_rows; row++) {
        const float *z = t.z + (size_t)t.index[row] * 3;
        double top = (double)fmaxf(z[0], fmaxf(z[1], z[2]));
        bool scored = t.label[row] >= 0 || (_i && t.vlr[row] > 0);
        struct ld_box b = t.box[row];
        float x, y;

        worst = fmax(worst, fabs((double)t.weight[row] -
                                 (scored ? 1 / (1 + exp(-top)) : 0)));
        n_vlr += t.label[row] < 0;
        if (t.label[row] < 0)
            continue;
        ld_grid_centre(&t.b.grid, t.index[row] % t.b.A, &x, &y);
        sum += ld_cpu_centerness(
            (double[4]){(double)(x - b.x0), (double)(y - b.y0),
                        (double)(b.x1 - x), (double)(b.y1 - y)});
    }
    ck_assert_int_gt(n_vlr, 0);
    ck_assert_double_lt(worst, 1e-6);
    ck_assert_double_eq_tol(t.sums[LD_SUM_WEIGHT], sum, 1e-5);
    ld_arena_free(&t.arena);
}
END_TEST

/* ---- golden ---- */

static void golden_batch(struct golden *g, struct loss_batch *t,
                         enum ld_head head)
{
    struct ld_grid canvas =
        ld_grid_with_head(ld_grid_of_canvas(192, 320), head);
    size_t places = 2 * (size_t)canvas.start[LD_MAX_LEVELS];

    loss_batch_start(t, canvas, 2, 3, 17);
    t->b.head = head;
    t->b.quality = t->u;
    memcpy(t->z, golden_floats(g, "cls", places * 3), places * 12);
    memcpy(t->r, golden_floats(g, "reg", places * 68), places * 272);
    memcpy(t->u, golden_floats(g, "centerness", places), places * 4);
    memcpy(t->teacher_z, golden_floats(g, "tcls", places * 3), places * 12);
    memcpy(t->teacher_r, golden_floats(g, "treg", places * 68), places * 272);
    for (int i = 0; i < 2; i++) {
        struct ld_grid own = ld_grid_with_head(i ? ld_grid_of_canvas(128, 192)
                                                 : ld_grid_of_canvas(192, 320),
                                               head);
        struct golden_array boxes = golden_array(g, i ? "boxes_1" : "boxes_0");

        loss_batch_image(t, i, &own, boxes.data,
                         golden_array(g, i ? "labels_1" : "labels_0").data,
                         boxes.dim[0]);
    }
}

static void compare_assignment(struct golden *g, const struct loss_batch *t)
{
    struct golden_array index = golden_array(g, "index");
    const int64_t *at = index.data, *label = golden_array(g, "label").data;
    const float *vlr = golden_floats(g, "vlr", index.count);
    double worst = 0;
    int n_wrong = 0;

    ck_assert_int_eq(t->b.n_rows, (int)index.count);
    for (int i = 0; i < t->b.n_rows; i++) {
        n_wrong += t->index[i] != at[i] || t->label[i] != label[i];
        worst = fmax(worst, fabs((double)(t->vlr[i] - vlr[i])));
    }
    ck_assert_int_eq(n_wrong, 0);
    ck_assert_double_lt(worst, 1e-6);
}

/* Their terms, one row of five levels each, in this order. */
static void compare_terms(struct golden *g, const struct loss_batch *t)
{
    static const enum ld_term terms[] = {LD_TERM_QFL, LD_TERM_BOX,
                                         LD_TERM_LD,  LD_TERM_VLR,
                                         LD_TERM_KD,  LD_TERM_CENTERNESS};
    const float *want = golden_floats(g, "losses", 30);

    for (int i = 0; i < 30; i++) {
        double got = t->terms.value[terms[i / 5]][i % 5];

        ck_assert_msg(fabs(got - (double)want[i]) <=
                          FLOAT32 * fmax((double)want[i], 0.01),
                      "%s: %s of level %d is %.8g, expected %.8g", g->name,
                      ld_term_name(terms[i / 5]), i % 5, got, (double)want[i]);
    }
}

static void compare_gradients(struct golden *g, const struct loss_batch *t)
{
    struct golden_array kept = golden_array(g, "kept");
    const int64_t *at = kept.data;
    float *dr = ld_arena_new(&g->arena, kept.count * 68, sizeof(*dr),
                             &(struct ld_err){0});
    float *du = ld_arena_new(&g->arena, (size_t)t->b.n_rows, sizeof(*du),
                             &(struct ld_err){0});

    for (size_t i = 0; i < kept.count; i++)
        memcpy(dr + i * 68, t->dr + (size_t)at[i] * 68, 68 * sizeof(*dr));
    for (int i = 0; i < t->b.n_rows; i++)
        du[i] = t->du[t->index[i]];
    golden_compare(g, "grad_cls", t->dz, 6 * (size_t)t->b.A, FLOAT32);
    golden_compare(g, "grad_reg", dr, kept.count * 68, FLOAT32);
    golden_compare(g, "grad_centerness", du, (size_t)t->b.n_rows, FLOAT32);
}

static void compare_head(struct golden *g)
{
    bool fcos = strcmp(golden_string(g, "params.head"), "fcos") == 0;
    struct ld_loss_rules rules = reference_rules;
    struct loss_batch t;

    rules.dfl = 0;
    rules.centerness = 1;
    rules.box = fcos ? 1 : 2;
    rules.vlr = fcos ? 0.25F : 0.15F;
    golden_batch(g, &t, fcos ? LD_HEAD_FCOS : LD_HEAD_ATSS);
    compare_assignment(g, &t);
    loss_batch_run_there(&t, &rules);
    compare_terms(g, &t);
    compare_gradients(g, &t);
    ld_arena_free(&t.arena);
}

START_TEST(assignment_losses_and_gradients_are_those_of_autograd)
{
    ck_assert_int_eq(golden_each("13_heads", compare_head), 2);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("loss_heads");
    TCase *c = tcase_create("loss_heads"), *golden = tcase_create("golden");

    tcase_add_test(c, focal_is_right_from_logit_minus_25_to_25);
    tcase_add_test(c, focal_of_a_run_is_the_sum_of_its_logits);
    tcase_add_test(c, cross_entropy_is_right_and_its_gradient_its_slope);
    tcase_add_test(c, centerness_is_1_in_the_middle_and_falls_to_the_sides);
    tcase_add_test(c, a_nan_makes_these_terms_nan);
    tcase_add_loop_test(c, gradients_of_classes_and_centerness_are_slopes, 0,
                        2);
    tcase_add_loop_test(c, gradients_of_the_boxes_are_slopes, 0, 2);
    tcase_add_loop_test(
        c, weights_are_best_scores_and_their_sum_is_of_centerness, 0, 2);
    tcase_add_test(golden,
                   assignment_losses_and_gradients_are_those_of_autograd);
    suite_add_tcase(s, c);
    suite_add_tcase(s, golden);
    return s;
}
