#include "formats/dataset.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/file.h"
#include "kernels/base/mem.h"
#include "tests/golden.h"
#include "tests/scratch.h"
#include "tests/suite.h"

struct counts {
    int samples, trained_samples, objects, trained_objects, ignored;
    int classes, dropped;
};

static struct counts count(const struct ld_dataset *set)
{
    struct counts n = {.samples = set->n_samples,
                       .objects = set->n_objects,
                       .classes = set->n_classes,
                       .dropped = set->n_dropped};

    for (int i = 0; i < set->n_samples; i++)
        n.trained_samples += set->samples[i].trained;
    for (int i = 0; i < set->n_objects; i++) {
        n.trained_objects += set->objects[i].trained;
        n.ignored += set->objects[i].ignored;
    }
    return n;
}

static void check_counts(const struct ld_dataset_source *source,
                         struct counts want)
{
    struct ld_err err = {0};
    struct ld_dataset *set = ld_dataset_read(source, &err);
    struct counts got;
    char path[4096];

    ck_assert_msg(set, "%s", err.text);
    got = count(set);
    ck_assert_int_eq(got.samples, want.samples);
    ck_assert_int_eq(got.trained_samples, want.trained_samples);
    ck_assert_int_eq(got.objects, want.objects);
    ck_assert_int_eq(got.trained_objects, want.trained_objects);
    ck_assert_int_eq(got.ignored, want.ignored);
    ck_assert_int_eq(got.classes, want.classes);
    ck_assert_int_eq(got.dropped, want.dropped);
    for (int i = 0; i < set->n_samples; i++) {
        struct ld_file file = {0};

        ck_assert(ld_dataset_path(set, &set->samples[i], path, &err));
        ck_assert_msg(ld_file_open(path, &file, &err), "%s", err.text);
        ld_file_close(&file);
    }
    ld_dataset_free(set);
}

START_TEST(real_coco_files_have_the_counts_that_are_known_of_them)
{
    struct golden g = {0};
    struct ld_dataset_source source = {.kind = LD_DATASET_COCO};

    source.annotations = shared_path(
        &g, "data/coco128_train2017_json/annotations/instances_train2017.json");
    source.images = shared_path(&g, "data/coco128_train2017_json/train2017");
    if (!source.annotations || !source.images)
        SKIP_TEST("no real COCO files here");
    check_counts(&source, (struct counts){128, 126, 939, 929, 10, 80, 0});
    source.annotations =
        shared_path(&g, "data/coco_tiny80/annotations/instances_val2017.json");
    source.images = shared_path(&g, "data/coco_tiny80/val2017");
    check_counts(&source, (struct counts){80, 80, 815, 804, 11, 80, 0});
    ld_arena_free(&g.arena);
}
END_TEST

START_TEST(blood_cells_have_two_boxes_without_area)
{
    struct golden g = {0};
    struct ld_dataset_source source = {.kind = LD_DATASET_VOC,
                                       .annotations =
                                           shared_path(&g, "data/bccd/BCCD"),
                                       .split = "trainval"};

    if (!source.annotations)
        SKIP_TEST("no real VOC files here");
    check_counts(&source, (struct counts){292, 292, 3943, 3941, 0, 3, 2});
    source.split = "test";
    check_counts(&source, (struct counts){72, 72, 945, 945, 0, 3, 0});
    ld_arena_free(&g.arena);
}
END_TEST

static void list_all(const char *folder)
{
    struct ld_buf list = {.max = 1 << 20};
    char command[5000], name[512];
    FILE *names;

    snprintf(command, sizeof(command), "cd '%s' && ls *.xml", folder);
    names = popen(command, "r");
    while (names && fgets(name, sizeof(name), names)) {
        *strrchr(name, '.') = 0;
        ld_buf_printf(&list, "%s\n", name);
    }
    ck_assert(names && pclose(names) == 0);
    scratch_text("ImageSets/Main/all.txt", (const char *)list.data);
    ld_buf_free(&list);
}

