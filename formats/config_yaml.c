#include "formats/config_yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum { MAX_DEPTH = 8, MAX_KEY = 256, MAX_ENTRIES = 1 << 16 };

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the one being looked at */
    struct ld_yaml *yaml;
    struct ld_buf entries; /* of struct ld_yaml_entry */
    struct ld_buf items;   /* of const char *, of the list being read */
    struct ld_arena *arena;
    struct ld_err *err;
};

bool ld_yaml_fail(const struct ld_yaml *yaml, struct ld_yaml_place at,
                  struct ld_err *err, const char *format, ...)
{
    char text[sizeof(err->text)];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (!yaml->has_places)
        return ld_fail(err, LD_ERR_USAGE, "%s: %s", yaml->name, text);
    return ld_fail(err, LD_ERR_USAGE, "%s:%d:%d: %s", yaml->name, at.line,
                   at.column, text);
}

static struct ld_yaml_place place_of(yaml_mark_t mark)
{
    return (struct ld_yaml_place){(int)mark.line + 1, (int)mark.column + 1};
}

static bool fail_here(struct reader *r, const char *what)
{
    return ld_yaml_fail(r->yaml, place_of(r->event.start_mark), r->err, "%s",
                        what);
}

/* libyaml says where, except for bytes that are not UTF-8. */
static bool fail_syntax(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;

    if (p->error == YAML_MEMORY_ERROR)
        return ld_fail(r->err, LD_ERR_MEMORY, "%s: out of memory",
                       r->yaml->name);
    if (p->error == YAML_READER_ERROR)
        return ld_fail(r->err, LD_ERR_USAGE, "%s: byte %zu: not YAML: %s",
                       r->yaml->name, p->problem_offset, p->problem);
    return ld_yaml_fail(r->yaml, place_of(p->problem_mark), r->err,
                        "not YAML: %s%s%s", p->problem, p->context ? " " : "",
                        p->context ? p->context : "");
}

static bool has_anchor_or_tag(const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return e->data.scalar.anchor || e->data.scalar.tag;
    case YAML_SEQUENCE_START_EVENT:
        return e->data.sequence_start.anchor || e->data.sequence_start.tag;
    case YAML_MAPPING_START_EVENT:
        return e->data.mapping_start.anchor || e->data.mapping_start.tag;
    default:
        return false;
    }
}

static bool next(struct reader *r)
{
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event))
        return fail_syntax(r);
    if (r->event.type == YAML_ALIAS_EVENT || has_anchor_or_tag(&r->event))
        return fail_here(r, "anchors (&), aliases (*) and tags (!) are not "
                            "supported in a config; write the value out");
    return true;
}

/* ---- texts ---- */

/* What a double-quoted text may hold as it stands, so that what is written is
 * what is read: no control characters (C0, C1, DEL), no line separators, no
 * byte order marks or other non-characters. The bytes are valid UTF-8. */
static bool is_printable(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;

    for (size_t i = 0; i < len; i++) {
        if (s[i] < 0x20 || s[i] == 0x7f)
            return false;
        if (s[i] == 0xc2 && s[i + 1] < 0xa0)
            return false;
        if (s[i] == 0xe2 && s[i + 1] == 0x80 &&
            (s[i + 2] == 0xa8 || s[i + 2] == 0xa9))
            return false;
        if (s[i] == 0xef && ((s[i + 1] == 0xbb && s[i + 2] == 0xbf) ||
                             (s[i + 1] == 0xbf && s[i + 2] >= 0xbe)))
            return false;
    }
    return true;
}

/* A copy of the scalar being looked at; NULL after a failure. */
static const char *take_text(struct reader *r)
{
    const char *text = (const char *)r->event.data.scalar.value;
    size_t len = r->event.data.scalar.length;

    if (!is_printable(text, len)) {
        fail_here(r, "a text with a line break or a control character");
        return NULL;
    }
    return ld_arena_text(r->arena, text, len, r->err);
}

static bool is_null(const yaml_event_t *e)
{
    const char *text = (const char *)e->data.scalar.value;

    return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

void ld_yaml_put_text(struct ld_buf *out, const char *text)
{
    ld_buf_put(out, "\"", 1);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            ld_buf_put(out, "\\", 1);
        ld_buf_put(out, text, 1);
    }
    ld_buf_put(out, "\"", 1);
}

/* ---- nodes ---- */

static bool add_entry(struct reader *r, struct ld_yaml_entry entry)
{
    size_t n = (size_t)entry.n_items;

    entry.items = ld_arena_new(r->arena, n, sizeof(*entry.items), r->err);
    if (!entry.items || !ld_buf_ok(&r->items, r->err))
        return false;
    if (n > 0)
        memcpy(entry.items, r->items.data, n * sizeof(*entry.items));
    ld_buf_put(&r->entries, &entry, sizeof(entry));
    return ld_buf_ok(&r->entries, r->err);
}

static bool add_item(struct reader *r)
{
    const char *text = take_text(r);

    if (text)
        ld_buf_put(&r->items, &text, sizeof(text));
    return text != NULL;
}

