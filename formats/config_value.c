#include "formats/config_value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file.h"

/* What storing one entry needs, beside where to. */
struct storing {
    const struct ld_setting *setting;
    const struct ld_yaml *yaml;
    const struct ld_yaml_entry *entry;
    const char *folder;
    struct ld_arena *arena;
    struct ld_err *err;
};

/* ---- words into numbers ---- */

/* `what` stands where a value was expected: "a list". */
static bool refuse_kind(const struct storing *s, const char *what)
{
    char expected[200];

    ld_setting_expected(s->setting, expected);
    return ld_yaml_fail(s->yaml, s->entry->value_at, s->err,
                        "%s: %s: expected %s", s->setting->key, what, expected);
}

static bool refuse(const struct storing *s, const char *value)
{
    char quoted[80];

    snprintf(quoted, sizeof(quoted), "'%.60s'", value);
    return refuse_kind(s, quoted);
}

static bool refuse_word(const struct storing *s, const char *value)
{
    bool words = s->setting->kind != LD_SETTING_CHOICE;
    const char *near = words ? ld_word_nearest(value, s->setting->words) : NULL;
    char text[160];

    if (!near)
        return refuse(s, value);
    snprintf(text, sizeof(text), "'%.60s' (did you mean %s?)", value, near);
    return refuse_kind(s, text);
}

/* Decimal only: no hexadecimal, no infinity, no NaN. */
static bool is_decimal(const char *text)
{
    return *text && text[strspn(text, "+-.0123456789eE")] == 0;
}

static bool parse_float(const struct storing *s, const char *text, float *out)
{
    char *end;
    double value = strtod(text, &end);

    if (!is_decimal(text) || *end || !(value >= s->setting->low) ||
        !(value <= s->setting->high))
        return refuse(s, text);
    *out = strtof(text, NULL);
    return true;
}

static bool parse_int(const struct storing *s, const char *text, int *out)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    if (!is_decimal(text) || *end || errno || (double)value < s->setting->low ||
        (double)value > s->setting->high)
        return refuse(s, text);
    *out = (int)value;
    return true;
}

static bool parse_bool(const struct storing *s, const char *text, bool *out)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return refuse(s, text);
    *out = text[0] == 't';
    return true;
}

/* The position among the words, or -1. */
static int find_word(const struct storing *s, const char *text)
{
    for (int i = 0; s->setting->words[i]; i++)
        if (strcmp(s->setting->words[i], text) == 0)
            return i;
    refuse_word(s, text);
    return -1;
}

/* ---- paths ---- */

/* Appends one path, relative to the folder if it is not absolute. */
static bool put_path(const struct storing *s, const char *name, size_t len,
                     struct ld_buf *out)
{
    char one[LD_PATH_SIZE], joined[4096];

    if (len >= sizeof(one))
        return ld_yaml_fail(s->yaml, s->entry->value_at, s->err,
                            "%s: a path of more than %d characters",
                            s->setting->key, LD_PATH_SIZE - 1);
    memcpy(one, name, len);
    one[len] = 0;
    if (!ld_path_join(joined, len ? s->folder : "", one, s->err))
        return false;
    ld_buf_put(out, joined, strlen(joined));
    return true;
}

static bool store_paths(const struct storing *s, const char *text,
                        const char **out)
{
    struct ld_buf joined = {.max = 1 << 20};
    const char *between = s->setting->kind == LD_SETTING_PATHS ? ":" : "";
    bool ok = true;

    for (;;) {
        size_t len = *between ? strcspn(text, between) : strlen(text);

        ok = put_path(s, text, len, &joined);
        if (!ok || !text[len])
            break;
        ld_buf_put(&joined, between, 1);
        text += len + 1;
    }
    ld_buf_put(&joined, "", 1);
    ok = ok && ld_buf_ok(&joined, s->err);
    if (ok)
        *out = ld_arena_text(s->arena, (const char *)joined.data,
                             joined.len - 1, s->err);
    ld_buf_free(&joined);
    return ok && *out;
}

/* ---- values ---- */

static bool store_floats(const struct storing *s, float out[3])
{
    const struct ld_yaml_entry *entry = s->entry;

    if (!entry->is_list || entry->n_items != 3)
        return entry->is_list ? refuse_kind(s, "a list of another length")
                              : refuse(s, entry->items[0]);
    for (int i = 0; i < 3; i++)
        if (!parse_float(s, entry->items[i], &out[i]))
            return false;
    return true;
}

/* Numbers, and right behind the last that fits, how many there are. */
static bool store_ints(const struct storing *s, int out[LD_MAX_LR_STEPS + 1])
{
    const struct ld_yaml_entry *entry = s->entry;

    if (!entry->is_list)
        return refuse(s, entry->items[0]);
    if (entry->n_items > LD_MAX_LR_STEPS)
        return refuse_kind(s, "a longer list");
    for (int i = 0; i < entry->n_items; i++)
        if (!parse_int(s, entry->items[i], &out[i]))
            return false;
    out[LD_MAX_LR_STEPS] = entry->n_items;
    return true;
}

