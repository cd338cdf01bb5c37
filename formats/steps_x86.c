/* Strips of boxes by AVX-512. The runs of a box stand side by side, so a pair
 * of columns is the same bin of two runs; turned about, 16 pairs of columns are
 * 16 bins of two runs for each of 16 rows. */
#include <immintrin.h>

#include "formats/steps_ways.h"

_Static_assert(LD_PREDICT_STRIP == 32, "two vectors of 16 rows");

#define WIDE __attribute__((target("avx512f,avx512bw")))
#define INLINE_WIDE WIDE __attribute__((always_inline)) static inline

enum { N = 16 };

/* (N, N) numbers of 32 bits, transposed. */
INLINE_WIDE void turn(__m512i x[N])
{
    __m512i y[N];

#pragma GCC unroll 8
    for (int i = 0; i < N; i += 2) {
        y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < N; i += 4) {
        x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
        x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
        x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
        x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        y[i] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
        y[i + 4] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xdd);
        y[i + 8] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
        y[i + 12] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        x[i] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0x88);
        x[i + 4] = _mm512_shuffle_i32x4(y[i + 4], y[i + 12], 0x88);
        x[i + 8] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0xdd);
        x[i + 12] = _mm512_shuffle_i32x4(y[i + 4], y[i + 12], 0xdd);
    }
}

/* Up to N bins from bin k on of two runs for the rows that a half of the strip
 * shares with [first, end). */
WIDE static void put_half(const struct ld_steps *s, float *to,
                          const int32_t *pairs, int k, int first, int end)
{
    size_t row_items = (size_t)s->groups * (size_t)s->width;
    int n = s->width - s->relative - k;
    __mmask16 most = (__mmask16)(n < N ? (1 << n) - 1 : 0xffff);
    __m512 step = _mm512_set1_ps((float)s->step);
    __m512i x[N];

    for (int i = 0; i < N; i++)
        x[i] = i < n ? _mm512_loadu_si512(pairs +
                                          i * s->groups / 2 * LD_PREDICT_STRIP)
                     : _mm512_setzero_si512();
    turn(x);
    for (int r = first; r < end; r++, to += row_items) {
        __m512i one = _mm512_srai_epi32(_mm512_slli_epi32(x[r], 16), 16);
        __m512i two = _mm512_srai_epi32(x[r], 16);

        _mm512_mask_storeu_ps(to, most,
                              _mm512_mul_ps(step, _mm512_cvtepi32_ps(one)));
        _mm512_mask_storeu_ps(to + s->width, most,
                              _mm512_mul_ps(step, _mm512_cvtepi32_ps(two)));
    }
}

static void restore_wide(const struct ld_steps *s, float *rows,
                         const int32_t *strip, size_t first, size_t n_rows)
{
    size_t row_items = (size_t)s->groups * (size_t)s->width;
    int begin = (int)first, end = (int)(first + n_rows);

    for (int half = 0; half < 2; half++) {
        int from = begin > N * half ? begin - N * half : 0;
        int to = end - N * half < N ? end - N * half : N;
        float *at = rows + (size_t)(N * half + from - begin) * row_items;

        if (from >= to)
            continue;
        for (int r = 0; s->relative && r < to - from; r++)
            for (int g = 0; g < s->groups; g++)
                at[(size_t)r * row_items + (size_t)(g * s->width)] = 0;
        for (int g = 0; g < s->groups; g += 2)
            for (int k = 0; k < s->width - s->relative; k += N)
                put_half(s, at + g * s->width + s->relative + k,
                         strip + (k * s->groups + g) / 2 * LD_PREDICT_STRIP +
                             N * half,
                         k, from, to);
    }
}

ld_restore_fn *ld_restore_best(const struct ld_steps *s)
{
    return s->groups % 2 == 0 && __builtin_cpu_supports("avx512bw")
               ? restore_wide
               : ld_restore_plain;
}
