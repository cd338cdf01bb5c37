#include "formats/codec.h"

#include <assert.h>
#include <math.h>
#include <string.h>

size_t ld_codec_bytes(enum ld_storage storage)
{
    return storage == LD_STORAGE_FP32 ? 4 : 2;
}

const char *ld_codec_name(enum ld_storage storage)
{
    static const char *const names[] = {"fp32", "fp16", "predicted"};

    return names[storage];
}

/* ---- binary16: 1 sign, 5 exponent (bias 15), 10 mantissa bits ---- */

static inline uint32_t bits_of(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* No branches: the compiler turns the loop around it into vectors. */
static inline uint16_t half_of(float x)
{
    const uint32_t infinity = 0x7f800000, largest = 0x477fe000; /* 65504 */
    const uint32_t smallest_normal = 0x38800000;                /* 2^-14 */
    const uint32_t rebias = (127 - 15) << 23;
    uint32_t sign = bits_of(x) >> 16 & 0x8000;
    uint32_t a = bits_of(x) & 0x7fffffff;
    uint32_t finite = a < largest ? a : largest;
    uint32_t normal = (finite - rebias + 0xfff + (finite >> 13 & 1)) >> 13;
    /* Added to 0.5, whose last mantissa bit is worth 2^-24 as a subnormal's,
     * the adder itself rounds to nearest even. */
    uint32_t small = bits_of(float_of(finite) + 0.5F) - bits_of(0.5F);
    uint32_t special = a > infinity ? 0x7e00 : 0x7c00;
    uint32_t number = finite < smallest_normal ? small : normal;

    return (uint16_t)(sign | (a < infinity ? number : special));
}

static inline float float_of_half(uint16_t half)
{
    const uint32_t rebias = (127 - 15) << 23;
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t a = (uint32_t)(half & 0x7fff) << 13;
    uint32_t normal = a + rebias;
    uint32_t special = a + 2 * rebias; /* infinity, NaN */
    /* 2^-14 + mantissa, less 2^-14: exact. */
    uint32_t small = bits_of(float_of(a + rebias + (1 << 23)) - 0x1p-14F);
    uint32_t number = half & 0x7c00 ? normal : small;

    return float_of(sign | ((half & 0x7c00) == 0x7c00 ? special : number));
}

void ld_codec_encode(enum ld_storage storage, void *out, const float *in,
                     size_t count)
{
    uint16_t *restrict halves = out;

    assert(storage != LD_STORAGE_PREDICTED);
    if (storage == LD_STORAGE_FP32) {
        if (count > 0)
            memcpy(out, in, count * sizeof(*in));
        return;
    }
    for (size_t i = 0; i < count; i++)
        halves[i] = half_of(in[i]);
}

void ld_codec_decode(enum ld_storage storage, float *out, const void *in,
                     size_t count)
{
    const uint16_t *restrict halves = in;

    assert(storage != LD_STORAGE_PREDICTED);
    if (storage == LD_STORAGE_FP32) {
        if (count > 0)
            memcpy(out, in, count * sizeof(*out));
        return;
    }
    for (size_t i = 0; i < count; i++)
        out[i] = float_of_half(halves[i]);
}

/* ---- the error ---- */

/* log of the sum of exp(z / T), in double: the differences measured are near
 * the rounding of float. */
static double log_sum_exp(const float *z, int width, double T)
{
    double top = (double)z[0], sum = 0;

    for (int i = 1; i < width; i++)
        top = (double)z[i] > top ? (double)z[i] : top;
    for (int i = 0; i < width; i++)
        sum += exp(((double)z[i] - top) / T);
    return top / T + log(sum);
}

static void measure_row(struct ld_codec_error *sum, const float *exact,
                        const float *stored, int width, double T)
{
    double norm = log_sum_exp(exact, width, T);
    double norm_stored = log_sum_exp(stored, width, T);

    for (int i = 0; i < width; i++) {
        double z = (double)exact[i], z_stored = (double)stored[i];
        double p = exp(z / T - norm);
        double change = exp(z_stored / T - norm_stored) - p;
        double early = 1.0 / width - p;
        double shift = fabs(z_stored - z);

        sum->change += change * change;
        sum->early += early * early;
        if (shift > sum->largest)
            sum->largest = shift;
    }
}

void ld_codec_measure(struct ld_codec_error *sum, const float *exact,
                      const float *stored, size_t n_rows, int width, float T)
{
    assert(width > 0 && T > 0);
    for (size_t i = 0; i < n_rows; i++)
        measure_row(sum, exact + i * (size_t)width, stored + i * (size_t)width,
                    width, (double)T);
}

double ld_codec_error_early(const struct ld_codec_error *sum)
{
    return sum->early > 0 ? sqrt(sum->change / sum->early) : 0;
}

double ld_codec_error_late(const struct ld_codec_error *sum)
{
    return 3 * ld_codec_error_early(sum);
}
