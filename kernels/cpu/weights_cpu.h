/* weights_cpu.h - convolution weights between their plain and packed orders. */
#pragma once

#include "kernels/cpu/onednn.h"

/* packed = weight (O, I, taps), row o times scale[o] (NULL: 1), in the order of
 * `form`; padding is written as zero. */
void ld_weights_pack(float *packed, const struct ld_dnn_form *form,
                     const float *weight, const float *scale);

/* weight (O, I, taps) += packed. */
void ld_weights_unpack_add(float *weight, const float *packed,
                           const struct ld_dnn_form *form);
