#include "trainer/profile_sum.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "tests/suite.h"

/* Microseconds. */
#define US(x) ((int64_t)(x)*1000)

static struct ld_profile_sum *sum_of(const struct ld_profile_record *record,
                                     struct ld_arena *arena)
{
    struct ld_err err = {0};
    struct ld_profile_sum *sum = ld_profile_sum(record, arena, &err);

    ck_assert_msg(sum != NULL, "%s", err.text);
    return sum;
}

static int64_t time_of(const struct ld_profile_rows *rows, const char *name)
{
    for (int i = 0; i < rows->n; i++)
        if (rows->row[i].name == name ||
            (name && rows->row[i].name && strcmp(name, rows->row[i].name) == 0))
            return rows->row[i].time;
    return 0;
}

static int64_t time_of_all(const struct ld_profile_rows *rows)
{
    int64_t all = 0;

    for (int i = 0; i < rows->n; i++)
        all += rows->row[i].time;
    return all;
}

START_TEST(a_span_has_the_time_that_no_span_in_it_has)
{
    /* In the order of their ends, as a thread adds them. */
    const struct ld_trace_span spans[] = {
        {"before", US(-50), US(-10)}, {"wait", US(-5), US(10)},
        {"teacher", US(20), US(30)},  {"upload", US(35), US(40)},
        {"targets", US(15), US(40)},  {"wait", US(40), US(41)},
        {"forward", US(60), US(130)},
    };
    const struct ld_profile_record record = {
        .began = 0, .ended = US(100), .spans = spans, .n_spans = 7};
    struct ld_arena arena = {0};
    struct ld_profile_sum *sum = sum_of(&record, &arena);

    ck_assert_int_eq(time_of(&sum->main, "before"), 0);
    ck_assert_int_eq(time_of(&sum->main, "wait"), US(11));
    ck_assert_int_eq(time_of(&sum->main, "teacher"), US(10));
    ck_assert_int_eq(time_of(&sum->main, "upload"), US(5));
    ck_assert_int_eq(time_of(&sum->main, "targets"), US(10));
    ck_assert_int_eq(time_of(&sum->main, "forward"), US(40));
    ck_assert_int_eq(time_of(&sum->main, NULL), US(24));
    ck_assert_int_eq(time_of_all(&sum->main), US(100));
    ck_assert_str_eq(sum->main.row[0].name, "wait");
    ld_arena_free(&arena);
}
END_TEST

/* Two queues, out of order, with gaps of 5 us, 20 us less 1 ns, 20 us, and 30
 * us at the end. */
START_TEST(gaps_that_are_known_are_found)
{
    const struct ld_activity activities[] = {
        {"b", US(60), US(80) + 1, 1, true},
        {"a", US(-10), US(20), 1, true},
        {"copy", US(25), US(35), 2, false},
        {"a", US(30), US(40) + 1, 1, true},
        {"b", US(100) + 1, US(150), 1, true},
        {"c", US(110), US(120), 2, true},
        {"late", US(180), US(190), 1, true},
    };
    const struct ld_trace_span spans[] = {{"wait for data", US(70), US(90)},
                                          {"forward", US(95), US(170)}};
    const struct ld_profile_record record = {.began = 0,
                                             .ended = US(180),
                                             .spans = spans,
                                             .n_spans = 2,
                                             .activities = activities,
                                             .n_activities = 7};
    struct ld_arena arena = {0};
    struct ld_profile_sum *sum = sum_of(&record, &arena);

    ck_assert_int_eq(sum->shorter.count, 2);
    ck_assert_int_eq(sum->shorter.time, US(5) + US(20) - 1);
    ck_assert_int_eq(sum->longer.count, 2);
    ck_assert_int_eq(sum->longer.time, US(20) + US(30));
    ck_assert_int_eq(sum->busy, US(180) - US(75) + 1);
    ck_assert_int_eq(time_of(&sum->meanwhile, "wait for data"), US(10) - 1);
    ck_assert_int_eq(time_of(&sum->meanwhile, "forward"), US(5) + 1 + US(20));
    ck_assert_int_eq(time_of(&sum->meanwhile, NULL), US(5) + US(10));
    ck_assert_int_eq(sum->n_kernels, 5);
    ck_assert_int_eq(sum->n_others, 1);
    ck_assert_int_eq(sum->kernel_time,
                     US(20) + US(10) + 1 + US(20) + 1 + US(50) - 1 + US(10));
    ck_assert_int_eq(sum->device.n, 4);
    ck_assert_str_eq(sum->device.row[0].name, "b");
    ck_assert_int_eq(sum->device.row[0].time, US(70));
    ck_assert_int_eq(sum->device.row[0].count, 2);
    ck_assert_str_eq(sum->device.row[1].name, "a");
    ck_assert_int_eq(sum->device.row[1].time, US(30) + 1);
    ld_arena_free(&arena);
}
END_TEST

/* ---- made-up records, counted microsecond by microsecond ---- */

enum { LENGTH = 3000, AROUND = 200, MOST = 60, DEEP = 4 };

