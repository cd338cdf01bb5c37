#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/golden.h"
#include "tests/golden_grid.h"
#include "tests/golden_rows.h"
#include "tests/loss_batch.h"
#include "tests/maps.h"
#include "tests/suite.h"

/* Ten times the reference's own rounding or this part of the largest value: the
 * sums of a convolution's weights run over 300 places and five levels. */
static const double CLOSE = 1e-4;

enum { BINS = 17, SIDES = 4 * BINS };

/* ---- parameters of a case, and their gradients ---- */

struct param {
    char name[48];
    float *value, *grad; /* device */
    size_t count;
};

struct head {
    struct maps m;
    struct golden *g;
    struct loss_batch t;
    struct param param[32];
    int n_params;
    int N;
};

static struct param *param_of(struct head *h, const char *name)
{
    struct golden_array a;
    struct param *p = h->param;

    for (; p < h->param + h->n_params; p++)
        if (strcmp(p->name, name) == 0)
            return p;
    a = golden_array(h->g, name);
    h->n_params++;
    snprintf(p->name, sizeof(p->name), "%s", name);
    p->count = a.count;
    p->value = maps_vector(&h->m, a.data, a.count);
    p->grad = maps_memory(&h->m, a.count * sizeof(float));
    return p;
}

static struct param *part_of(struct head *h, const char *name, const char *part)
{
    char full[64];

    snprintf(full, sizeof(full), "%s.%s", name, part);
    return param_of(h, full);
}

/* The small copy of the case lacks the largest arrays. */
static bool stored(struct golden *g, const char *name)
{
    char why[120];

    if (golden_has(g, name))
        return true;
    snprintf(why, sizeof(why), "%s is in the full set of cases only", name);
    golden_left_out(g, why);
    return false;
}

static void compare_params(struct head *h)
{
    for (int i = 0; i < h->n_params; i++) {
        char name[64];

        snprintf(name, sizeof(name), "grad__%s", h->param[i].name);
        if (!stored(h->g, name))
            continue;
        golden_compare(h->g, name, h->param[i].grad, h->param[i].count, CLOSE);
    }
}

/* ---- one tower on one level: conv, GN, ReLU, conv, rows ---- */

struct stage {
    struct ld_conv_desc desc;
    struct ld_conv *conv;
    void *packed, *scratch;
    float *x, *y, *dx, *dy;
    struct param *weight, *bias; /* bias NULL: none */
};

static struct stage stage_of(struct head *h, const char *name, bool bias,
                             float *x, struct ld_shape in)
{
    const struct ld_ops *ops = h->m.dev->ops;
    struct stage s = {.x = x, .weight = part_of(h, name, "weight")};
    struct ld_err err = {0};
    struct ld_shape out;

    s.bias = bias ? part_of(h, name, "bias") : NULL;
    s.desc =
        (struct ld_conv_desc){.in = in,
                              .O = (int)(s.weight->count / 9 / (size_t)in.C),
                              .kernel = 3,
                              .stride = 1,
                              .pad = 1,
                              .dilation = 1,
                              .train = true};
    s.conv = ops->conv_new(h->m.dev, &s.desc, &err);
    ck_assert_msg(s.conv != NULL, "%s", err.text);
    out = ld_conv_out(&s.desc);
    s.packed = maps_memory(&h->m, ops->conv_weight_bytes(s.conv));
    s.scratch = maps_memory(&h->m, ops->conv_scratch_bytes(s.conv));
    s.y = maps_map(&h->m, NULL, out);
    s.dy = maps_map(&h->m, NULL, out);
    s.dx = maps_map(&h->m, NULL, in);
    ops->conv_pack(h->m.dev, s.conv, s.packed, s.weight->value, NULL);
    ops->conv_forward(h->m.dev, s.conv, s.y, x, s.packed,
                      bias ? s.bias->value : NULL, NULL, s.scratch);
    return s;
}