static bool store_texts(const struct storing *s, struct ld_config_list *out)
{
    const struct ld_yaml_entry *entry = s->entry;

    if (!entry->is_list)
        return refuse(s, entry->items[0]);
    if (entry->n_items > (int)s->setting->high)
        return refuse_kind(s, "a longer list");
    for (int i = 0; i < entry->n_items; i++)
        if (!*entry->items[i])
            return refuse(s, "");
    *out = (struct ld_config_list){entry->items, entry->n_items};
    return true;
}

static bool store_word(const struct storing *s, void *field)
{
    const char *text = s->entry->items[0];
    int word = find_word(s, text);

    if (word < 0)
        return false;
    if (s->setting->kind == LD_SETTING_WORD)
        *(const char **)field = s->setting->words[word];
    else if (s->setting->kind == LD_SETTING_CHOICE)
        *(int *)field = (int)strtol(text, NULL, 10);
    else
        memcpy(field, &word, sizeof(word));
    return true;
}

static bool store_single(const struct storing *s, void *field)
{
    const char *text = s->entry->items[0];

    switch (s->setting->kind) {
    case LD_SETTING_INT:
        return parse_int(s, text, field);
    case LD_SETTING_FLOAT:
        return parse_float(s, text, field);
    case LD_SETTING_BOOL:
        return parse_bool(s, text, field);
    case LD_SETTING_TEXT:
        *(const char **)field = text;
        return true;
    case LD_SETTING_PATH:
    case LD_SETTING_PATHS:
        return store_paths(s, text, field);
    default:
        return store_word(s, field);
    }
}

bool ld_setting_store(struct ld_config *config,
                      const struct ld_setting *setting,
                      const struct ld_yaml *yaml,
                      const struct ld_yaml_entry *entry, const char *folder,
                      struct ld_arena *arena, struct ld_err *err)
{
    struct storing s = {setting, yaml, entry, folder, arena, err};
    void *field = (char *)config + setting->offset;

    switch (setting->kind) {
    case LD_SETTING_FLOATS:
        return store_floats(&s, field);
    case LD_SETTING_INTS:
        return store_ints(&s, field);
    case LD_SETTING_TEXTS:
        return store_texts(&s, field);
    default:
        return entry->is_list ? refuse_kind(&s, "a list")
                              : store_single(&s, field);
    }
}

/* ---- and back ---- */

/* The shortest decimal that reads back as the same float. */
static void put_float(struct ld_buf *out, float value)
{
    char text[32];

    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    ld_buf_printf(out, "%s", text);
}

static void put_floats(struct ld_buf *out, const float values[3])
{
    for (int i = 0; i < 3; i++) {
        ld_buf_printf(out, i ? ", " : "[");
        put_float(out, values[i]);
    }
    ld_buf_printf(out, "]");
}

static void put_ints(struct ld_buf *out, const int values[LD_MAX_LR_STEPS + 1])
{
    ld_buf_printf(out, "[");
    for (int i = 0; i < values[LD_MAX_LR_STEPS]; i++)
        ld_buf_printf(out, i ? ", %d" : "%d", values[i]);
    ld_buf_printf(out, "]");
}

static void put_texts(struct ld_buf *out, const struct ld_config_list *list)
{
    ld_buf_printf(out, "[");
    for (int i = 0; i < list->n; i++) {
        ld_buf_printf(out, i ? ", " : "");
        ld_yaml_put_text(out, list->items[i]);
    }
    ld_buf_printf(out, "]");
}

void ld_setting_put(struct ld_buf *out, const struct ld_config *config,
                    const struct ld_setting *setting)
{
    const void *field = (const char *)config + setting->offset;
    int word;

    switch (setting->kind) {
    case LD_SETTING_INT:
    case LD_SETTING_CHOICE:
        ld_buf_printf(out, "%d", *(const int *)field);
        break;
    case LD_SETTING_FLOAT:
        put_float(out, *(const float *)field);
        break;
    case LD_SETTING_BOOL:
        ld_buf_printf(out, *(const bool *)field ? "true" : "false");
        break;
    case LD_SETTING_TEXT:
    case LD_SETTING_PATH:
    case LD_SETTING_PATHS:
        ld_yaml_put_text(out, *(const char *const *)field);
        break;
    case LD_SETTING_WORD:
        ld_buf_printf(out, "%s", *(const char *const *)field);
        break;
    case LD_SETTING_ENUM:
        memcpy(&word, field, sizeof(word));
        ld_buf_printf(out, "%s", setting->words[word]);
        break;
    case LD_SETTING_FLOATS:
        put_floats(out, field);
        break;
    case LD_SETTING_INTS:
        put_ints(out, field);
        break;
    case LD_SETTING_TEXTS:
        put_texts(out, field);
        break;
    }
}
