/* weights_cpu.h - convolution weights between their plain and packed orders. */
#pragma once

#include "kernels/cpu/onednn.h"

/* Each group of `form` may stand for `merged` groups of the convolution, whose
 * weights lie along its diagonal: weight is (all O, form->I / merged, taps). */

/* packed = weight, row o times scale[o] (NULL: 1), in the order of `form`;
 * padding and what is off the diagonal are written as zero. */
void ld_weights_pack(float *packed, const struct ld_dnn_form *form, int merged,
                     const float *weight, const float *scale);

/* weight += packed, what is on the diagonal. */
void ld_weights_unpack_add(float *weight, const float *packed,
                           const struct ld_dnn_form *form, int merged);
