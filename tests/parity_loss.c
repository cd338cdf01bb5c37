#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "tests/devices.h"
#include "tests/loss_device.h"
#include "tests/suite.h"

/* The losses of every head and rule, on the CPU and by CUDA's kernels. */

/* Exponentials are good to two units of float32's last place, and so is what
 * they are divided by: 5e-7 of a probability. A gradient is a difference of two
 * that, at a temperature of 10, are up to ten times as large. */
static const double CLOSE = 5e-6;

struct lesson {
    const char *name;
    enum ld_head head;
    int K;
    bool background; /* K + 1 logits, of which the teacher has K */
    enum ld_ld_norm ld_norm;
    enum ld_box_loss box_loss;
    bool plain;  /* no teacher */
    int n_boxes; /* of each image */
};

static const struct lesson LESSONS[] = {
    {"gfl", LD_HEAD_GFL, 20, .n_boxes = 2},
    {"gfl, one class", LD_HEAD_GFL, 1, .n_boxes = 2},
    {"gfl, 81 logits", LD_HEAD_GFL, 81, .n_boxes = 2,
     .ld_norm = LD_NORM_PER_IMAGE, .box_loss = LD_BOX_CIOU},
    {"gfl, no teacher", LD_HEAD_GFL, 20, .plain = true, .n_boxes = 1},
    {"gfl, no rows", LD_HEAD_GFL, 20, .n_boxes = 0},
    {"gfl v2", LD_HEAD_GFLV2, 20, .n_boxes = 2},
    {"gfl v2, background", LD_HEAD_GFLV2, 80, .background = true, .n_boxes = 2,
     .ld_norm = LD_NORM_AVG_FACTOR},
    {"atss", LD_HEAD_ATSS, 20, .n_boxes = 2, .ld_norm = LD_NORM_AVG_FACTOR},
    {"fcos", LD_HEAD_FCOS, 3, .n_boxes = 2},
    {"retina", LD_HEAD_RETINA, 20, .n_boxes = 2, .box_loss = LD_BOX_CIOU},
    {"retina, no rows", LD_HEAD_RETINA, 5, .n_boxes = 0},
};

enum { N_LESSONS = sizeof(LESSONS) / sizeof(LESSONS[0]), B = 17 };

static struct ld_loss_rules rules_of(const struct lesson *lesson)
{
    struct ld_loss_rules rules = reference_rules;

    rules.centerness = 1;
    rules.vlr_kd = 3;
    rules.vlr_T = 4;
    rules.ld_norm = lesson->ld_norm;
    rules.box_loss = lesson->box_loss;
    return rules;
}

static void fill(float *x, size_t count, float scale, struct ld_rng *rng)
{
    for (size_t i = 0; i < count; i++)
        x[i] = scale * ld_rng_normal(rng);
    for (size_t i = 50; i < count; i += 101) /* far out on both sides */
        x[i] *= 20;
}

/* Two images; some places of the second, smaller one are ignored, and so is
 * one of its rows. */
static void make(struct loss_batch *t, const struct lesson *lesson)
{
    const struct ld_box boxes[] = {{3, 5, 41, 47}, {20.5F, 30, 61, 55}};
    const int64_t labels[] = {0, lesson->K - 1};
    struct ld_grid own[2] = {
        ld_grid_with_head(ld_grid_of_canvas(64, 96), lesson->head),
        ld_grid_with_head(ld_grid_of_canvas(64, 64), lesson->head)};
    struct ld_rng rng = ld_rng_seed(lesson->K, 0);
    size_t places;

    loss_batch_start(t, own[0], 2, lesson->K + lesson->background, B);
    t->b.teacher_K = lesson->K;
    places = 2 * (size_t)t->b.A;
    fill(t->z, places * t->b.K, 2, &rng);
    fill(t->teacher_z, places * t->b.K, 2, &rng);
    fill(t->r, places * 4 * B, 2, &rng);
    fill(t->teacher_r, places * 4 * B, 2, &rng);
    fill(t->u, places, 2, &rng);
    if (lesson->head != LD_HEAD_GFL && lesson->head != LD_HEAD_RETINA)
        t->b.quality = t->u;
    for (int i = 0; i < 2; i++)
        loss_batch_image(t, i, &own[i], boxes, labels, lesson->n_boxes);
    if (lesson->plain)
        t->b.teacher_box = t->b.teacher_class = NULL;
    for (int i = t->b.A; i < 2 * t->b.A; i += 7)
        if (t->valid[i])
            t->valid[i] = i % 3 == 0 ? LD_IGNORED : LD_INVALID;
}

static void compare(const char *name, const char *what, const float *want,
                    const float *got, size_t count)
{
    double square = 0, scale;

    for (size_t i = 0; i < count; i++)
        square += (double)want[i] * (double)want[i];
    scale = sqrt(square / (double)(count ? count : 1));
    for (size_t i = 0; i < count; i++) {
        double gap = fabs((double)got[i] - (double)want[i]);
        double most = CLOSE * fmax(fabs((double)want[i]), scale);

        ck_assert_msg(gap <= most,
                      "%s: %s: number %zu is %.9g, on the CPU %.9g: apart by "
                      "%.3g, allowed %.3g",
                      name, what, i, (double)got[i], (double)want[i], gap,
                      most);
    }
}

