#include "trainer/voc_eval.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/golden.h"
#include "tests/suite.h"

/* The reference rounds precisions and averages to float32. */
static const double FLOAT_ROUNDING = 1e-6;

/* ---- small cases, by hand ---- */

enum { MAX_ITEMS = 64, N_CLASSES = 2 };

struct small {
    struct ld_dataset set;
    struct ld_sample sample;
    struct ld_object objects[MAX_ITEMS];
    struct ld_detection detections[MAX_ITEMS];
    struct ld_image_detections image;
    struct ld_arena arena;
    struct ld_voc_result result;
};

static void small_start(struct small *s)
{
    memset(s, 0, sizeof(*s));
    s->set = (struct ld_dataset){.samples = &s->sample,
                                 .n_samples = 1,
                                 .objects = s->objects,
                                 .n_classes = N_CLASSES};
    s->image.detections.items = s->detections;
}

/* A square of `side` pixels at (x, 0). */
static struct ld_object *add_object(struct small *s, float x, float side)
{
    struct ld_object *o = &s->objects[s->sample.n_objects++];

    o->box = (struct ld_box){x, 0, x + side, side};
    return o;
}

static void add_detection(struct small *s, float x, float side, float score)
{
    struct ld_detection *d = &s->detections[s->image.detections.n++];

    d->box = (struct ld_box){x, 0, x + side, side};
    d->score = score;
}

static const double *small_eval(struct small *s, bool eleven_points)
{
    struct ld_err err = {0};

    ck_assert_msg(ld_voc_eval(&s->result, &s->set, &s->image, 1, eleven_points,
                              &s->arena, &err),
                  "%s", err.text);
    return s->result.map;
}

static void small_end(struct small *s)
{
    ld_arena_free(&s->arena);
}

static void check(double got, double want)
{
    ck_assert_msg(fabs(got - want) <= 1e-12, "%.17g, expected %.17g", got,
                  want);
}

START_TEST(a_perfect_detection_scores_one_at_every_threshold)
{
    struct small s;

    small_start(&s);
    add_object(&s, 10, 40);
    add_detection(&s, 10, 40, .3F);
    for (int eleven = 0; eleven < 2; eleven++) {
        const double *map = small_eval(&s, eleven);

        for (int t = 0; t < LD_VOC_THRESHOLDS; t++)
            check(map[t], 1);
        check(s.result.mean, 1);
        ck_assert(isnan(s.result.class_ap[1]));
        ck_assert_int_eq(s.result.class_objects[0], 1);
    }
    small_end(&s);
}
END_TEST

START_TEST(without_objects_a_class_is_nan_and_the_mean_is_zero)
{
    struct small s;

    small_start(&s);
    add_object(&s, 10, 40)->ignored = true;
    add_detection(&s, 100, 40, .9F);
    check(small_eval(&s, true)[0], 0);
    ck_assert(isnan(s.result.class_ap[0]) && isnan(s.result.class_ap[1]));
    small_end(&s);
}
END_TEST

START_TEST(without_detections_an_object_gives_zero)
{
    struct small s;

    small_start(&s);
    add_object(&s, 10, 40);
    check(small_eval(&s, true)[0], 0);
    check(small_eval(&s, false)[0], 0);
    small_end(&s);
}
END_TEST

/* Objects A and B, detections by score: A, wrong, A again, B.
 * Precision 1, 1/2, 1/3, 2/4 at recall 1/2, 1/2, 1/2, 1.
 * Area: 1/2 * 1 + 1/2 * 1/2. Eleven points: 1 up to .5 (6), 1/2 above (5). */
START_TEST(a_second_detection_of_an_object_is_wrong)
{
    struct small s;

    small_start(&s);
    add_object(&s, 0, 40);
    add_object(&s, 100, 40);
    add_detection(&s, 0, 40, .9F);
    add_detection(&s, 300, 40, .8F);
    add_detection(&s, 0, 40, .7F);
    add_detection(&s, 100, 40, .6F);
    check(small_eval(&s, false)[0], .75);
    check(small_eval(&s, true)[0], (6 + 5 * .5) / 11);
    small_end(&s);
}
END_TEST

