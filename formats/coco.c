#include "formats/coco_sections.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    MIN_TRAINED_SIDE = 32, /* pixels, spec training 1 */
    MAX_NAME = 4096,       /* bytes */
};

static size_t n_images(const struct ld_coco *c)
{
    return c->images.len / sizeof(struct ld_coco_image);
}

static size_t n_categories(const struct ld_coco *c)
{
    return c->categories.len / sizeof(struct ld_coco_category);
}

static size_t n_annotations(const struct ld_coco *c)
{
    return c->annotations.len / sizeof(struct ld_coco_annotation);
}

/* --- images --- */

static int by_image_id(const void *left, const void *right)
{
    const struct ld_coco_image *a = left, *b = right;

    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

static bool make_samples(struct ld_coco *c)
{
    struct ld_coco_image *images = (struct ld_coco_image *)c->images.data;
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
            return ld_coco_fail(c, images[i].at, "a second image of id %lld",
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
    const struct ld_coco_category *a = left, *b = right;

    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

static int by_category_name(const void *left, const void *right)
{
    const struct ld_coco_category *a = left, *b = right;
    int order = strcmp(a->name, b->name);

    return order ? order : a->at < b->at ? -1 : a->at > b->at;
}

/* Leaves them by rising id. Two of one id or one name could not be told
 * apart. */
static bool sort_categories(struct ld_coco *c)
{
    struct ld_coco_category *list =
        (struct ld_coco_category *)c->categories.data;
    size_t n = n_categories(c);

    if (n == 0)
        return true;
    qsort(list, n, sizeof(*list), by_category_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(list[i].name, list[i - 1].name) == 0)
            return ld_coco_fail(c, list[i].at, "a second category named '%s'",
                                list[i].name);
    qsort(list, n, sizeof(*list), by_category_id);
    for (size_t i = 1; i < n; i++)
        if (list[i].id == list[i - 1].id)
            return ld_coco_fail(c, list[i].at, "a second category of id %lld",
                                (long long)list[i].id);
    return true;
}

static struct ld_coco_category *category_of_name(struct ld_coco *c,
                                                 const char *name)
{
    struct ld_coco_category *list =
        (struct ld_coco_category *)c->categories.data;

    for (size_t i = 0; i < n_categories(c); i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    ld_fail(c->err, LD_ERR_FORMAT, "%s: has no category named '%s'",
            c->json.name, name);
    return NULL;
}

static bool make_classes(struct ld_coco *c,
                         const struct ld_dataset_source *source)
{
    struct ld_coco_category *list =
        (struct ld_coco_category *)c->categories.data;
    struct ld_dataset *set = &c->store->set;
    int n = source->n_classes ? source->n_classes : (int)n_categories(c);

    if (!sort_categories(c) || !ld_dataset_make_classes(c->store, n, c->err))
        return false;
    for (int i = 0; i < n; i++) {
        struct ld_coco_category *category =
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
            other = ((const struct ld_coco_category *)item)->id;

    return id < other ? -1 : id > other;
}

/* -1 for a category that is not wanted, or not in the file. */
static int find_class(const struct ld_coco *c, int64_t id)
{
    const struct ld_coco_category *found = NULL;

    if (n_categories(c) > 0)
        found = bsearch(&id, c->categories.data, n_categories(c),
                        sizeof(*found), id_against_category);
    return found ? found->class_index : -1;
}

/* Finds every annotation's image and class, and counts those of an image. */
static bool resolve_annotations(struct ld_coco *c)
{
    struct ld_coco_annotation *list =
        (struct ld_coco_annotation *)c->annotations.data;
    struct ld_dataset *set = &c->store->set;

    for (size_t i = 0; i < n_annotations(c); i++) {
        struct ld_coco_annotation *a = &list[i];

        a->i_sample = find_sample(set, a->image_id);
        if (a->i_sample < 0)
            return ld_coco_fail(c, a->at,
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
static struct ld_object object_of(const struct ld_coco_annotation *a,
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
static bool make_objects(struct ld_coco *c)
{
    const struct ld_coco_annotation *list =
        (struct ld_coco_annotation *)c->annotations.data;
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
    struct ld_coco c = {
        .store = store,
        .err = err,
        .images.max = (size_t)INT_MAX * sizeof(struct ld_coco_image),
        .categories.max = (size_t)INT_MAX * sizeof(struct ld_coco_category),
        .annotations.max = (size_t)INT_MAX * sizeof(struct ld_coco_annotation),
        .text.max = MAX_NAME,
    };
    bool ok = false;

    sha256_init(&c.hash);
    store->set.folder = ld_arena_text(&store->arena, source->images,
                                      strlen(source->images), err);
    if (!store->set.folder || !ld_file_open(source->annotations, &c.file, err))
        goto done;
    ld_json_open(&c.json, (const char *)c.file.data, c.file.len,
                 source->annotations, err);
    ok = ld_coco_read_sections(&c) && make_samples(&c) &&
         make_classes(&c, source) && resolve_annotations(&c) &&
         make_objects(&c);
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
