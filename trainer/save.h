/* save.h - a run's checkpoints: written each epoch, found again by --resume.
 *
 *   OUT/epoch_012.h5   after epoch 12
 *   OUT/latest.h5      the newest of all: a hard link to it, or a checkpoint in
 *                      the middle of an epoch (train.save_every) */
#pragma once

#include "formats/config.h"
#include "formats/dataset.h"
#include "kernels/net/net.h"

/* Where a run stands. */
struct ld_place {
    int64_t epoch;         /* whole epochs done */
    int64_t step;          /* steps done in all */
    int64_t step_of_epoch; /* of the epoch under way */
};

struct ld_saver {
    const char *out;
    const struct ld_config *config;
    const struct ld_dataset *set;
    struct ld_device *dev;
    struct ld_net *net;
    int n_ranks; /* that train together */
};

/* Writes OUT/latest.h5 and, at the end of an epoch (step_of_epoch 0),
 * OUT/epoch_NNN.h5. */
bool ld_save(const struct ld_saver *saver, const struct ld_place *place,
             struct ld_err *err);

/* Loads OUT/latest.h5 into the net. False with LD_ERR_IO if there is none,
 * LD_ERR_MISMATCH if it is of another model, data set or schedule, or other
 * numbers of ranks and images a rank than give as many images a step. */
bool ld_save_resume(const struct ld_saver *saver, struct ld_place *place,
                    struct ld_err *err);

/* True if OUT holds a run. */
bool ld_save_exists(const char *out);
