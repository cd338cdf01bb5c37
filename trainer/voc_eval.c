#include "trainer/voc_eval.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/by_class.h"

/* What a detection overlaps most; difficult objects come after the others, so
 * between equal overlaps the one that counts is taken. */
struct candidate {
    float score, iou;
    int object; /* into ld_by_class.objects; -1: none in the image */
    int class_index;
    int index; /* by image, then score: the last word between equals */
};

struct evaluation {
    struct ld_by_class by;
    struct candidate *candidates; /* (n_detections) by class, falling score */
    bool *covered;                /* (n_objects) by a better detection */
    double *recall, *precision;   /* (detections of a class) */
    bool eleven_points;
};

static void consider(struct candidate *c, const struct ld_by_class *by,
                     int object)
{
    struct ld_box box = by->detections[c->index].item.box;
    float iou = ld_box_iou(box, by->objects[object].item->box);

    if (c->object < 0 || iou > c->iou) {
        c->object = object;
        c->iou = iou;
    }
}

static struct candidate find_best(const struct ld_by_class *by,
                                  const struct ld_class_group *group, int index)
{
    const struct ld_detection *item = &by->detections[index].item;
    struct candidate c = {item->score, 0, -1, group->class_index, index};

    for (int difficult = 0; difficult < 2; difficult++)
        for (int i = 0; i < group->n_objects; i++)
            if (by->objects[group->object + i].item->ignored == difficult)
                consider(&c, by, group->object + i);
    return c;
}

static int compare_candidates(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;

    if (a->class_index != b->class_index)
        return a->class_index < b->class_index ? -1 : 1;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

static void find_candidates(struct evaluation *e, int *class_objects)
{
    struct ld_class_group group = {0};

    while (ld_by_class_next(&e->by, &group)) {
        for (int i = 0; i < group.n_detections; i++)
            e->candidates[group.detection + i] =
                find_best(&e->by, &group, group.detection + i);
        for (int i = 0; i < group.n_objects; i++)
            class_objects[group.class_index] +=
                !e->by.objects[group.object + i].item->ignored;
    }
    qsort(e->candidates, e->by.n_detections, sizeof(*e->candidates),
          compare_candidates);
}

/* Recall and precision after each of the class's detections. */
static void trace_curve(struct evaluation *e, const struct candidate *c, int n,
                        double limit, int n_objects)
{
    double tp = 0, fp = 0;

    for (int i = 0; i < n; i++) {
        if (c[i].object < 0 || !(c[i].iou >= limit)) {
            fp++;
        } else if (!e->by.objects[c[i].object].item->ignored) {
            fp += e->covered[c[i].object];
            tp += !e->covered[c[i].object];
            e->covered[c[i].object] = true;
        }
        e->recall[i] = tp / n_objects;
        e->precision[i] = tp / fmax(tp + fp, FLT_EPSILON);
    }
}

static double average_area(const struct evaluation *e, int n)
{
    double best = 0, sum = 0;

    for (int i = n - 1; i >= 0; i--) {
        best = fmax(best, e->precision[i]);
        sum += best * (e->recall[i] - (i > 0 ? e->recall[i - 1] : 0));
    }
    return sum;
}

/* The recalls to reach are i * 0.1 in double, .30000000000000004 among them: a
 * recall of exactly 3/10 does not reach it (numpy's arange, spec inference 5).
 */
static double average_eleven(const struct evaluation *e, int n)
{
    double sum = 0;

    for (int r = 0; r <= 10; r++) {
        double best = 0;

        for (int i = 0; i < n; i++)
            if (e->recall[i] >= r * 0.1)
                best = fmax(best, e->precision[i]);
        sum += best;
    }
    return sum / 11;
}

static double class_ap(struct evaluation *e, const struct candidate *c, int n,
                       double limit, int n_objects)
{
    if (n_objects == 0)
        return NAN;
    trace_curve(e, c, n, limit, n_objects);
    return e->eleven_points ? average_eleven(e, n) : average_area(e, n);
}

/* Fills the row of class APs at one threshold and returns their mean. */
static double threshold_map(struct evaluation *e, double limit,
                            const int *class_objects, double *aps)
{
    double sum = 0;
    int first = 0, n_counted = 0;

    memset(e->covered, 0, e->by.n_objects * sizeof(*e->covered));
    for (int k = 0; k < e->by.n_classes; k++) {
        int n = 0;

        while (first + n < e->by.n_detections &&
               e->candidates[first + n].class_index == k)
            n++;
        aps[k] = class_ap(e, e->candidates + first, n, limit, class_objects[k]);
        if (class_objects[k] > 0) {
            sum += aps[k];
            n_counted++;
        }
        first += n;
    }
    return n_counted ? sum / n_counted : 0;
}

static bool make_arrays(struct evaluation *e, struct ld_voc_result *out,
                        struct ld_arena *arena, struct ld_err *err)
{
    size_t n = e->by.n_detections, n_classes = e->by.n_classes;

    e->candidates = ld_arena_new(arena, n, sizeof(*e->candidates), err);
    e->recall = ld_arena_new(arena, n, sizeof(*e->recall), err);
    e->precision = ld_arena_new(arena, n, sizeof(*e->precision), err);
    e->covered = ld_arena_new(arena, e->by.n_objects, sizeof(*e->covered), err);
    out->class_objects = ld_arena_new(arena, n_classes, sizeof(int), err);
    out->class_ap =
        ld_arena_new(arena, LD_VOC_THRESHOLDS * n_classes, sizeof(double), err);
    return e->candidates && e->recall && e->precision && e->covered &&
           out->class_objects && out->class_ap;
}

bool ld_voc_eval(struct ld_voc_result *out, const struct ld_dataset *set,
                 const struct ld_image_detections *images, int n_images,
                 bool eleven_points, struct ld_arena *arena, struct ld_err *err)
{
    struct evaluation e = {.eleven_points = eleven_points};
    double limit = .5, sum = 0;

    if (!ld_by_class_gather(&e.by, set, images, n_images, arena, err) ||
        !make_arrays(&e, out, arena, err))
        return false;
    find_candidates(&e, out->class_objects);
    for (int t = 0; t < LD_VOC_THRESHOLDS; t++) {
        out->map[t] = threshold_map(&e, limit, out->class_objects,
                                    out->class_ap + (size_t)t * e.by.n_classes);
        sum += out->map[t];
        limit += .05; /* summed up: .6000000000000001, .7000000000000002 */
    }
    out->mean = sum / LD_VOC_THRESHOLDS;
    return true;
}
