/* predict.h - columns of integers, each foretold from the columns before it.
 *
 * The numbers of a row (the quantised logits of a location) are much alike: a
 * column is guessed as a weighted sum of up to 64 columns before it in the same
 * row, and only what the guess missed is kept. The weights are fitted to the
 * data and stored beside it. Everything is whole numbers, so every machine
 * undoes what another did.
 *
 *   guess[i]  = (bias[i] + 2048 + sum_j weight[i][j] * value[first(i) + j])
 *               >> 12,  j < i - first(i),  first(i) = max(0, (i - 63) & ~1)
 *   missed[i] = zigzag(value[i] - guess[i])    0, -1, 1, -2, .. -> 0, 1, 2, 3
 *
 * in 32 bits that wrap around, cut to 16 at the end.
 *
 * 64 columns, as 40 would make the bytes of a box 6 % more, and they cost
 * little: of the 115 ns that a box row takes to decode on a core of a Sapphire
 * Rapids, 21 are these sums by AVX-512 (68 by AVX2), 8 the floats, 86
 * Zstandard's: of those 65 the Huffman codes and their tables, 10 its checksum,
 * 11 the high bytes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/mem.h"

enum {
    LD_PREDICT_TAPS = 64,
    LD_PREDICT_STRIP = 32, /* rows that are worked on together */
};

struct ld_predictor {
    int n_columns;
    int16_t *weight;  /* (n_columns, LD_PREDICT_TAPS) in 1/4096 */
    int32_t *bias;    /* (n_columns) in 1/4096 */
    int32_t *place;   /* (n_columns) where the bytes of a column stand */
    bool *ends_block; /* (n_columns) by place: what comes next is unlike it */
};

/* A predictor of n_columns columns that guesses 0, each at its own place and
 * all alike; the arena's. n_columns > 0. */
bool ld_predictor_make(struct ld_predictor *out, int n_columns,
                       struct ld_arena *arena, struct ld_err *err);

/* Fits the weights to n_rows rows (n_rows, n_columns) by least squares. Fewer
 * rows than would pay for the weights leave all guesses 0. */
bool ld_predictor_fit(struct ld_predictor *p, const int16_t *rows,
                      size_t n_rows, struct ld_err *err);

/* Sets places and blocks by n_rows rows for chunks of chunk_rows: columns that
 * are missed by as much stand side by side, and those of a block make the least
 * bytes with one Huffman table for all. */
bool ld_predictor_order(struct ld_predictor *p, const int16_t *rows,
                        size_t n_rows, size_t chunk_rows, struct ld_err *err);

/* Bytes of scratch that the two calls below need, aligned to 16. */
size_t ld_predict_scratch_bytes(int n_columns);

/* The low bytes of what was missed, (n_columns by place, n_rows), then the high
 * bytes, from rows (n_rows, n_columns); n_rows is a multiple of
 * LD_PREDICT_STRIP. */
void ld_predict_encode(const struct ld_predictor *p, uint8_t *missed,
                       const int16_t *rows, size_t n_rows, void *scratch);

/* The strip of rows [first, first + LD_PREDICT_STRIP) from those bytes, in
 * `scratch`, which is returned: (n_columns / 2 rounded up, LD_PREDICT_STRIP),
 * each two neighbouring numbers of a row, the first in the low half. */
const int32_t *ld_predict_decode(const struct ld_predictor *p,
                                 const uint8_t *missed, size_t n_rows,
                                 size_t first, void *scratch);
