#include "formats/dataset.h"

#include <stdio.h>
#include <string.h>

#include "formats/file.h"
#include "kernels/base/mem.h"
#include "tests/scratch.h"
#include "tests/suite.h"

#define OBJECT(name, x0, y0, x1, y1, more)                   \
    "<object><name>" name "</name>" more "<bndbox><xmin>" x0 \
    "</xmin><ymin>" y0 "</ymin><xmax>" x1 "</xmax><ymax>" y1 \
    "</ymax></bndbox></object>"
#define SIZE "<size><width>50</width><height>40</height></size>"

static struct ld_dataset *read_voc(const char *split, const char *const *names,
                                   int n_names, struct ld_err *err)
{
    struct ld_dataset_source source = {
        .kind = LD_DATASET_VOC,
        .annotations = ".",
        .split = split,
        .class_names = names,
        .n_classes = n_names,
    };

    *err = (struct ld_err){0};
    return ld_dataset_read(&source, err);
}

static void write_small_voc(void)
{
    scratch_text("ImageSets/Main/train.txt", "img2\r\n\n  img1  1\nimg3");
    scratch_text(
        "Annotations/img1.xml",
        "<annotation><filename>other.png</filename>" SIZE OBJECT(
            "dog", " 3.9\n", "4", "20", "3e1", "<difficult>1</difficult>")
            OBJECT("ant", "1", "1", "1", "9", "") "</annotation>");
    scratch_text("Annotations/img2.xml",
                 "<?xml version='1.0'?><!-- x --><annotation>"
                 "<source><annotation>y</annotation></source>" OBJECT(
                     "cat&amp;co", "10", "20", "30", "40",
                     "<part><name>head</name><bndbox><xmin>5</xmin></bndbox>"
                     "</part>") "</annotation>");
    scratch_text("Annotations/img3.xml", "<annotation>" SIZE "</annotation>");
    scratch_text("JPEGImages/img1.png", "");
    scratch_text("JPEGImages/img3.jpg", "");
}

START_TEST(voc_counts_pixels_from_one_and_marks_difficult_boxes)
{
    const struct ld_sample *a, *b, *c;
    struct ld_dataset *set;
    struct ld_err err;

    write_small_voc();
    set = read_voc("train", NULL, 0, &err);
    ck_assert_msg(set, "%s", err.text);
    ck_assert_int_eq(set->n_samples, 3);
    a = &set->samples[0], b = &set->samples[1], c = &set->samples[2];
    ck_assert_int_eq(set->n_classes, 3);
    ck_assert_str_eq(set->class_names[0], "ant");
    ck_assert_str_eq(set->class_names[1], "cat&co");
    ck_assert_str_eq(set->class_names[2], "dog");
    ck_assert_str_eq(a->name, "JPEGImages/img2.jpg"); /* none is there */
    ck_assert_int_eq(a->H, 0);
    ck_assert_int_eq(a->n_objects, 1);
    ck_assert_int_eq(set->objects[0].class_index, 1);
    ck_assert_float_eq(set->objects[0].box.x0, 9); /* not the part's */
    ck_assert_float_eq(set->objects[0].box.y1, 39);
    ck_assert_float_eq(set->objects[0].area, 400);
    ck_assert(a->trained && set->objects[0].trained);
    ck_assert_str_eq(b->name, "JPEGImages/img1.png");
    ck_assert_int_eq(b->id, 1);
    ck_assert_int_eq(b->H, 40);
    ck_assert_int_eq(b->W, 50);
    ck_assert_int_eq(b->n_objects, 2);
    ck_assert_float_eq(set->objects[1].box.x0, 2); /* int(3.9) - 1 */
    ck_assert_float_eq(set->objects[1].box.y1, 29);
    ck_assert(set->objects[1].ignored && !set->objects[1].trained);
    ck_assert(!set->objects[2].ignored && !set->objects[2].trained);
    ck_assert_int_eq(set->n_dropped, 1); /* the ant has no width */
    ck_assert(!c->trained && c->n_objects == 0);
    ld_dataset_free(set);
}
END_TEST

START_TEST(voc_leaves_out_classes_that_are_not_listed)
{
    static const char *const names[] = {"dog", "cow"};
    struct ld_err err;
    struct ld_dataset *set;

    write_small_voc();
    set = read_voc("train", names, 2, &err);
    ck_assert_msg(set, "%s", err.text);
    ck_assert_int_eq(set->n_classes, 2);
    ck_assert_int_eq(set->n_objects, 1);
    ck_assert_int_eq(set->objects[0].class_index, 0);
    ck_assert_int_eq(set->n_dropped, 2);
    ck_assert(!set->samples[0].trained);
    ck_assert(set->samples[1].trained); /* by its difficult box alone */
    ld_dataset_free(set);
}
END_TEST

