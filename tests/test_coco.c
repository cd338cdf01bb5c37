#include "formats/dataset.h"

#include <stdio.h>
#include <string.h>

#include "formats/file.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/scratch.h"
#include "tests/suite.h"

#define IMAGES                                                                \
    "\"images\":[{\"id\":-5,\"file_name\":\"b.jpg\",\"height\":60,\"width\":" \
    "80},"                                                                    \
    "{\"file_name\":\"a.jpg\",\"id\":9007199254740993,\"width\":31,"          \
    "\"height\":64,\"license\":{\"x\":[1]}}]"
#define CATEGORIES \
    "\"categories\":[{\"id\":7,\"name\":\"cat\"},{\"name\":\"dog\",\"id\":3}]"
#define ANNOTATIONS                                                         \
    "\"annotations\":["                                                     \
    "{\"image_id\":9007199254740993,\"category_id\":7,\"bbox\":[1,2,3,4]}," \
    "{\"image_id\":-5,\"category_id\":3,\"bbox\":[0.5,1,10,20],"            \
    "\"area\":99.5,\"iscrowd\":0,\"segmentation\":[[1,2,3,4]]},"            \
    "{\"image_id\":-5,\"category_id\":7,\"bbox\":[5,5,5,5],\"iscrowd\":1,"  \
    "\"area\":3}]"

static struct ld_dataset *read_coco(const char *text, const char *const *names,
                                    int n_names, struct ld_err *err)
{
    struct ld_dataset_source source = {
        .kind = LD_DATASET_COCO,
        .annotations = "t.json",
        .images = "photos",
        .class_names = names,
        .n_classes = n_names,
    };
    struct ld_dataset *set;

    *err = (struct ld_err){0};
    scratch_text("t.json", text);
    set = ld_dataset_read(&source, err);
    ck_assert((set == NULL) == (err->code != LD_OK));
    return set;
}

static void check_small_coco(const char *text)
{
    struct ld_err err;
    struct ld_dataset *set = read_coco(text, NULL, 0, &err);
    char path[4096], hash[65];

    ck_assert_msg(set, "%s", err.text);
    ck_assert_int_eq(set->n_samples, 2);
    ck_assert_int_eq(set->samples[0].id, -5);
    ck_assert_int_eq(set->samples[1].id, 9007199254740993);
    ck_assert_str_eq(set->samples[0].name, "b.jpg");
    ck_assert_int_eq(set->samples[0].H, 60);
    ck_assert_int_eq(set->samples[0].W, 80);
    ck_assert(set->samples[0].trained);
    ck_assert(!set->samples[1].trained); /* 31 pixels wide */
    ck_assert_int_eq(set->n_classes, 2);
    ck_assert_str_eq(set->class_names[0], "dog"); /* by rising id */
    ck_assert_int_eq(set->category_id[1], 7);
    ck_assert_int_eq(set->n_objects, 3);
    ck_assert_int_eq(set->samples[0].n_objects, 2);
    ck_assert_int_eq(set->samples[1].first_object, 2);
    ck_assert_float_eq(set->objects[0].box.x0, 0.5F);
    ck_assert_float_eq(set->objects[0].box.x1, 10.5F);
    ck_assert_float_eq(set->objects[0].box.y1, 21);
    ck_assert_float_eq(set->objects[0].area, 99.5F);
    ck_assert(set->objects[0].trained && !set->objects[0].ignored);
    ck_assert(!set->objects[1].trained && set->objects[1].ignored);
    ck_assert_float_eq(set->objects[2].area, 12); /* of the box */
    ck_assert_int_eq(set->objects[2].class_index, 1);
    ck_assert_int_eq(set->n_dropped, 0);
    ck_assert(ld_dataset_path(set, &set->samples[1], path, &err));
    ck_assert_str_eq(path, "photos/a.jpg");
    ld_bytes_sha256(text, strlen(text), hash);
    ck_assert_str_eq(set->sha256, hash);
    ld_dataset_free(set);
}

START_TEST(sections_of_coco_come_in_any_order)
{
    check_small_coco("{" IMAGES "," ANNOTATIONS "," CATEGORIES "}");
    check_small_coco("{" CATEGORIES "," ANNOTATIONS "," IMAGES ",\"info\":{}}");
    check_small_coco("\xef\xbb\xbf {\"licenses\":[1,[2]]," ANNOTATIONS
                     "," CATEGORIES "," IMAGES "}\n");
}
END_TEST

