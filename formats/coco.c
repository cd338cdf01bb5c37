#include "formats/dataset_make.h"

#include "formats/file.h"
#include "formats/json.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_KEY = 32,          /* longer than any key that is read */
    MAX_SIDE = 1 << 24,    /* pixels; exact in a float */
    MIN_TRAINED_SIDE = 32, /* pixels, spec training 1 */
    HASH_BYTES = 4 << 20,  /* hashed and forgotten at a time */
    MAX_TEXT = 4096,       /* bytes of a name */
    MAX_ITEMS = INT_MAX / 2,
};

struct image {
    int64_t id;
    const char *name, *at; /* `at`: in the text, for errors */
    int32_t H, W;
};

struct category {
    int64_t id;
    const char *name, *at;
    int32_t class_index; /* -1: not wanted */
};

struct annotation {
    int64_t image_id, category_id;
    const char *at;
    struct ld_box box;
    float area;
    bool crowd;
    bool usable;                   /* not marked `ignore`, not degenerate */
    int32_t i_sample, class_index; /* set when all is read; -1: not wanted */
};

/* All that is needed while one file is read. The sections may come in any
 * order, so nothing is resolved before the last. */
struct coco {
    struct ld_dataset_store *store;
    struct ld_err *err;
    struct ld_file file;
    struct ld_json json;
    struct ld_buf images, categories, annotations; /* arrays of the above */
    struct ld_buf text;                            /* of the string just read */
    struct sha256_ctx hash;
    size_t n_hashed;
};

static size_t n_images(const struct coco *c)
{
    return c->images.len / sizeof(struct image);
}

static size_t n_categories(const struct coco *c)
{
    return c->categories.len / sizeof(struct category);
}

static size_t n_annotations(const struct coco *c)
{
    return c->annotations.len / sizeof(struct annotation);
}

/* An error at an earlier place of the file. */
__attribute__((format(printf, 3, 4))) static bool
fail_at(struct coco *c, const char *at, const char *format, ...)
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

static bool missing(struct coco *c, const char *what, const char *key)
{
    return fail_at(c, c->json.at, "the %s that ends here has no '%s'", what,
                   key);
}

static const char *read_text(struct coco *c)
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

static bool read_side(struct coco *c, int32_t *side)
{
    int64_t value;

    if (!ld_json_integer(&c->json, &value))
        return false;
    if (value < 1 || value > MAX_SIDE)
        return fail_at(c, c->json.at, "expected a size of 1 to %d pixels",
                       MAX_SIDE);
    *side = (int32_t)value;
    return true;
}

