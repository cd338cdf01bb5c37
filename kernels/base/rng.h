/* rng.h - small, seedable, the same on every machine.
 *
 * There is no global generator: whoever draws holds the state. Where a draw
 * must not depend on the draws before it (the flip of an image in an epoch, the
 * order of an epoch) it is a hash of what it belongs to: ld_rng_hash. */
#pragma once

#include <stdint.h>

struct ld_rng {
    uint64_t state, stream; /* PCG32: O'Neill 2014 */
};

struct ld_rng ld_rng_seed(uint64_t seed, uint64_t stream);
uint32_t ld_rng_u32(struct ld_rng *rng);
float ld_rng_uniform(struct ld_rng *rng);                  /* [0, 1) */
uint32_t ld_rng_below(struct ld_rng *rng, uint32_t limit); /* [0, limit) */
float ld_rng_normal(struct ld_rng *rng); /* mean 0, deviation 1 */

/* 64 well-mixed bits of (seed, a, b): equal arguments, equal bits. */
uint64_t ld_rng_hash(uint64_t seed, uint64_t a, uint64_t b);

/* Puts 0..count-1 in an order that depends on (seed, epoch) alone. */
void ld_rng_permutation(uint64_t seed, uint64_t epoch, int32_t *order,
                        int32_t count);
