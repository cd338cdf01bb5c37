/* sight.h - a cached view as its teacher saw it: the pixels and the truth. */
#pragma once

#include "formats/image.h"
#include "formats/setup.h"

/* The config's training images, to look up records of a cache. */
struct ld_sights {
    struct ld_config config;
    struct ld_dataset *set;
    struct ld_arena arena;
};

struct ld_sight {
    const char *name;      /* the image's file; the data set's */
    struct ld_image image; /* of the view, (H, W) without padding */
    struct ld_box *truth;  /* (n_truth) boxes to train on, pixels of the view */
    int *truth_class;      /* (n_truth) */
    int n_truth;
};

/* Reads the config and its training annotations. LD_ERR_MISMATCH if a cache of
 * these facts was made from others. Close it even after a failure. */
bool ld_sights_open(struct ld_sights *sights, const char *config,
                    const struct ld_shard_facts *facts, struct ld_err *err);
void ld_sights_close(struct ld_sights *sights);

/* The view of a record; its boxes are the arena's, its image is freed by
 * ld_image_free. LD_ERR_MISMATCH if the data has no such image. */
bool ld_sight_read(struct ld_sight *out, const struct ld_sights *sights,
                   const struct ld_record *record, struct ld_arena *arena,
                   struct ld_err *err);