START_TEST(class_names_choose_and_order_the_categories)
{
    static const char *const names[] = {"cat"};
    static const char *const both[] = {"cat", "dog"};
    struct ld_err err;
    struct ld_dataset *set = read_coco(
        "{" IMAGES "," ANNOTATIONS "," CATEGORIES "}", names, 1, &err);

    ck_assert_msg(set, "%s", err.text);
    ck_assert_int_eq(set->n_classes, 1);
    ck_assert_int_eq(set->category_id[0], 7);
    ck_assert_int_eq(set->n_objects, 2);
    ck_assert_int_eq(set->n_dropped, 1);
    ck_assert(set->samples[0].trained); /* by its crowd alone */
    ld_dataset_free(set);
    set =
        read_coco("{" IMAGES "," ANNOTATIONS "," CATEGORIES "}", both, 2, &err);
    ck_assert_msg(set, "%s", err.text);
    ck_assert_int_eq(set->objects[0].class_index, 1);
    ld_dataset_free(set);
}
END_TEST

START_TEST(a_class_that_the_file_lacks_is_named)
{
    static const char *const names[] = {"cat", "zebra"};
    static const char *const twice[] = {"cat", "cat"};
    struct ld_err err;

    read_coco("{" IMAGES "," ANNOTATIONS "," CATEGORIES "}", names, 2, &err);
    ck_assert_ptr_nonnull(strstr(err.text, "no category named 'zebra'"));
    read_coco("{" IMAGES "," ANNOTATIONS "," CATEGORIES "}", twice, 2, &err);
    ck_assert_ptr_nonnull(strstr(err.text, "'cat' is asked for twice"));
}
END_TEST

START_TEST(boxes_of_no_use_stay_for_evaluation_but_are_not_trained)
{
    static const struct {
        const char *fields;
        bool trained;
    } rows[] = {
        {"\"bbox\":[0,0,1,1]", true},
        {"\"bbox\":[0,0,0.99,5]", false},
        {"\"bbox\":[0,0,5,0]", false},
        {"\"bbox\":[80,0,5,5]", false},  /* right of the image */
        {"\"bbox\":[79.5,0,5,5]", true}, /* part of it is inside */
        {"\"bbox\":[-5,0,5,5]", false},
        {"\"bbox\":[-5,-5,6,6]", true},
        {"\"bbox\":[0,60,5,5]", false},
        {"\"bbox\":[0,0,5,5],\"area\":0", false},
        {"\"bbox\":[0,0,5,5],\"area\":-1", false},
        {"\"bbox\":[0,0,5,5],\"ignore\":1", false},
        {"\"bbox\":[0,0,5,5],\"ignore\":0,\"iscrowd\":false", true},
    };
    const int n = sizeof(rows) / sizeof(rows[0]);
    int n_untrained = 0;
    struct ld_buf text = {.max = 10000};
    struct ld_dataset *set;
    struct ld_err err;

    ld_buf_printf(&text, "{" IMAGES "," CATEGORIES ",\"annotations\":[");
    for (int i = 0; i < n; i++)
        ld_buf_printf(&text, "%s{\"image_id\":-5,\"category_id\":3,%s}",
                      i ? "," : "", rows[i].fields);
    ld_buf_printf(&text, "]}");
    set = read_coco((const char *)text.data, NULL, 0, &err);
    ck_assert_msg(set, "%s", err.text);
    ck_assert_int_eq(set->n_objects, n);
    for (int i = 0; i < n; i++) {
        ck_assert_msg(set->objects[i].trained == rows[i].trained, "%s",
                      rows[i].fields);
        ck_assert(!set->objects[i].ignored);
        n_untrained += !rows[i].trained;
    }
    ck_assert_int_eq(set->n_dropped, n_untrained);
    ld_dataset_free(set);
    ld_buf_free(&text);
}
END_TEST

static void check_refused(const char *text, const char *want)
{
    struct ld_err err;
    struct ld_dataset *set = read_coco(text, NULL, 0, &err);

    ck_assert_msg(!set, "%s", text);
    ck_assert_msg(strstr(err.text, want) != NULL, "%s\nwanted: %s", err.text,
                  want);
    ck_assert_ptr_nonnull(strstr(err.text, "t.json:"));
    ck_assert_ptr_null(strchr(err.text, '\n'));
}

