#include <immintrin.h>

#include "formats/predict_pairs.h"

_Static_assert(LD_PREDICT_STRIP == 16, "two vectors of 8 rows");

__attribute__((target("avx2"))) static void
add_avx2(uint32_t sum[LD_PREDICT_STRIP], const int32_t *pairs,
         const int32_t *weights, int n)
{
    const __m256i *x = (const __m256i *)(const void *)pairs;
    __m256i *to = (__m256i *)(void *)sum;
    __m256i a = _mm256_loadu_si256(to), b = _mm256_loadu_si256(to + 1);

    for (int t = 0; t < n; t++, x += 2) {
        __m256i w = _mm256_set1_epi32(weights[t]);

        a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_loadu_si256(x), w));
        b = _mm256_add_epi32(b,
                             _mm256_madd_epi16(_mm256_loadu_si256(x + 1), w));
    }
    _mm256_storeu_si256(to, a);
    _mm256_storeu_si256(to + 1, b);
}

ld_pairs_fn *ld_pairs_best(void)
{
    return __builtin_cpu_supports("avx2") ? add_avx2 : ld_pairs_add;
}