START_TEST(voc_folders_are_joined_in_order)
{
    char path[4096];
    struct ld_dataset_source source = {
        .kind = LD_DATASET_VOC,
        .annotations = "data/VOC2007:data/VOC2012/",
        .split = "trainval:val",
    };
    struct ld_err err = {0};
    struct ld_dataset *set;

    scratch_text("data/VOC2007/ImageSets/Main/trainval.txt", "000001\n");
    scratch_text("data/VOC2012/ImageSets/Main/val.txt", "000001\n");
    scratch_text(
        "data/VOC2007/Annotations/000001.xml",
        "<annotation>" OBJECT("b", "1", "1", "9", "9", "") "</annotation>");
    scratch_text(
        "data/VOC2012/Annotations/000001.xml",
        "<annotation>" OBJECT("a", "1", "1", "9", "9", "") "</annotation>");
    set = ld_dataset_read(&source, &err);
    ck_assert_msg(set, "%s", err.text);
    ck_assert_int_eq(set->n_samples, 2);
    ck_assert_str_eq(set->folder, "data");
    ck_assert_str_eq(set->samples[0].name, "VOC2007/JPEGImages/000001.jpg");
    ck_assert(ld_dataset_path(set, &set->samples[1], path, &err));
    ck_assert_str_eq(path, "data/VOC2012/JPEGImages/000001.jpg");
    ck_assert_int_eq(set->objects[0].class_index, 1);
    ld_dataset_free(set);
    source.split = "a:b:c";
    ck_assert_ptr_null(ld_dataset_read(&source, &err));
    ck_assert_int_eq(err.code, LD_ERR_USAGE);
}
END_TEST

static void check_folder(const char *roots, const char *folder,
                         const char *second_name)
{
    struct ld_dataset_source source = {
        .kind = LD_DATASET_VOC, .annotations = roots, .split = "t"};
    struct ld_err err = {0};
    struct ld_dataset *set = ld_dataset_read(&source, &err);

    ck_assert_msg(set, "%s", err.text);
    ck_assert_str_eq(set->folder, folder);
    ck_assert_str_eq(set->samples[1].name, second_name);
    ld_dataset_free(set);
}

START_TEST(the_folder_of_voc_is_what_the_sources_share)
{
    static const char *const roots[] = {"a/b", "a/bc", "ab", "a/b/c"};
    char name[64];

    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "%s/ImageSets/Main/t.txt", roots[i]);
        scratch_text(name, "1");
        snprintf(name, sizeof(name), "%s/Annotations/1.xml", roots[i]);
        scratch_text(name, "<annotation/>");
    }
    check_folder("a/b:a/bc", "a", "bc/JPEGImages/1.jpg");
    check_folder("a/b:ab", "", "ab/JPEGImages/1.jpg");
    check_folder("a/b:a/b/c", "a/b", "c/JPEGImages/1.jpg");
    check_folder("a/b/c:a/b/", "a/b", "JPEGImages/1.jpg");
}
END_TEST

START_TEST(the_hash_of_voc_is_that_of_every_annotation_in_order)
{
    const char one[] = "<annotation></annotation>", two[] = "<annotation/>";
    char both[100], hash[65];
    struct ld_dataset *set;
    struct ld_err err;

    scratch_text("ImageSets/Main/t.txt", "2\n1\n");
    scratch_text("Annotations/1.xml", one);
    scratch_text("Annotations/2.xml", two);
    set = read_voc("t", NULL, 0, &err);
    ck_assert_msg(set, "%s", err.text);
    snprintf(both, sizeof(both), "%s%s", two, one);
    ld_bytes_sha256(both, strlen(both), hash);
    ck_assert_str_eq(set->sha256, hash);
    ck_assert_int_eq(set->n_classes, 0);
    ld_dataset_free(set);
}
END_TEST

