/* loss_math.h - exp and log1p of float32 that a compiler turns into vectors.
 *
 * No table, no branch, no call: the loops over logits stay plain C. A NaN comes
 * out as NaN. Errors measured over all arguments by tests/test_loss.c. The
 * polynomials are minimax fits of our own. */
#pragma once

#include <stdint.h>
#include <string.h>

static inline uint32_t ld_cpu_bits(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static inline float ld_cpu_from_bits(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* exp(x) for x <= 0: 1 ulp; below -87.3, where the result is denormal, half of
 * the smallest float more; exactly 0 below -104. */
static inline float ld_cpu_exp(float x)
{
    const float round = 0x1.8p23F; /* adding it leaves a whole number */
    float low = x < -104.5F ? -104.5F : x;
    float whole = low * 0x1.715476p0F + round;
    float n = whole - round;
    /* ln 2 in two parts: the first has 9 bits, so that n times it is exact */
    float r = (low - n * 0.693359375F) + n * 2.12194440e-4F;
    float q = 0.0083687175F + r * 0.0013814599F;
    /* 2^n in two factors, for n below -126 has none */
    int32_t power = (int32_t)(ld_cpu_bits(whole) - ld_cpu_bits(round));
    int32_t half = power >> 1;

    q = 0.041668389F + r * q;
    q = 0.16666521F + r * q;
    q = 0.49999994F + r * q;
    q = 1 + (r + r * r * q);
    return q * ld_cpu_from_bits((uint32_t)(half + 127) << 23) *
           ld_cpu_from_bits((uint32_t)(power - half + 127) << 23);
}

/* log(1 + x) for 0 <= x <= 1, as 2 atanh(x / (2 + x)): 2 ulp. */
static inline float ld_cpu_log1p(float x)
{
    float s = x / (2 + x);
    float t = s * s;
    float q = 0.14000838F + t * 0.14006342F;

    q = 0.20010768F + t * q;
    q = 0.33333209F + t * q;
    return 2 * (s + s * t * q);
}
