/* recorder.h - runs a config's teacher over a view of its training images and
 * gives the record that a shard keeps of it.
 *
 * precompute writes these records, verify compares them with what was written:
 * one way to them, so that equal means equal. */
#pragma once

#include "formats/image.h"
#include "formats/setup.h"
#include "kernels/net/teacher.h"

struct ld_recorder {
    const struct ld_config *config;
    struct ld_dataset *set;
    struct ld_device *dev;
    struct ld_teacher *teacher;
    struct ld_shard_facts facts; /* what a shard of it says; not which part */

    /* its own */
    struct ld_arena arena; /* one view's */
    struct ld_setup_texts texts;
    char model_text[160], teacher_sha256[65];
};

/* Reads the annotations and loads the teacher, which goes with the config or
 * is LD_ERR_MISMATCH, onto GPU `gpu` (kernels/device.h) if it runs on one. Says
 * on stderr on which device it runs. Close it even after a failure. */
bool ld_recorder_open(struct ld_recorder *r, const struct ld_config *config,
                      const char *teacher, int gpu, struct ld_err *err);
void ld_recorder_close(struct ld_recorder *r);

/* The sample's picture, which has the size that its annotation says. The
 * caller frees it. */
bool ld_recorder_image(const struct ld_recorder *r,
                       const struct ld_sample *sample, struct ld_image *image,
                       struct ld_err *err);

/* The record of the sample's view of this number (formats/views.h), borrowed
 * until the next one. */
bool ld_recorder_view(struct ld_recorder *r, const struct ld_sample *sample,
                      const struct ld_image *image, int number,
                      struct ld_record *record, struct ld_err *err);
