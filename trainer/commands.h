/* commands.h - what ld-distill can do, one function a command. */
#pragma once

#include "formats/setup.h"

/* What the command line said. */
struct ld_command_line {
    const char *const *words; /* after the command's name */
    int n_words;
    struct ld_settings settings;
    const char *cache, *out, *json, *checkpoint, *format, *profile;
    bool resume;
    struct ld_arena *arena;
};

/* train CONFIG --out FOLDER [--cache FOLDER] [--resume] [--profile FILE] */
bool ld_command_train(const struct ld_command_line *line, struct ld_err *err);

/* check CONFIG [--cache FOLDER] */
bool ld_command_check(const struct ld_command_line *line, struct ld_err *err);

/* eval CHECKPOINT [--json FILE] */
bool ld_command_eval(const struct ld_command_line *line, struct ld_err *err);

/* detect IMAGE... --checkpoint FILE --out FOLDER */
bool ld_command_detect(const struct ld_command_line *line, struct ld_err *err);

/* export CHECKPOINT --out FILE [--format NAME] */
bool ld_command_export(const struct ld_command_line *line, struct ld_err *err);

/* curves KEY FOLDER... --out FILE.svg */
bool ld_command_curves(const struct ld_command_line *line, struct ld_err *err);
