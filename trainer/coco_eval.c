#include "trainer/coco_eval.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/by_class.h"

enum { N_THRESHOLDS = 10, N_RECALLS = 101, N_AREAS = 4, MAX_DETECTIONS = 100 };

/* numpy's linspace(.5, .95, 10), digit for digit. */
static const double IOU_LIMIT[N_THRESHOLDS] = {
    .5, .55, .6, .65, .7, .75, .8, .85, .8999999999999999, .95};

/* All, small, medium, large: both ends belong to the range. */
static const double AREA_FROM[N_AREAS] = {0, 0, 32 * 32, 96 * 96};
static const double AREA_TO[N_AREAS] = {1e10, 32 * 32, 96 * 96, 1e10};

/* What recalls are summarised over, in the order of LD_COCO_AR1 and after.
 * Precisions are summarised over the last four. */
static const struct column {
    int area, limit; /* best `limit` detections of an image and class */
} COLUMNS[] = {{0, 1}, {0, 10}, {0, 100}, {1, 100}, {2, 100}, {3, 100}};

enum { N_COLUMNS = 6, COLUMN_ALL = 2 };

struct ranked {
    float score;
    int class_index;
    int index; /* into ld_by_class.detections */
};

struct verdict {
    uint64_t matched, ignored; /* bit area * N_THRESHOLDS + threshold */
    int rank;                  /* by score in its image and class, from 0 */
};

struct evaluation {
    struct ld_by_class by;
    struct verdict *verdicts; /* (n_detections) */
    struct ranked *ranked;    /* (n_detections) by class, falling score */
    int (*n_wanted)[N_AREAS]; /* (n_classes) objects that are not ignored */

    /* Scratch of one group. */
    double *iou;      /* (detections, objects) */
    int *order;       /* (objects) those that count first */
    bool *ignored;    /* (objects) crowd, or outside the area range */
    bool *taken;      /* (objects) */
    double *envelope; /* (detections of a class) */
    double *recall;   /* (detections of a class) */

    double precision_sum[N_COLUMNS][N_THRESHOLDS]; /* over classes */
    double recall_sum[N_COLUMNS][N_THRESHOLDS];
    int n_classes[N_COLUMNS]; /* that have a wanted object */
};

static int n_ranked(const struct ld_class_group *group)
{
    return group->n_detections < MAX_DETECTIONS ? group->n_detections
                                                : MAX_DETECTIONS;
}

static double box_area(struct ld_box b)
{
    return ((double)b.x1 - b.x0) * ((double)b.y1 - b.y0);
}

/* A crowd is a region: a detection inside it overlaps it wholly. */
static double overlap(struct ld_box detection, const struct ld_object *object)
{
    struct ld_box b = object->box;
    double w = fmin(detection.x1, b.x1) - fmax(detection.x0, b.x0);
    double h = fmin(detection.y1, b.y1) - fmax(detection.y0, b.y0);
    double inter = w * h, whole = box_area(detection);

    if (w <= 0 || h <= 0)
        return 0;
    if (!object->ignored)
        whole += box_area(b) - inter;
    return inter / whole;
}

static void fill_overlaps(struct evaluation *e,
                          const struct ld_class_group *group)
{
    const struct ld_class_detection *d = e->by.detections + group->detection;
    const struct ld_class_object *o = e->by.objects + group->object;

    for (int i = 0; i < n_ranked(group); i++)
        for (int j = 0; j < group->n_objects; j++)
            e->iou[i * group->n_objects + j] =
                overlap(d[i].item.box, o[j].item);
}

static bool in_range(double area, int range)
{
    return area >= AREA_FROM[range] && area <= AREA_TO[range];
}

/* Objects that count come first, else in their own order. */
static void order_objects(struct evaluation *e,
                          const struct ld_class_group *group, int range)
{
    const struct ld_class_object *o = e->by.objects + group->object;
    int n = 0;

    for (int j = 0; j < group->n_objects; j++) {
        e->ignored[j] = o[j].item->ignored || !in_range(o[j].item->area, range);
        if (!e->ignored[j])
            e->order[n++] = j;
    }
    e->n_wanted[group->class_index][range] += n;
    for (int j = 0; j < group->n_objects; j++)
        if (e->ignored[j])
            e->order[n++] = j;
}

/* The object that the detection matches, or -1: the best free one that counts;
 * only if there is none, the best ignored one. A crowd is always free. */
