#include "formats/element.h"

#include <stdint.h>
#include <string.h>

#include "formats/codec.h"

size_t ld_element_size(enum ld_element type)
{
    switch (type) {
    case LD_F64:
    case LD_I64:
        return 8;
    case LD_F32:
    case LD_I32:
        return 4;
    case LD_F16:
    case LD_BF16:
    case LD_I16:
        return 2;
    case LD_I8:
    case LD_U8:
    case LD_BOOL:
        break;
    }
    return 1;
}

static float float_of(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof(x));
    return x;
}

static float float_of_half(uint16_t bits)
{
    float x;

    ld_codec_decode(LD_STORAGE_FP16, &x, &bits, 1);
    return x;
}

static float float_of_double(uint64_t bits)
{
    double x;

    memcpy(&x, &bits, sizeof(x));
    return (float)x;
}

/* The bytes of one number as one word. */
static uint64_t word_at(const unsigned char *from, size_t size, bool big_endian)
{
    uint64_t word = 0;

    for (size_t i = 0; i < size; i++)
        word = word << 8 | from[big_endian ? i : size - 1 - i];
    return word;
}

static float float_of_word(uint64_t word, enum ld_element type)
{
    switch (type) {
    case LD_F32:
        return float_of((uint32_t)word);
    case LD_F64:
        return float_of_double(word);
    case LD_F16:
        return float_of_half((uint16_t)word);
    case LD_BF16:
        return float_of((uint32_t)word << 16);
    case LD_I64:
        return (float)(int64_t)word;
    case LD_I32:
        return (float)(int32_t)word;
    case LD_I16:
        return (float)(int16_t)word;
    case LD_I8:
        return (float)(int8_t)word;
    case LD_U8:
        return (float)word;
    case LD_BOOL:
        break;
    }
    return word != 0;
}

void ld_element_read(float *out, size_t n, const unsigned char *from,
                     size_t stride, enum ld_element type, bool big_endian)
{
    size_t size = ld_element_size(type);
    bool as_is = type == LD_F32 && stride == sizeof(float) &&
                 big_endian == (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);

    if (as_is && n > 0) {
        memcpy(out, from, n * sizeof(float));
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] =
            float_of_word(word_at(from + i * stride, size, big_endian), type);
}
