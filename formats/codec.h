/* codec.h - rows of a teacher's logits <-> the numbers a shard stores.
 *
 * The seam for lossy storage. Today: fp32 as it is, or fp16 rounded to nearest
 * even, whose error in the LD and KD gradients is measured at write time and
 * kept in the shard. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum ld_storage { LD_STORAGE_FP32, LD_STORAGE_FP16 };

size_t ld_codec_bytes(enum ld_storage storage); /* of one number: 4 or 2 */
const char *ld_codec_name(enum ld_storage storage); /* "fp32", "fp16" */

/* count numbers; finite logits beyond fp16's range become its largest. */
void ld_codec_encode(enum ld_storage storage, void *out, const float *in,
                     size_t count);
void ld_codec_decode(enum ld_storage storage, float *out, const void *in,
                     size_t count);

/* What storing loses, as the losses feel it. `exact` and `stored` are rows of
 * `width` logits (B of a side at temperature T, or K classes at T). The
 * gradient of KL at temperature T against a student s is p_s - p_t, so its
 * error is the change of p_t; relative to a student that agrees with nothing
 * (uniform: "early"), and to one at a tenth of that distance ("late"). */
struct ld_codec_error {
    double change, early; /* sums of squares */
    double largest;       /* largest |stored - exact| of a logit */
};
void ld_codec_measure(struct ld_codec_error *sum, const float *exact,
                      const float *stored, size_t n_rows, int width, float T);