static void check_xml_refused(const char *xml, const char *want)
{
    struct ld_err err;

    scratch_text("ImageSets/Main/t.txt", "\n1\n");
    scratch_text("Annotations/1.xml", xml);
    ck_assert_msg(!read_voc("t", NULL, 0, &err), "%s", xml);
    ck_assert_int_eq(err.code, LD_ERR_FORMAT);
    ck_assert_msg(strstr(err.text, want) != NULL, "%s\nwanted: %s", err.text,
                  want);
    ck_assert_ptr_nonnull(strstr(err.text, "t.txt:2: "));
}

START_TEST(a_bad_voc_file_is_refused_with_its_place)
{
    check_xml_refused("", "1.xml:1:1: no element found");
    check_xml_refused("<annotation>\n<a></b></annotation>",
                      "1.xml:2:6: mismatched tag");
    check_xml_refused("<annotation><object>", "no element found");
    check_xml_refused("<html></html>", "expected <annotation>, found <html>");
    check_xml_refused("<annotation><object></object></annotation>",
                      "the object that ends here has no name");
    check_xml_refused("<annotation><object><name>a</name></object>"
                      "</annotation>",
                      "has no annotation/object/bndbox/xmin");
    check_xml_refused(
        "<annotation>" OBJECT("a", "1", "x", "3", "4", "") "</annotation>",
        "expected a number in annotation/object/bndbox/ymin, "
        "found 'x'");
    check_xml_refused(
        "<annotation>" OBJECT("a", "1", "2", "3", "nan", "") "</annotation>",
        "expected a number up to");
    check_xml_refused(
        "<annotation>" OBJECT("a", "1", "2", "1e30", "4", "") "</annotation>",
        "expected a number up to");
    check_xml_refused(
        "<annotation>\n<size><width>-4</width></size></annotation>",
        "1.xml:2:24: an image of negative size");
}
END_TEST

START_TEST(an_entity_bomb_is_refused)
{
    check_xml_refused("<?xml version='1.0'?>\n<!DOCTYPE annotation [\n"
                      "<!ENTITY a 'aaaaaaaaaa'>\n"
                      "<!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>\n"
                      "]><annotation>&b;</annotation>",
                      "document type declaration");
    check_xml_refused("<annotation>&lol;</annotation>", "undefined entity");
}
END_TEST

START_TEST(a_long_or_deep_voc_file_is_harmless)
{
    struct ld_buf text = {.max = 1 << 24};
    struct ld_dataset *set;
    struct ld_err err;

    ld_buf_printf(&text, "<annotation>");
    for (int i = 0; i < 20000; i++)
        ld_buf_printf(&text, "<deep>some text");
    for (int i = 0; i < 20000; i++)
        ld_buf_printf(&text, "</deep>");
    ld_buf_printf(&text, "<note>%05000d</note></annotation>", 1);
    scratch_text("ImageSets/Main/t.txt", "1\n");
    scratch_text("Annotations/1.xml", (const char *)text.data);
    set = read_voc("t", NULL, 0, &err);
    ck_assert_msg(set, "%s", err.text);
    ld_dataset_free(set);
    text.len = 0;
    ld_buf_printf(&text,
                  "<annotation><object><name>%05000d</name></object>"
                  "</annotation>",
                  1);
    check_xml_refused((const char *)text.data, "is longer than 1023 bytes");
    ld_buf_free(&text);
}
END_TEST

START_TEST(an_annotation_that_the_split_names_must_be_there)
{
    struct ld_err err;

    ck_assert_ptr_null(read_voc("t", NULL, 0, &err));
    ck_assert_ptr_nonnull(
        strstr(err.text, "ImageSets/Main/t.txt: cannot open"));
    scratch_text("ImageSets/Main/t.txt", "1\n");
    ck_assert_ptr_null(read_voc("t", NULL, 0, &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "Annotations/1.xml: cannot open"));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("voc");
    TCase *c = tcase_create("voc");

    tcase_add_checked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, voc_counts_pixels_from_one_and_marks_difficult_boxes);
    tcase_add_test(c, voc_leaves_out_classes_that_are_not_listed);
    tcase_add_test(c, voc_folders_are_joined_in_order);
    tcase_add_test(c, the_folder_of_voc_is_what_the_sources_share);
    tcase_add_test(c, the_hash_of_voc_is_that_of_every_annotation_in_order);
    tcase_add_test(c, a_bad_voc_file_is_refused_with_its_place);
    tcase_add_test(c, an_entity_bomb_is_refused);
    tcase_add_test(c, a_long_or_deep_voc_file_is_harmless);
    tcase_add_test(c, an_annotation_that_the_split_names_must_be_there);
    suite_add_tcase(s, c);
    return s;
}
