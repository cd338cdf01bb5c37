#include "kernels/base/rng.h"

#include <math.h>

uint32_t ld_rng_u32(struct ld_rng *rng)
{
    uint64_t old = rng->state;
    uint32_t shifted = (uint32_t)(((old >> 18) ^ old) >> 27);
    uint32_t turn = (uint32_t)(old >> 59);

    rng->state = old * 6364136223846793005ULL + rng->stream;
    return shifted >> turn | shifted << (-turn & 31);
}

struct ld_rng ld_rng_seed(uint64_t seed, uint64_t stream)
{
    struct ld_rng rng = {0, stream << 1 | 1};

    ld_rng_u32(&rng);
    rng.state += seed;
    ld_rng_u32(&rng);
    return rng;
}

float ld_rng_uniform(struct ld_rng *rng)
{
    return (float)(ld_rng_u32(rng) >> 8) * 0x1p-24f;
}

uint32_t ld_rng_below(struct ld_rng *rng, uint32_t limit)
{
    uint32_t reject = -limit % limit; /* 2^32 mod limit: no value is favoured */
    uint32_t draw;

    do
        draw = ld_rng_u32(rng);
    while (draw < reject);
    return draw % limit;
}

float ld_rng_normal(struct ld_rng *rng)
{
    double u = 1.0 - (double)ld_rng_uniform(rng); /* (0, 1] */
    double v = (double)ld_rng_uniform(rng);

    return (float)(sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * v));
}

static uint64_t mix(uint64_t x) /* splitmix64's finaliser, Steele 2014 */
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

uint64_t ld_rng_hash(uint64_t seed, uint64_t a, uint64_t b)
{
    const uint64_t golden = 0x9e3779b97f4a7c15ULL;

    return mix(mix(mix(seed + golden) + a + golden) + b + golden);
}

void ld_rng_permutation(uint64_t seed, uint64_t epoch, int32_t *order,
                        int32_t count)
{
    struct ld_rng rng = ld_rng_seed(ld_rng_hash(seed, epoch, 0), 1);

    for (int32_t i = 0; i < count; i++) {
        int32_t j = (int32_t)ld_rng_below(&rng, (uint32_t)i + 1);

        order[i] = order[j];
        order[j] = i;
    }
}
