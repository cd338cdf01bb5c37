#include "kernels/net/plan.h"

#include <stdio.h>
#include <string.h>

#include "kernels/net/gfl.h"
#include "tests/nets.h"
#include "tests/suite.h"

static bool overlap(const struct ld_span *a, const struct ld_span *b)
{
    bool in_time = a->first <= b->last && b->first <= a->last;
    bool in_space =
        a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;

    return in_time && in_space;
}

static void check_plan(const struct ld_plan *plan)
{
    for (int i = 0; i < plan->n_spans; i++) {
        const struct ld_span *a = &plan->span[i];

        if (a->with != i || a->first < 0)
            continue;
        ck_assert(a->offset + a->bytes <= plan->bytes);
        for (int j = 0; j < i; j++) {
            const struct ld_span *b = &plan->span[j];

            ck_assert_msg(b->with != j || b->first < 0 || !overlap(a, b),
                          "spans %d and %d", i, j);
        }
    }
}

static void plan_model(struct ld_model model, enum ld_net_use use)
{
    struct ld_device *dev = open_cpu();
    struct ld_err err = {0};
    struct ld_net *net = ld_net_new(dev, &model, use, &err);

    check_ok(net != NULL, &err);
    check_ok(ld_net_resize(net, 2, 64, 96, &err), &err);
    check_plan(net->plan);
    ld_net_free(net);
    dev->ops->close(dev);
}

START_TEST(buffers_that_live_at_one_time_never_overlap)
{
    struct ld_model model = tiny_model();
    static const int depths[4] = {18, 34, 50, 101};

    model.head_convs = 4;
    for (int i = 0; i < 4; i++) {
        model.depth = depths[i];
        plan_model(model, LD_NET_INFER);
        for (int frozen = -1; frozen <= 4; frozen += 2) {
            model.frozen_stages = frozen;
            model.norm_eval = i % 2 == 0;
            plan_model(model, LD_NET_TRAIN);
        }
    }
    model.backbone = LD_RES2NET;
    model.base_width = 26;
    plan_model(model, LD_NET_INFER);
    plan_model(model, LD_NET_TRAIN);
}
END_TEST

/* Bytes that lie in spans alive at a step. */
static size_t alive(const struct ld_plan *plan, int step)
{
    size_t bytes = 0;

    for (int i = 0; i < plan->n_spans; i++) {
        const struct ld_span *span = &plan->span[i];

        if (span->with == i && span->first >= 0 && span->first <= step &&
            step <= span->last)
            bytes += ld_spans_room(span->bytes);
    }
    return bytes;
}

START_TEST(a_plan_takes_little_more_than_its_busiest_step_needs)
{
    struct ld_model model = tiny_model();
    struct ld_device *dev = open_cpu();
    struct ld_err err = {0};
    struct ld_net *net;
    size_t most = 0;

    model.head_convs = 4;
    net = ld_net_new(dev, &model, LD_NET_TRAIN, &err);
    check_ok(net && ld_net_resize(net, 2, 256, 256, &err), &err);
    for (int step = 0; step <= 2 * net->graph.n_layers; step++) {
        size_t bytes = alive(net->plan, step);

        most = bytes > most ? bytes : most;
    }
    printf("busiest step %zu bytes, plan %zu bytes\n", most, net->plan->bytes);
    ck_assert(net->plan->bytes <= most + most / 20); /* holes: up to 5 % */
    ld_net_free(net);
    dev->ops->close(dev);
}
END_TEST

static int map_named(const struct ld_graph *graph, const char *name)
{
    for (int i = 0; i < graph->n_maps; i++)
        if (graph->map[i].name && strcmp(graph->map[i].name, name) == 0)
            return i;
    return -1;
}

START_TEST(a_frozen_stage_keeps_nothing_for_backward)
{
    struct ld_model model = tiny_model();
    struct ld_device *dev = open_cpu();
    struct ld_err err = {0};
    struct ld_net *net = ld_net_new(dev, &model, LD_NET_TRAIN, &err);
    int end, c2;

    check_ok(net && ld_net_resize(net, 1, 64, 64, &err), &err);
    end = ld_plan_caller_step(&net->graph);
    c2 = map_named(&net->graph, "c2");
    for (int i = 0; i < c2; i++) /* or C2 has taken over its memory */
        if (net->graph.map[i].kind != LD_MAP_ROWS &&
            ld_spans_root(net->plan->span, i) !=
                ld_spans_root(net->plan->span, c2))
            ck_assert_int_lt(net->plan->span[i].last, end);
    ck_assert_int_gt(net->plan->span[c2].last, end); /* layer2 reads it */
    for (int i = 0; i <= c2; i++)
        ck_assert(net->graph.map[i].kind == LD_MAP_ROWS ||
                  net->plan->span[ld_plan_grad(&net->graph, i)].first < 0);
    ld_net_free(net);
    dev->ops->close(dev);
}
END_TEST

