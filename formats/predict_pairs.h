/* predict_pairs.h - the inner loop of predict.c, which x86 has an instruction
 * for. Private to formats/predict*.c. */
#pragma once

#include "formats/predict.h"

/* Adds to the sums of the rows of a strip n pairs of columns, each times a pair
 * of weights: pairs (n, LD_PREDICT_STRIP), weights (n), two numbers of 16 bits
 * in each of 32; sums wrap around. */
typedef void ld_pairs_fn(uint32_t sum[LD_PREDICT_STRIP], const int32_t *pairs,
                         const int32_t *weights, int n);

ld_pairs_fn ld_pairs_add; /* on any machine */

/* The fastest on this one; all give the same bits. */
ld_pairs_fn *ld_pairs_best(void);
