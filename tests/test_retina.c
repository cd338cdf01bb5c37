#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/base/rng.h"
#include "kernels/cpu/loss_cpu.h"
#include "kernels/net/assign.h"
#include "tests/golden.h"
#include "tests/loss_batch.h"
#include "tests/suite.h"

/* RetinaNet: nine anchors a place, what they answer for, and its losses. */

static const struct ld_assign_rules RULES = {
    .topk = 9, .vlr_mode = LD_VLR_CODE, .vlr_gamma = 0.25F};

/* The recipe's. VLR: 0.03 of LD's 5, a quarter of it as all of LD. */
static const struct ld_loss_rules RECIPE = {.qfl = 1,
                                            .box = 2,
                                            .ld = 5,
                                            .ld_T = 10,
                                            .vlr = 0.6F,
                                            .vlr_T = 10,
                                            .kd = 10,
                                            .kd_T = 8};

static struct ld_grid retina_grid(int H, int W)
{
    return ld_grid_with_head(ld_grid_of_canvas(H, W), LD_HEAD_RETINA);
}

/* ---- places ---- */

static void compare_anchors(struct golden *g)
{
    struct ld_grid grid = retina_grid(128, 128);
    const float *want = golden_floats(g, "base_anchors", 5 * 9 * 4);
    float got[5 * 9 * 4];

    for (int level = 0; level < 5; level++)
        for (int k = 0; k < 9; k++) {
            struct ld_box b = ld_grid_anchor(&grid, grid.start[level] + k);

            memcpy(got + (level * 9 + k) * 4, &b, sizeof(b));
        }
    golden_compare(g, "base_anchors", got, 5 * 9 * 4, 1e-7);
    ck_assert(want[0] < 0); /* around the centre of the first place, 0 */
}

START_TEST(anchors_are_those_of_the_generator)
{
    golden_each("13_retina", compare_anchors);
}
END_TEST

START_TEST(nine_neighbours_share_a_centre_and_move_together)
{
    struct ld_grid own = retina_grid(96, 64), canvas = retina_grid(128, 96);
    struct ld_grid places = ld_grid_of_canvas(96, 64);

    ck_assert_int_eq(own.start[5], 9 * places.start[5]);
    for (int a = 0; a < own.start[5]; a++) {
        int to = ld_grid_move(&own, a, &canvas);
        struct ld_box p = ld_grid_anchor(&own, a);
        struct ld_box q = ld_grid_anchor(&canvas, to);
        float x, y, want_x, want_y;

        ld_grid_centre(&own, a, &x, &y);
        ld_grid_centre(&places, a / 9, &want_x, &want_y);
        ck_assert(x == want_x && y == want_y);
        ck_assert_int_eq(ld_grid_level(&own, a), ld_grid_level(&places, a / 9));
        ck_assert_int_eq(to % 9, a % 9);
        ck_assert(memcmp(&p, &q, sizeof(p)) == 0);
    }
}
END_TEST

/* ---- assignment ---- */

static struct ld_assignment assign(const struct ld_grid *grid,
                                   const struct ld_box *boxes, int n,
                                   const struct ld_assign_rules *rules,
                                   struct ld_arena *arena)
{
    struct ld_assignment out;
    struct ld_err err = {0};

    ck_assert_msg(ld_assign(&out, grid, boxes, n, rules, arena, &err), "%s",
                  err.text);
    return out;
}

/* Spreads an assignment over all locations: 1 + object, -1 to be ignored. */
static void spread(const struct ld_assignment *a, int32_t *owner, float *vlr)
{
    for (int i = 0; i < a->n_rows; i++) {
        owner[a->rows[i].location] = a->rows[i].object + 1;
        vlr[a->rows[i].location] = a->rows[i].vlr;
    }
    for (int i = 0; i < a->n_ignored; i++) {
        ck_assert_int_eq(owner[a->ignored[i]], 0);
        owner[a->ignored[i]] = -1;
    }
}

