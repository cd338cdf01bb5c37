/* cache_command.h - what ld-cache can do, one function a command. */
#pragma once

#include "formats/setup.h"

/* What the command line said, and what came of it. */
struct ld_cache_command {
    const char *const *words; /* after the command's name */
    int n_words;
    struct ld_settings settings;
    const char *teacher, *out;
    const char *part; /* "2/8" */
    struct ld_arena *arena;
    bool differs; /* nothing failed, but the exit status is to be 1 */
};

/* precompute CONFIG --teacher CHECKPOINT --out FOLDER [--part I/N] */
bool ld_precompute(struct ld_cache_command *command, struct ld_err *err);
