/* cache_command.h - what ld-cache can do, one function a command. */
#pragma once

#include "formats/setup.h"

/* What the command line said, and what came of it. */
struct ld_cache_command {
    const char *const *words; /* after the command's name */
    int n_words;
    struct ld_settings settings;
    const char *teacher, *out;
    const char *part;      /* "2/8" */
    const char *tolerance; /* "0.01" */
    int records;           /* for verify; 0 if not given */
    bool npz, native;
    struct ld_arena *arena;
    bool differs; /* nothing failed, but the exit status is to be 1 */
};

/* precompute CONFIG --teacher CHECKPOINT --out FOLDER [--part I/N] */
bool ld_precompute(struct ld_cache_command *command, struct ld_err *err);

/* verify CACHE CONFIG --teacher CHECKPOINT [--records N]: runs the teacher over
 * N views again. LD_ERR_MISMATCH names the field of the facts that differs, or
 * the image and the view that are further off than the cache states, and by
 * how much. */
bool ld_cache_verify(struct ld_cache_command *command, struct ld_err *err);

/* merge OUT FOLDER... */
bool ld_cache_merge(struct ld_cache_command *command, struct ld_err *err);

/* export FOLDER --npz|--native --out FOLDER */
bool ld_cache_export(struct ld_cache_command *command, struct ld_err *err);

/* diff FOLDER FOLDER [--tolerance X] */
bool ld_cache_diff(struct ld_cache_command *command, struct ld_err *err);
