#include "kernels/net/spans.h"

#include <stdint.h>
#include <stdlib.h>

#include "kernels/base/mem.h"

size_t ld_spans_room(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

void ld_spans_clear(struct ld_span *spans, int n)
{
    for (int i = 0; i < n; i++)
        spans[i] = (struct ld_span){.first = -1, .last = -1, .with = i};
}

int ld_spans_root(const struct ld_span *spans, int span)
{
    while (spans[span].with != span)
        span = spans[span].with;
    return span;
}

void ld_spans_touch(struct ld_span *spans, int span, int step)
{
    if (spans[span].first < 0)
        spans[span].first = step;
    spans[span].last = step;
}

void ld_spans_join(struct ld_span *spans, int a, int b)
{
    struct ld_span *one = &spans[ld_spans_root(spans, a)];
    struct ld_span *other = &spans[ld_spans_root(spans, b)];

    if (one == other)
        return;
    other->with = one->with;
    one->first = one->first < other->first ? one->first : other->first;
    one->last = one->last > other->last ? one->last : other->last;
    one->bytes = one->bytes > other->bytes ? one->bytes : other->bytes;
}

static int compare_bytes(const void *a, const void *b, void *context)
{
    const struct ld_span *spans = context;
    int i = *(const int *)a, j = *(const int *)b;

    if (spans[i].bytes != spans[j].bytes)
        return spans[i].bytes < spans[j].bytes ? 1 : -1;
    return i - j; /* the same plan from any sort */
}

static bool meet(const struct ld_span *a, const struct ld_span *b)
{
    return a->first <= b->last && b->first <= a->last;
}

static size_t end_of(const struct ld_span *span)
{
    return span->offset + ld_spans_room(span->bytes);
}

/* `placed` stands by rising offset. */
static size_t best_offset(const struct ld_span *spans, const int *placed,
                          int n_placed, const struct ld_span *span)
{
    size_t end = 0, best = 0, smallest = SIZE_MAX;

    for (int i = 0; i < n_placed; i++) {
        const struct ld_span *other = &spans[placed[i]];

        if (!meet(span, other))
            continue;
        if (other->offset >= end + span->bytes &&
            other->offset - end < smallest) {
            smallest = other->offset - end;
            best = end;
        }
        if (end_of(other) > end)
            end = end_of(other);
    }
    return smallest == SIZE_MAX ? end : best;
}

static void insert(const struct ld_span *spans, int *placed, int n_placed,
                   int span)
{
    int at = n_placed;

    while (at > 0 && spans[placed[at - 1]].offset > spans[span].offset) {
        placed[at] = placed[at - 1];
        at--;
    }
    placed[at] = span;
}

bool ld_spans_place(struct ld_span *spans, int n, size_t *total,
                    struct ld_err *err)
{
    int *order = ld_new((size_t)n, 2 * sizeof(*order), err);
    int *placed = order + n, n_roots = 0;

    *total = 0;
    if (!order)
        return false;
    for (int i = 0; i < n; i++)
        if (spans[i].first >= 0 && ld_spans_root(spans, i) == i)
            order[n_roots++] = i;
    qsort_r(order, (size_t)n_roots, sizeof(*order), compare_bytes, spans);
    for (int i = 0; i < n_roots; i++) {
        struct ld_span *span = &spans[order[i]];

        span->offset = best_offset(spans, placed, i, span);
        insert(spans, placed, i, order[i]);
        *total = end_of(span) > *total ? end_of(span) : *total;
    }
    for (int i = 0; i < n; i++)
        spans[i].offset = spans[ld_spans_root(spans, i)].offset;
    ld_delete(order);
    return true;
}
