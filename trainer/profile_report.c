#include "trainer/profile_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file.h"
#include "formats/json.h"

enum { HOST = 1, DEVICE = 2 }; /* processes of the trace */

enum { KERNELS_SHOWN = 10 };

/* ---- the trace ---- */

static double microseconds(int64_t time)
{
    return (double)time / 1000;
}

static void put_name(struct ld_buf *out, const char *what, int process,
                     int thread, const char *name)
{
    ld_buf_printf(out,
                  "{\"ph\":\"M\",\"name\":\"%s\",\"pid\":%d,\"tid\":%d,"
                  "\"args\":{\"name\":",
                  what, process, thread);
    ld_json_put_string(out, name);
    ld_buf_printf(out, "}},\n");
}

static void put_span(struct ld_buf *out, int64_t origin, int process,
                     int thread, const struct ld_trace_span *span)
{
    ld_buf_printf(out, "{\"ph\":\"X\",\"name\":");
    ld_json_put_string(out, span->name);
    ld_buf_printf(out, ",\"pid\":%d,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f},\n",
                  process, thread, microseconds(span->began - origin),
                  microseconds(span->ended - span->began));
}

static void put_steps(struct ld_buf *out, const struct ld_profile_seen *seen)
{
    for (int i = 0; i < seen->n_steps; i++) {
        char name[24];
        struct ld_trace_span span = {name, seen->step_began[i],
                                     seen->step_began[i + 1]};

        snprintf(name, sizeof(name), "step %d", i + 1);
        put_span(out, seen->record.began, HOST, 0, &span);
    }
}

/* "main", but "loader 1", "loader 2". */
static void name_lane(char out[40], const struct ld_trace *trace, int lane)
{
    const char *name = ld_lane_name(ld_trace_get(trace, lane));
    int n = 0, number = 0;

    for (int i = 0; i < ld_trace_n_lanes(trace); i++) {
        n += strcmp(ld_lane_name(ld_trace_get(trace, i)), name) == 0;
        number = i == lane ? n : number;
    }
    snprintf(out, 40, n > 1 ? "%.24s %d" : "%.24s", name, number);
}

static void put_lane(struct ld_buf *out, const struct ld_profile_seen *seen,
                     int i)
{
    int n, n_lost;
    const struct ld_trace_span *spans =
        ld_lane_spans(ld_trace_get(seen->trace, i), &n, &n_lost);
    char name[40];

    name_lane(name, seen->trace, i);
    put_name(out, "thread_name", HOST, i, name);
    for (int k = 0; k < n; k++)
        put_span(out, seen->record.began, HOST, i, &spans[k]);
}

static void put_device(struct ld_buf *out, const struct ld_profile_record *r)
{
    put_name(out, "process_name", DEVICE, 0, "device");
    for (int i = 0; i < r->n_activities; i++) {
        const struct ld_activity *a = &r->activities[i];
        struct ld_trace_span span = {a->name, a->began, a->ended};

        put_span(out, r->began, DEVICE, a->queue, &span);
    }
}

bool ld_profile_write(const struct ld_profile_seen *seen, const char *path,
                      struct ld_err *err)
{
    struct ld_buf out = {.max = (size_t)1 << 32};
    bool ok;

