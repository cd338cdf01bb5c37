#include "trainer/profile_report.h"

#include <stdio.h>
#include <string.h>

#include "formats/file.h"
#include "formats/json.h"
#include "tests/scratch.h"
#include "tests/suite.h"

/* An hour after the clock's beginning: what is written is relative. */
#define ORIGIN INT64_C(3600000000000)

static const struct ld_activity activities[] = {
    {"kernel<\"a\">", ORIGIN + 1001, ORIGIN + 2500001, 7, true},
    {"(clear)", ORIGIN + 2500001, ORIGIN + 2500002, 13, false},
};

struct event {
    char ph, name[64], label[64];
    int64_t pid, tid;
    double ts, dur;
};

/* Two steps of 2 ms, with spans of two threads. */
static struct ld_profile_seen make_seen(struct ld_trace *trace)
{
    struct ld_profile_seen seen = {
        .step_began = {ORIGIN, ORIGIN + 2000000, ORIGIN + 4000000},
        .n_steps = 2,
        .trace = trace,
        .has_device = true,
        .record = {.began = ORIGIN,
                   .ended = ORIGIN + 4000000,
                   .activities = activities,
                   .n_activities = 2}};
    struct ld_lane *main = ld_trace_lane(trace, "main");
    struct ld_lane *other = ld_trace_lane(trace, "loader");
    struct ld_lane *second = ld_trace_lane(trace, "loader");
    int n_lost;

    ld_lane_add(main,
                (struct ld_trace_span){"forward", ORIGIN - 5, ORIGIN + 999});
    ld_lane_add(main, (struct ld_trace_span){"backward", ORIGIN + 999,
                                             ORIGIN + 3999999});
    ld_lane_add(other,
                (struct ld_trace_span){"decode", ORIGIN + 1, ORIGIN + 2});
    ld_lane_add(second,
                (struct ld_trace_span){"assign", ORIGIN + 7, ORIGIN + 9});
    seen.record.spans = ld_lane_spans(main, &seen.record.n_spans, &n_lost);
    return seen;
}

/* ---- reading what was written ---- */

static void read_text(struct ld_json *j, char *out, size_t size)
{
    struct ld_buf text = {.max = 1000};

    ck_assert(ld_json_string(j, &text));
    snprintf(out, size, "%s", (const char *)text.data);
    ld_buf_free(&text);
}

static void read_arguments(struct ld_json *j, struct event *e)
{
    char key[16];

    ck_assert(ld_json_object(j));
    while (ld_json_key(j, key, sizeof(key)))
        read_text(j, e->label, sizeof(e->label));
}

static struct event read_event(struct ld_json *j)
{
    struct event e = {0};
    char key[16], text[64];

    ck_assert(ld_json_object(j));
    while (ld_json_key(j, key, sizeof(key))) {
        if (strcmp(key, "ph") == 0) {
            read_text(j, text, sizeof(text));
            e.ph = text[0];
        } else if (strcmp(key, "name") == 0) {
            read_text(j, e.name, sizeof(e.name));
        } else if (strcmp(key, "pid") == 0) {
            ck_assert(ld_json_integer(j, &e.pid));
        } else if (strcmp(key, "tid") == 0) {
            ck_assert(ld_json_integer(j, &e.tid));
        } else if (strcmp(key, "ts") == 0) {
            ck_assert(ld_json_number(j, &e.ts));
        } else if (strcmp(key, "dur") == 0) {
            ck_assert(ld_json_number(j, &e.dur));
        } else {
            ck_assert_str_eq(key, "args");
            read_arguments(j, &e);
        }
    }
    return e;
}

static int read_events(const struct ld_file *file, struct event *events,
                       int most)
{
    struct ld_err err = {0};
    struct ld_json j;
    char key[32];
    int n = 0;

    ld_json_open(&j, (const char *)file->data, file->len, "t.json", &err);
    ck_assert(ld_json_object(&j));
    while (ld_json_key(&j, key, sizeof(key))) {
        if (strcmp(key, "traceEvents") != 0) {
            ck_assert(ld_json_skip(&j));
            continue;
        }
        ck_assert(ld_json_array(&j));
        while (ld_json_element(&j)) {
            ck_assert_int_lt(n, most);
            events[n++] = read_event(&j);
        }
    }
    ck_assert_msg(ld_json_end(&j), "%s", err.text);
    return n;
}

static const struct event *find(const struct event *events, int n, char ph,
                                const char *text)
{
    for (int i = 0; i < n; i++)
        if (events[i].ph == ph &&
            strcmp(ph == 'M' ? events[i].label : events[i].name, text) == 0)
            return &events[i];
    ck_abort_msg("no event %c %s", ph, text);
    return NULL;
}

static void check_span(const struct event *events, int n, const char *name,
                       int pid, int tid, int64_t began, int64_t ended)
{
    const struct event *e = find(events, n, 'X', name);

    ck_assert_int_eq(e->pid, pid);
    ck_assert_int_eq(e->tid, tid);
    /* To the nanosecond, in microseconds of three places. */
    ck_assert_double_eq_tol(e->ts, (double)(began - ORIGIN) / 1000, 1e-9);
    ck_assert_double_eq_tol(e->dur, (double)(ended - began) / 1000, 1e-9);
}

static void check_thread(const struct event *events, int n, const char *name,
                         int pid, int tid)
{
    const struct event *e = find(events, n, 'M', name);

    ck_assert_int_eq(e->pid, pid);
    ck_assert_int_eq(e->tid, tid);
}

START_TEST(a_trace_is_read_again_to_the_nanosecond)
{
    struct ld_err err = {0};
    struct ld_trace *trace = ld_trace_new(&err);
    struct ld_profile_seen seen = make_seen(trace);
    struct event e[40];
    struct ld_file file;
    int n;

    ck_assert_msg(ld_profile_write(&seen, "t.json", &err), "%s", err.text);
    ck_assert(ld_file_open("t.json", &file, &err));
    n = read_events(&file, e, 40);
    check_thread(e, n, "host", 1, 0);
    check_thread(e, n, "device", 2, 0);
    check_thread(e, n, "main", 1, 0);
    check_thread(e, n, "loader 1", 1, 1);
    check_thread(e, n, "loader 2", 1, 2);
    check_span(e, n, "step 1", 1, 0, ORIGIN, ORIGIN + 2000000);
    check_span(e, n, "step 2", 1, 0, ORIGIN + 2000000, ORIGIN + 4000000);
    check_span(e, n, "forward", 1, 0, ORIGIN - 5, ORIGIN + 999);
    check_span(e, n, "decode", 1, 1, ORIGIN + 1, ORIGIN + 2);
    check_span(e, n, "assign", 1, 2, ORIGIN + 7, ORIGIN + 9);
    check_span(e, n, activities[0].name, 2, 7, activities[0].began,
               activities[0].ended);
    check_span(e, n, activities[1].name, 2, 13, activities[1].began,
               activities[1].ended);
    ld_file_close(&file);
    ld_trace_free(trace);
}
END_TEST

START_TEST(a_place_that_cannot_be_written_is_named)
{
    struct ld_err err = {0};
    struct ld_trace *trace = ld_trace_new(&err);
    struct ld_profile_seen seen = make_seen(trace);

    ck_assert(!ld_profile_write(&seen, "none/t.json", &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "none/t.json"));
    ld_trace_free(trace);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("profile_report");
    TCase *c = tcase_create("profile_report");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, a_trace_is_read_again_to_the_nanosecond);
    tcase_add_test(c, a_place_that_cannot_be_written_is_named);
    suite_add_tcase(s, c);
    return s;
}
