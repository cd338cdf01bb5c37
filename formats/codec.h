/* codec.h - rows of a teacher's logits <-> the numbers a shard stores.
 *
 * fp32 as it is; fp16 rounded to nearest even; or whole numbers of a step as
 * long as a stated error of the gradient allows, foretold from each other
 * (formats/steps.h). What is lost is measured in the LD and KD gradients when
 * it is written, and kept in the shard. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum ld_storage { LD_STORAGE_FP32, LD_STORAGE_FP16, LD_STORAGE_PREDICTED };

size_t ld_codec_bytes(enum ld_storage storage);     /* of one number */
const char *ld_codec_name(enum ld_storage storage); /* "fp32" .. */

/* count numbers of fp32 or fp16, in the byte order of the machine. fp16 is IEEE
 * binary16, rounded to nearest even; finite numbers beyond its range become its
 * largest (65504), infinities and NaN stay what they are. */
void ld_codec_encode(enum ld_storage storage, void *out, const float *in,
                     size_t count);
void ld_codec_decode(enum ld_storage storage, float *out, const void *in,
                     size_t count);

/* What storing loses, as a loss feels it. The gradient of T^2 * KL(teacher ||
 * student) at temperature T is, but for a factor, p_s - p_t: the softmaxes at T
 * of student and teacher (spec losses 5, 6). So a changed teacher changes the
 * gradient by p_t - p_t', whoever the student is; relative to the gradient
 * itself the error depends on how far off the student still is. Two students
 * stand for a whole training: "early" agrees with nothing (p_s uniform), "late"
 * has come two thirds of the way (p_s - p_t is a third of early's). A student
 * that agrees better still feels the same change against less: one distilled
 * to the end on blood cells was at 0.15 of early in LD, 0.07 in KD. */
struct ld_codec_error {
    double change;  /* sum over rows of |p_t - p_t'|^2 */
    double early;   /* sum over rows of |uniform - p_t|^2 */
    double largest; /* largest |stored - exact| of a logit */
};

/* Adds n_rows rows of `width` logits: the B bins of a side at T = 10 for LD, K
 * classes at T = 2 for KD. `stored` is what a reader will decode. */
void ld_codec_measure(struct ld_codec_error *sum, const float *exact,
                      const float *stored, size_t n_rows, int width, float T);

/* |error of the gradient| / |gradient|, over all rows added; 0 without rows,
 * or where every teacher's distribution is uniform. */
double ld_codec_error_early(const struct ld_codec_error *sum);
double ld_codec_error_late(const struct ld_codec_error *sum);