START_TEST(steel_defects_are_read_whole)
{
    struct golden g = {0};
    const char *annotations = shared_path(&g, "data/neu_det/ANNOTATIONS");
    const char *images = shared_path(&g, "data/neu_det/IMAGES");
    struct ld_dataset_source source = {
        .kind = LD_DATASET_VOC, .annotations = ".", .split = "all"};

    if (!annotations || !images) {
        SKIP_TEST("no real VOC files here");
    }
    list_all(annotations);
    ck_assert_int_eq(symlink(annotations, "Annotations"), 0);
    ck_assert_int_eq(symlink(images, "JPEGImages"), 0);
    check_counts(&source, (struct counts){1770, 1770, 4126, 4047, 79, 6, 0});
    ld_arena_free(&g.arena);
}
END_TEST

static const struct ld_sample *sample_of_name(const struct ld_dataset *set,
                                              const char *name)
{
    for (int i = 0; i < set->n_samples; i++)
        if (strcmp(set->samples[i].name, name) == 0)
            return &set->samples[i];
    return NULL;
}

/* One box of `set` that is `box`, moved by one pixel, with the same class. */
static bool has_moved_box(const struct ld_dataset *set,
                          const struct ld_sample *sample, struct ld_box box,
                          const char *class_name)
{
    for (int i = 0; i < sample->n_objects; i++) {
        const struct ld_object *o = &set->objects[sample->first_object + i];

        if (o->box.x0 == box.x0 + 1 && o->box.y0 == box.y0 + 1 &&
            o->box.x1 == box.x1 + 1 && o->box.y1 == box.y1 + 1 &&
            strcmp(set->class_names[o->class_index], class_name) == 0)
            return true;
    }
    return false;
}

static void compare_voc_with_coco(const struct ld_dataset *voc,
                                  const struct ld_dataset *coco)
{
    ck_assert_int_eq(voc->n_samples, 100);
    ck_assert_int_eq(voc->n_objects, coco->n_objects);
    for (int i = 0; i < voc->n_samples; i++) {
        const struct ld_sample *a = &voc->samples[i];
        const struct ld_sample *b =
            sample_of_name(coco, a->name + strlen("JPEGImages/"));

        ck_assert_ptr_nonnull(b);
        ck_assert_int_eq(a->H, b->H);
        ck_assert_int_eq(a->W, b->W);
        ck_assert_int_eq(a->n_objects, b->n_objects);
        for (int k = 0; k < a->n_objects; k++) {
            const struct ld_object *o = &voc->objects[a->first_object + k];

            ck_assert(has_moved_box(coco, b, o->box,
                                    voc->class_names[o->class_index]));
        }
    }
}

/* The set's makers wrote the same truth in COCO's form, without VOC's minus
 * one. */
START_TEST(voc_and_coco_forms_of_one_truth_agree)
{
    struct golden g = {0};
    struct ld_err err = {0};
    const char *xml = shared_path(&g, "data/voc2012_100/gts/pascalvoc_format");
    const char *json = shared_path(
        &g, "data/voc2012_100/gts/coco_format_v1/instances_default.json");
    struct ld_dataset_source coco_source = {
        .kind = LD_DATASET_COCO, .annotations = json, .images = ""};
    struct ld_dataset_source voc_source = {
        .kind = LD_DATASET_VOC, .annotations = ".", .split = "all"};
    struct ld_dataset *voc, *coco;

    if (!xml || !json) {
        SKIP_TEST("no real VOC files here");
    }
    list_all(xml);
    ck_assert_int_eq(symlink(xml, "Annotations"), 0);
    voc = ld_dataset_read(&voc_source, &err);
    ck_assert_msg(voc, "%s", err.text);
    coco = ld_dataset_read(&coco_source, &err);
    ck_assert_msg(coco, "%s", err.text);
    compare_voc_with_coco(voc, coco);
    ck_assert_int_eq(count(voc).ignored, 38);
    ck_assert_int_eq(voc->n_classes, 20);
    ck_assert_str_eq(voc->class_names[0], "aeroplane");
    ld_dataset_free(voc);
    ld_dataset_free(coco);
    ld_arena_free(&g.arena);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("dataset");
    TCase *c = tcase_create("dataset");

    tcase_add_checked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, real_coco_files_have_the_counts_that_are_known_of_them);
    tcase_add_test(c, blood_cells_have_two_boxes_without_area);
    tcase_add_test(c, steel_defects_are_read_whole);
    tcase_add_test(c, voc_and_coco_forms_of_one_truth_agree);
    suite_add_tcase(s, c);
    return s;
}