static void step_on(struct ld_net *net, int N, int H, int W)
{
    struct ld_err err = {0};

    check_ok(ld_net_resize(net, N, H, W, &err), &err);
    net->dev->ops->zero(net->dev, ld_net_input(net),
                        (size_t)(3 * N * H * W) * sizeof(float));
    ld_net_forward(net);
    net->dev->ops->zero(net->dev, ld_net_class_rows_grad(net),
                        net->plan->span[net->graph.class_rows].bytes);
    net->dev->ops->zero(net->dev, ld_net_box_rows_grad(net),
                        net->plan->span[net->graph.box_rows].bytes);
    ld_net_zero_grad(net);
    ld_net_backward(net);
    ld_net_sgd(net, (struct ld_sgd){0.01F, 0.9F, 1e-4F, 1},
               (struct ld_sgd){0.01F, 0.9F, 1e-4F, 1});
    check_ok(net->dev->ops->sync(net->dev, &err), &err);
}

START_TEST(a_step_on_a_canvas_seen_before_allocates_nothing)
{
    struct ld_model model = tiny_model();
    struct ld_device *dev = open_cpu();
    struct ld_err err = {0};
    struct ld_net *net = ld_net_new(dev, &model, LD_NET_TRAIN, &err);

    check_ok(net != NULL, &err);
    ld_net_init(net, 1);
    step_on(net, 1, 64, 64);
    step_on(net, 2, 64, 96);
    ld_mem_fail_after(0); /* the next allocation would fail */
    step_on(net, 1, 64, 64);
    step_on(net, 2, 64, 96);
    ld_mem_fail_after(-1);
    ld_net_free(net);
    dev->ops->close(dev);
}
END_TEST

START_TEST(the_canvas_unused_for_longest_is_forgotten)
{
    struct ld_model model = tiny_model();
    struct ld_device *dev = open_cpu();
    struct ld_err err = {0};
    struct ld_net *net = ld_net_new(dev, &model, LD_NET_INFER, &err);
    struct ld_plan *first;

    check_ok(net != NULL, &err);
    for (int i = 1; i <= LD_NET_PLANS; i++)
        check_ok(ld_net_resize(net, 1, 32, 32 * i, &err), &err);
    first = net->plans[0];
    check_ok(ld_net_resize(net, 1, 32, 32, &err), &err);
    ck_assert_ptr_eq(net->plan, first);
    check_ok(ld_net_resize(net, 1, 64, 32, &err), &err);
    ck_assert_ptr_eq(net->plans[0], first); /* used lately: it stays */
    ck_assert_int_eq(net->plans[1]->image.H, 64);
    ld_net_free(net);
    dev->ops->close(dev);
}
END_TEST

START_TEST(an_impossible_canvas_is_refused_and_the_next_one_works)
{
    struct ld_model model = tiny_model();
    struct ld_device *dev = open_cpu();
    struct ld_err err = {0}, none = {0};
    struct ld_net *net = ld_net_new(dev, &model, LD_NET_INFER, &none);

    check_ok(net != NULL, &none);
    ck_assert(!ld_net_resize(net, 1, 0, 64, &err));
    ck_assert_int_eq(err.code, LD_ERR_USAGE);
    ck_assert(strstr(err.text, "64 x 0") != NULL);
    check_ok(ld_net_resize(net, 1, 64, 64, &none), &none);
    ld_net_free(net);
    dev->ops->close(dev);
}
END_TEST

START_TEST(running_out_of_memory_anywhere_is_an_error_and_leaks_nothing)
{
    struct ld_model model = tiny_model();
    struct ld_device *dev = open_cpu();
    bool done = false;

    for (int i = 0; !done && i < 10000; i += i < 20 ? 1 : 7) {
        struct ld_err err = {0};
        struct ld_net *net;

        ld_mem_fail_after(i);
        net = ld_net_new(dev, &model, LD_NET_TRAIN, &err);
        done = net && ld_net_resize(net, 1, 32, 32, &err);
        ld_mem_fail_after(-1);
        ck_assert(done || err.code == LD_ERR_MEMORY);
        ld_net_free(net);
    }
    ck_assert(done);
    dev->ops->close(dev);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("plan");
    TCase *c = tcase_create("plan");

    tcase_add_test(c, buffers_that_live_at_one_time_never_overlap);
    tcase_add_test(c, a_plan_takes_little_more_than_its_busiest_step_needs);
    tcase_add_test(c, a_frozen_stage_keeps_nothing_for_backward);
    tcase_add_test(c, a_step_on_a_canvas_seen_before_allocates_nothing);
    tcase_add_test(c, the_canvas_unused_for_longest_is_forgotten);
    tcase_add_test(c, an_impossible_canvas_is_refused_and_the_next_one_works);
    tcase_add_test(
        c, running_out_of_memory_anywhere_is_an_error_and_leaks_nothing);
    suite_add_tcase(s, c);
    return s;
}
