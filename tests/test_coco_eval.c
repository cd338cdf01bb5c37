#include "trainer/coco_eval.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/file.h"
#include "formats/json.h"
#include "tests/golden.h"
#include "tests/suite.h"

/* Both sum the same doubles in another order. */
static const double ROUNDING = 1e-12;

/* ---- small cases, by hand ---- */

enum { MAX_ITEMS = 256, N_CLASSES = 2, N_IMAGES = 2 };

struct small {
    struct ld_dataset set;
    struct ld_sample samples[N_IMAGES];
    struct ld_object objects[MAX_ITEMS];
    struct ld_detection detections[N_IMAGES][MAX_ITEMS];
    struct ld_image_detections images[N_IMAGES];
    struct ld_arena arena;
    struct ld_coco_result result;
};

static void small_start(struct small *s)
{
    memset(s, 0, sizeof(*s));
    s->set = (struct ld_dataset){.samples = s->samples,
                                 .n_samples = N_IMAGES,
                                 .objects = s->objects,
                                 .n_classes = N_CLASSES};
    for (int i = 0; i < N_IMAGES; i++) {
        s->images[i].sample = i;
        s->images[i].detections.items = s->detections[i];
    }
}

/* Image by image. A square of `side` pixels at (x, 0). */
static struct ld_object *add_object(struct small *s, int image, float x,
                                    float side)
{
    struct ld_object *o = &s->objects[s->set.n_objects];

    if (s->samples[image].n_objects++ == 0)
        s->samples[image].first_object = s->set.n_objects;
    s->set.n_objects++;
    o->box = (struct ld_box){x, 0, x + side, side};
    o->area = side * side;
    return o;
}

static struct ld_detection *add_detection(struct small *s, int image, float x,
                                          float side, float score)
{
    struct ld_detections *list = &s->images[image].detections;
    struct ld_detection *d = &list->items[list->n++];

    d->box = (struct ld_box){x, 0, x + side, side};
    d->score = score;
    return d;
}

static const double *small_eval(struct small *s)
{
    struct ld_err err = {0};

    ck_assert_msg(
        ld_coco_eval(&s->result, &s->set, s->images, N_IMAGES, &s->arena, &err),
        "%s", err.text);
    return s->result.value;
}

static void small_end(struct small *s)
{
    ld_arena_free(&s->arena);
}

static void check(double got, double want)
{
    ck_assert_msg(fabs(got - want) <= ROUNDING, "%.17g, expected %.17g", got,
                  want);
}

START_TEST(a_perfect_detection_scores_one_in_its_own_size_only)
{
    struct small s;
    const double *value;

    small_start(&s);
    add_object(&s, 0, 10, 40);
    add_detection(&s, 0, 10, 40, .3F);
    value = small_eval(&s);
    check(value[LD_COCO_AP], 1);
    check(value[LD_COCO_AP50], 1);
    check(value[LD_COCO_AP75], 1);
    check(value[LD_COCO_AP_MEDIUM], 1);
    check(value[LD_COCO_AP_SMALL], -1);
    check(value[LD_COCO_AP_LARGE], -1);
    check(value[LD_COCO_AR1], 1);
    check(value[LD_COCO_AR100], 1);
    check(value[LD_COCO_AR_SMALL], -1);
    check(s.result.class_ap[0], 1);
    check(s.result.class_ap50[0], 1);
    check(s.result.class_ap[1], -1);
    small_end(&s);
}
END_TEST

START_TEST(without_objects_every_number_is_minus_one)
{
    struct small s;
    const double *value;

    small_start(&s);
    add_detection(&s, 0, 10, 40, .9F);
    value = small_eval(&s);
    for (int i = 0; i < LD_COCO_N; i++)
        check(value[i], -1);
    check(s.result.class_ap[0], -1);
    small_end(&s);
}
END_TEST

START_TEST(without_detections_an_object_gives_zero)
{
    struct small s;
    const double *value;

    small_start(&s);
    add_object(&s, 1, 10, 100);
    value = small_eval(&s);
    check(value[LD_COCO_AP], 0);
    check(value[LD_COCO_AR100], 0);
    check(value[LD_COCO_AP_LARGE], 0);
    check(value[LD_COCO_AP_MEDIUM], -1);
    small_end(&s);
}
END_TEST

