#include "trainer/by_class.h"

#include <assert.h>
#include <stdlib.h>

static int compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int compare_detections(const void *left, const void *right)
{
    const struct ld_class_detection *a = left, *b = right;
    int by_class = compare(a->item.class_index, b->item.class_index);
    int by_sample = compare(a->sample, b->sample);

    if (by_class || by_sample)
        return by_class ? by_class : by_sample;
    if (a->item.score != b->item.score)
        return a->item.score > b->item.score ? -1 : 1;
    return compare(a->order, b->order);
}

/* Objects of one image lie in the data set's order in memory too. */
static int compare_objects(const void *left, const void *right)
{
    const struct ld_class_object *a = left, *b = right;
    int by_class = compare(a->item->class_index, b->item->class_index);
    int by_sample = compare(a->sample, b->sample);

    if (by_class || by_sample)
        return by_class ? by_class : by_sample;
    return (a->item > b->item) - (a->item < b->item);
}

static void count(struct ld_by_class *out, const struct ld_dataset *set,
                  const struct ld_image_detections *images, int n_images)
{
    out->n_classes = set->n_classes;
    out->n_detections = out->n_objects = 0;
    for (int i = 0; i < n_images; i++) {
        assert(images[i].sample >= 0 && images[i].sample < set->n_samples);
        out->n_detections += images[i].detections.n;
        out->n_objects += set->samples[images[i].sample].n_objects;
    }
}

static void fill(struct ld_by_class *out, const struct ld_dataset *set,
                 const struct ld_image_detections *images, int n_images)
{
    int d = 0, o = 0;

    for (int i = 0; i < n_images; i++) {
        const struct ld_sample *sample = &set->samples[images[i].sample];
        const struct ld_detections *list = &images[i].detections;

        for (int j = 0; j < list->n; j++, d++) {
            assert(list->items[j].class_index >= 0 &&
                   list->items[j].class_index < set->n_classes);
            out->detections[d] = (struct ld_class_detection){
                list->items[j], images[i].sample, d};
        }
        for (int j = 0; j < sample->n_objects; j++)
            out->objects[o++] = (struct ld_class_object){
                &set->objects[sample->first_object + j], images[i].sample};
    }
}

bool ld_by_class_gather(struct ld_by_class *out, const struct ld_dataset *set,
                        const struct ld_image_detections *images, int n_images,
                        struct ld_arena *arena, struct ld_err *err)
{
    count(out, set, images, n_images);
    out->detections =
        ld_arena_new(arena, out->n_detections, sizeof(*out->detections), err);
    out->objects =
        ld_arena_new(arena, out->n_objects, sizeof(*out->objects), err);
    if (!out->detections || !out->objects)
        return false;
    fill(out, set, images, n_images);
    qsort(out->detections, out->n_detections, sizeof(*out->detections),
          compare_detections);
    qsort(out->objects, out->n_objects, sizeof(*out->objects), compare_objects);
    return true;
}

/* The first (class, sample) of what is left. */
static bool find_group(const struct ld_by_class *by,
                       struct ld_class_group *group)
{
    const struct ld_class_detection *d = by->detections + group->detection;
    const struct ld_class_object *o = by->objects + group->object;
    bool has_d = group->detection < by->n_detections;
    bool has_o = group->object < by->n_objects;

    if (!has_d && !has_o)
        return false;
    group->class_index = has_d ? d->item.class_index : o->item->class_index;
    group->sample = has_d ? d->sample : o->sample;
    if (has_d && has_o &&
        (o->item->class_index < group->class_index ||
         (o->item->class_index == group->class_index &&
          o->sample < group->sample))) {
        group->class_index = o->item->class_index;
        group->sample = o->sample;
    }
    return true;
}

static bool has_detection(const struct ld_by_class *by,
                          const struct ld_class_group *group, int i)
{
    return i < by->n_detections &&
           by->detections[i].item.class_index == group->class_index &&
           by->detections[i].sample == group->sample;
}

static bool has_object(const struct ld_by_class *by,
                       const struct ld_class_group *group, int i)
{
    return i < by->n_objects &&
           by->objects[i].item->class_index == group->class_index &&
           by->objects[i].sample == group->sample;
}

bool ld_by_class_next(const struct ld_by_class *by,
                      struct ld_class_group *group)
{
    group->detection += group->n_detections;
    group->object += group->n_objects;
    group->n_detections = group->n_objects = 0;
    if (!find_group(by, group))
        return false;
    while (has_detection(by, group, group->detection + group->n_detections))
        group->n_detections++;
    while (has_object(by, group, group->object + group->n_objects))
        group->n_objects++;
    return true;
}
