#include <math.h>
#include <string.h>

#include "kernels/base/parallel.h"
#include "kernels/net/detect.h"
#include "tests/lesson.h"
#include "tests/suite.h"

/* Each head with a focal loss learns two images by heart and finds their
 * objects again. */

enum { STEPS = 100 };

static const struct ld_detect_rules RULES = {.score_limit = 0.05F,
                                             .iou_limit = 0.6F,
                                             .per_level = 1000,
                                             .per_image = 100};

static struct ld_detections detections_of(struct lesson *l, int image)
{
    const struct ld_model *model = ld_net_model(l->student);
    struct ld_grid grid = ld_net_grid(l->student);
    size_t A = (size_t)grid.start[grid.n_levels], at = (size_t)image * A;
    const float *quality = ld_net_quality_rows(l->student);
    struct ld_detect_input in = {
        .grid = &grid, /* the CPU's rows: readable */
        .class_logits = ld_net_class_rows(l->student) + at * LESSON_K,
        .box_logits =
            ld_net_box_rows(l->student) + at * 4 * (size_t)(model->reg_max + 1),
        .quality = quality ? quality + at : NULL,
        .centerness = ld_head_has_centerness(model->head),
        .K = LESSON_K,
        .n_logits = LESSON_K,
        .B = model->reg_max + 1,
        .H = l->images[image].view.H,
        .W = l->images[image].view.W,
        .scale_x = 1,
        .scale_y = 1};
    struct ld_detections out;

    ck_assert(ld_detect(&out, &in, &RULES, &l->arena, &l->err));
    return out;
}

/* How many objects of an image a detection of their class overlaps by half. */
static int found_in(struct lesson *l, int image)
{
    const struct ld_batch_image *truth = &l->images[image];
    struct ld_detections found = detections_of(l, image);
    int n = 0;

    for (int i = 0; i < truth->n_boxes; i++) {
        bool hit = false;

        for (int k = 0; k < found.n; k++)
            hit |= found.items[k].class_index == truth->labels[i] &&
                   found.items[k].score > 0.1F &&
                   ld_box_iou(found.items[k].box, truth->boxes[i]) > 0.5F;
        n += hit;
    }
    return n;
}

START_TEST(a_head_learns_what_it_is_shown_and_finds_it)
{
    static const enum ld_head heads[] = {LD_HEAD_ATSS, LD_HEAD_FCOS,
                                         LD_HEAD_RETINA};
    struct ld_model model = lesson_model;
    struct ld_sgd sgd = {0.02F, 0.9F, 1e-4F, 1}, bias = {0.04F, 0.9F, 0, 1};
    struct ld_loss_terms terms;
    double first = 0, last = 0;
    struct ld_step *step;
    struct lesson l;

    model.head = heads[_i];
    if (model.head == LD_HEAD_RETINA) /* without any normalisation */
        sgd.rate = 0.005F;
    lesson_open(&l, &model, &model);
    ld_parallel_set_threads(1); /* hundreds of small passes */
    l.rules.dfl = 0;
    step = ld_step_new(l.dev, l.student, NULL, &l.rules, &l.err);
    for (int i = 0; i < STEPS; i++) {
        ck_assert_msg(ld_step_gradient(step, &l.batch, 1, &terms, &l.err), "%s",
                      l.err.text);
        last = ld_loss_total(&terms);
        first = i == 0 ? last : first;
        ld_net_sgd(l.student, sgd, _i == 1 ? bias : sgd);
    }
    ck_assert_msg(last < first / 2, "the loss went from %g to %g", first, last);
    lesson_show(&l);
    ck_assert_int_eq(found_in(&l, 0) + found_in(&l, 1), 4);
    ld_step_free(step);
    lesson_close(&l);
}
END_TEST

/* Biases of convolutions alone go by the second rule. */
START_TEST(biases_move_by_their_own_rate_and_decay)
{
    struct ld_sgd sgd = {0.5F, 0, 0.25F, 1}, bias = {1, 0, 0, 1};
    struct lesson l;
    struct ld_param *params;
    int n, n_biases = 0, n_wrong = 0;

    lesson_open(&l, &lesson_model, &lesson_model);
    params = ld_net_params(l.student, &n);
    for (int i = 0; i < n; i++)
        for (size_t k = 0;
             params[i].trained && k < ld_tensor_count(&params[i].value); k++) {
            params[i].value.data[k] = 1;
            params[i].grad[k] = 2;
        }
    ld_net_sgd(l.student, sgd, bias);
    for (int i = 0; i < n; i++) {
        const char *name = params[i].value.name, *end = strrchr(name, '.');
        bool conv = strcmp(end, ".bias") == 0 && !strstr(name, ".gn.") &&
                    !strstr(name, ".bn") && !strstr(name, "downsample");

        if (!params[i].trained)
            continue;
        n_biases += conv;
        n_wrong += params[i].value.data[0] != (conv ? -1 : 1 - 0.5F * 2.25F);
    }
    ck_assert_int_eq(n_biases, 8 + 2);
    ck_assert_int_eq(n_wrong, 0);
    lesson_close(&l);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("heads");
    TCase *c = tcase_create("heads");

    tcase_add_loop_test(c, a_head_learns_what_it_is_shown_and_finds_it, 0, 3);
    tcase_add_test(c, biases_move_by_their_own_rate_and_decay);
    suite_add_tcase(s, c);
    return s;
}