/* A difficult object is not asked for; finding it, even twice, is not wrong. */
START_TEST(a_detection_of_a_difficult_object_is_left_out)
{
    struct small s;

    small_start(&s);
    add_object(&s, 0, 40)->ignored = true;
    add_object(&s, 100, 40);
    add_detection(&s, 0, 40, .9F);
    add_detection(&s, 0, 40, .8F);
    add_detection(&s, 100, 40, .7F);
    check(small_eval(&s, false)[0], 1);
    small_end(&s);
}
END_TEST

/* The second detection overlaps A by .6 and B by .5; A is taken. COCO's rule
 * would give it B. Precision 1, 1/2 at recall 1/2. */
START_TEST(a_detection_looks_at_the_object_it_overlaps_most_alone)
{
    struct small s;

    small_start(&s);
    add_object(&s, 0, 60);
    add_object(&s, 35, 60);
    add_detection(&s, 0, 60, .9F);
    add_detection(&s, 15, 60, .8F);
    check(small_eval(&s, false)[0], .5);
    small_end(&s);
}
END_TEST

/* Both objects overlap it alike: the one that counts is taken, though the
 * difficult one stands first. */
START_TEST(between_equal_overlaps_a_difficult_object_comes_last)
{
    struct small s;

    small_start(&s);
    add_object(&s, 0, 40)->ignored = true;
    add_object(&s, 0, 40);
    add_detection(&s, 0, 40, .9F);
    check(small_eval(&s, false)[0], 1);
    small_end(&s);
}
END_TEST

/* Three of ten objects found. The recall to reach is .30000000000000004: 3/10
 * falls short of it, so three points (0, .1, .2) count, not four. */
START_TEST(a_recall_of_three_tenths_does_not_reach_the_point_at_three_tenths)
{
    struct small s;

    small_start(&s);
    for (int i = 0; i < 10; i++)
        add_object(&s, 100 * (float)i, 40);
    for (int i = 0; i < 3; i++)
        add_detection(&s, 100 * (float)i, 40, .9F);
    check(small_eval(&s, true)[0], 3. / 11);
    small_end(&s);
}
END_TEST

/* IoU 30*40/(2*40*40 - 30*40) = .6 in float32 is .60000002384: it reaches the
 * summed-up .6000000000000001, not .65. An IoU of 7/10 in float32 is
 * .69999998808: it does not reach .7000000000000002. */
START_TEST(an_overlap_is_single_and_a_threshold_double_precision)
{
    struct small s;
    const double *map;

    small_start(&s);
    add_object(&s, 0, 40);
    add_detection(&s, 10, 40, .9F);
    map = small_eval(&s, false);
    check(map[2], 1);
    check(map[3], 0);
    check(s.result.mean, .3);

    s.objects[0].box = (struct ld_box){0, 0, 100, 10};
    s.detections[0].box = (struct ld_box){0, 0, 70, 10};
    map = small_eval(&s, false);
    check(map[3], 1);
    check(map[4], 0);
    small_end(&s);
}
END_TEST

/* ---- the reference's ---- */

struct tables {
    int n_images, n_classes, n_detections, n_objects;
    const float *detections; /* (n, 7) image, class, x0, y0, x1, y1, score */
    const float *objects;    /* (n, 7) .. y1, difficult */
};

static struct tables read_tables(struct golden *g)
{
    struct golden_array d = golden_array(g, "dets");
    struct golden_array o = golden_array(g, "gts");

    return (struct tables){(int)golden_number(g, "params.num_images"),
                           (int)golden_number(g, "params.num_classes"),
                           d.dim[0],
                           o.dim[0],
                           d.data,
                           o.data};
}

static struct ld_box row_box(const float row[7])
{
    return (struct ld_box){row[2], row[3], row[4], row[5]};
}

static void take_objects(const struct tables *t, struct ld_dataset *set,
                         int image)
{
    struct ld_sample *sample = &set->samples[image];

    sample->first_object = set->n_objects;
    for (int i = 0; i < t->n_objects; i++) {
        const float *row = t->objects + i * 7L;

        if ((int)row[0] != image)
            continue;
        set->objects[set->n_objects++] =
            (struct ld_object){.box = row_box(row),
                               .class_index = (int)row[1],
                               .ignored = row[6] != 0};
        sample->n_objects++;
    }
}

static void take_detections(const struct tables *t,
                            struct ld_image_detections *out, int image)
{
    struct ld_detections *list = &out->detections;

