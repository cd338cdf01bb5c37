#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/net/net_parts.h"
#include "tests/lesson.h"
#include "tests/suite.h"

/* What was told during a backward pass, and what stood there at that time. */
struct watched {
    const float *gradients;
    float *seen; /* (count) */
    size_t count, from;
    int n_calls, n_falls;
};

static void look(void *context, size_t from)
{
    struct watched *w = context;

    ck_assert_msg(from <= w->from, "from rises: %zu after %zu", from, w->from);
    memcpy(w->seen + from, w->gradients + from,
           (w->from - from) * sizeof(float));
    w->n_falls += from < w->from;
    w->from = from;
    w->n_calls++;
}

static struct ld_model model_of(int i)
{
    struct ld_model model = lesson_model;

    switch (i) {
    case 1:
        model.norm_eval = false;
        model.frozen_stages = -1;
        break;
    case 2:
        model.depth = 50;
        model.head = LD_HEAD_GFLV2;
        break;
    case 3:
        model.depth = 50;
        model.dcn = LD_DCN_V2;
        model.dcn_from = 3;
        break;
    case 4:
        model.head = LD_HEAD_FCOS;
        model.frozen_stages = 2;
        break;
    case 5:
        model.depth = 50;
        model.backbone = LD_RES2NET;
        model.head = LD_HEAD_RETINA;
        break;
    default:
        break;
    }
    return model;
}

/* Told too early, a gradient would be sent without what is still added to it;
 * told late, all of it would be sent when nothing is left to hide behind. */
START_TEST(what_is_told_to_be_complete_changes_no_more_and_is_told_in_time)
{
    struct ld_model model = model_of(_i);
    struct ld_loss_terms terms;
    struct watched w = {0};
    struct lesson l;
    float *all;

    lesson_open(&l, &model, &model);
    w.gradients = ld_net_gradients(l.student, &w.count);
    w.seen = ld_arena_new(&l.arena, w.count, sizeof(float), &l.err);
    w.from = w.count;
    ck_assert(ld_net_watch(l.student, look, &w, &l.err));
    all = lesson_gradient(&l, true, &w.count, &terms);
    ck_assert(all != NULL);
    w.gradients = ld_net_gradients(l.student, &w.count);

    ck_assert_uint_eq(w.from, 0);
    ck_assert_int_eq(w.n_calls, l.student->graph.n_layers);
    ck_assert_mem_eq(w.seen, w.gradients, w.count * sizeof(float));
    /* The neck and the blocks of the backbone, one after the other. */
    ck_assert_msg(w.n_falls >= 10, "told in %d pieces", w.n_falls);
    lesson_close(&l);
}
END_TEST

/* Half of the numbers of a R-50 student are its last stage's; backward is
 * through with that before the first half of the backbone's layers. */
START_TEST(most_gradients_are_complete_while_most_of_the_backbone_is_to_come)
{
    struct ld_model model = lesson_model;
    const struct ld_graph *graph;
    struct watched w = {0};
    struct lesson l;
    int trained = 0, passed = 0;

    model.depth = 50;
    model.frozen_stages = 1;
    lesson_open(&l, &model, &model);
    ck_assert(ld_net_watch(l.student, look, &w, &l.err));
    ld_net_gradients(l.student, &w.count);
    graph = &l.student->graph;
    for (int i = 0; i < graph->n_layers; i++)
        trained += graph->layer[i].trained;
    for (int i = graph->n_layers - 1; i >= 0; i--) {
        passed += graph->layer[i].trained;
        if (l.student->complete[i] <= w.count / 2)
            break;
    }
    printf("half is complete after %d of %d trained layers\n", passed, trained);
    ck_assert_int_lt(passed, trained * 3 / 4);
    lesson_close(&l);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("gradients");
    TCase *c = tcase_create("gradients");

    tcase_add_loop_test(
        c, what_is_told_to_be_complete_changes_no_more_and_is_told_in_time, 0,
        6);
    tcase_add_test(
        c, most_gradients_are_complete_while_most_of_the_backbone_is_to_come);
    suite_add_tcase(s, c);
    return s;
}
