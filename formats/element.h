/* element.h - the number types of other programs' tensors, read as float. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum ld_element {
    LD_F32,
    LD_F64,
    LD_F16,
    LD_BF16, /* the upper half of a float */
    LD_I64,
    LD_I32,
    LD_I16,
    LD_I8,
    LD_U8,
    LD_BOOL,
};

size_t ld_element_size(enum ld_element type); /* bytes */

/* Reads n numbers that stand `stride` bytes apart. What a float cannot hold is
 * rounded to the nearest. `big_endian` tells the order of their bytes. */
void ld_element_read(float *out, size_t n, const unsigned char *from,
                     size_t stride, enum ld_element type, bool big_endian);
