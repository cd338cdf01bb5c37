#include "formats/codec.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/base/parallel.h"

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

/* Numbers measured at once, and the least that is worth a thread's while. */
enum { TOGETHER = 1 << 14, GRAIN = 1 << 10 };

/* Rows on their way: what each number adds is found by many threads, and added
 * up in order by one. */
struct measured {
    const float *exact, *stored; /* (rows, width) */
    size_t width;
    double T;
    double change[TOGETHER], early[TOGETHER];
};

static void measure_rows(size_t begin, size_t end, void *task)
{
    struct measured *m = task;

    for (size_t row = begin; row < end; row++) {
        const float *exact = m->exact + row * m->width;
        const float *stored = m->stored + row * m->width;
        double norm = log_sum_exp(exact, (int)m->width, m->T);
        double norm_stored = log_sum_exp(stored, (int)m->width, m->T);

        for (size_t i = 0; i < m->width; i++) {
            double p = exp((double)exact[i] / m->T - norm);
            double change = exp((double)stored[i] / m->T - norm_stored) - p;
            double early = 1.0 / (double)m->width - p;

            m->change[row * m->width + i] = change * change;
            m->early[row * m->width + i] = early * early;
        }
    }
}

static void add_up(struct ld_codec_error *sum, const struct measured *m,
                   size_t n_rows)
{
    for (size_t i = 0; i < n_rows * m->width; i++) {
        double shift = fabs((double)m->stored[i] - (double)m->exact[i]);

        sum->change += m->change[i];
        sum->early += m->early[i];
        if (shift > sum->largest)
            sum->largest = shift;
    }
}

void ld_codec_measure(struct ld_codec_error *sum, const float *exact,
                      const float *stored, size_t n_rows, int width, float T)
{
    struct measured m; /* too large to be cleared for a row or two */
    size_t most;

    assert(width > 0 && width <= TOGETHER && T > 0);
    m.width = (size_t)width;
    m.T = (double)T;
    most = TOGETHER / m.width;
    for (size_t at = 0; at < n_rows; at += most) {
        size_t n = n_rows - at < most ? n_rows - at : most;

        m.exact = exact + at * m.width;
        m.stored = stored + at * m.width;
        ld_parallel(n, GRAIN / m.width + 1, measure_rows, &m);
        add_up(sum, &m, n);
    }
}

double ld_codec_error_early(const struct ld_codec_error *sum)
{
    return sum->early > 0 ? sqrt(sum->change / sum->early) : 0;
}

double ld_codec_error_late(const struct ld_codec_error *sum)
{
    return 3 * ld_codec_error_early(sum);
}