static void stage_backward(struct head *h, struct stage *s)
{
    const struct ld_ops *ops = h->m.dev->ops;

    ops->conv_backward_data(h->m.dev, s->conv, s->dx, s->dy, s->packed,
                            s->scratch);
    ops->conv_backward_weights(h->m.dev, s->conv, s->weight->grad,
                               s->bias ? s->bias->grad : NULL, s->dy, NULL,
                               s->x, s->scratch);
    ops->conv_free(h->m.dev, s->conv);
}

struct tower {
    struct stage first, last;
    struct ld_group_norm gn;
    float *hidden;
    struct ld_rows rows;
};

static struct tower tower_of(struct head *h, const char *name, int level,
                             float *rows)
{
    bool reg = strcmp(name, "reg") == 0;
    const struct ld_grid *grid = &h->t.b.grid;
    struct golden_array feat = golden_array(h->g, golden_level("feat", level));
    struct ld_shape in = {feat.dim[0], feat.dim[1], feat.dim[2], feat.dim[3]};
    char conv[32], norm[32], last[32], scale[32];
    struct tower t;

    snprintf(conv, sizeof(conv), "%s_convs.0.conv", name);
    snprintf(norm, sizeof(norm), "%s_convs.0.gn", name);
    snprintf(last, sizeof(last), "gfl_%s", name);
    snprintf(scale, sizeof(scale), "scales.%d.scale", level);
    t.first = stage_of(h, conv, false, maps_map(&h->m, feat.data, in), in);
    in = ld_conv_out(&t.first.desc);
    t.gn = (struct ld_group_norm){
        .shape = in,
        .groups = (int)golden_number(h->g, "params.gn_groups"),
        .eps = 1e-5F,
        .gamma = part_of(h, norm, "weight")->value,
        .beta = part_of(h, norm, "bias")->value,
        .stats = maps_memory(&h->m, (size_t)in.N * 32 * 2 * sizeof(float)),
        .dgamma = part_of(h, norm, "weight")->grad,
        .dbeta = part_of(h, norm, "bias")->grad};
    t.hidden = maps_map(&h->m, NULL, in);
    h->m.dev->ops->gn_relu_forward(h->m.dev, t.hidden, t.first.y, &t.gn);
    t.last = stage_of(h, last, true, t.hidden, in);
    t.rows = (struct ld_rows){.shape = ld_conv_out(&t.last.desc),
                              .start = grid->start[level],
                              .A = grid->start[grid->n_levels],
                              .scale = reg ? param_of(h, scale)->value : NULL,
                              .dscale = reg ? param_of(h, scale)->grad : NULL};
    h->m.dev->ops->rows_forward(h->m.dev, rows, t.last.y, &t.rows);
    return t;
}

/* Returns the gradient of the tower's input. */
static float *tower_backward(struct head *h, struct tower *t,
                             const float *d_rows)
{
    const struct ld_ops *ops = h->m.dev->ops;

    ops->rows_backward(h->m.dev, t->last.dy, d_rows, t->last.y, &t->rows);
    stage_backward(h, &t->last);
    ops->gn_relu_backward(h->m.dev, t->first.dy, t->last.dx, t->first.y,
                          &t->gn);
    stage_backward(h, &t->first);
    return t->first.dx;
}

/* ---- the head ---- */

static struct ld_quality quality_of(struct head *h)
{
    struct param *weight0 = param_of(h, "reg_conf.0.weight");
    struct param *bias0 = param_of(h, "reg_conf.0.bias");
    struct param *weight2 = param_of(h, "reg_conf.2.weight");
    struct param *bias2 = param_of(h, "reg_conf.2.bias");

    return (struct ld_quality){
        .n = (size_t)h->N * (size_t)h->t.b.A,
        .B = BINS,
        .weight0 = weight0->value,
        .bias0 = bias0->value,
        .weight2 = weight2->value,
        .bias2 = bias2->value,
        .dweight0 = weight0->grad,
        .dbias0 = bias0->grad,
        .dweight2 = weight2->grad,
        .dbias2 = bias2->grad,
    };
}

