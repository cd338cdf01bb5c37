#include "formats/coco_sections.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_KEY = 32,         /* longer than any key that is read */
    MAX_SIDE = 1 << 24,   /* pixels; exact in a float */
    HASH_BYTES = 4 << 20, /* hashed and forgotten at a time */
};

bool ld_coco_fail(struct ld_coco *c, const char *at, const char *format, ...)
{
    char what[300];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    c->json.at = at;
    return ld_json_fail(&c->json, what);
}

/* --- the items of the three sections --- */

static bool missing(struct ld_coco *c, const char *what, const char *key)
{
    return ld_coco_fail(c, c->json.at, "the %s that ends here has no '%s'",
                        what, key);
}

static const char *read_text(struct ld_coco *c)
{
    c->text.len = 0;
    if (!ld_json_string(&c->json, &c->text))
        return NULL;
    if (c->text.len == 1) {
        ld_json_fail(&c->json, "expected a name, found an empty string");
        return NULL;
    }
    return ld_arena_text(&c->store->arena, (const char *)c->text.data,
                         c->text.len - 1, c->err);
}

static bool read_side(struct ld_coco *c, int32_t *side)
{
    int64_t value;

    if (!ld_json_integer(&c->json, &value))
        return false;
    if (value < 1 || value > MAX_SIDE)
        return ld_coco_fail(c, c->json.at, "expected a size of 1 to %d pixels",
                            MAX_SIDE);
    *side = (int32_t)value;
    return true;
}

static bool read_image(struct ld_coco *c)
{
    struct ld_coco_image image = {.at = c->json.at};
    bool has_id = false;
    char key[MAX_KEY];

    ld_json_object(&c->json);
    while (ld_json_key(&c->json, key, sizeof(key))) {
        if (strcmp(key, "id") == 0)
            has_id = ld_json_integer(&c->json, &image.id);
        else if (strcmp(key, "file_name") == 0)
            image.name = read_text(c);
        else if (strcmp(key, "height") == 0)
            read_side(c, &image.H);
        else if (strcmp(key, "width") == 0)
            read_side(c, &image.W);
        else
            ld_json_skip(&c->json);
    }
    if (c->err->code)
        return false;
    if (!has_id || !image.name || !image.H || !image.W)
        return missing(c, "image",
                       !has_id       ? "id"
                       : !image.name ? "file_name"
                       : !image.H    ? "height"
                                     : "width");
    ld_buf_put(&c->images, &image, sizeof(image));
    return ld_buf_ok(&c->images, c->err);
}

static bool read_category(struct ld_coco *c)
{
    struct ld_coco_category category = {.at = c->json.at, .class_index = -1};
    bool has_id = false;
    char key[MAX_KEY];

    ld_json_object(&c->json);
    while (ld_json_key(&c->json, key, sizeof(key))) {
        if (strcmp(key, "id") == 0)
            has_id = ld_json_integer(&c->json, &category.id);
        else if (strcmp(key, "name") == 0)
            category.name = read_text(c);
        else
            ld_json_skip(&c->json);
    }
    if (c->err->code)
        return false;
    if (!has_id || !category.name)
        return missing(c, "category", has_id ? "name" : "id");
    ld_buf_put(&c->categories, &category, sizeof(category));
    return ld_buf_ok(&c->categories, c->err);
}

/* [x, y, width, height] */
static bool read_bbox(struct ld_coco *c, double bbox[4])
{
    int n = 0;

    ld_json_array(&c->json);
    while (ld_json_element(&c->json)) {
        if (n == 4)
            return ld_coco_fail(c, c->json.at, "expected 4 numbers in a bbox");
        ld_json_number(&c->json, &bbox[n]);
        if (!c->err->code && fabs(bbox[n]) > MAX_SIDE)
            return ld_coco_fail(c, c->json.at,
                                "expected a bbox within %d pixels", MAX_SIDE);
        n++;
    }
    if (!c->err->code && n < 4)
        return ld_coco_fail(c, c->json.at,
                            "expected 4 numbers in a bbox, found %d", n);
    if (!c->err->code && (bbox[2] < 0 || bbox[3] < 0))
        return ld_coco_fail(c, c->json.at,
                            "a bbox of negative width or height");
    return !c->err->code;
}

/* 0, 1, true or false. */
static bool read_flag(struct ld_coco *c)
{
    bool flag = false;
    double number = 0;

    if (ld_json_peek(&c->json) == LD_JSON_BOOL)
        ld_json_bool(&c->json, &flag);
    else
        ld_json_number(&c->json, &number);
    return flag || number != 0;
}

