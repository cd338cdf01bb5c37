/* setup.h - from a config to the things it names; shared by every command. */
#pragma once

#include <stdio.h>

#include "formats/checkpoint.h"
#include "formats/config.h"
#include "formats/dataset.h"
#include "formats/shard.h"
#include "kernels/device.h"

/* key=value settings of a command line, in order. */
struct ld_settings {
    const char *items[64];
    int n;
};

/* Adds `prefix` followed by `value`: ("", "train.lr=0.01"), ("device=", "cpu").
 * The text is the arena's. */
bool ld_settings_add(struct ld_settings *settings, const char *prefix,
                     const char *value, struct ld_arena *arena,
                     struct ld_err *err);
bool ld_settings_apply(const struct ld_settings *settings,
                       struct ld_config *config, struct ld_arena *arena,
                       struct ld_err *err);

/* A command's config: the defaults, the file, the settings. */
bool ld_setup_config(struct ld_config *config, const char *path,
                     const struct ld_settings *settings, struct ld_arena *arena,
                     struct ld_err *err);

/* The device that a config names. */
struct ld_device_options ld_setup_device(const struct ld_config *config);

/* Prints every key of a config, for --help-config. */
void ld_setup_print_keys(FILE *to);

enum ld_split { LD_SPLIT_TRAIN, LD_SPLIT_VAL };

/* Reads the annotations that data.train or data.val names. LD_ERR_USAGE if the
 * config names none. */
struct ld_dataset *ld_setup_dataset(const struct ld_config *config,
                                    enum ld_split split, struct ld_err *err);

/* The model that a checkpoint holds: its config's model.*, its classes. Also
 * gives its whole config, unless `config` is NULL. `path` is for errors:
 * LD_ERR_FORMAT if it is no such detector. */
bool ld_setup_model(const struct ld_checkpoint *checkpoint, const char *path,
                    struct ld_model *model, struct ld_config *config,
                    struct ld_arena *arena, struct ld_err *err);

/* "GFL R-101", "GFL V2 R-101" or "ATSS-GFL R-101", ", width 64, FPN 256, head
 * 4x GN 32, 80 classes, 17 bins". */
void ld_setup_model_text(const struct ld_model *model, char out[160]);

/* True if a checkpoint's classes are those of the data set, in order.
 * LD_ERR_MISMATCH names the first that differs. Of a checkpoint that names none
 * the number alone counts, unless the data knows a name that was assumed: then
 * it is about that data set, and the order must be its. */
bool ld_setup_same_classes(const struct ld_checkpoint *checkpoint,
                           const char *path, const struct ld_dataset *set,
                           struct ld_err *err);

/* Loads a checkpoint that is to teach: its classes are those of the data set,
 * its bins, its centres and, for imitation, its channels those of the student
 * (the config's model), or LD_ERR_MISMATCH. */
bool ld_setup_teacher(const char *path, const struct ld_dataset *set,
                      const struct ld_config *config,
                      struct ld_checkpoint *checkpoint, struct ld_model *model,
                      struct ld_arena *arena, struct ld_err *err);

/* True if a cache can hold what the losses of a run ask of a teacher;
 * LD_ERR_USAGE. */
bool ld_setup_cacheable(const struct ld_config *config, struct ld_err *err);

/* What a run's losses read of a cache. */
enum ld_select ld_setup_reads(const struct ld_config *config);

/* Texts of facts that no config holds as such. */
struct ld_setup_texts {
    char assigner[48], short_edges[96];
};

/* What a cache that is made by this config says of itself. What is the
 * teacher's (its SHA-256, model, logits) and the measured fields are left
 * empty. Strings are borrowed from the arguments. */
struct ld_shard_facts ld_setup_facts(const struct ld_config *config,
                                     const struct ld_dataset *set,
                                     struct ld_setup_texts *texts);