static void compare_image(struct golden *g, int image)
{
    char name[32];
    int W = (int)golden_number(g, image ? "params.image_widths.1"
                                        : "params.image_widths.0");
    struct ld_grid grid =
        retina_grid((int)golden_number(g, "params.canvas.0"), W);
    size_t A = (size_t)grid.start[5];
    struct golden_array boxes, want;
    struct ld_assignment a;
    struct ld_err err = {0};
    int32_t *owner = ld_arena_new(&g->arena, A, sizeof(*owner), &err);
    float *vlr = ld_arena_new(&g->arena, A, sizeof(*vlr), &err);

    snprintf(name, sizeof(name), "boxes_%d", image);
    boxes = golden_array(g, name);
    a = assign(&grid, boxes.data, boxes.dim[0], &RULES, &g->arena);
    spread(&a, owner, vlr);
    snprintf(name, sizeof(name), "owner_%d", image);
    want = golden_array(g, name);
    ck_assert_uint_eq(want.count, A);
    ck_assert_mem_eq(owner, want.data, A * sizeof(*owner));
    ck_assert_int_gt(a.n_ignored, 0);
    snprintf(name, sizeof(name), "vlr_%d", image);
    golden_compare(g, name, vlr, A, 1e-6); /* a few roundings of an IoU */
    snprintf(name, sizeof(name), "threshold_%d", image);
    golden_compare(g, name, a.threshold, (size_t)boxes.dim[0], 1e-6);
}

static void compare_images(struct golden *g)
{
    compare_image(g, 0);
    compare_image(g, 1);
}

START_TEST(assignment_is_that_of_a_plain_scan_by_pytorch)
{
    golden_each("13_retina", compare_images);
}
END_TEST

/* The rules by the letter, over all anchors: where they overlap, the best, the
 * bands; in the order of ld_assign_retina. */
static void scan(const struct ld_grid *grid, const struct ld_box *boxes, int n,
                 const struct ld_assign_rules *rules, const float *threshold,
                 int32_t *owner, float *vlr)
{
    float top[8] = {0};
    int A = grid->start[5];

    for (int i = 0; i < n; i++)
        for (int a = 0; a < A; a++)
            top[i] =
                fmaxf(top[i], ld_box_iou(ld_grid_anchor(grid, a), boxes[i]));
    for (int a = 0; a < A; a++) {
        struct ld_box anchor = ld_grid_anchor(grid, a);
        float best = 0;

        owner[a] = 0;
        vlr[a] = 0;
        for (int i = 0; i < n; i++) {
            float iou = ld_box_iou(anchor, boxes[i]);
            float near =
                (rules->vlr_mode == LD_VLR_CODE ? ld_box_iof(anchor, boxes[i])
                                                : iou) -
                ld_box_centre_gap(anchor, boxes[i]);

            if (iou > best) {
                best = iou;
                owner[a] = i + 1;
            }
            if (near >= rules->vlr_gamma * threshold[i] && near < threshold[i])
                vlr[a] = fmaxf(vlr[a], iou);
        }
        owner[a] = best >= 0.5F ? owner[a] : best >= 0.4F ? -1 : 0;
        for (int i = 0; i < n; i++)
            if (top[i] > 0 && ld_box_iou(anchor, boxes[i]) == top[i])
                owner[a] = i + 1;
        if (owner[a] > 0)
            vlr[a] = 0;
    }
}

START_TEST(windows_give_what_a_scan_of_all_anchors_gives)
{
    struct ld_grid grid = retina_grid(192, 256);
    struct ld_rng rng = ld_rng_seed(17, (uint64_t)_i);
    enum { A = 9 * 1024, N = 6 };
    static int32_t owner[A], want_owner[A];
    static float vlr[A], want_vlr[A];
    struct ld_assign_rules rules = RULES;
    struct ld_arena arena = {0};
    struct ld_box boxes[N];
    struct ld_assignment a;

    ck_assert_int_eq(grid.start[5], A);
    rules.vlr_mode = _i % 2 ? LD_VLR_DIOU : LD_VLR_CODE;
    for (int i = 0; i < N; i++) {
        float x = 256 * ld_rng_uniform(&rng), y = 192 * ld_rng_uniform(&rng);
        float side = expf(1 + 4.5F * ld_rng_uniform(&rng));
        float ratio = expf(ld_rng_normal(&rng) / 2);

        boxes[i] = (struct ld_box){x - side * ratio / 2, y - side / ratio / 2,
                                   x + side * ratio / 2, y + side / ratio / 2};
    }
    boxes[N - 1] = boxes[0]; /* the same object twice, the last keeps ties */
    a = assign(&grid, boxes, N, &rules, &arena);
    memset(owner, 0, sizeof(owner));
    memset(vlr, 0, sizeof(vlr));
    spread(&a, owner, vlr);
    scan(&grid, boxes, N, &rules, a.threshold, want_owner, want_vlr);
    ck_assert_mem_eq(owner, want_owner, sizeof(owner));
    ck_assert_mem_eq(vlr, want_vlr, sizeof(vlr));
    ld_arena_free(&arena);
}
END_TEST

