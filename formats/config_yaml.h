/* config_yaml.h - a YAML text as a flat list of dotted keys and plain values.
 *
 *     train: {lr: 0.01, lr_steps: [8, 11]}
 *
 * gives "train.lr" with "0.01" and "train.lr_steps" with "8", "11". The part of
 * YAML that a config needs: mappings, lists of plain values, any quoting.
 * Anchors, aliases, tags and a second document are refused. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "kernels/base/error.h"
#include "kernels/base/mem.h"

struct ld_yaml_place {
    int line, column; /* from 1 */
};

struct ld_yaml_entry {
    const char *key;
    const char **items; /* one, or those of the list; UTF-8 without control
                           characters */
    int n_items;
    bool is_list;
    bool is_null; /* one item, written as nothing, ~ or null: it is "" */
    struct ld_yaml_place key_at, value_at;
};

struct ld_yaml {
    const char *name; /* of the file, for errors; borrowed */
    bool has_places;  /* errors give line and column */
    const char *root; /* borrowed. NULL: the text is a mapping of keys. Else the
                         text is the value of this key */
    struct ld_yaml_entry *entries; /* in the order of the text; the arena's */
    int n_entries;
};

/* Fills entries; name, has_places and root are set by the caller. LD_ERR_USAGE
 * names file, line and column. */
bool ld_yaml_read(struct ld_yaml *yaml, const char *text, size_t len,
                  struct ld_arena *arena, struct ld_err *err);

/* Records "name:line:column: <text>", or "name: <text>" without places. Returns
 * false. */
bool ld_yaml_fail(const struct ld_yaml *yaml, struct ld_yaml_place at,
                  struct ld_err *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Appends text in double quotes, as YAML. */
void ld_yaml_put_text(struct ld_buf *out, const char *text);
