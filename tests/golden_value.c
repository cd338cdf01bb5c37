#include "tests/golden.h"

#include "formats/file.h"
#include "formats/json.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool descend(struct ld_json *j, const char *path);

/* A key may hold dots, so each that begins the path is tried, on a copy. */
static bool descend_object(struct ld_json *j, const char *path)
{
    char key[256];

    ld_json_object(j);
    while (ld_json_key(j, key, sizeof(key))) {
        size_t len = strlen(key);

        if (strncmp(path, key, len) == 0 && (path[len] == '.' || !path[len])) {
            struct ld_json inside = *j;

            if (descend(&inside, path + len + (path[len] == '.'))) {
                *j = inside;
                return true;
            }
        }
        ld_json_skip(j);
    }
    return false;
}

static bool descend_array(struct ld_json *j, const char *path)
{
    char *end;
    long index = strtol(path, &end, 10);

    if (end == path || (*end && *end != '.'))
        return false;
    ld_json_array(j);
    while (ld_json_element(j)) {
        if (index-- == 0)
            return descend(j, end + (*end == '.'));
        ld_json_skip(j);
    }
    return false;
}

/* Moves to the value at the path; false if there is none, or null. */
static bool descend(struct ld_json *j, const char *path)
{
    enum ld_json_kind kind = ld_json_peek(j);

    if (*path == 0)
        return kind != LD_JSON_NULL && kind != LD_JSON_BAD;
    if (kind == LD_JSON_OBJECT)
        return descend_object(j, path);
    return kind == LD_JSON_ARRAY && descend_array(j, path);
}

/* case.json, open at one of its values. */
struct place {
    struct ld_file file;
    struct ld_json json;
    struct ld_err err;
};

static bool find(struct golden *g, const char *path, struct place *place)
{
    char name[1100];
    bool found;

    *place = (struct place){0};
    snprintf(name, sizeof(name), "%s/case.json", g->folder);
    if (!ld_file_open(name, &place->file, &place->err))
        ck_abort_msg("%s: %s", g->name, place->err.text);
    ld_json_open(&place->json, (const char *)place->file.data, place->file.len,
                 "case.json", &place->err);
    found = descend(&place->json, path);
    if (place->err.code)
        ck_abort_msg("%s: %s", g->name, place->err.text);
    return found;
}

static void leave(struct golden *g, struct place *place)
{
    if (place->err.code)
        ck_abort_msg("%s: %s", g->name, place->err.text);
    ld_file_close(&place->file);
}

static void find_or_give_up(struct golden *g, const char *path,
                            struct place *place)
{
    if (!find(g, path, place))
        ck_abort_msg("%s: case.json has no '%s'", g->name, path);
}

bool golden_has_value(struct golden *g, const char *path)
{
    struct place place;
    bool has = find(g, path, &place);

    leave(g, &place);
    return has;
}

double golden_number(struct golden *g, const char *path)
{
    struct place place;
    double value = NAN;
    bool fact = false;

    find_or_give_up(g, path, &place);
    if (ld_json_peek(&place.json) == LD_JSON_BOOL) {
        ld_json_bool(&place.json, &fact);
        value = fact;
    } else {
        ld_json_number(&place.json, &value);
    }
    leave(g, &place);
    return value;
}

const char *golden_string(struct golden *g, const char *path)
{
    struct ld_buf text = {.max = 1 << 20};
    struct place place;
    char *copy;

    find_or_give_up(g, path, &place);
    ld_json_string(&place.json, &text);
    leave(g, &place);
    copy = ld_arena_text(&g->arena, (const char *)text.data, text.len - 1,
                         &place.err);
    ck_assert_ptr_nonnull(copy);
    ld_buf_free(&text);
    return copy;
}

double golden_rounding(struct golden *g, const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "arrays.%s.fp32_vs_fp64_max_abs_err", name);
    return golden_has_value(g, path) ? golden_number(g, path) : 0;
}
