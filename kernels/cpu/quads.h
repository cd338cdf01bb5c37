/* quads.h - four floats at a time, in C that GCC and Clang both read.
 *
 * Four is what every machine's registers hold. Wider vectors are split badly
 * where registers are narrower (16 floats without AVX-512: three times slower),
 * and gain nothing here: these loops wait for memory. */
#pragma once

typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));
typedef int quad_mask __attribute__((vector_size(16), aligned(4), may_alias));

/* The q-th quad from `from` on. */
static inline quad quad_load(const float *from, int q)
{
    return ((const quad *)from)[q];
}

static inline void quad_store(float *to, int q, quad value)
{
    ((quad *)to)[q] = value;
}

/* Lane by lane `yes` where the mask's bits are set, else `no`. */
static inline quad quad_choose(quad_mask which, quad yes, quad no)
{
    return (quad)((which & (quad_mask)yes) | (~which & (quad_mask)no));
}