static void check_image_refused(const char *image, const char *want)
{
    struct ld_buf text = {.max = 10000};

    ld_buf_printf(
        &text, "{" CATEGORIES ",\"annotations\":[],\n\"images\":[%s]}", image);
    check_refused((const char *)text.data, want);
    ld_buf_free(&text);
}

static void check_annotation_refused(const char *annotation, const char *want)
{
    struct ld_buf text = {.max = 10000};

    ld_buf_printf(&text, "{" IMAGES ",\n" CATEGORIES ",\n\"annotations\":[%s]}",
                  annotation);
    check_refused((const char *)text.data, want);
    ld_buf_free(&text);
}

#define A_SIZE "\"height\":40,\"width\":40"

START_TEST(a_bad_image_is_refused_with_its_place)
{
    check_image_refused("{\"file_name\":\"a\"," A_SIZE "}",
                        "t.json:2:51: the image that ends here has no 'id'");
    check_image_refused("{\"id\":1," A_SIZE "}", "no 'file_name'");
    check_image_refused("{\"id\":1,\"file_name\":\"a\",\"width\":4}",
                        "no 'height'");
    check_image_refused("{\"id\":1,\"file_name\":\"a\",\"height\":4}",
                        "no 'width'");
    check_image_refused("{\"id\":1,\"file_name\":\"\"," A_SIZE "}", "empty");
    check_image_refused("{\"id\":1.5,\"file_name\":\"a\"," A_SIZE "}",
                        "t.json:2:17: expected a 64-bit integer");
    check_image_refused("{\"id\":\"1\",\"file_name\":\"a\"," A_SIZE "}",
                        "expected a number, found a string");
    check_image_refused("{\"id\":1,\"file_name\":\"a\",\"height\":-4,"
                        "\"width\":4}",
                        "expected a size of 1 to");
    check_image_refused("{\"id\":1,\"file_name\":\"a\"," A_SIZE "},\n"
                        "{\"id\":1,\"file_name\":\"b\"," A_SIZE "}",
                        "t.json:3:1: a second image of id 1");
    check_image_refused("7", "expected an object, found '7'");
}
END_TEST

#define OF_IMAGE "\"image_id\":-5,\"category_id\":3"

START_TEST(a_bad_annotation_is_refused_with_its_place)
{
    check_annotation_refused("{" OF_IMAGE "}", "no 'bbox'");
    check_annotation_refused("{\"image_id\":-5,\"bbox\":[1,2,3,4]}",
                             "no 'category_id'");
    check_annotation_refused("{\"category_id\":3,\"bbox\":[1,2,3,4]}",
                             "no 'image_id'");
    check_annotation_refused("{" OF_IMAGE ",\"bbox\":[1,2,3]}",
                             "expected 4 numbers in a bbox, found 3");
    check_annotation_refused("{" OF_IMAGE ",\"bbox\":[1,2,3,4,5]}",
                             "expected 4 numbers in a bbox");
    check_annotation_refused("{" OF_IMAGE ",\"bbox\":[1,2,3,\"4\"]}",
                             "expected a number, found a string");
    check_annotation_refused("{" OF_IMAGE ",\"bbox\":[1,2,NaN,4]}",
                             "expected a number, found 'N'");
    check_annotation_refused("{" OF_IMAGE ",\"bbox\":null}",
                             "expected an array, found 'n'");
    check_annotation_refused("{" OF_IMAGE ",\"bbox\":[1,2,-3,4]}",
                             "negative width or height");
    check_annotation_refused("{" OF_IMAGE ",\"bbox\":[1,2,1e30,4]}",
                             "expected a bbox within");
    check_annotation_refused(
        "\n{\"image_id\":6,\"category_id\":3,\"bbox\":[1,2,3,4]}",
        "t.json:4:1: an annotation of image 6, which is not in 'images'");
}
END_TEST

