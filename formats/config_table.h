/* config_table.h - every setting there is: key, field, default, bounds, help.
 */
#pragma once

#include <stddef.h>

#include "kernels/base/error.h"

enum ld_setting_kind {
    LD_SETTING_INT,
    LD_SETTING_FLOAT,
    LD_SETTING_BOOL,
    LD_SETTING_TEXT,
    LD_SETTING_PATH,   /* relative to the file that sets it */
    LD_SETTING_PATHS,  /* as PATH; ':' joins several, each relative */
    LD_SETTING_ENUM,   /* an int: the position of the word in `words` */
    LD_SETTING_CHOICE, /* an int: one of the numbers in `words` */
    LD_SETTING_WORD,   /* a text: one of `words` */
    LD_SETTING_FLOATS, /* float[3] */
    LD_SETTING_INTS,   /* int[LD_MAX_LR_STEPS], then an int: how many */
    LD_SETTING_TEXTS,  /* struct ld_config_list */
};

struct ld_setting {
    const char *key; /* "train.lr" */
    enum ld_setting_kind kind;
    size_t offset;            /* in struct ld_config */
    const char *fallback;     /* the default, as YAML */
    double low, high;         /* of a number or of each of a list, inclusive */
    const char *const *words; /* ended by NULL */
    const char *help;
};

/* All settings, by section. */
extern const struct ld_setting ld_settings_table[];
extern const int ld_n_settings;

/* The setting of this key, or NULL. */
const struct ld_setting *ld_setting_find(const char *key);

/* True for "train": some key begins with "train.". */
bool ld_setting_is_section(const char *name);

/* The known key that is nearest by edits, whole or in its last part; NULL if
 * none is near. */
const char *ld_setting_nearest(const char *key);

/* The word nearest by edits, or NULL. */
const char *ld_word_nearest(const char *word, const char *const *words);

/* What a value must be: "a number from 0 to 10", "coco or voc". */
void ld_setting_expected(const struct ld_setting *setting, char out[200]);