/* An object found at rank 2, after a false positive: precision 1/2 at every
 * recall. IoU 30*40/(2*40*40 - 30*40) = .6: right at .50, .55 and .60 only. */
START_TEST(a_false_positive_ahead_halves_precision_up_to_the_overlap)
{
    struct small s;
    const double *value;

    small_start(&s);
    add_object(&s, 0, 0, 40);
    add_detection(&s, 0, 200, 40, .9F);
    add_detection(&s, 0, 10, 40, .8F);
    value = small_eval(&s);
    check(value[LD_COCO_AP50], .5);
    check(value[LD_COCO_AP75], 0);
    check(value[LD_COCO_AP], .5 * 3 / 10);
    check(value[LD_COCO_AR1], 0);
    check(value[LD_COCO_AR10], .3);
    small_end(&s);
}
END_TEST

/* Two of three objects found: precision 1 at recalls 0, .01, .. .66, which are
 * 67 of 101 points. */
START_TEST(precision_is_read_at_101_recalls)
{
    struct small s;

    small_start(&s);
    for (int i = 0; i < 3; i++)
        add_object(&s, i / 2, 100 * (float)i, 40);
    add_detection(&s, 0, 0, 40, .9F);
    add_detection(&s, 0, 100, 40, .8F);
    check(small_eval(&s)[LD_COCO_AP], 67. / 101);
    small_end(&s);
}
END_TEST

/* Detections inside a crowd: neither right nor wrong, and any number of them.
 * The IoU with it is intersection over the detection's area. */
START_TEST(a_crowd_swallows_any_number_of_detections)
{
    struct small s;
    const double *value;

    small_start(&s);
    add_object(&s, 0, 100, 200)->ignored = true;
    add_object(&s, 0, 0, 40);
    add_detection(&s, 0, 120, 40, .9F);
    add_detection(&s, 0, 180, 40, .8F);
    add_detection(&s, 0, 0, 40, .7F);
    value = small_eval(&s);
    check(value[LD_COCO_AP], 1);
    check(value[LD_COCO_AR1], 0); /* the best one lies in the crowd */
    check(value[LD_COCO_AR10], 1);
    small_end(&s);
}
END_TEST

START_TEST(an_object_that_counts_goes_before_a_crowd_that_overlaps_more)
{
    struct small s;

    small_start(&s);
    add_object(&s, 0, 0, 200)->ignored = true;
    add_object(&s, 0, 4, 40); /* IoU 36/44 with the detection, the crowd 1 */
    add_detection(&s, 0, 0, 40, .9F);
    check(small_eval(&s)[LD_COCO_AP75], 1);
    small_end(&s);
}
END_TEST

/* A detection of an object of another size is ignored; an unmatched one counts
 * in the range of its own area. */
START_TEST(sizes_are_judged_by_the_annotated_area_and_by_the_detections_box)
{
    struct small s;
    const double *value;

    small_start(&s);
    add_object(&s, 0, 0, 40)->area = 500; /* a thin mask: small */
    add_object(&s, 0, 100, 40);
    add_detection(&s, 0, 0, 40, .9F);
    add_detection(&s, 0, 300, 40, .8F); /* wrong, medium */
    add_detection(&s, 0, 100, 40, .7F);
    value = small_eval(&s);
    check(value[LD_COCO_AP_SMALL], 1);
    check(value[LD_COCO_AP_MEDIUM], .5);
    check(value[LD_COCO_AP_LARGE], -1);
    small_end(&s);
}
END_TEST

/* Equal scores: the first image's detection ranks first. A stable order gives
 * false, true: precision 1/2; the other way it would be 1 at half the recall.
 */
START_TEST(equal_scores_keep_the_order_of_images_and_detections)
{
    struct small s;

    small_start(&s);
    add_object(&s, 1, 0, 40);
    add_detection(&s, 0, 0, 40, .5F);
    add_detection(&s, 1, 0, 40, .5F);
    check(small_eval(&s)[LD_COCO_AP], .5);
    s.images[0].detections.n = 0;
    s.images[1].detections.n = 0;
    add_detection(&s, 1, 0, 40, .5F);
    add_detection(&s, 1, 200, 40, .5F);
    check(small_eval(&s)[LD_COCO_AP], 1);
    small_end(&s);
}
END_TEST