    out->sample = image;
    for (int i = 0; i < t->n_detections; i++) {
        const float *row = t->detections + i * 7L;

        if ((int)row[0] == image)
            list->items[list->n++] =
                (struct ld_detection){row_box(row), row[6], (int)row[1]};
    }
}

static void compare_classes(struct golden *g, const struct ld_voc_result *got,
                            const struct tables *t, const char *name,
                            int threshold)
{
    const float *want = golden_floats(g, name, t->n_classes);

    for (int k = 0; k < t->n_classes; k++) {
        double ap = got->class_ap[threshold * t->n_classes + k];

        if (got->class_objects[k] == 0)
            ck_assert(isnan(ap)); /* the reference says 0 */
        else
            ck_assert_msg(fabs(ap - (double)want[k]) <= FLOAT_ROUNDING,
                          "%s %s of class %d: %.9g, expected %.9g", g->name,
                          name, k, ap, (double)want[k]);
    }
}

static void compare_mode(struct golden *g, const struct tables *t,
                         const struct ld_dataset *set,
                         const struct ld_image_detections *images,
                         const char *mode)
{
    struct ld_voc_result result;
    struct ld_err err = {0};
    char name[64];

    ck_assert(ld_voc_eval(&result, set, images, t->n_images, mode[0] == '1',
                          &g->arena, &err));
    for (int i = 0; i < LD_VOC_THRESHOLDS; i++) {
        double want;

        snprintf(name, sizeof(name), "values.map_%s_50_to_95.%d", mode, i);
        want = golden_number(g, name);
        ck_assert_msg(fabs(result.map[i] - want) <= FLOAT_ROUNDING,
                      "%s %s: %.9g, expected %.9g", g->name, name,
                      result.map[i], want);
    }
    snprintf(name, sizeof(name), "values.mean_over_thresholds_%s", mode);
    ck_assert_double_eq_tol(result.mean, golden_number(g, name),
                            FLOAT_ROUNDING);
    snprintf(name, sizeof(name), "ap_%s_50", mode);
    compare_classes(g, &result, t, name, 0);
    snprintf(name, sizeof(name), "ap_%s_75", mode);
    compare_classes(g, &result, t, name, 5);
}

static void compare_to_golden(struct golden *g)
{
    struct tables t = read_tables(g);
    struct ld_err err = {0};
    struct ld_dataset set = {
        .samples =
            ld_arena_new(&g->arena, t.n_images, sizeof(struct ld_sample), &err),
        .n_samples = t.n_images,
        .objects = ld_arena_new(&g->arena, t.n_objects,
                                sizeof(struct ld_object), &err),
        .n_classes = t.n_classes};
    struct ld_image_detections *images =
        ld_arena_new(&g->arena, t.n_images, sizeof(*images), &err);

    for (int i = 0; i < t.n_images; i++) {
        images[i].detections.items = ld_arena_new(
            &g->arena, t.n_detections, sizeof(struct ld_detection), &err);
        take_objects(&t, &set, i);
        take_detections(&t, &images[i], i);
    }
    compare_mode(g, &t, &set, images, "area");
    compare_mode(g, &t, &set, images, "11points");
}

START_TEST(the_numbers_are_the_references)
{
    golden_each("11_voc_map", compare_to_golden);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("voc_eval");
    TCase *c = tcase_create("voc_eval");

    tcase_add_test(c, a_perfect_detection_scores_one_at_every_threshold);
    tcase_add_test(c, without_objects_a_class_is_nan_and_the_mean_is_zero);
    tcase_add_test(c, without_detections_an_object_gives_zero);
    tcase_add_test(c, a_second_detection_of_an_object_is_wrong);
    tcase_add_test(c, a_detection_of_a_difficult_object_is_left_out);
    tcase_add_test(c, a_detection_looks_at_the_object_it_overlaps_most_alone);
    tcase_add_test(c, between_equal_overlaps_a_difficult_object_comes_last);
    tcase_add_test(
        c, a_recall_of_three_tenths_does_not_reach_the_point_at_three_tenths);
    tcase_add_test(c, an_overlap_is_single_and_a_threshold_double_precision);
    tcase_add_test(c, the_numbers_are_the_references);
    suite_add_tcase(s, c);
    return s;
}
