#include <immintrin.h>

#include "formats/predict_ways.h"

_Static_assert(LD_PREDICT_STRIP == 32, "four vectors of 8 rows");

__attribute__((target("avx2"))) static void
add_avx2(uint32_t sum[LD_PREDICT_STRIP], const int32_t *pairs,
         const int32_t *weights, int n)
{
    const __m256i *x = (const __m256i *)(const void *)pairs;
    __m256i *to = (__m256i *)(void *)sum, a[4];

    for (int i = 0; i < 4; i++)
        a[i] = _mm256_loadu_si256(to + i);
    for (int t = 0; t < n; t++, x += 4) {
        __m256i w = _mm256_set1_epi32(weights[t]);

        for (int i = 0; i < 4; i++)
            a[i] = _mm256_add_epi32(
                a[i], _mm256_madd_epi16(_mm256_loadu_si256(x + i), w));
    }
    for (int i = 0; i < 4; i++)
        _mm256_storeu_si256(to + i, a[i]);
}

static void decode_avx2(const struct ld_predictor *p, int32_t *strip,
                        const uint8_t *low, size_t n_rows)
{
    ld_strip_decode_by(add_avx2, p, strip, low, n_rows);
}

const struct ld_predict_way *ld_predict_way(int i)
{
    static const struct ld_predict_way vnni = {add_avx2, ld_strip_decode_vnni};
    static const struct ld_predict_way avx2 = {add_avx2, decode_avx2};
    const struct ld_predict_way *ways[4] = {NULL};
    int n = 0;

    if (__builtin_cpu_supports("avx512vnni") &&
        __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx2"))
        ways[n++] = &vnni;
    if (__builtin_cpu_supports("avx2"))
        ways[n++] = &avx2;
    ways[n] = &ld_predict_plain;
    return i < 4 ? ways[i] : NULL;
}
