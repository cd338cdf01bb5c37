/* Strips by AVX-512: vpdpwssd multiplies 16 pairs by a pair of weights and adds
 * them up, all in one. */
#include <immintrin.h>
#include <string.h>

#include "formats/predict_ways.h"

_Static_assert(LD_PREDICT_STRIP == 32, "two vectors of 16 rows");

#define VNNI \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")))
#define INLINE_VNNI VNNI __attribute__((always_inline)) static inline

enum { LOW = 0x55555555, HIGH = ~LOW, BLOCK = 4 };

/* Both halves of a strip: the sums of a column, or a pair of columns. */
struct halves {
    __m512i a, b;
};

/* The pair of weights of a column for the pair of columns `pair`. */
INLINE_VNNI __m512i weights_of(const struct ld_predictor *p, size_t column,
                               size_t pair)
{
    size_t first = (size_t)ld_predict_first_tap((int)column);
    int32_t two;

    memcpy(&two, p->weight + column * LD_PREDICT_TAPS + 2 * pair - first,
           sizeof(two));
    return _mm512_set1_epi32(two);
}

INLINE_VNNI struct halves load(const int32_t *strip, size_t pair)
{
    const int32_t *at = strip + pair * LD_PREDICT_STRIP;

    return (struct halves){_mm512_loadu_si512(at), _mm512_loadu_si512(at + 16)};
}

INLINE_VNNI void add(struct halves *sum, struct halves x, __m512i w)
{
    sum->a = _mm512_dpwssd_epi32(sum->a, x.a, w);
    sum->b = _mm512_dpwssd_epi32(sum->b, x.b, w);
}

/* What was missed of 32 rows: of row r in the low half of number r, of row
 * r + 16 in the high one. */
INLINE_VNNI __m512i gaps(const uint8_t *low, const uint8_t *high)
{
    const __m512i order = _mm512_set_epi64(
        0x3f1f2f0f3e1e2e0e, 0x3d1d2d0d3c1c2c0c, 0x3b1b2b0b3a1a2a0a,
        0x3919290938182808, 0x3717270736162606, 0x3515250534142404,
        0x3313230332122202, 0x3111210130102000);
    __m512i both = _mm512_inserti64x4(
        _mm512_castsi256_si512(_mm256_loadu_si256((const void *)low)),
        _mm256_loadu_si256((const void *)high), 1);
    __m512i zigzag = _mm512_permutexvar_epi8(order, both);
    __m512i odd = _mm512_and_si512(zigzag, _mm512_set1_epi16(1));

    return _mm512_xor_si512(_mm512_srli_epi16(zigzag, 1),
                            _mm512_sub_epi16(_mm512_setzero_si512(), odd));
}

/* Columns [c, c + m) of the strip; c is a multiple of m. The columns before
 * them go to all m at once, then each of them to those that follow. */
INLINE_VNNI void block(const struct ld_predictor *p, int32_t *strip,
                       const uint8_t *low, size_t n_rows, size_t c, size_t m)
{
    size_t n_columns = (size_t)p->n_columns, t;
    size_t common = (size_t)ld_predict_first_tap((int)(c + m - 1)) / 2;
    struct halves sum[BLOCK], pair = {0};

#pragma GCC unroll 4
    for (size_t k = 0; k < m; k++) {
        sum[k].a = _mm512_set1_epi32(p->bias[c + k] + 2048);
        sum[k].b = sum[k].a;
        t = (size_t)ld_predict_first_tap((int)(c + k)) / 2;
        for (; t < common; t++)
            add(&sum[k], load(strip, t), weights_of(p, c + k, t));
    }
    for (t = common; t < (c + 1) / 2; t++) {
        pair = load(strip, t);
#pragma GCC unroll 4
        for (size_t k = 0; k < m; k++)
            add(&sum[k], pair, weights_of(p, c + k, t));
    }
#pragma GCC unroll 4
    for (size_t k = 0; k < m; k++) {
        const uint8_t *at = low + (size_t)p->place[c + k] * n_rows;
        __m512i gap = gaps(at, at + n_columns * n_rows);
        size_t odd = (c + k) % 2, last = odd ? m : k + 2;

        if (odd) {
            pair.a = _mm512_mask_add_epi16(pair.a, HIGH,
                                           _mm512_slli_epi32(sum[k].a, 4),
                                           _mm512_slli_epi32(gap, 16));
            pair.b = _mm512_mask_add_epi16(pair.b, HIGH,
                                           _mm512_slli_epi32(sum[k].b, 4), gap);
        } else {
            pair.a = _mm512_maskz_add_epi16(
                LOW, _mm512_srli_epi32(sum[k].a, 12), gap);
            pair.b =
                _mm512_maskz_add_epi16(LOW, _mm512_srli_epi32(sum[k].b, 12),
                                       _mm512_srli_epi32(gap, 16));
        }
        t = (c + k) / 2;
        _mm512_storeu_si512(strip + t * LD_PREDICT_STRIP, pair.a);
        _mm512_storeu_si512(strip + t * LD_PREDICT_STRIP + 16, pair.b);
#pragma GCC unroll 4
        for (size_t j = k + 1; j < last && j < m; j++)
            add(&sum[j], pair, weights_of(p, c + j, t));
    }
}

VNNI void ld_strip_decode_vnni(const struct ld_predictor *p, int32_t *strip,
                               const uint8_t *low, size_t n_rows)
{
    size_t n = (size_t)p->n_columns, c = 0;

    for (; c + BLOCK <= n; c += BLOCK)
        block(p, strip, low, n_rows, c, BLOCK);
    for (; c < n; c++)
        block(p, strip, low, n_rows, c, 1);
}