    ld_buf_printf(&out, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
    put_name(&out, "process_name", HOST, 0, "host");
    put_steps(&out, seen);
    for (int i = 0; i < ld_trace_n_lanes(seen->trace); i++)
        put_lane(&out, seen, i);
    if (seen->has_device)
        put_device(&out, &seen->record);
    ld_buf_printf(&out,
                  "{\"ph\":\"M\",\"name\":\"process_labels\",\"pid\":%d,"
                  "\"tid\":0,\"args\":{\"labels\":\"%d steps\"}}]}\n",
                  HOST, seen->n_steps);
    ok = ld_buf_ok(&out, err) && ld_file_replace(path, out.data, out.len, err);
    ld_buf_free(&out);
    return ok;
}

/* ---- the table ---- */

static int by_size(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double milliseconds(int64_t time)
{
    return (double)time / 1e6;
}

static void print_steps(const struct ld_profile_seen *seen, const char *path)
{
    int64_t time[LD_PROFILE_STEPS];
    int n = seen->n_steps;

    for (int i = 0; i < n; i++)
        time[i] = seen->step_began[i + 1] - seen->step_began[i];
    qsort(time, (size_t)n, sizeof(*time), by_size);
    fprintf(stderr,
            "\nld-distill: profile of %d step%s%s: %s\n"
            "a step: %.3f ms (the median; mean %.3f, longest %.3f)\n",
            n, n == 1 ? "" : "s",
            n < LD_PROFILE_STEPS ? ", for the run ended before there were more"
                                 : "",
            path, milliseconds(time[(n - 1) / 2] + time[n / 2]) / 2,
            milliseconds(seen->record.ended - seen->record.began) / n,
            milliseconds(time[n - 1]));
}

static void print_head(const char *what)
{
    fprintf(stderr, "\n%-34s %11s %8s\n", what, "ms a step", "share");
}

static double percent(const struct ld_profile_seen *seen, int64_t time)
{
    return 100 * (double)time /
           (double)(seen->record.ended - seen->record.began);
}

/* The share is that of the recorded time. */
static void print_time(const struct ld_profile_seen *seen, const char *name,
                       int64_t time, const char *note)
{
    fprintf(stderr, "%-34.34s %11.3f %6.1f %%%s\n", name,
            milliseconds(time) / seen->n_steps, percent(seen, time), note);
}

static void print_rows(const struct ld_profile_seen *seen,
                       const struct ld_profile_rows *rows, const char *indent)
{
    char name[64];

    for (int none = 0; none < 2; none++)
        for (int i = 0; i < rows->n; i++) {
            const struct ld_profile_row *row = &rows->row[i];

            if ((row->name == NULL) != (none == 1))
                continue;
            snprintf(name, sizeof(name), "%s%.40s", indent,
                     row->name ? row->name : "(in none of these)");
            print_time(seen, name, row->time, "");
        }
}

static void print_main(const struct ld_profile_seen *seen,
                       const struct ld_profile_sum *sum)
{
    int64_t all = 0;

    print_head("main thread");
    print_rows(seen, &sum->main, "");
    for (int i = 0; i < sum->main.n; i++)
        all += sum->main.row[i].time;
    print_time(seen, "all", all, "");
}

/* Adds up the spans of all lanes of that name; gives how many lanes. */
static int add_lanes(const struct ld_profile_seen *seen, const char *name,
                     struct ld_profile_rows *rows, int *n_lost)
{
    int n_lanes = 0;

    for (int i = 0; i < ld_trace_n_lanes(seen->trace); i++) {
        const struct ld_lane *lane = ld_trace_get(seen->trace, i);
        int n, lost;
        const struct ld_trace_span *spans = ld_lane_spans(lane, &n, &lost);

        if (strcmp(ld_lane_name(lane), name) != 0)
            continue;
        n_lanes++;
        *n_lost += lost;
        for (int k = 0; k < n; k++)
            ld_profile_count(rows, spans[k].name,
                             ld_profile_within(&seen->record, spans[k].began,
                                               spans[k].ended));
    }
    return n_lanes;
}

/* Of lanes that are not the main one: the milliseconds of all of them, the
 * shares of the time that all of them have. */
static bool print_lanes(const struct ld_profile_seen *seen, const char *name,
                        struct ld_arena *arena, struct ld_err *err)
{
    struct ld_profile_rows *rows = ld_arena_new(arena, 1, sizeof(*rows), err);
    int n_lost = 0, n_lanes;
    char head[40];

    if (!rows)
        return false;
    n_lanes = add_lanes(seen, name, rows, &n_lost);
    if (rows->n == 0)
        return true;
    snprintf(head, sizeof(head), n_lanes > 1 ? "%s, %d threads" : "%s", name,
             n_lanes);
    print_head(head);
    ld_profile_sort(rows);
    for (int i = 0; i < rows->n; i++)
        fprintf(stderr, "%-34.34s %11.3f %6.1f %%\n", rows->row[i].name,
                milliseconds(rows->row[i].time) / seen->n_steps,
                percent(seen, rows->row[i].time) / n_lanes);
    if (n_lost)
        fprintf(stderr, "(%d spans more than there was room for)\n", n_lost);
    return true;
}

static void print_idle(const struct ld_profile_seen *seen, const char *name,
                       const struct ld_profile_gaps *gaps)
{
    char note[60];

    snprintf(note, sizeof(note), "  %.1f gaps a step",
             (double)gaps->count / seen->n_steps);
    print_time(seen, name, gaps->time, note);
}

static void print_device(const struct ld_profile_seen *seen,
                         const struct ld_profile_sum *sum)
{
    double n = seen->n_steps;
    char note[80];

    print_head("device");
    snprintf(note, sizeof(note),
             "  %.1f kernels, %.1f copies and clears a step",
             sum->n_kernels / n, sum->n_others / n);
    print_time(seen, "busy", sum->busy, note);
    print_idle(seen, "idle, gaps below 20 us", &sum->shorter);
    print_idle(seen, "idle, longer gaps", &sum->longer);
    print_rows(seen, &sum->meanwhile, "  main thread: ");
    print_time(seen, "all", sum->busy + sum->shorter.time + sum->longer.time,
               "");
    print_time(seen, "kernels, one by one", sum->kernel_time, "");
    fprintf(stderr, "\n%-60s %9s %9s %8s\n", "kernel", "a step", "ms a step",
            "share");
    for (int i = 0; i < sum->device.n && i < KERNELS_SHOWN; i++) {
        const struct ld_profile_row *row = &sum->device.row[i];

        fprintf(stderr, "%-60.60s %9.1f %9.3f %6.1f %%\n", row->name,
                row->count / n, milliseconds(row->time) / n,
                percent(seen, row->time));
    }
}

bool ld_profile_print(const struct ld_profile_seen *seen, const char *path,
                      struct ld_arena *arena, struct ld_err *err)
{
    struct ld_profile_sum *sum = ld_profile_sum(&seen->record, arena, err);

    if (!sum)
        return false;
    print_steps(seen, path);
    print_main(seen, sum);
    if (!print_lanes(seen, "layers", arena, err) ||
        !print_lanes(seen, "loader", arena, err))
        return false;
    if (seen->has_device)
        print_device(seen, sum);
    fputc('\n', stderr);
    return true;
}