START_TEST(boxes_far_outside_or_empty_answer_for_nothing)
{
    const struct ld_box boxes[] = {
        {5000, 5000, 5100, 5100}, {-900, -900, -800, -800}, {40, 40, 40, 40}};
    struct ld_grid grid = retina_grid(128, 128);
    struct ld_arena arena = {0};
    struct ld_assignment a = assign(&grid, boxes, 3, &RULES, &arena);

    ck_assert_int_eq(a.n_rows, 0);
    ck_assert_int_eq(a.n_ignored, 0);
    a = assign(&grid, boxes, 0, &RULES, &arena);
    ck_assert_int_eq(a.n_rows + a.n_ignored, 0);
    ld_arena_free(&arena);
}
END_TEST

START_TEST(every_allocation_may_fail_and_says_so)
{
    const struct ld_box box = {10, 12, 70, 61};
    struct ld_grid grid = retina_grid(128, 128);
    bool ok = false;
    int n = 0;

    for (; !ok; n++) {
        struct ld_arena arena = {0};
        struct ld_assignment a;
        struct ld_err err = {0};

        ld_mem_fail_after(n);
        ok = ld_assign(&a, &grid, &box, 1, &RULES, &arena, &err);
        ld_mem_fail_after(-1);
        if (!ok)
            ck_assert_int_eq(err.code, LD_ERR_MEMORY);
        ld_arena_free(&arena);
    }
    ck_assert_int_gt(n, 1);
}
END_TEST

/* ---- losses ---- */

static void golden_batch(struct golden *g, struct loss_batch *t)
{
    int H = (int)golden_number(g, "params.canvas.0");
    int W = (int)golden_number(g, "params.canvas.1");
    size_t n;

    loss_batch_start(t, retina_grid(H, W), 2, 3, 17);
    n = 2 * (size_t)t->b.A;
    for (int s = 0; s < 4; s++) {
        size_t count = n * (s % 2 ? 68 : 3);
        const float *from = golden_gauss(g, 900 + (uint32_t)s, count);
        float *to = (float *[]){t->z, t->r, t->teacher_z, t->teacher_r}[s];

        for (size_t i = 0; i < count; i++)
            to[i] = 2 * from[i] - (s % 2 ? 0 : 1);
    }
    for (int i = 0; i < 2; i++) {
        struct ld_grid own =
            retina_grid(H, (int)golden_number(g, i ? "params.image_widths.1"
                                                   : "params.image_widths.0"));
        struct golden_array boxes = golden_array(g, i ? "boxes_1" : "boxes_0");

        loss_batch_image(t, i, &own, boxes.data,
                         golden_array(g, i ? "labels_1" : "labels_0").data,
                         boxes.dim[0]);
    }
}

/* Every step-th number. */
static float *some_of(struct golden *g, const float *all, size_t count,
                      size_t step)
{
    struct ld_err err = {0};
    float *few = ld_arena_new(&g->arena, count, sizeof(*few), &err);

    for (size_t i = 0; i < count; i++)
        few[i] = all[i * step];
    return few;
}

static void compare_losses(struct golden *g)
{
    static const enum ld_term rows[5] = {LD_TERM_QFL, LD_TERM_BOX, LD_TERM_LD,
                                         LD_TERM_VLR, LD_TERM_KD};
    const double *want = golden_array(g, "terms").data;
    size_t z_step = (size_t)golden_number(g, "params.class_step");
    size_t r_step = (size_t)golden_number(g, "params.box_step");
    size_t n_z = golden_array(g, "class_grad_few").count;
    size_t n_r = golden_array(g, "box_grad_few").count;
    struct loss_batch t;
    double worst = 0;

    golden_batch(g, &t);
    loss_batch_run(&t, &RECIPE);
    for (int row = 0; row < 5; row++)
        for (int level = 0; level < 5; level++)
            worst = fmax(worst, fabs(t.terms.value[rows[row]][level] -
                                     want[row * 5 + level]));
    printf("# terms: worst error %.2g\n", worst);
    ck_assert_double_lt(worst, 5e-6); /* of terms up to 13, in float32 */
    golden_compare(g, "class_grad_few", some_of(g, t.dz, n_z, z_step), n_z,
                   1e-6);
    golden_compare(g, "box_grad_few", some_of(g, t.dr, n_r, r_step), n_r, 1e-6);
    ld_arena_free(&t.arena);
}