START_TEST(the_hundred_and_first_detection_of_a_class_in_an_image_is_not_seen)
{
    struct small s;
    const double *value;

    small_start(&s);
    add_object(&s, 0, 0, 40);
    add_object(&s, 0, 1000, 40)->class_index = 1;
    for (int i = 0; i < 100; i++)
        add_detection(&s, 0, 500, 40, .9F);
    add_detection(&s, 0, 0, 40, .8F);
    add_detection(&s, 0, 1000, 40, .1F)->class_index = 1;
    value = small_eval(&s);
    check(s.result.class_ap[0], 0);
    check(s.result.class_ap[1], 1);
    check(value[LD_COCO_AR100], .5);
    small_end(&s);
}
END_TEST

START_TEST(an_image_that_is_not_asked_for_does_not_count)
{
    struct small s;
    struct ld_err err = {0};

    small_start(&s);
    add_object(&s, 0, 0, 40);
    add_object(&s, 1, 0, 40);
    add_detection(&s, 1, 0, 40, .9F);
    ck_assert(ld_coco_eval(&s.result, &s.set, s.images + 1, 1, &s.arena, &err));
    check(s.result.value[LD_COCO_AP], 1);
    ck_assert(ld_coco_eval(&s.result, &s.set, s.images, 0, &s.arena, &err));
    check(s.result.value[LD_COCO_AP], -1);
    small_end(&s);
}
END_TEST

START_TEST(used_up_memory_is_an_error_at_each_allocation)
{
    struct small s;
    struct ld_err err = {0};
    int n = 0;

    small_start(&s);
    add_object(&s, 0, 0, 40);
    add_detection(&s, 0, 0, 40, .9F);
    for (;; n++) {
        bool ok;

        err = (struct ld_err){0};
        ld_arena_free(&s.arena);
        ld_mem_fail_after(n);
        ok =
            ld_coco_eval(&s.result, &s.set, s.images, N_IMAGES, &s.arena, &err);
        ld_mem_fail_after(-1);
        if (ok)
            break;
        ck_assert_int_eq(err.code, LD_ERR_MEMORY);
    }
    ck_assert_int_gt(n, 0);
    small_end(&s);
}
END_TEST

/* ---- the reference's ---- */

struct results {
    struct golden *g;
    struct ld_dataset *set;
    struct ld_image_detections *images;
};

static void read_result(struct ld_json *j, int64_t *image_id,
                        int64_t *category_id, double number[5])
{
    char key[32];
    int n = 0;

    ck_assert(ld_json_object(j));
    while (ld_json_key(j, key, sizeof(key)))
        if (strcmp(key, "image_id") == 0) {
            ld_json_integer(j, image_id);
        } else if (strcmp(key, "category_id") == 0) {
            ld_json_integer(j, category_id);
        } else if (strcmp(key, "score") == 0) {
            ld_json_number(j, &number[4]);
        } else if (strcmp(key, "bbox") == 0) {
            ld_json_array(j);
            while (ld_json_element(j) && n < 4)
                ld_json_number(j, &number[n++]);
        } else {
            ld_json_skip(j);
        }
    ck_assert_int_eq(n, 4);
}

static void add_result(struct results *r, int64_t image_id, int64_t category_id,
                       const double number[5])
{
    int sample = 0, class_index = 0;
    struct ld_detections *list;

    while (r->set->samples[sample].id != image_id)
        ck_assert_int_lt(++sample, r->set->n_samples);
    while (r->set->category_id[class_index] != category_id)
        ck_assert_int_lt(++class_index, r->set->n_classes);
    list = &r->images[sample].detections;
    list->items[list->n++] = (struct ld_detection){
        {(float)number[0], (float)number[1], (float)(number[0] + number[2]),
         (float)(number[1] + number[3])},
        (float)number[4],
        class_index};
}

/* Once to count, once to fill. */
static void each_result(struct results *r, const struct ld_file *file,
                        bool count)
{
    struct ld_err err = {0};
    struct ld_json j;

    ld_json_open(&j, (const char *)file->data, file->len, "det.json", &err);
    ld_json_array(&j);
    while (ld_json_element(&j)) {
        int64_t image_id = 0, category_id = 0;
        double number[5] = {0};

        read_result(&j, &image_id, &category_id, number);
        if (!count) {
            add_result(r, image_id, category_id, number);
            continue;
        }
        for (int i = 0; i < r->set->n_samples; i++)
            r->images[i].detections.n += r->set->samples[i].id == image_id;
    }
    ck_assert_msg(ld_json_end(&j), "%s", err.text);
}