static int find_match(const struct evaluation *e,
                      const struct ld_class_group *group, int detection,
                      double limit)
{
    const struct ld_class_object *o = e->by.objects + group->object;
    const double *iou = e->iou + detection * group->n_objects;
    int match = -1;

    for (int i = 0; i < group->n_objects; i++) {
        int j = e->order[i];

        if (e->taken[j] && !o[j].item->ignored)
            continue;
        if (match >= 0 && !e->ignored[match] && e->ignored[j])
            break;
        if (iou[j] >= limit) { /* of equal ones the last, as pycocotools */
            limit = iou[j];
            match = j;
        }
    }
    return match;
}

static void match_group(struct evaluation *e,
                        const struct ld_class_group *group, int range,
                        int threshold)
{
    struct verdict *verdicts = e->verdicts + group->detection;
    uint64_t bit = 1ULL << (range * N_THRESHOLDS + threshold);

    memset(e->taken, 0, group->n_objects * sizeof(*e->taken));
    for (int i = 0; i < n_ranked(group); i++) {
        struct ld_box box = e->by.detections[group->detection + i].item.box;
        int match = find_match(e, group, i, IOU_LIMIT[threshold]);

        if (match >= 0) {
            e->taken[match] = true;
            verdicts[i].matched |= bit;
        }
        if (match >= 0 ? e->ignored[match] : !in_range(box_area(box), range))
            verdicts[i].ignored |= bit;
    }
}

static void judge_group(struct evaluation *e,
                        const struct ld_class_group *group)
{
    fill_overlaps(e, group);
    for (int i = 0; i < group->n_detections; i++)
        e->verdicts[group->detection + i].rank = i;
    for (int range = 0; range < N_AREAS; range++) {
        order_objects(e, group, range);
        for (int t = 0; t < N_THRESHOLDS; t++)
            match_group(e, group, range, t);
    }
}

/* ---- from verdicts to numbers ---- */

