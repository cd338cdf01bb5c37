/* cuda_bf16.h - stands in for CUDA's own: a float's upper half. */
#pragma once

#include <cstdint>
#include <cstring>

struct __nv_bfloat16 {
    uint16_t bits;
};

static inline float __bfloat162float(__nv_bfloat16 x)
{
    uint32_t bits = (uint32_t)x.bits << 16;
    float out;

    memcpy(&out, &bits, sizeof(out));
    return out;
}

/* To the nearest, ties to even; NaN stays NaN. */
static inline __nv_bfloat16 __float2bfloat16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    if (x != x)
        return __nv_bfloat16{0x7fff};
    bits += 0x7fff + (bits >> 16 & 1);
    return __nv_bfloat16{(uint16_t)(bits >> 16)};
}