static bool read_scalar(struct reader *r, struct ld_yaml_entry entry)
{
    static const char *const nothing = "";

    entry.n_items = 1;
    entry.is_null = is_null(&r->event);
    r->items.len = 0;
    if (entry.is_null)
        ld_buf_put(&r->items, &nothing, sizeof(nothing));
    else if (!add_item(r))
        return false;
    return add_entry(r, entry);
}

static bool read_list(struct reader *r, struct ld_yaml_entry entry)
{
    entry.is_list = true;
    r->items.len = 0;
    while (next(r) && r->event.type == YAML_SCALAR_EVENT) {
        if (!add_item(r))
            return false;
        entry.n_items++;
    }
    if (r->err->code != LD_OK)
        return false;
    if (r->event.type != YAML_SEQUENCE_END_EVENT)
        return fail_here(r, "expected a plain value in this list");
    return add_entry(r, entry);
}

static bool read_node(struct reader *r, struct ld_yaml_entry entry, int depth);

/* The entries of a mapping under `prefix`, "" at the top. */
static bool read_mapping(struct reader *r, const char *prefix, int depth)
{
    while (next(r) && r->event.type == YAML_SCALAR_EVENT) {
        struct ld_yaml_entry entry = {.key_at = place_of(r->event.start_mark)};
        const char *key = take_text(r);
        char path[2 * MAX_KEY + 2];

        if (!key)
            return false;
        if (strlen(key) + strlen(prefix) > MAX_KEY)
            return fail_here(r, "a key of more than 256 characters");
        snprintf(path, sizeof(path), "%.*s%s%.*s", MAX_KEY, prefix,
                 *prefix ? "." : "", MAX_KEY, key);
        entry.key = ld_arena_text(r->arena, path, strlen(path), r->err);
        if (!entry.key || !next(r) || !read_node(r, entry, depth + 1))
            return false;
    }
    if (r->err->code != LD_OK)
        return false;
    return r->event.type == YAML_MAPPING_END_EVENT ||
           fail_here(r, "expected a plain word as a key");
}

static bool read_node(struct reader *r, struct ld_yaml_entry entry, int depth)
{
    entry.value_at = place_of(r->event.start_mark);
    if (depth > MAX_DEPTH)
        return fail_here(r, "nested too deep for a config");
    switch (r->event.type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(r, entry);
    case YAML_SEQUENCE_START_EVENT:
        return read_list(r, entry);
    default:
        return read_mapping(r, entry.key, depth);
    }
}

static bool read_root(struct reader *r)
{
    const char *root = r->yaml->root;

    if (root)
        return read_node(r, (struct ld_yaml_entry){.key = root}, 0);
    if (r->event.type == YAML_SCALAR_EVENT && is_null(&r->event))
        return true;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return fail_here(r, "expected settings, as in 'train: {lr: 0.01}'");
    return read_mapping(r, "", 0);
}

/* `--set key=` */
static bool read_nothing(struct reader *r)
{
    static const char *const nothing = "";
    struct ld_yaml_entry entry = {
        .key = r->yaml->root, .n_items = 1, .is_null = true};

    ld_buf_put(&r->items, &nothing, sizeof(nothing));
    return !r->yaml->root || add_entry(r, entry);
}

static bool read_stream(struct reader *r)
{
    if (!next(r) || !next(r)) /* STREAM-START, then DOCUMENT-START or the end */
        return false;
    if (r->event.type == YAML_STREAM_END_EVENT)
        return read_nothing(r);
    if (!next(r) || !read_root(r) || !next(r) || !next(r))
        return false;
    return r->event.type == YAML_STREAM_END_EVENT ||
           fail_here(r, "a second YAML document; a config is one");
}

static bool keep_entries(struct reader *r)
{
    size_t size = sizeof(struct ld_yaml_entry), n = r->entries.len / size;

    r->yaml->entries = ld_arena_new(r->arena, n, size, r->err);
    if (!r->yaml->entries)
        return false;
    if (n > 0)
        memcpy(r->yaml->entries, r->entries.data, n * size);
    r->yaml->n_entries = (int)n;
    return true;
}

bool ld_yaml_read(struct ld_yaml *yaml, const char *text, size_t len,
                  struct ld_arena *arena, struct ld_err *err)
{
    struct reader r = {.yaml = yaml,
                       .entries.max =
                           MAX_ENTRIES * sizeof(struct ld_yaml_entry),
                       .items.max = MAX_ENTRIES * sizeof(const char *),
                       .arena = arena,
                       .err = err};
    bool ok;

    if (!yaml_parser_initialize(&r.parser))
        return ld_fail(err, LD_ERR_MEMORY, "%s: out of memory", yaml->name);
    yaml_parser_set_input_string(&r.parser,
                                 (const unsigned char *)(len ? text : ""), len);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    ok = read_stream(&r) && keep_entries(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    ld_buf_free(&r.entries);
    ld_buf_free(&r.items);
    return ok;
}