static void compare_scores(struct head *h)
{
    const struct ld_loss_batch *b = &h->t.b;
    size_t K = (size_t)b->K, count = (size_t)b->N * (size_t)b->A * K;
    float *score =
        ld_arena_new(&h->g->arena, count, sizeof(*score), &(struct ld_err){0});

    for (size_t i = 0; i < count; i++)
        score[i] = 1 / (1 + expf(-h->t.z[i])) / (1 + expf(-h->t.u[i / K]));
    golden_compare_rows(h->g, score, "cls_score", &b->grid, h->N, K, CLOSE);
    golden_compare_rows(h->g, h->t.z, "cls_feat", &b->grid, h->N, K, CLOSE);
    golden_compare_rows(h->g, h->t.r, "bbox_pred", &b->grid, h->N, SIDES,
                        CLOSE);
}

static void add_image(struct golden *g, struct loss_batch *t, int image)
{
    struct ld_grid own =
        ld_grid_of_canvas((int)golden_number(g, "params.batch_h"),
                          (int)golden_number(g, "params.batch_w"));
    struct golden_array boxes =
        golden_array(g, golden_level("gt_bboxes", image));

    loss_batch_image(t, image, &own, boxes.data,
                     golden_array(g, golden_level("gt_labels", image)).data,
                     boxes.dim[0]);
}

/* The terms from `first` on, one a row of the array. */
static void compare_terms(struct golden *g, const char *name,
                          const struct loss_batch *t, int n)
{
    struct golden_array want = golden_array(g, name);
    const float *value = want.data;

    for (int i = 0; i < n; i++) {
        double w = (double)value[i], got = t->terms.value[i / 5][i % 5];

        ck_assert_msg(fabs(got - w) <= 1e-5 * fmax(fabs(w), 0.01),
                      "%s: %s of level %d is %.8g, expected %.8g", g->name,
                      ld_term_name((enum ld_term)(i / 5)), i % 5, got, w);
    }
}

static void run_backward(struct head *h, struct tower cls[LD_MAX_LEVELS],
                         struct tower reg[LD_MAX_LEVELS],
                         const struct ld_quality *q)
{
    const struct ld_ops *ops = h->m.dev->ops;

    ops->quality_backward(h->m.dev, h->t.dr, h->t.du, h->t.r, q);
    for (int level = 0; level < LD_MAX_LEVELS; level++) {
        float *d_feat = tower_backward(h, &cls[level], h->t.dz);
        float *other = tower_backward(h, &reg[level], h->t.dr);
        struct ld_shape shape = cls[level].first.desc.in;

        ops->add(h->m.dev, d_feat, other, shape);
        if (stored(h->g, golden_level("grad_feat", level)))
            golden_compare(h->g, golden_level("grad_feat", level),
                           maps_plain(&h->m, d_feat, shape), shape_count(shape),
                           CLOSE);
    }
    compare_params(h);
}

static void compare_head(struct golden *g)
{
    struct tower cls[LD_MAX_LEVELS], reg[LD_MAX_LEVELS];
    struct head h = {.g = g};
    struct ld_quality q;
    int K;

    if (strstr(g->name, "ldv2"))
        return; /* below */
    h.N = (int)golden_number(g, "params.num_imgs");
    K = (int)golden_number(g, "params.num_classes") + 1;
    maps_open(&h.m, 1, 1);
    loss_batch_start(&h.t, golden_grid(g), h.N, K, BINS);
    for (int level = 0; level < LD_MAX_LEVELS; level++) {
        cls[level] = tower_of(&h, "cls", level, h.t.z);
        reg[level] = tower_of(&h, "reg", level, h.t.r);
    }
    q = quality_of(&h);
    h.m.dev->ops->quality_forward(h.m.dev, h.t.u, h.t.r, &q);
    compare_scores(&h);

    h.t.b.quality = h.t.u;
    for (int image = 0; image < h.N; image++)
        add_image(g, &h.t, image);
    h.t.b.teacher_box = h.t.b.teacher_class = NULL;
    loss_batch_run(&h.t, &reference_rules);
    compare_terms(g, "losses", &h.t, 15);
    run_backward(&h, cls, reg, &q);
    ld_arena_free(&h.t.arena);
    maps_close(&h.m);
}