static void compare_terms(const char *name, const struct ld_loss_terms *want,
                          const struct ld_loss_terms *got)
{
    for (int term = 0; term < LD_N_TERMS; term++)
        for (int level = 0; level < LD_MAX_LEVELS; level++) {
            double w = want->value[term][level], g = got->value[term][level];

            ck_assert_msg(fabs(g - w) <= 1e-6 * fabs(w),
                          "%s: %s of level %d is %.12g, on the CPU %.12g", name,
                          ld_term_name((enum ld_term)term), level, g, w);
        }
}

/* Weights, sums, terms and gradients of both. */
static void compare_batches(const char *name, const struct loss_batch *want,
                            const struct loss_batch *got)
{
    size_t places = 2 * (size_t)want->b.A, K = (size_t)want->b.K;

    compare(name, "weight", want->weight, got->weight, (size_t)want->b.n_rows);
    ck_assert_double_le(
        fabs(got->sums[LD_SUM_WEIGHT] - want->sums[LD_SUM_WEIGHT]),
        1e-6 * want->sums[LD_SUM_WEIGHT]);
    compare_terms(name, &want->terms, &got->terms);
    compare(name, "class gradient", want->dz, got->dz, places * K);
    compare(name, "box gradient", want->dr, got->dr, places * 4 * B);
    if (want->b.quality)
        compare(name, "quality gradient", want->du, got->du, places);
}

/* The CPU, and the plug-in, or NULL where that has no GPU. */
static struct ld_device *open_other(struct ld_device **cpu)
{
    const char *name = device_asked_for("emulated");
    struct ld_err err = {0};
    struct ld_device *other = device_open(name, 0, LD_PRECISION_FP32, &err);

    if (!other && strcmp(name, "cuda") == 0) {
        note_skipped(err.text);
        return NULL;
    }
    ck_assert_msg(other != NULL, "%s", err.text);
    *cpu = device_open("cpu", 0, LD_PRECISION_FP32, &err);
    ck_assert_msg(*cpu != NULL, "%s", err.text);
    return other;
}

static void close_both(struct ld_device *cpu, struct ld_device *other)
{
    cpu->ops->close(cpu);
    other->ops->close(other);
}

START_TEST(losses_and_gradients_agree)
{
    const struct lesson *lesson = &LESSONS[_i];
    struct ld_loss_rules rules = rules_of(lesson);
    struct loss_batch t[2];
    struct ld_device *dev[2];

    dev[1] = open_other(&dev[0]);
    if (!dev[1])
        return;
    for (int i = 0; i < 2; i++) {
        make(&t[i], lesson);
        loss_batch_run_on(&t[i], dev[i], &rules);
    }
    ck_assert_int_eq(t[0].b.n_rows > 0, lesson->n_boxes > 0);
    ck_assert_double_gt(ld_loss_total(&t[0].terms), 0);
    compare_batches(lesson->name, &t[0], &t[1]);
    for (int i = 0; i < 2; i++)
        ld_arena_free(&t[i].arena);
    close_both(dev[0], dev[1]);
}
END_TEST

/* ---- a teacher kept as whole numbers ---- */

/* One row of `groups` runs of `width` logits, relative to the first of each if
 * `relative`: rounds it to whole numbers of a step, and keeps them. */
static void round_row(float *row, int16_t *kept, float step, int groups,
                      int width, bool relative)
{
    for (int g = 0; g < groups; g++) {
        float *run = row + g * width, first = relative ? run[0] : 0;

        for (int k = 0; k < width; k++) {
            float number = roundf((run[k] - first) / step);

            run[k] = step * number;
            if (k >= relative)
                kept[(k - relative) * groups + g] = (int16_t)number;
        }
    }
}

/* Makes the batch's teacher one of whole numbers of a step, in both forms. */
static void round_teacher(struct loss_batch *t)
{
    size_t n = (size_t)t->b.n_rows, K = (size_t)t->b.teacher_K;
    int runs = t->b.head == LD_HEAD_RETINA ? 1 : 4;
    size_t columns = (size_t)(4 * B - runs);
    int16_t *box = loss_batch_new(t, n * columns, sizeof(*box));
    int16_t *class = loss_batch_new(t, n * K, sizeof(*class));
    float *step = loss_batch_new(t, n, sizeof(*step));

    for (size_t i = 0; i < n; i++) {
        step[i] = 0.1F + 0.01F * (float)(i % 7);
        round_row(t->row_box + i * 4 * B, box + i * columns, step[i], runs,
                  4 * B / runs, true);
        round_row(t->row_class + i * K, class + i * K, step[i], 1, (int)K,
                  false);
    }
    t->b.teacher_box_kept = box;
    t->b.teacher_class_kept = class;
    t->b.teacher_box_step = t->b.teacher_class_step = step;
}

static const struct lesson *kept_lesson(int i)
{
    return &LESSONS[i == 0 ? 0 : i == 1 ? 6 : 9]; /* gfl, gfl v2, retina */
}