struct made {
    struct ld_trace_span spans[DEEP * (LENGTH + 2 * AROUND)];
    struct ld_activity activities[MOST];
    const char *main[LENGTH]; /* what each microsecond is */
    bool busy[LENGTH];
    int n_spans, n_activities;
};

static const char *const names[] = {"a", "b", "c", "d"};

/* Spans from `at` to `end`, and spans in them. */
static void make_spans(struct made *m, struct ld_rng *rng, int at, int end,
                       int depth)
{
    while (at < end) {
        int from = at + (int)ld_rng_below(rng, 100);
        int to = from + 1 + (int)ld_rng_below(rng, 400);
        const char *name = names[ld_rng_below(rng, 4)];

        to = to < end ? to : end;
        if (from >= to)
            return;
        for (int i = from; i < to; i++)
            if (i >= 0 && i < LENGTH)
                m->main[i] = name;
        if (depth + 1 < DEEP)
            make_spans(m, rng, from, to, depth + 1);
        m->spans[m->n_spans++] = (struct ld_trace_span){name, US(from), US(to)};
        at = to;
    }
}

static void make_activities(struct made *m, struct ld_rng *rng)
{
    m->n_activities = (int)ld_rng_below(rng, MOST);
    for (int i = 0; i < m->n_activities; i++) {
        int from = (int)ld_rng_below(rng, LENGTH + AROUND) - AROUND / 2;
        int to = from + (int)ld_rng_below(rng, 60);

        m->activities[i] = (struct ld_activity){names[ld_rng_below(rng, 4)],
                                                US(from), US(to), 0, true};
        for (int k = from; k < to; k++)
            if (k >= 0 && k < LENGTH)
                m->busy[k] = true;
    }
}

static void check_made(const struct made *m, const struct ld_profile_sum *sum)
{
    int64_t busy = 0, shorter = 0, longer = 0, by_name[5] = {0};
    int64_t meanwhile[5] = {0};

    for (int i = 0, end; i < LENGTH; i = end) {
        for (end = i + 1; end < LENGTH && m->busy[end] == m->busy[i]; end++)
            continue;
        *(m->busy[i] ? &busy : end - i < 20 ? &shorter : &longer) += end - i;
        for (int k = i; k < end; k++)
            for (int name = 0; name < 5; name++)
                if (m->main[k] == (name < 4 ? names[name] : NULL)) {
                    by_name[name]++;
                    meanwhile[name] += !m->busy[i] && end - i >= 20;
                }
    }
    ck_assert_int_eq(sum->busy, US(busy));
    ck_assert_int_eq(sum->shorter.time, US(shorter));
    ck_assert_int_eq(sum->longer.time, US(longer));
    for (int name = 0; name < 5; name++) {
        const char *of = name < 4 ? names[name] : NULL;

        ck_assert_int_eq(time_of(&sum->main, of), US(by_name[name]));
        ck_assert_int_eq(time_of(&sum->meanwhile, of), US(meanwhile[name]));
    }
    ck_assert_int_eq(time_of_all(&sum->main), US(LENGTH));
}

START_TEST(records_of_any_kind_add_up)
{
    static struct made m;

    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct ld_rng rng = ld_rng_seed(seed, 0);
        struct ld_arena arena = {0};
        struct ld_profile_record record = {.began = 0, .ended = US(LENGTH)};

        m = (struct made){0};
        make_spans(&m, &rng, -AROUND, LENGTH + AROUND, 0);
        make_activities(&m, &rng);
        record.spans = m.spans;
        record.n_spans = m.n_spans;
        record.activities = m.activities;
        record.n_activities = m.n_activities;
        check_made(&m, sum_of(&record, &arena));
        ld_arena_free(&arena);
    }
}
END_TEST

START_TEST(of_too_many_names_the_last_share_a_row)
{
    static struct ld_profile_rows rows;
    static char made[2 * LD_PROFILE_ROWS][8];

    for (int i = 0; i < 2 * LD_PROFILE_ROWS; i++) {
        snprintf(made[i], sizeof(made[i]), "n%d", i);
        ld_profile_count(&rows, made[i], 1 + i);
    }
    ck_assert_int_eq(rows.n, LD_PROFILE_ROWS);
    ck_assert_int_eq(time_of_all(&rows),
                     LD_PROFILE_ROWS * (2 * LD_PROFILE_ROWS + 1));
    ld_profile_sort(&rows);
    ck_assert_str_eq(rows.row[0].name, "others");
    ck_assert_int_eq(rows.row[0].count, LD_PROFILE_ROWS + 1);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("profile_sum");
    TCase *c = tcase_create("profile_sum");

    tcase_add_test(c, a_span_has_the_time_that_no_span_in_it_has);
    tcase_add_test(c, gaps_that_are_known_are_found);
    tcase_add_test(c, records_of_any_kind_add_up);
    tcase_add_test(c, of_too_many_names_the_last_share_a_row);
    suite_add_tcase(s, c);
    return s;
}