START_TEST(a_bad_category_or_section_is_refused)
{
    check_refused("{" IMAGES "," ANNOTATIONS ",\"categories\":[{\"id\":3}]}",
                  "the category that ends here has no 'name'");
    check_refused("{" IMAGES "," ANNOTATIONS
                  ",\"categories\":[{\"name\":\"x\"}]}",
                  "the category that ends here has no 'id'");
    check_refused("{" IMAGES "," ANNOTATIONS
                  ",\"categories\":[{\"id\":3,\"name\":\"x\"},"
                  "{\"id\":3,\"name\":\"y\"}]}",
                  "a second category of id 3");
    check_refused("{" IMAGES "," ANNOTATIONS
                  ",\"categories\":[{\"id\":3,\"name\":\"x\"},"
                  "{\"id\":4,\"name\":\"x\"}]}",
                  "a second category named 'x'");
    check_refused("{" IMAGES "," CATEGORIES "}", "has no 'annotations'");
    check_refused("{" ANNOTATIONS "," CATEGORIES "}", "has no 'images'");
    check_refused("{" IMAGES "," ANNOTATIONS "}", "has no 'categories'");
    check_refused("[]", "t.json:1:1: expected an object, found '['");
    check_refused("", "expected an object, found the end of the file");
    check_refused("{\"images\":{}}", "expected an array, found '{'");
}
END_TEST

START_TEST(a_coco_file_cut_at_any_byte_is_refused)
{
    static const char text[] = "{" IMAGES "," ANNOTATIONS "," CATEGORIES "}";
    char cut[sizeof(text)];
    struct ld_err err;

    for (size_t len = 0; len + 1 < sizeof(text); len += 3) {
        memcpy(cut, text, len);
        cut[len] = 0;
        ck_assert_ptr_null(read_coco(cut, NULL, 0, &err));
    }
}
END_TEST

START_TEST(a_coco_file_with_random_damage_never_crashes_the_reader)
{
    static const char likely[] = "{}[]\",:-0123456789e. ";
    const char text[] = "{" IMAGES "," ANNOTATIONS "," CATEGORIES "}";
    const uint64_t seed = 3;
    struct ld_rng rng = ld_rng_seed(seed, 0);
    char damaged[sizeof(text)];
    struct ld_err err;
    int n_refused = 0;

    printf("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 300; i++) {
        struct ld_dataset *set;

        memcpy(damaged, text, sizeof(text));
        for (uint32_t n = ld_rng_below(&rng, 3); n < 3; n++)
            damaged[ld_rng_below(&rng, sizeof(text) - 1)] =
                likely[ld_rng_below(&rng, sizeof(likely) - 1)];
        set = read_coco(damaged, NULL, 0, &err);
        n_refused += !set;
        ld_dataset_free(set);
    }
    ck_assert_int_gt(n_refused, 150);
}
END_TEST

START_TEST(a_missing_file_is_an_input_error)
{
    struct ld_dataset_source source = {.kind = LD_DATASET_COCO,
                                       .annotations = "/nowhere/x.json",
                                       .images = ""};
    struct ld_err err = {0};

    ck_assert_ptr_null(ld_dataset_read(&source, &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "/nowhere/x.json"));
    ld_dataset_free(NULL);
}
END_TEST

START_TEST(used_up_memory_is_reported_wherever_it_happens)
{
    static const char text[] = "{" IMAGES "," ANNOTATIONS "," CATEGORIES "}";
    struct ld_dataset *set = NULL;
    struct ld_err err;
    int n_failed = 0;

    while (!set && n_failed < 100) {
        ld_mem_fail_after(n_failed);
        set = read_coco(text, NULL, 0, &err);
        ld_mem_fail_after(-1);
        if (!set)
            ck_assert_msg(err.code == LD_ERR_MEMORY, "%s", err.text);
        n_failed += !set;
    }
    ck_assert_ptr_nonnull(set);
    ck_assert_int_gt(n_failed, 4);
    ld_dataset_free(set);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("coco");
    TCase *c = tcase_create("coco");

    tcase_add_checked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, sections_of_coco_come_in_any_order);
    tcase_add_test(c, class_names_choose_and_order_the_categories);
    tcase_add_test(c, a_class_that_the_file_lacks_is_named);
    tcase_add_test(c, boxes_of_no_use_stay_for_evaluation_but_are_not_trained);
    tcase_add_test(c, a_bad_image_is_refused_with_its_place);
    tcase_add_test(c, a_bad_annotation_is_refused_with_its_place);
    tcase_add_test(c, a_bad_category_or_section_is_refused);
    tcase_add_test(c, a_coco_file_cut_at_any_byte_is_refused);
    tcase_add_test(c, a_coco_file_with_random_damage_never_crashes_the_reader);
    tcase_add_test(c, a_missing_file_is_an_input_error);
    tcase_add_test(c, used_up_memory_is_reported_wherever_it_happens);
    suite_add_tcase(s, c);
    return s;
}