START_TEST(the_head_its_losses_and_all_gradients_are_those_of_the_reference)
{
    golden_each("05_gflv2", compare_head);
}
END_TEST

/* ---- LDv2: the case gives scores and class logits apart ---- */

/* As logits of a batch whose quality is 1: gradients of scores are p (1 - p)
 * times smaller for them. */
static void compare_score_terms(struct golden *g, struct loss_batch *t)
{
    size_t K = (size_t)t->b.K, places = (size_t)t->b.A, count = places * K;
    struct ld_loss_rules rules = reference_rules;
    float *score = loss_batch_new(t, count, sizeof(*score));
    float *want = loss_batch_new(t, count, sizeof(*want));
    double worst = 0, largest = 0;

    golden_read_rows(g, score, "cls", &t->b.grid, 1, K);
    golden_read_rows(g, want, "grad_cls", &t->b.grid, 1, K);
    for (size_t i = 0; i < count; i++)
        t->z[i] = (float)log((double)score[i] / (1 - (double)score[i]));
    for (size_t i = 0; i < places; i++)
        t->u[i] = 40;
    rules.kd = 0;
    loss_batch_run(t, &rules);
    compare_terms(g, "gibox_losses", t, 25);
    golden_compare_rows(g, t->dr, "grad_reg", &t->b.grid, 1, SIDES, CLOSE);
    for (size_t i = 0; i < count; i++) {
        double w = (double)(want[i] * score[i] * (1 - score[i]));

        worst = fmax(worst, fabs((double)t->dz[i] - w));
        largest = fmax(largest, fabs(w));
    }
    ck_assert_double_le(worst, 1e-5 * largest);
    ck_assert_double_gt(largest, 0);
}

static void compare_kd(struct golden *g, struct loss_batch *t)
{
    struct ld_loss_rules rules = {.kd = 10, .kd_T = 2};
    size_t K = (size_t)t->b.K;
    const float *want = golden_floats(g, "gibox_losses", 40);

    golden_read_rows(g, t->z, "cls_feat", &t->b.grid, 1, K);
    loss_batch_run(t, &rules);
    golden_compare_rows(g, t->dz, "grad_cls_feat", &t->b.grid, 1, K, 1e-5);
    for (int level = 0; level < 5; level++)
        ck_assert_double_eq_tol(t->terms.value[LD_TERM_KD][level],
                                (double)want[25 + level], 1e-6);
}

static void compare_distillation(struct golden *g)
{
    struct loss_batch t;
    int K;

    if (!strstr(g->name, "ldv2"))
        return;
    K = (int)golden_number(g, "params.cls_out_channels");
    loss_batch_start(&t, golden_grid(g), 1, K, BINS);
    golden_read_rows(g, t.r, "reg", &t.b.grid, 1, SIDES);
    golden_read_rows(g, t.teacher_z, "tcls_feat", &t.b.grid, 1, (size_t)K);
    golden_read_rows(g, t.teacher_r, "treg", &t.b.grid, 1, SIDES);
    t.b.quality = t.u;
    add_image(g, &t, 0);
    compare_score_terms(g, &t);
    compare_kd(g, &t);
    ld_arena_free(&t.arena);
}

START_TEST(the_losses_of_a_distilled_student_are_those_of_the_reference)
{
    golden_each("05_gflv2", compare_distillation);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("gflv2");
    TCase *c = tcase_create("gflv2");

    tcase_add_test(
        c, the_head_its_losses_and_all_gradients_are_those_of_the_reference);
    tcase_add_test(
        c, the_losses_of_a_distilled_student_are_those_of_the_reference);
    suite_add_tcase(s, c);
    return s;
}