static int compare_ranked(const void *left, const void *right)
{
    const struct ranked *a = left, *b = right;

    if (a->class_index != b->class_index)
        return a->class_index < b->class_index ? -1 : 1;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

static void rank_all(struct evaluation *e)
{
    for (int i = 0; i < e->by.n_detections; i++) {
        const struct ld_detection *d = &e->by.detections[i].item;

        e->ranked[i] = (struct ranked){d->score, d->class_index, i};
    }
    qsort(e->ranked, e->by.n_detections, sizeof(*e->ranked), compare_ranked);
}

/* Recall and precision after each detection; returns how many there are. */
static int trace_curve(struct evaluation *e, const struct ranked *ranked, int n,
                       struct column column, int threshold)
{
    uint64_t bit = 1ULL << (column.area * N_THRESHOLDS + threshold);
    double wanted = e->n_wanted[ranked->class_index][column.area];
    double tp = 0, fp = 0;
    int n_points = 0;

    for (int i = 0; i < n; i++) {
        const struct verdict *v = &e->verdicts[ranked[i].index];

        if (v->rank >= column.limit)
            continue;
        if (!(v->ignored & bit)) {
            tp += (v->matched & bit) != 0;
            fp += (v->matched & bit) == 0;
        }
        e->recall[n_points] = tp / wanted;
        /* pycocotools adds the spacing of 1 against 0 / 0. */
        e->envelope[n_points++] = tp / (fp + tp + DBL_EPSILON);
    }
    return n_points;
}

/* Mean over the recall points of the best precision at that recall or above. */
static double mean_precision(struct evaluation *e, int n_points)
{
    double sum = 0;
    int at = 0;

    for (int i = n_points - 1; i > 0; i--)
        if (e->envelope[i] > e->envelope[i - 1])
            e->envelope[i - 1] = e->envelope[i];
    for (int r = 0; r < N_RECALLS; r++) {
        while (at < n_points && e->recall[at] < r * 0.01)
            at++;
        sum += at < n_points ? e->envelope[at] : 0;
    }
    return sum / N_RECALLS;
}

/* Adds one class to the sums of one column; gives its AP and AP50. */
static void add_class(struct evaluation *e, const struct ranked *ranked, int n,
                      int column, double ap[2])
{
    double sum = 0;

    e->n_classes[column]++;
    for (int t = 0; t < N_THRESHOLDS; t++) {
        int n_points =
            n > 0 ? trace_curve(e, ranked, n, COLUMNS[column], t) : 0;
        double precision = mean_precision(e, n_points);

        if (n_points > 0)
            e->recall_sum[column][t] += e->recall[n_points - 1];
        e->precision_sum[column][t] += precision;
        sum += precision;
        if (t == 0)
            ap[1] = precision;
    }
    ap[0] = sum / N_THRESHOLDS;
}

static void add_classes(struct evaluation *e, struct ld_coco_result *out)
{
    int first = 0;

    for (int k = 0; k < e->by.n_classes; k++) {
        int n = 0;

        while (first + n < e->by.n_detections &&
               e->ranked[first + n].class_index == k)
            n++;
        out->class_ap[k] = out->class_ap50[k] = -1;
        for (int column = 0; column < N_COLUMNS; column++) {
            double ap[2];

            if (e->n_wanted[k][COLUMNS[column].area] == 0)
                continue;
            add_class(e, e->ranked + first, n, column, ap);
            if (column == COLUMN_ALL) {
                out->class_ap[k] = ap[0];
                out->class_ap50[k] = ap[1];
            }
        }
        first += n;
    }
}

static double mean(const struct evaluation *e,
                   const double sum[N_COLUMNS][N_THRESHOLDS], int column)
{
    double all = 0;

    for (int t = 0; t < N_THRESHOLDS; t++)
        all += sum[column][t];
    return e->n_classes[column] ? all / N_THRESHOLDS / e->n_classes[column]
                                : -1;
}

static double mean_at(const struct evaluation *e, int threshold)
{
    int n = e->n_classes[COLUMN_ALL];

    return n ? e->precision_sum[COLUMN_ALL][threshold] / n : -1;
}

static void summarise(const struct evaluation *e, struct ld_coco_result *out)
{
    out->value[LD_COCO_AP] = mean(e, e->precision_sum, COLUMN_ALL);
    out->value[LD_COCO_AP50] = mean_at(e, 0);
    out->value[LD_COCO_AP75] = mean_at(e, 5);
    for (int area = 1; area < N_AREAS; area++)
        out->value[LD_COCO_AP75 + area] =
            mean(e, e->precision_sum, COLUMN_ALL + area);
    for (int column = 0; column < N_COLUMNS; column++)
        out->value[LD_COCO_AR1 + column] = mean(e, e->recall_sum, column);
}

/* ---- memory ---- */

static bool make_scratch(struct evaluation *e, struct ld_arena *arena,
                         struct ld_err *err)
{
    struct ld_class_group group = {0};
    size_t overlaps = 0, objects = 0;

    while (ld_by_class_next(&e->by, &group)) {
        size_t cells = (size_t)n_ranked(&group) * group.n_objects;

        overlaps = cells > overlaps ? cells : overlaps;
        if ((size_t)group.n_objects > objects)
            objects = group.n_objects;
    }
    e->iou = ld_arena_new(arena, overlaps, sizeof(*e->iou), err);
    e->order = ld_arena_new(arena, objects, sizeof(*e->order), err);
    e->ignored = ld_arena_new(arena, objects, sizeof(*e->ignored), err);
    e->taken = ld_arena_new(arena, objects, sizeof(*e->taken), err);
    return e->iou && e->order && e->ignored && e->taken;
}

static bool make_arrays(struct evaluation *e, struct ld_coco_result *out,
                        struct ld_arena *arena, struct ld_err *err)
{
    size_t n = e->by.n_detections, n_classes = e->by.n_classes;

    e->verdicts = ld_arena_new(arena, n, sizeof(*e->verdicts), err);
    e->ranked = ld_arena_new(arena, n, sizeof(*e->ranked), err);
    e->envelope = ld_arena_new(arena, n, sizeof(*e->envelope), err);
    e->recall = ld_arena_new(arena, n, sizeof(*e->recall), err);
    e->n_wanted = ld_arena_new(arena, n_classes, sizeof(*e->n_wanted), err);
    out->class_ap = ld_arena_new(arena, n_classes, sizeof(double), err);
    out->class_ap50 = ld_arena_new(arena, n_classes, sizeof(double), err);
    return e->verdicts && e->ranked && e->envelope && e->recall &&
           e->n_wanted && out->class_ap && out->class_ap50;
}

bool ld_coco_eval(struct ld_coco_result *out, const struct ld_dataset *set,
                  const struct ld_image_detections *images, int n_images,
                  struct ld_arena *arena, struct ld_err *err)
{
    struct evaluation e = {0};
    struct ld_class_group group = {0};

    if (!ld_by_class_gather(&e.by, set, images, n_images, arena, err) ||
        !make_arrays(&e, out, arena, err) || !make_scratch(&e, arena, err))
        return false;
    while (ld_by_class_next(&e.by, &group))
        judge_group(&e, &group);
    rank_all(&e);
    add_classes(&e, out);
    summarise(&e, out);
    return true;
}
