/* predict_ways.h - what of predict.c a machine may have instructions for.
 * Private to formats/predict*.c. */
#pragma once

#include "formats/predict.h"

/* Adds to the sums of the rows of a strip n pairs of columns, each times a pair
 * of weights: pairs (n, LD_PREDICT_STRIP), weights (n), two numbers of 16 bits
 * in each of 32; sums wrap around. */
typedef void ld_pairs_fn(uint32_t sum[LD_PREDICT_STRIP], const int32_t *pairs,
                         const int32_t *weights, int n);

/* A whole strip: `low` are its first low bytes, the high ones follow after
 * n_columns * n_rows. */
typedef void ld_strip_fn(const struct ld_predictor *p, int32_t *strip,
                         const uint8_t *low, size_t n_rows);

struct ld_predict_way {
    ld_pairs_fn *add;
    ld_strip_fn *decode;
};

/* The ways that this machine can go, the fastest first, the plain one last;
 * then NULL. All give the same bits. */
const struct ld_predict_way *ld_predict_way(int i);

extern const struct ld_predict_way ld_predict_plain; /* on any machine */

/* On an x86 with AVX-512 VNNI and VBMI. */
ld_strip_fn ld_strip_decode_vnni;

/* ld_strip_fn but for the function that adds. */
void ld_strip_decode_by(ld_pairs_fn *add, const struct ld_predictor *p,
                        int32_t *strip, const uint8_t *low, size_t n_rows);

static inline int ld_predict_first_tap(int column)
{
    return column > LD_PREDICT_TAPS ? (column - LD_PREDICT_TAPS + 1) & ~1 : 0;
}