static bool read_image(struct coco *c)
{
    struct image image = {.at = c->json.at};
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

static bool read_category(struct coco *c)
{
    struct category category = {.at = c->json.at, .class_index = -1};
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
static bool read_bbox(struct coco *c, double bbox[4])
{
    int n = 0;

    ld_json_array(&c->json);
    while (ld_json_element(&c->json)) {
        if (n == 4)
            return fail_at(c, c->json.at, "expected 4 numbers in a bbox");
        ld_json_number(&c->json, &bbox[n]);
        if (!c->err->code && fabs(bbox[n]) > MAX_SIDE)
            return fail_at(c, c->json.at, "expected a bbox within %d pixels",
                           MAX_SIDE);
        n++;
    }
    if (!c->err->code && n < 4)
        return fail_at(c, c->json.at, "expected 4 numbers in a bbox, found %d",
                       n);
    if (!c->err->code && (bbox[2] < 0 || bbox[3] < 0))
        return fail_at(c, c->json.at, "a bbox of negative width or height");
    return !c->err->code;
}

/* 0, 1, true or false. */
static bool read_flag(struct coco *c)
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
static unsigned read_annotation_keys(struct coco *c, struct annotation *a,
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

static bool read_annotation(struct coco *c)
{
    struct annotation a = {.at = c->json.at};
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
static void hash_so_far(struct coco *c, size_t least)
{
    size_t n_read = (size_t)(c->json.at - (const char *)c->file.data);

    if (c->json.at < c->json.text || n_read - c->n_hashed < least)
        return;
    sha256_update(&c->hash, n_read - c->n_hashed, c->file.data + c->n_hashed);
    ld_file_forget(&c->file, c->n_hashed, n_read);
    c->n_hashed = n_read;
}

static bool read_section(struct coco *c, bool (*read_item)(struct coco *c))
{
    int n = 0;

    ld_json_array(&c->json);
    while (ld_json_element(&c->json)) {
        if (ld_json_peek(&c->json) == LD_JSON_BAD || !read_item(c))
            return false;
        if (++n > MAX_ITEMS)
            return ld_json_fail(&c->json, "more items than this reads");
        hash_so_far(c, HASH_BYTES);
    }
    return !c->err->code;
}

static bool read_file(struct coco *c)
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

/* --- images --- */

static int by_image_id(const void *left, const void *right)
{
    const struct image *a = left, *b = right;

    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

static bool make_samples(struct coco *c)
{
    struct image *images = (struct image *)c->images.data;
    struct ld_dataset *set = &c->store->set;
    size_t n = n_images(c);

    if (n > 0)
        qsort(images, n, sizeof(*images), by_image_id);
    set->samples =
        ld_arena_new(&c->store->arena, n, sizeof(*set->samples), c->err);
    if (!set->samples)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && images[i].id == images[i - 1].id)
            return fail_at(c, images[i].at, "a second image of id %lld",
                           (long long)images[i].id);
        set->samples[i] = (struct ld_sample){.id = images[i].id,
                                             .name = images[i].name,
                                             .H = images[i].H,
                                             .W = images[i].W};
    }
    set->n_samples = (int)n;
    return true;
}

/* --- classes --- */

static int by_category_id(const void *left, const void *right)
{
    const struct category *a = left, *b = right;

    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

static int by_category_name(const void *left, const void *right)
{
    const struct category *a = left, *b = right;
    int order = strcmp(a->name, b->name);

    return order ? order : a->at < b->at ? -1 : a->at > b->at;
}

/* Leaves them by rising id. Two of one id or one name could not be told
 * apart. */
static bool sort_categories(struct coco *c)
{
    struct category *list = (struct category *)c->categories.data;
    size_t n = n_categories(c);

    if (n == 0)
        return true;
    qsort(list, n, sizeof(*list), by_category_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(list[i].name, list[i - 1].name) == 0)
            return fail_at(c, list[i].at, "a second category named '%s'",
                           list[i].name);
    qsort(list, n, sizeof(*list), by_category_id);
    for (size_t i = 1; i < n; i++)
        if (list[i].id == list[i - 1].id)
            return fail_at(c, list[i].at, "a second category of id %lld",
                           (long long)list[i].id);
    return true;
}

static struct category *category_of_name(struct coco *c, const char *name)
{
    struct category *list = (struct category *)c->categories.data;

    for (size_t i = 0; i < n_categories(c); i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    ld_fail(c->err, LD_ERR_FORMAT, "%s: has no category named '%s'",
            c->json.name, name);
    return NULL;
}

static bool make_classes(struct coco *c, const struct ld_dataset_source *source)
{
    struct category *list = (struct category *)c->categories.data;
    struct ld_dataset *set = &c->store->set;
    int n = source->n_classes ? source->n_classes : (int)n_categories(c);

    if (!sort_categories(c) || !ld_dataset_make_classes(c->store, n, c->err))
        return false;
    for (int i = 0; i < n; i++) {
        struct category *category =
            source->n_classes ? category_of_name(c, source->class_names[i])
                              : &list[i];

        if (!category)
            return false;
        if (category->class_index >= 0)
            return ld_fail(c->err, LD_ERR_USAGE,
                           "class '%s' is asked for twice", category->name);
        category->class_index = i;
        set->class_names[i] = category->name;
        set->category_id[i] = category->id;
    }
    return true;
}

/* --- objects --- */

static int find_sample(const struct ld_dataset *set, int64_t id)
{
    int low = 0, high = set->n_samples;

    while (low < high) {
        int middle = (low + high) / 2;

        if (set->samples[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < set->n_samples && set->samples[low].id == id ? low : -1;
}

static int id_against_category(const void *key, const void *item)
{
    int64_t id = *(const int64_t *)key,
            other = ((const struct category *)item)->id;

    return id < other ? -1 : id > other;
}

/* -1 for a category that is not wanted, or not in the file. */
static int find_class(const struct coco *c, int64_t id)
{
    const struct category *found = NULL;

    if (n_categories(c) > 0)
        found = bsearch(&id, c->categories.data, n_categories(c),
                        sizeof(*found), id_against_category);
    return found ? found->class_index : -1;
}

/* Finds every annotation's image and class, and counts those of an image. */
static bool resolve_annotations(struct coco *c)
{
    struct annotation *list = (struct annotation *)c->annotations.data;
    struct ld_dataset *set = &c->store->set;

    for (size_t i = 0; i < n_annotations(c); i++) {
        struct annotation *a = &list[i];

        a->i_sample = find_sample(set, a->image_id);
        if (a->i_sample < 0)
            return fail_at(c, a->at,
                           "an annotation of image %lld, which is not in "
                           "'images'",
                           (long long)a->image_id);
        a->class_index = find_class(c, a->category_id);
        if (a->class_index >= 0)
            set->samples[a->i_sample].n_objects++;
        else
            set->n_dropped++;
    }
    return true;
}

/* The annotation filter of spec training 1. */
static struct ld_object object_of(const struct annotation *a,
                                  const struct ld_sample *sample)
{
    return (struct ld_object){
        .box = a->box,
        .area = a->area,
        .class_index = a->class_index,
        .ignored = a->crowd,
        .trained = !a->crowd && a->usable &&
                   ld_dataset_box_meets_image(a->box, sample->H, sample->W),
    };
}

/* The objects of an image stand together, in the order of the file. */
static bool make_objects(struct coco *c)
{
    const struct annotation *list = (struct annotation *)c->annotations.data;
    struct ld_dataset *set = &c->store->set;

    for (int i = 0; i < set->n_samples; i++) {
        struct ld_sample *sample = &set->samples[i];

        sample->trained = sample->n_objects > 0 &&
                          sample->H >= MIN_TRAINED_SIDE &&
                          sample->W >= MIN_TRAINED_SIDE;
        sample->first_object = set->n_objects;
        set->n_objects += sample->n_objects;
        sample->n_objects = 0; /* counts again below */
    }
    set->objects = ld_arena_new(&c->store->arena, (size_t)set->n_objects,
                                sizeof(*set->objects), c->err);
    if (!set->objects)
        return false;
    for (size_t i = 0; i < n_annotations(c); i++) {
        struct ld_sample *sample = &set->samples[list[i].i_sample];
        struct ld_object object = object_of(&list[i], sample);

        if (object.class_index < 0)
            continue;
        set->n_dropped += !object.trained && !object.ignored;
        set->objects[sample->first_object + sample->n_objects++] = object;
    }
    return true;
}

bool ld_coco_read(const struct ld_dataset_source *source,
                  struct ld_dataset_store *store, struct ld_err *err)
{
    struct coco c = {
        .store = store,
        .err = err,
        .images.max = SIZE_MAX / 4,
        .categories.max = SIZE_MAX / 4,
        .annotations.max = SIZE_MAX / 4,
        .text.max = MAX_TEXT,
    };
    bool ok = false;

    sha256_init(&c.hash);
    store->set.folder = ld_arena_text(&store->arena, source->images,
                                      strlen(source->images), err);
    if (!store->set.folder || !ld_file_open(source->annotations, &c.file, err))
        goto done;
    ld_json_open(&c.json, (const char *)c.file.data, c.file.len,
                 source->annotations, err);
    ok = read_file(&c) && make_samples(&c) && make_classes(&c, source) &&
         resolve_annotations(&c) && make_objects(&c);
    if (ok)
        ld_dataset_set_hash(&store->set, &c.hash);
done:
    ld_file_close(&c.file);
    ld_buf_free(&c.images);
    ld_buf_free(&c.categories);
    ld_buf_free(&c.annotations);
    ld_buf_free(&c.text);
    return ok;
}