START_TEST(a_kept_teacher_gives_the_bits_of_its_floats)
{
    const struct lesson *lesson = kept_lesson(_i);
    struct ld_loss_rules rules = rules_of(lesson);
    struct loss_batch t, plain;
    struct ld_device *dev[2];
    size_t places;

    dev[1] = open_other(&dev[0]);
    if (!dev[1])
        return;
    for (int i = 0; i < 2; i++) {
        make(&t, lesson);
        make(&plain, lesson);
        round_teacher(&t);
        t.b.teacher_box = t.b.teacher_class = NULL;
        round_teacher(&plain);
        plain.b.teacher_box_kept = plain.b.teacher_class_kept = NULL;
        loss_batch_run_on(&t, dev[i], &rules);
        loss_batch_run_on(&plain, dev[i], &rules);
        places = 2 * (size_t)t.b.A * sizeof(float);
        ck_assert_double_gt(ld_loss_term(&t.terms, LD_TERM_LD), 0);
        ck_assert_mem_eq(&t.terms, &plain.terms, sizeof(t.terms));
        ck_assert_mem_eq(t.dz, plain.dz, places * (size_t)t.b.K);
        ck_assert_mem_eq(t.dr, plain.dr, places * 4 * B);
        ld_arena_free(&t.arena);
        ld_arena_free(&plain.arena);
    }
    close_both(dev[0], dev[1]);
}
END_TEST

/* ---- NaN ---- */

/* In a class logit of a positive, then in one of its bins. */
START_TEST(a_nan_logit_makes_the_loss_nan)
{
    static const int lessons[] = {0, 5, 7, 9}; /* each class loss */
    const struct lesson *lesson = &LESSONS[lessons[_i]];
    struct ld_loss_rules rules = rules_of(lesson);
    struct loss_batch t;
    struct ld_device *dev[2];
    size_t at;
    int row = 0;

    dev[1] = open_other(&dev[0]);
    if (!dev[1])
        return;
    make(&t, lesson);
    while (t.label[row] < 0)
        row++;
    at = (size_t)t.index[row];
    for (int i = 0; i < 2; i++) {
        float *x = i ? t.z + at * (size_t)t.b.K : t.r + at * 4 * B + 20;
        float was = *x;

        *x = NAN;
        loss_batch_run_on(&t, dev[1], &rules);
        ck_assert(isnan(ld_loss_total(&t.terms)));
        *x = was;
    }
    ld_arena_free(&t.arena);
    close_both(dev[0], dev[1]);
}
END_TEST

/* ---- faults, and what stops at them ---- */

static void check_fault(struct ld_device *dev, const char *what)
{
    struct ld_err err = {0};

    ck_assert(!dev->ops->sync(dev, &err));
    ck_assert_int_eq(err.code, LD_ERR_NUMBER);
    ck_assert_msg(strstr(err.text, what), "'%s', expected '%s'", err.text,
                  what);
}

START_TEST(a_broken_term_is_named_and_nothing_moves)
{
    struct ld_loss_terms terms = {0};
    struct ld_device *dev[2];
    struct ld_err err = {0};

    dev[1] = open_other(&dev[0]);
    if (!dev[1])
        return;
    for (int i = 0; i < 2; i++) {
        const struct ld_ops *ops = dev[i]->ops;
        struct ld_loss_terms *there = ops->alloc(dev[i], sizeof(terms), &err);
        float one[3] = {1, 1, 1}, *x = ops->alloc(dev[i], sizeof(one), &err);
        struct ld_sgd s = {.rate = 1, .step = 9};

        ops->upload(dev[i], x, one, sizeof(one));
        ops->loss_check(dev[i], there, 8);
        ck_assert_msg(ops->sync(dev[i], &err), "%s", err.text);
        terms.value[LD_TERM_DFL][3] = _i ? INFINITY : NAN;
        terms.value[LD_TERM_KD][0] = NAN;
        ops->upload(dev[i], there, &terms, sizeof(terms));
        ops->loss_check(dev[i], there, 9);
        ops->sgd(dev[i], x, x + 1, x + 2, 1, s);
        ops->loss_check(dev[i], there, 10);
        check_fault(dev[i], "step 9: loss_dfl is not finite");
        ops->download(dev[i], one, x, sizeof(one));
        ck_assert_msg(ops->sync(dev[i], &err), "%s", err.text);
        ck_assert_float_eq(one[0], 1);
        ops->release(dev[i], there);
        ops->release(dev[i], x);
    }
    close_both(dev[0], dev[1]);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("parity of losses");
    TCase *c = tcase_create("losses");

    tcase_add_loop_test(c, losses_and_gradients_agree, 0, N_LESSONS);
    tcase_add_loop_test(c, a_kept_teacher_gives_the_bits_of_its_floats, 0, 3);
    tcase_add_loop_test(c, a_nan_logit_makes_the_loss_nan, 0, 4);
    tcase_add_loop_test(c, a_broken_term_is_named_and_nothing_moves, 0, 2);
    suite_add_tcase(s, c);
    return s;
}
