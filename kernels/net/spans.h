/* spans.h - lays buffers into one piece of memory by when they live.
 *
 * Time is counted in steps. A span is a buffer: it lives from the first to the
 * last step that touches it, both included. Two spans may share bytes if no
 * step belongs to both lives. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/error.h"

struct ld_span {
    size_t bytes;
    int first, last; /* touched; first is -1 before the first touch */
    int with;        /* itself, or the span whose memory it uses */
    size_t offset;   /* set by ld_spans_place */
};

/* Bytes that a buffer takes up: rounded up to a multiple of 256, which is good
 * for the vectors of every device. */
size_t ld_spans_room(size_t bytes);

/* n untouched spans of no bytes. */
void ld_spans_clear(struct ld_span *spans, int n);

/* Steps may be told in rising order only. */
void ld_spans_touch(struct ld_span *spans, int span, int step);

/* The span whose first, last and bytes count for `span`. */
int ld_spans_root(const struct ld_span *spans, int span);

/* From now on both are one piece of memory, which lives as long as either. */
void ld_spans_join(struct ld_span *spans, int a, int b);

/* Sets every offset and `total`, the bytes needed: largest first, each into the
 * smallest hole that takes it (Pisarchyk and Lee 2020, greedy by size). A span
 * never touched gets no room. */
bool ld_spans_place(struct ld_span *spans, int n, size_t *total,
                    struct ld_err *err);
