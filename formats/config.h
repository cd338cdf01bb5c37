/* config.h - the settings of a run, from YAML and the command line.
 *
 * config_table.c holds one table: key, field, default, bounds, help. The YAML
 * reader, `--set key=value`, `--help` and the copy kept in each checkpoint all
 * come from it; a setting is added in one place.
 *
 *     base: common.yaml        # read first; relative to this file
 *     data: {format: voc, train: ../VOC2007:../VOC2012}
 *     train: {lr: 0.01, lr_steps: [8, 11]}
 *     loss.ld: 0.5             # a dotted key serves as well
 *     teacher: cache           # short for teacher.source
 *
 * Paths (data.*, model.init, teacher.*) are relative to the file that sets them
 * and are kept joined with its folder; on the command line and in a checkpoint
 * they stand as they are. */
#pragma once

#include <stdbool.h>

#include "formats/views.h"
#include "kernels/base/error.h"
#include "kernels/base/mem.h"
#include "kernels/rules.h"

enum { LD_PATH_SIZE = 1024, LD_MAX_CLASSES = 2048, LD_MAX_LR_STEPS = 8 };

enum ld_teacher_source {
    LD_TEACHER_NONE,     /* plain training */
    LD_TEACHER_CACHE,    /* rows from shards */
    LD_TEACHER_RESIDENT, /* the teacher runs in the loop */
};

struct ld_config_list { /* of texts */
    const char **items;
    int n;
};

struct ld_config {
    struct {
        int format; /* enum ld_dataset_kind: coco, voc */
        const char *train, *train_images, *train_split;
        const char *val, *val_images, *val_split;
        struct ld_config_list classes; /* empty: from the data */
        int repeat;                    /* passes of the data an epoch */
    } data;
    struct ld_views views;  /* view.*, cache.views, cache.view_seed */
    struct ld_model model;  /* n_classes is no key: it comes from the data */
    const char *model_init; /* model.init: checkpoint to start from, or "" */
    struct {
        int source; /* enum ld_teacher_source: none, cache, resident */
        const char *checkpoint;
        const char *cache; /* folder of shards */
    } teacher;
    struct ld_assign_rules assign;
    struct ld_loss_rules loss;
    struct {
        int batch, epochs, seed;
        bool group_by_aspect; /* a batch holds wide images or others */
        int base_batch;       /* images a step that lr is meant for; 0: any */
        float lr, momentum, weight_decay;
        float bias_rate, bias_decay; /* factors of lr and weight_decay */
        int warmup_steps;
        float warmup_ratio;
        int lr_steps[LD_MAX_LR_STEPS], n_lr_steps; /* epochs */
        int eval_every;                            /* epochs; 0: never */
        int save_every; /* steps inside an epoch; 0: each epoch only */
        int log_every;  /* steps */
        int loader_threads;
    } train;
    struct ld_detect_rules test;
    struct {
        int storage;      /* enum ld_storage: fp32, fp16, predicted */
        float grad_error; /* of predicted storage */
        int select;       /* enum ld_select: ld, vlr-all, dense */
        int images_per_shard;
        bool skip_bad; /* leave out images that cannot be read, and say so */
    } cache;
    const char *device;
    int threads;
    int precision; /* enum ld_precision */
};

/* Defaults. Strings are the arena's. */
bool ld_config_default(struct ld_config *config, struct ld_arena *arena,
                       struct ld_err *err);

/* Adds what the YAML file (and, before it, its base; at most 8 of them) sets.
 * LD_ERR_USAGE with file, line and column: what is not YAML, an unknown key
 * (and the nearest known one), a key set twice in one file, a value of the
 * wrong type or out of bounds. LD_ERR_IO: no such file. After a failure the
 * config is of no use. */
bool ld_config_read(struct ld_config *config, const char *path,
                    struct ld_arena *arena, struct ld_err *err);

/* One "key=value" of the command line; value is YAML, or nothing for an empty
 * text. Errors begin with "--set: key: ". */
bool ld_config_set(struct ld_config *config, const char *assignment,
                   struct ld_arena *arena, struct ld_err *err);

/* From YAML text that ld_config_text wrote (in a checkpoint); `name` for
 * errors. */
bool ld_config_parse(struct ld_config *config, const char *text,
                     const char *name, struct ld_arena *arena,
                     struct ld_err *err);

/* The whole config as YAML, every key, in the table's order. */
void ld_config_text(const struct ld_config *config, struct ld_buf *out);

/* Every key with type, default, bounds and help, for --help-config. */
void ld_config_help(struct ld_buf *out);
