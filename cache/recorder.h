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
    struct ld_setup_texts texts;
    char model_text[160], teacher_sha256[65];
};

/* A view's record in the making; zero-initialised is empty. */
struct ld_recording {
    struct ld_record record; /* its arrays are the arena's */
    struct ld_draw draw;
    struct ld_assignment assignment;
    struct ld_region region;
    uint64_t mark; /* of the teacher, behind this view */
    struct ld_arena arena;
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

/* Three steps to the record of the sample's view of this number
 * (formats/views.h). What its boxes tell: any number of threads may prepare
 * recordings. */
bool ld_recorder_prepare(const struct ld_recorder *r,
                         struct ld_recording *recording,
                         const struct ld_sample *sample,
                         const struct ld_image *image, int number,
                         struct ld_err *err);
/* The teacher begins with it: several recordings may be under way, and the
 * image may be freed. */
bool ld_recorder_start(struct ld_recorder *r, struct ld_recording *recording,
                       const struct ld_image *image, struct ld_err *err);
/* After it recording->record is whole. */
bool ld_recorder_finish(struct ld_recorder *r, struct ld_recording *recording,
                        struct ld_err *err);
