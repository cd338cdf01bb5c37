#include "formats/config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/config_table.h"
#include "formats/config_value.h"
#include "formats/config_yaml.h"
#include "formats/file.h"

enum { MAX_BASES = 8, MAX_FILE = 1 << 20, MAX_SETTINGS = 256 };

/* One file being read, and the file that named it as its base. */
struct source {
    char real[PATH_MAX];   /* without links: to know a circle */
    char folder[PATH_MAX]; /* of the file, as the user wrote it; may be "" */
    const struct source *above;
};

/* ---- one text ---- */

static bool fail_key(const struct ld_yaml *yaml,
                     const struct ld_yaml_entry *entry, struct ld_err *err)
{
    const char *near = ld_setting_nearest(entry->key);

    if (ld_setting_is_section(entry->key))
        return ld_yaml_fail(yaml, entry->key_at, err,
                            "%s: expected settings inside, as in '%s: {...}'",
                            entry->key, entry->key);
    return ld_yaml_fail(yaml, entry->key_at, err, "%s: unknown key%s%s%s",
                        entry->key, near ? "; did you mean " : "",
                        near ? near : "", near ? "?" : "");
}

/* `teacher: cache` is short for `teacher: {source: cache}`. */
static const struct ld_setting *setting_of(const struct ld_yaml_entry *entry)
{
    bool is_short = strcmp(entry->key, "teacher") == 0 && !entry->is_null;

    return ld_setting_find(is_short ? "teacher.source" : entry->key);
}

/* A section that holds nothing but comments is fine, and base was read. */
static bool sets_nothing(const struct ld_yaml *yaml,
                         const struct ld_yaml_entry *entry)
{
    return !yaml->root &&
           ((entry->is_null && ld_setting_is_section(entry->key)) ||
            strcmp(entry->key, "base") == 0);
}

static bool apply(struct ld_config *config, const struct ld_yaml *yaml,
                  const char *folder, struct ld_arena *arena,
                  struct ld_err *err)
{
    const struct ld_yaml_entry *first[MAX_SETTINGS] = {NULL};

    for (int i = 0; i < yaml->n_entries; i++) {
        const struct ld_yaml_entry *entry = &yaml->entries[i];
        const struct ld_setting *setting = setting_of(entry);
        int which = setting ? (int)(setting - ld_settings_table) : 0;

        if (sets_nothing(yaml, entry))
            continue;
        if (!setting)
            return fail_key(yaml, entry, err);
        if (first[which])
            return ld_yaml_fail(yaml, entry->key_at, err,
                                "%s: set twice, first on line %d", setting->key,
                                first[which]->key_at.line);
        first[which] = entry;
        if (!ld_setting_store(config, setting, yaml, entry, folder, arena, err))
            return false;
    }
    return true;
}

/* ---- files and their bases ---- */

static bool read_file(struct ld_config *config, const char *path,
                      const struct source *above, struct ld_arena *arena,
                      struct ld_err *err);

static bool fail_base(const struct ld_yaml *yaml,
                      const struct ld_yaml_entry *entry, const char *what,
                      struct ld_err *err)
{
    return ld_yaml_fail(yaml, entry->value_at, err, "base: %s", what);
}

static bool read_base(struct ld_config *config, const struct ld_yaml *yaml,
                      const struct source *source, struct ld_arena *arena,
                      struct ld_err *err)
{
    const struct ld_yaml_entry *base = NULL;
    struct ld_err below = {0};
    char path[4096];

    for (int i = 0; i < yaml->n_entries; i++) {
        const struct ld_yaml_entry *entry = &yaml->entries[i];

        if (strcmp(entry->key, "base") != 0)
            continue;
        if (base)
            return fail_base(yaml, entry, "set twice", err);
        base = entry;
    }
    if (!base)
        return true;
    if (base->is_list || !*base->items[0])
        return fail_base(yaml, base, "expected the name of one file", err);
    if (!ld_path_join(path, source->folder, base->items[0], err))
        return false;
    if (read_file(config, path, source, arena, &below))
        return true;
    if (below.code != LD_ERR_IO) { /* it names the base's own place */
        *err = below;
        return false;
    }
    return fail_base(yaml, base, below.text, err);
}

static bool check_bases(const struct source *source, const char *path,
                        struct ld_err *err)
{
    const struct source *s = source->above;
    int n = 0;

    for (; s; s = s->above) {
        if (strcmp(s->real, source->real) == 0)
            return ld_fail(err, LD_ERR_USAGE,
                           "%s: is, through base, a base of itself", path);
        if (++n > MAX_BASES)
            return ld_fail(err, LD_ERR_USAGE,
                           "%s: more than %d bases, one under another", path,
                           MAX_BASES);
    }
    return true;
}

static bool locate(struct source *source, const char *path, struct ld_err *err)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 0;

    if (!realpath(path, source->real))
        return ld_fail(err, LD_ERR_IO, "%s: cannot open: %s", path,
                       strerror(errno));
    if (len >= sizeof(source->folder))
        return ld_fail(err, LD_ERR_IO, "%s: the name is too long", path);
    memcpy(source->folder, path, len);
    source->folder[len] = 0;
    return check_bases(source, path, err);
}

