/* The program ld-shapes, run as a user runs it, in a folder of its own. */

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "formats/dataset.h"
#include "formats/file.h"
#include "formats/image.h"
#include "tests/suite.h"

static char folder[] = "/tmp/ld-test-shapes-XXXXXX";

static void start(void)
{
    strcpy(strrchr(folder, '-'), "-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static int shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Exit status of a command of /bin/sh. */
static int shell(const char *format, ...)
{
    char command[8192];
    va_list args;
    int status;

    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    status = system(command);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void end(void)
{
    ck_assert_int_eq(shell("rm -rf %s", folder), 0);
}

/* Makes FOLDER/<name> of 12 + 4 images; its output goes to FOLDER/log. */
static int shapes(const char *name, const char *options)
{
    return shell("\"$LD_BUILD\"/scripts/ld-shapes %s/%s --images 12 --val 4 "
                 "--size 96x80 %s > %s/log 2>&1",
                 folder, name, options, folder);
}

START_TEST(the_same_seed_gives_the_same_bytes_and_another_gives_others)
{
    start();
    ck_assert_int_eq(shapes("a", "--seed 7"), 0);
    ck_assert_int_eq(shapes("b", "--seed 7"), 0);
    ck_assert_int_eq(shapes("c", "--seed 8"), 0);
    ck_assert_int_eq(
        shell("diff -r %s/a %s/b > %s/log", folder, folder, folder), 0);
    ck_assert_int_eq(
        shell(
            "cmp -s %s/a/images/train_000001.jpg %s/c/images/train_000001.jpg",
            folder, folder),
        1);
    ck_assert_int_eq(
        shell(
            "cmp -s %s/a/images/train_000002.png %s/c/images/train_000002.png",
            folder, folder),
        1);
    end();
}
END_TEST

START_TEST(an_image_does_not_depend_on_how_many_others_there_are)
{
    start();
    ck_assert_int_eq(shapes("a", ""), 0);
    ck_assert_int_eq(shapes("b", "--images 3"), 0);
    ck_assert_int_eq(
        shell("cmp %s/a/images/train_000002.png %s/b/images/train_000002.png",
              folder, folder),
        0);
    ck_assert_int_eq(shell("cmp %s/a/images/val_000001.jpg "
                           "%s/b/images/val_000001.jpg",
                           folder, folder),
                     0);
    end();
}
END_TEST

static struct ld_dataset *read_set(enum ld_dataset_kind kind, const char *split)
{
    char annotations[4096], images[4096];
    struct ld_err err = {0};
    const char *const names[] = {"disc", "box", "triangle", "ring", "star"};
    struct ld_dataset_source source = {kind, annotations, images,
                                       NULL, names,       5};
    struct ld_dataset *set;

    snprintf(annotations, sizeof(annotations), "%s/a/coco/%s.json", folder,
             split);
    snprintf(images, sizeof(images), "%s/a/images", folder);
    if (kind == LD_DATASET_VOC) {
        snprintf(annotations, sizeof(annotations), "%s/a/voc", folder);
        source.images = NULL;
        source.split = split;
    }
    set = ld_dataset_read(&source, &err);
    ck_assert_msg(set, "%s", err.text);
    ck_assert_int_eq(set->n_dropped, 0);
    return set;
}

/* VOC's are whole pixels, the far one inside the box; and they are read with
 * one taken off each (spec training 1), which leaves the far edge one short. */
static void compare_boxes(const struct ld_object *coco,
                          const struct ld_object *voc)
{
    const float half = .5F + 1e-3F;

    ck_assert_int_eq(coco->class_index, voc->class_index);
    ck_assert_int_eq(coco->ignored, voc->ignored);
    ck_assert_float_le(fabsf(coco->box.x0 - voc->box.x0), half);
    ck_assert_float_le(fabsf(coco->box.y0 - voc->box.y0), half);
    ck_assert_float_le(fabsf(coco->box.x1 - 1 - voc->box.x1), half);
    ck_assert_float_le(fabsf(coco->box.y1 - 1 - voc->box.y1), half);
}

static void compare_image(const struct ld_dataset *set,
                          const struct ld_sample *sample)
{
    char path[4096];
    struct ld_err err = {0};
    struct ld_image image = {0};

    ck_assert(ld_dataset_path(set, sample, path, &err));
    ck_assert_msg(ld_image_read(path, &image, &err), "%s", err.text);
    ck_assert_int_eq(image.H, sample->H);
    ck_assert_int_eq(image.W, sample->W);
    for (int i = 0; i < sample->n_objects; i++) {
        struct ld_box b = set->objects[sample->first_object + i].box;

        ck_assert(b.x0 >= 0 && b.y0 >= 0 && b.x1 > b.x0 + 3 &&
                  b.y1 > b.y0 + 3 && b.x1 <= (float)image.W &&
                  b.y1 <= (float)image.H);
    }
    ld_image_free(&image);
}

static void compare_split(const char *split, int n_samples)
{
    struct ld_dataset *coco = read_set(LD_DATASET_COCO, split);
    struct ld_dataset *voc = read_set(LD_DATASET_VOC, split);

    ck_assert_int_eq(coco->n_samples, n_samples);
    ck_assert_int_eq(voc->n_samples, n_samples);
    ck_assert_int_eq(coco->n_objects, voc->n_objects);
    ck_assert_int_ge(coco->n_objects, n_samples);
    for (int i = 0; i < n_samples; i++) {
        ck_assert_int_eq(coco->samples[i].n_objects, voc->samples[i].n_objects);
        compare_image(coco, &coco->samples[i]);
        compare_image(voc, &voc->samples[i]);
    }
    for (int i = 0; i < coco->n_objects; i++)
        compare_boxes(&coco->objects[i], &voc->objects[i]);
    ld_dataset_free(coco);
    ld_dataset_free(voc);
}

START_TEST(the_coco_and_the_voc_form_tell_the_same_truth)
{
    start();
    ck_assert_int_eq(shapes("a", ""), 0);
    compare_split("train", 12);
    compare_split("val", 4);
    end();
}
END_TEST

START_TEST(a_second_run_writes_over_the_first)
{
    start();
    ck_assert_int_eq(shapes("a", ""), 0);
    ck_assert_int_eq(shapes("a", ""), 0);
    compare_split("train", 12);
    end();
}
END_TEST

/* One line that names the flag, what it said and what it may say. */
static void refuses(const char *options, const char *words, int status)
{
    ck_assert_int_eq(shapes("a", options), status);
    ck_assert_msg(shell("grep -qF -e '%s' %s/log", words, folder) == 0,
                  "no '%s' in the answer to %s", words, options);
    ck_assert_int_eq(shell("test -e %s/a", folder), 1);
}

START_TEST(a_wrong_option_is_named_and_nothing_is_written)
{
    start();
    refuses("--images -3", "--images -3: expected a whole number, 0 to 999999",
            LD_ERR_USAGE);
    refuses("--val 1e3", "--val 1e3: expected a whole number", LD_ERR_USAGE);
    refuses("--size 256", "--size 256: expected WxH", LD_ERR_USAGE);
    refuses("--size 8x256", "--size 8: expected a whole number, 64 to 4096",
            LD_ERR_USAGE);
    refuses("--seed", "--seed", LD_ERR_USAGE);
    refuses("--colour", "--colour", LD_ERR_USAGE);
    refuses("second", "expected one folder", LD_ERR_USAGE);
    end();
}
END_TEST

START_TEST(a_folder_that_cannot_be_made_is_named)
{
    start();
    ck_assert_int_eq(shell("touch %s/a", folder), 0);
    ck_assert_int_eq(shapes("a", ""), LD_ERR_IO);
    ck_assert_int_eq(shell("grep -q '%s/a' %s/log", folder, folder), 0);
    end();
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("shapes");
    TCase *c = tcase_create("shapes");

    tcase_add_test(c,
                   the_same_seed_gives_the_same_bytes_and_another_gives_others);
    tcase_add_test(c, an_image_does_not_depend_on_how_many_others_there_are);
    tcase_add_test(c, the_coco_and_the_voc_form_tell_the_same_truth);
    tcase_add_test(c, a_second_run_writes_over_the_first);
    tcase_add_test(c, a_wrong_option_is_named_and_nothing_is_written);
    tcase_add_test(c, a_folder_that_cannot_be_made_is_named);
    suite_add_tcase(s, c);
    return s;
}
