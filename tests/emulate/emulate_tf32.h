/* emulate_tf32.h - what a tensor core reads of a float: 10 bits of its
 * mantissa.
 *
 * Libraries round or cut; here it is cut, which is worse. */
#pragma once

#include <cstdint>
#include <cstring>

static inline float emulate_tf32(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    bits &= 0xffffe000;
    memcpy(&x, &bits, sizeof(x));
    return x;
}