enum { HAS_IMAGE = 1, HAS_CATEGORY = 2, HAS_BBOX = 4, HAS_AREA = 8 };

/* Everything of an annotation but its judgement. Returns which keys it has. */
static unsigned read_annotation_keys(struct ld_coco *c,
                                     struct ld_coco_annotation *a,
                                     double bbox[4], double *area,
                                     bool *unwanted)
{
    struct ld_json *j = &c->json;
    unsigned has = 0;
    char key[MAX_KEY];

    ld_json_object(j);
    while (ld_json_key(j, key, sizeof(key))) {
        if (strcmp(key, "image_id") == 0)
            has |= ld_json_integer(j, &a->image_id) ? HAS_IMAGE : 0;
        else if (strcmp(key, "category_id") == 0)
            has |= ld_json_integer(j, &a->category_id) ? HAS_CATEGORY : 0;
        else if (strcmp(key, "bbox") == 0)
            has |= read_bbox(c, bbox) ? HAS_BBOX : 0;
        else if (strcmp(key, "area") == 0)
            has |= ld_json_number(j, area) ? HAS_AREA : 0;
        else if (strcmp(key, "iscrowd") == 0)
            a->crowd = read_flag(c);
        else if (strcmp(key, "ignore") == 0)
            *unwanted = read_flag(c);
        else
            ld_json_skip(j);
    }
    return has;
}

static bool read_annotation(struct ld_coco *c)
{
    struct ld_coco_annotation a = {.at = c->json.at};
    bool unwanted = false;
    double bbox[4], area;
    unsigned has = read_annotation_keys(c, &a, bbox, &area, &unwanted);

    if (c->err->code)
        return false;
    if (!(has & HAS_IMAGE) || !(has & HAS_CATEGORY) || !(has & HAS_BBOX))
        return missing(c, "annotation",
                       !(has & HAS_IMAGE)      ? "image_id"
                       : !(has & HAS_CATEGORY) ? "category_id"
                                               : "bbox");
    if (!(has & HAS_AREA))
        area = bbox[2] * bbox[3];
    a.box =
        (struct ld_box){(float)bbox[0], (float)bbox[1],
                        (float)(bbox[0] + bbox[2]), (float)(bbox[1] + bbox[3])};
    a.area = (float)area;
    a.usable = !unwanted && area > 0 && bbox[2] >= 1 && bbox[3] >= 1;
    ld_buf_put(&c->annotations, &a, sizeof(a));
    return ld_buf_ok(&c->annotations, c->err);
}

/* --- the file --- */

/* Hashes what has been read since the last time and lets go of its memory. */
static void hash_so_far(struct ld_coco *c, size_t least)
{
    size_t n_read = (size_t)(c->json.at - (const char *)c->file.data);

    if (n_read - c->n_hashed < least)
        return;
    sha256_update(&c->hash, n_read - c->n_hashed, c->file.data + c->n_hashed);
    ld_file_forget(&c->file, c->n_hashed, n_read);
    c->n_hashed = n_read;
}

static bool read_section(struct ld_coco *c,
                         bool (*read_item)(struct ld_coco *c))
{
    ld_json_array(&c->json);
    while (ld_json_element(&c->json)) {
        if (ld_json_peek(&c->json) == LD_JSON_BAD || !read_item(c))
            return false;
        hash_so_far(c, HASH_BYTES);
    }
    return !c->err->code;
}

bool ld_coco_read_sections(struct ld_coco *c)
{
    bool has_images = false, has_annotations = false, has_categories = false;
    char key[MAX_KEY];

    ld_json_object(&c->json);
    while (ld_json_key(&c->json, key, sizeof(key))) {
        if (strcmp(key, "images") == 0)
            has_images = read_section(c, read_image);
        else if (strcmp(key, "annotations") == 0)
            has_annotations = read_section(c, read_annotation);
        else if (strcmp(key, "categories") == 0)
            has_categories = read_section(c, read_category);
        else
            ld_json_skip(&c->json);
    }
    if (!ld_json_end(&c->json))
        return false;
    if (!has_images || !has_annotations || !has_categories)
        return ld_fail(c->err, LD_ERR_FORMAT,
                       "%s: has no '%s': expected COCO instances JSON",
                       c->json.name,
                       !has_images        ? "images"
                       : !has_annotations ? "annotations"
                                          : "categories");
    hash_so_far(c, 0);
    return true;
}
