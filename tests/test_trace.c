#include "kernels/base/trace.h"

#include <pthread.h>

#include "tests/suite.h"

static struct ld_trace *open_trace(void)
{
    struct ld_err err = {0};
    struct ld_trace *trace = ld_trace_new(&err);

    ck_assert_msg(trace != NULL, "%s", err.text);
    return trace;
}

START_TEST(spans_follow_each_other_without_a_gap)
{
    struct ld_trace *trace = open_trace();
    struct ld_lane *lane = ld_trace_lane(trace, "main");
    const struct ld_trace_span *span;
    int64_t before = ld_clock(), t, u;
    int n, n_lost;

    ld_trace_record(trace, true);
    t = ld_lane_begin(lane);
    u = ld_lane_end(lane, "one", t);
    ld_lane_end(lane, "two", u);
    span = ld_lane_spans(lane, &n, &n_lost);
    ck_assert_int_eq(n, 2);
    ck_assert_int_eq(n_lost, 0);
    ck_assert_str_eq(span[0].name, "one");
    ck_assert_int_eq(span[0].began, t);
    ck_assert_int_eq(span[0].ended, span[1].began);
    ck_assert(before <= t && t <= u && u <= span[1].ended);
    ck_assert(span[1].ended <= ld_clock());
    ck_assert_str_eq(ld_lane_name(ld_trace_get(trace, 0)), "main");
    ck_assert_int_eq(ld_trace_n_lanes(trace), 1);
    ld_trace_free(trace);
}
END_TEST

START_TEST(what_begins_while_nothing_is_recorded_is_left_out)
{
    struct ld_trace *trace = open_trace();
    struct ld_lane *lane = ld_trace_lane(trace, "main");
    int64_t t = ld_lane_begin(lane);
    int n, n_lost;

    ck_assert_int_eq(t, 0);
    ld_trace_record(trace, true);
    t = ld_lane_end(lane, "began before", t);
    ck_assert_int_gt(t, 0);
    ld_trace_record(trace, false);
    ck_assert_int_eq(ld_lane_end(lane, "ends after", t), 0);
    ld_lane_spans(lane, &n, &n_lost);
    ck_assert_int_eq(n, 0);
    ld_trace_free(trace);
}
END_TEST

START_TEST(without_a_trace_nothing_happens)
{
    struct ld_lane *lane = ld_trace_lane(NULL, "main");

    ck_assert_ptr_null(lane);
    ck_assert_int_eq(ld_lane_begin(lane), 0);
    ck_assert_int_eq(ld_lane_end(lane, "a", 1), 0);
    ld_trace_free(NULL);
}
END_TEST

enum { N_THREADS = 6 };

static void *fill(void *lane)
{
    for (int i = 0; i < LD_LANE_SPANS + 7; i++)
        ld_lane_end(lane, "a", ld_lane_begin(lane));
    return NULL;
}

START_TEST(threads_have_lanes_of_their_own_and_count_what_does_not_fit)
{
    struct ld_trace *trace = open_trace();
    pthread_t threads[N_THREADS];
    int n, n_lost;

    ld_trace_record(trace, true);
    for (int i = 0; i < N_THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, fill,
                                        ld_trace_lane(trace, "worker")),
                         0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(ld_trace_n_lanes(trace), N_THREADS);
    for (int i = 0; i < N_THREADS; i++) {
        const struct ld_trace_span *span =
            ld_lane_spans(ld_trace_get(trace, i), &n, &n_lost);

        ck_assert_int_eq(n, LD_LANE_SPANS);
        ck_assert_int_eq(n_lost, 7);
        for (int k = 1; k < n; k++)
            ck_assert(span[k].began >= span[k - 1].ended);
    }
    ld_trace_free(trace);
}
END_TEST

START_TEST(more_threads_than_lanes_are_not_seen)
{
    struct ld_trace *trace = open_trace();

    for (int i = 0; i < LD_TRACE_LANES; i++)
        ck_assert_ptr_nonnull(ld_trace_lane(trace, "worker"));
    ck_assert_ptr_null(ld_trace_lane(trace, "one more"));
    ck_assert_int_eq(ld_trace_n_lanes(trace), LD_TRACE_LANES);
    ld_trace_free(trace);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("trace");
    TCase *c = tcase_create("trace");

    tcase_add_test(c, spans_follow_each_other_without_a_gap);
    tcase_add_test(c, what_begins_while_nothing_is_recorded_is_left_out);
    tcase_add_test(c, without_a_trace_nothing_happens);
    tcase_add_test(c,
                   threads_have_lanes_of_their_own_and_count_what_does_not_fit);
    tcase_add_test(c, more_threads_than_lanes_are_not_seen);
    suite_add_tcase(s, c);
    return s;
}