static void read_results(struct results *r)
{
    struct ld_err err = {0};
    struct ld_file file;
    char path[4096];

    snprintf(path, sizeof(path), "%s/det.json", r->g->folder);
    ck_assert_msg(ld_file_open(path, &file, &err), "%s", err.text);
    r->images =
        ld_arena_new(&r->g->arena, r->set->n_samples, sizeof(*r->images), &err);
    each_result(r, &file, true);
    for (int i = 0; i < r->set->n_samples; i++) {
        struct ld_detections *list = &r->images[i].detections;

        r->images[i].sample = i;
        list->items =
            ld_arena_new(&r->g->arena, list->n, sizeof(*list->items), &err);
        list->n = 0;
    }
    each_result(r, &file, false);
    ld_file_close(&file);
}

/* A class without objects is null there, which reads as absent. */
static void compare_class(struct golden *g, const char *name, int64_t id,
                          double got)
{
    char path[64];
    double want = -1;

    snprintf(path, sizeof(path), "values.%s.%ld", name, (long)id);
    if (golden_has_value(g, path))
        want = golden_number(g, path);
    ck_assert_msg(fabs(got - want) <= ROUNDING, "%s %s: %.17g, expected %.17g",
                  g->name, path, got, want);
}

static void compare_to_golden(struct golden *g)
{
    struct ld_err err = {0};
    char path[4096];
    struct ld_dataset_source source = {
        LD_DATASET_COCO, path, g->folder, NULL, NULL, 0};
    struct results r = {.g = g};
    struct ld_coco_result result;

    snprintf(path, sizeof(path), "%s/gt.json", g->folder);
    r.set = ld_dataset_read(&source, &err);
    ck_assert_msg(r.set, "%s", err.text);
    read_results(&r);
    ck_assert(ld_coco_eval(&result, r.set, r.images, r.set->n_samples,
                           &g->arena, &err));
    for (int i = 0; i < LD_COCO_N; i++) {
        double want;

        snprintf(path, sizeof(path), "values.stats.value.%d", i);
        want = golden_number(g, path);
        ck_assert_msg(fabs(result.value[i] - want) <= ROUNDING,
                      "%s %d: %.17g, expected %.17g", g->name, i,
                      result.value[i], want);
    }
    for (int k = 0; k < r.set->n_classes; k++) {
        compare_class(g, "ap_per_class", r.set->category_id[k],
                      result.class_ap[k]);
        compare_class(g, "ap50_per_class", r.set->category_id[k],
                      result.class_ap50[k]);
    }
    ld_dataset_free(r.set);
}

START_TEST(the_numbers_are_pycocotools)
{
    golden_each("11_coco_ap", compare_to_golden);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("coco_eval");
    TCase *c = tcase_create("coco_eval");

    tcase_add_test(c, a_perfect_detection_scores_one_in_its_own_size_only);
    tcase_add_test(c, without_objects_every_number_is_minus_one);
    tcase_add_test(c, without_detections_an_object_gives_zero);
    tcase_add_test(c,
                   a_false_positive_ahead_halves_precision_up_to_the_overlap);
    tcase_add_test(c, precision_is_read_at_101_recalls);
    tcase_add_test(c, a_crowd_swallows_any_number_of_detections);
    tcase_add_test(
        c, an_object_that_counts_goes_before_a_crowd_that_overlaps_more);
    tcase_add_test(
        c, sizes_are_judged_by_the_annotated_area_and_by_the_detections_box);
    tcase_add_test(c, equal_scores_keep_the_order_of_images_and_detections);
    tcase_add_test(
        c, the_hundred_and_first_detection_of_a_class_in_an_image_is_not_seen);
    tcase_add_test(c, an_image_that_is_not_asked_for_does_not_count);
    tcase_add_test(c, used_up_memory_is_an_error_at_each_allocation);
    tcase_add_test(c, the_numbers_are_pycocotools);
    suite_add_tcase(s, c);
    return s;
}