static bool read_yaml(struct ld_yaml *yaml, struct ld_arena *arena,
                      struct ld_err *err)
{
    struct ld_file file;
    bool ok;

    if (!ld_file_open(yaml->name, &file, err))
        return false;
    if (file.len > MAX_FILE)
        ok = ld_fail(err, LD_ERR_USAGE, "%s: over 1 MB, too long for a config",
                     yaml->name);
    else
        ok = ld_yaml_read(yaml, (const char *)file.data, file.len, arena, err);
    ld_file_close(&file);
    return ok;
}

static bool read_file(struct ld_config *config, const char *path,
                      const struct source *above, struct ld_arena *arena,
                      struct ld_err *err)
{
    struct ld_yaml yaml = {.name = path, .has_places = true};
    struct source source = {.above = above};

    return locate(&source, path, err) && read_yaml(&yaml, arena, err) &&
           read_base(config, &yaml, &source, arena, err) &&
           apply(config, &yaml, source.folder, arena, err);
}

bool ld_config_read(struct ld_config *config, const char *path,
                    struct ld_arena *arena, struct ld_err *err)
{
    return read_file(config, path, NULL, arena, err);
}

/* ---- other texts ---- */

static bool set(struct ld_config *config, const char *key, const char *value,
                const char *name, struct ld_arena *arena, struct ld_err *err)
{
    struct ld_yaml yaml = {.name = name, .root = key};

    return ld_yaml_read(&yaml, value, strlen(value), arena, err) &&
           apply(config, &yaml, "", arena, err);
}

bool ld_config_default(struct ld_config *config, struct ld_arena *arena,
                       struct ld_err *err)
{
    *config = (struct ld_config){0};
    for (int i = 0; i < ld_n_settings; i++) {
        const struct ld_setting *s = &ld_settings_table[i];

        if (!set(config, s->key, s->fallback, "default", arena, err))
            return false;
    }
    return true;
}

bool ld_config_set(struct ld_config *config, const char *assignment,
                   struct ld_arena *arena, struct ld_err *err)
{
    const char *equals = strchr(assignment, '=');
    const char *key;

    if (!equals || equals == assignment)
        return ld_fail(err, LD_ERR_USAGE,
                       "--set %s: expected key=value, as in train.lr=0.01",
                       assignment);
    key = ld_arena_text(arena, assignment, (size_t)(equals - assignment), err);
    return key && set(config, key, equals + 1, "--set", arena, err);
}

bool ld_config_parse(struct ld_config *config, const char *text,
                     const char *name, struct ld_arena *arena,
                     struct ld_err *err)
{
    struct ld_yaml yaml = {.name = name, .has_places = true};

    return ld_yaml_read(&yaml, text, strlen(text), arena, err) &&
           apply(config, &yaml, "", arena, err);
}

/* ---- a config as text ---- */

/* Bytes of a key up to its dot; 0 if it is in no section. */
static int section_len(const char *key)
{
    const char *dot = strchr(key, '.');

    return dot ? (int)(dot - key) : 0;
}

static bool begins_section(int i)
{
    const char *key = ld_settings_table[i].key;
    int len = section_len(key);

    return len > 0 && (i == 0 || strncmp(ld_settings_table[i - 1].key, key,
                                         (size_t)len + 1) != 0);
}

void ld_config_text(const struct ld_config *config, struct ld_buf *out)
{
    for (int i = 0; i < ld_n_settings; i++) {
        const struct ld_setting *s = &ld_settings_table[i];
        int len = section_len(s->key);

        if (begins_section(i))
            ld_buf_printf(out, "%.*s:\n", len, s->key);
        ld_buf_printf(out,
                      len ? "  %s: " : "%s: ", len ? s->key + len + 1 : s->key);
        ld_setting_put(out, config, s);
        ld_buf_printf(out, "\n");
    }
}

/* Appends words, broken into lines of at most 78 characters. */
static void put_wrapped(struct ld_buf *out, const char *text)
{
    int column = 0;

    while (*text) {
        int len = (int)strcspn(text, " ");

        if (column > 0 && column + 1 + len > 78)
            column = 0;
        ld_buf_printf(out, "%s%.*s", column ? " " : "\n      ", len, text);
        column += column ? 1 + len : 6 + len;
        text += len + (text[len] == ' ');
    }
    ld_buf_printf(out, "\n");
}

void ld_config_help(struct ld_buf *out)
{
    char expected[200];

    ld_buf_printf(out, "A config is YAML: sections of settings. `base: FILE` "
                       "reads another config first.\n");
    for (int i = 0; i < ld_n_settings; i++) {
        const struct ld_setting *s = &ld_settings_table[i];
        int len = section_len(s->key);
        bool wide;

        if (begins_section(i))
            ld_buf_printf(out, "\n%.*s:\n", len, s->key);
        else if (len == 0)
            ld_buf_printf(out, "\n");
        ld_setting_expected(s, expected);
        wide = strlen(s->key) + strlen(s->fallback) + strlen(expected) > 73;
        ld_buf_printf(out, "  %s: %s%s(%s)", s->key, s->fallback,
                      wide ? "\n      " : " ", expected);
        put_wrapped(out, s->help);
    }
}