START_TEST(losses_and_gradients_are_those_of_pytorch)
{
    golden_each("13_retina", compare_losses);
}
END_TEST

static void random_batch(struct loss_batch *t)
{
    const struct ld_box boxes[] = {{3, 5, 41, 47}, {20.5F, 30, 61, 55}};
    const int64_t labels[] = {2, 0};
    struct ld_grid canvas = retina_grid(32, 64), small = retina_grid(32, 32);
    /* No edge of a box is within h of its target's, where GIoU has a kink. */
    struct ld_rng rng = ld_rng_seed(6, 0);
    size_t n;

    loss_batch_start(t, canvas, 2, 3, 5);
    n = 2 * (size_t)t->b.A;
    for (size_t i = 0; i < n * 3; i++) {
        t->z[i] = 2 * ld_rng_normal(&rng) - 1;
        t->teacher_z[i] = 2 * ld_rng_normal(&rng) - 1;
    }
    for (size_t i = 0; i < n * 20; i++) {
        t->r[i] = 2 * ld_rng_normal(&rng);
        t->teacher_r[i] = 2 * ld_rng_normal(&rng);
    }
    loss_batch_image(t, 0, &canvas, boxes, labels, 2);
    loss_batch_image(t, 1, &small, boxes, labels, 1);
    loss_batch_run(t, &RECIPE);
}

static float *copied(struct loss_batch *t, const float *from, size_t width)
{
    size_t count = 2 * (size_t)t->b.A * width;
    float *to = loss_batch_new(t, count, sizeof(*to));

    memcpy(to, from, count * sizeof(*to));
    return to;
}

START_TEST(gradients_are_slopes)
{
    struct loss_batch t;
    float *dz, *dr;

    ld_parallel_set_threads(1);
    random_batch(&t);
    dz = copied(&t, t.dz, 3);
    dr = copied(&t, t.dr, 20);
    loss_batch_slopes(&t, &RECIPE, t.z, dz, 3, 1);
    loss_batch_slopes(&t, &RECIPE, t.r, dr, 20, 7);
    ld_arena_free(&t.arena);
}
END_TEST

START_TEST(what_is_ignored_or_outside_has_no_class_loss)
{
    struct loss_batch t;
    double total;
    int n[3] = {0};

    random_batch(&t);
    total = ld_loss_term(&t.terms, LD_TERM_QFL);
    for (size_t at = 0; at < 2 * (size_t)t.b.A; at++) {
        n[t.valid[at]]++;
        if (t.valid[at] == LD_VALID)
            continue;
        for (int k = 0; k < 3; k++) {
            ck_assert_float_eq(t.dz[at * 3 + (size_t)k], 0);
            t.z[at * 3 + (size_t)k] += 5;
        }
    }
    ck_assert(n[LD_INVALID] > 0 && n[LD_VALID] > 0 && n[LD_IGNORED] > 0);
    loss_batch_run(&t, &RECIPE);
    ck_assert_double_eq(ld_loss_term(&t.terms, LD_TERM_QFL), total);
    ld_arena_free(&t.arena);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("retina");
    TCase *c = tcase_create("retina");

    tcase_add_test(c, anchors_are_those_of_the_generator);
    tcase_add_test(c, nine_neighbours_share_a_centre_and_move_together);
    tcase_add_test(c, assignment_is_that_of_a_plain_scan_by_pytorch);
    tcase_add_loop_test(c, windows_give_what_a_scan_of_all_anchors_gives, 0, 6);
    tcase_add_test(c, boxes_far_outside_or_empty_answer_for_nothing);
    tcase_add_test(c, every_allocation_may_fail_and_says_so);
    tcase_add_test(c, losses_and_gradients_are_those_of_pytorch);
    tcase_add_test(c, gradients_are_slopes);
    tcase_add_test(c, what_is_ignored_or_outside_has_no_class_loss);
    suite_add_tcase(s, c);
    return s;
}
