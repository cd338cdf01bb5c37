#include "trainer/profile_sum.h"

#include <stdlib.h>
#include <string.h>

/* A stretch of the main thread's time, of the innermost span there. */
struct piece {
    int64_t began, ended;
    const char *name;
};

/* The main thread's time, cut up without a gap; made from its end on. */
struct pieces {
    struct piece *piece; /* (n) the first */
    int n;
};

/* ---- rows ---- */

static bool same_name(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

void ld_profile_count(struct ld_profile_rows *rows, const char *name,
                      int64_t time)
{
    int i = 0;

    while (i < rows->n && !same_name(rows->row[i].name, name))
        i++;
    if (i == LD_PROFILE_ROWS)
        rows->row[--i].name = "others";
    else if (i == rows->n)
        rows->row[rows->n++].name = name;
    rows->row[i].time += time;
    rows->row[i].count++;
}

static int by_time(const void *a, const void *b)
{
    const struct ld_profile_row *x = a, *y = b;

    return x->time != y->time   ? (x->time < y->time ? 1 : -1)
           : x->name && y->name ? strcmp(x->name, y->name)
                                : 0;
}

void ld_profile_sort(struct ld_profile_rows *rows)
{
    qsort(rows->row, (size_t)rows->n, sizeof(*rows->row), by_time);
}

int64_t ld_profile_within(const struct ld_profile_record *record, int64_t began,
                          int64_t ended)
{
    began = began > record->began ? began : record->began;
    ended = ended < record->ended ? ended : record->ended;
    return ended > began ? ended - began : 0;
}

/* ---- the main thread ---- */

/* Goes back to `began`, in a span of that name. */
static void cut(struct pieces *pieces, const struct ld_profile_record *record,
                int64_t began, const char *name)
{
    int64_t ended = pieces->n ? pieces->piece->began : record->ended;

    began = began > record->began ? began : record->began;
    if (began >= ended)
        return;
    *--pieces->piece = (struct piece){began, ended, name};
    pieces->n++;
}

/* From the end back an outer span comes before those in it. */
static void cut_spans(struct pieces *pieces,
                      const struct ld_profile_record *record,
                      const struct ld_trace_span **open)
{
    int depth = 0;

    for (int i = record->n_spans - 1; i >= 0; i--) {
        const struct ld_trace_span *span = &record->spans[i];

        for (; depth > 0 && open[depth - 1]->began >= span->ended; depth--)
            cut(pieces, record, open[depth - 1]->began, open[depth - 1]->name);
        cut(pieces, record, span->ended,
            depth > 0 ? open[depth - 1]->name : NULL);
        open[depth++] = span;
    }
    for (; depth > 0; depth--)
        cut(pieces, record, open[depth - 1]->began, open[depth - 1]->name);
    cut(pieces, record, record->began, NULL);
}

static bool cut_main(struct pieces *pieces,
                     const struct ld_profile_record *record,
                     struct ld_arena *arena, struct ld_err *err)
{
    size_t n = (size_t)record->n_spans, most = 2 * n + 1;
    const struct ld_trace_span **open =
        ld_arena_new(arena, n, sizeof(*open), err);
    struct piece *room = ld_arena_new(arena, most, sizeof(*room), err);

    if (!open || !room)
        return false;
    *pieces = (struct pieces){room + most, 0};
    cut_spans(pieces, record, open);
    return true;
}

/* ---- the device ---- */

static int by_begin(const void *a, const void *b)
{
    const struct ld_activity *x = a, *y = b;

    return x->began != y->began ? (x->began < y->began ? -1 : 1) : 0;
}

/* What the main thread did from `began` to `ended`; `*at` is the first piece
 * that may reach there, and moves on with the gaps. */
static void look_meanwhile(struct ld_profile_sum *sum,
                           const struct pieces *pieces, int *at, int64_t began,
                           int64_t ended)
{
    while (*at < pieces->n && pieces->piece[*at].ended <= began)
        ++*at;
    for (int i = *at; i < pieces->n && pieces->piece[i].began < ended; i++) {
        const struct piece *p = &pieces->piece[i];
        int64_t from = p->began > began ? p->began : began;
        int64_t to = p->ended < ended ? p->ended : ended;

        ld_profile_count(&sum->meanwhile, p->name, to - from);
    }
}

static void add_gap(struct ld_profile_sum *sum, const struct pieces *pieces,
                    int *at, int64_t began, int64_t ended)
{
    struct ld_profile_gaps *gaps =
        ended - began < LD_PROFILE_SHORT ? &sum->shorter : &sum->longer;

    if (ended <= began)
        return;
    gaps->time += ended - began;
    gaps->count++;
    if (gaps == &sum->longer)
        look_meanwhile(sum, pieces, at, began, ended);
}

/* `all` in the order of their beginnings. */
static void add_gaps(struct ld_profile_sum *sum,
                     const struct ld_profile_record *record,
                     const struct ld_activity *all, const struct pieces *pieces)
{
    int64_t reached = record->began;
    int at = 0;

    for (int i = 0; i < record->n_activities; i++) {
        int64_t began =
            all[i].began < record->ended ? all[i].began : record->ended;

        if (all[i].ended == all[i].began) /* it parts no gap */
            continue;
        add_gap(sum, pieces, &at, reached, began);
        reached = all[i].ended > reached ? all[i].ended : reached;
    }
    add_gap(sum, pieces, &at, reached, record->ended);
    sum->busy =
        record->ended - record->began - sum->shorter.time - sum->longer.time;
}

static void add_activity(struct ld_profile_sum *sum,
                         const struct ld_profile_record *record,
                         const struct ld_activity *a)
{
    int64_t time = ld_profile_within(record, a->began, a->ended);

    if (time == 0)
        return;
    ld_profile_count(&sum->device, a->name, time);
    sum->n_kernels += a->kernel;
    sum->n_others += !a->kernel;
    sum->kernel_time += a->kernel ? time : 0;
}

struct ld_profile_sum *ld_profile_sum(const struct ld_profile_record *record,
                                      struct ld_arena *arena,
                                      struct ld_err *err)
{
    size_t n = (size_t)record->n_activities;
    struct ld_profile_sum *sum = ld_arena_new(arena, 1, sizeof(*sum), err);
    struct ld_activity *all = ld_arena_new(arena, n, sizeof(*all), err);
    struct pieces pieces;

    if (!sum || !all || !cut_main(&pieces, record, arena, err))
        return NULL;
    for (int i = 0; i < pieces.n; i++)
        ld_profile_count(&sum->main, pieces.piece[i].name,
                         pieces.piece[i].ended - pieces.piece[i].began);
    if (n)
        memcpy(all, record->activities, n * sizeof(*all));
    qsort(all, n, sizeof(*all), by_begin);
    add_gaps(sum, record, all, &pieces);
    for (size_t i = 0; i < n; i++)
        add_activity(sum, record, &all[i]);
    ld_profile_sort(&sum->device);
    ld_profile_sort(&sum->meanwhile);
    return sum;
}
