#include "formats/safetensors_write.h"

#include <string.h>
#include <unistd.h>

#include "tests/made_checkpoint.h"
#include "tests/scratch.h"
#include "tests/suite.h"

static void write_ok(const char *path, const struct ld_checkpoint *c)
{
    struct ld_err err = {0};

    ck_assert_msg(ld_safetensors_write(path, c, &err), "%s", err.text);
}

START_TEST(the_bytes_are_those_of_the_format)
{
    static const char expected[] =
        "{\"__metadata__\":{\"format\":\"pt\","
        "\"classes\":\"person\\ntraffic light\\nVerkehrsschild \\\"gro\xc3\x9f"
        "\\\"\",\"config\":\"train:\\n  lr: 0.01\\n\","
        "\"epoch\":\"3\",\"step\":\"1234567890123\"},"
        "\"backbone.conv1.weight\":{\"dtype\":\"F32\",\"shape\":[4,3,3,3],"
        "\"data_offsets\":[0,432]},"
        "\"backbone.layer1.0.bn1.running_mean\":{\"dtype\":\"F32\","
        "\"shape\":[7],\"data_offsets\":[432,460]},"
        "\"head.cube\":{\"dtype\":\"F32\",\"shape\":[2,3,4],"
        "\"data_offsets\":[460,556]},"
        "\"head.fc.weight\":{\"dtype\":\"F32\",\"shape\":[5,6],"
        "\"data_offsets\":[556,676]},"
        "\"head.scales.0.scale\":{\"dtype\":\"F32\",\"shape\":[],"
        "\"data_offsets\":[676,680]}}";
    struct made_checkpoint m;
    uint64_t header;
    size_t len;
    char *file;

    checkpoint_make(&m, 0);
    write_ok("a.safetensors", &m.c);
    file = scratch_get("a.safetensors", &len);
    memcpy(&header, file, 8);
    ck_assert_uint_eq(header % 8, 0);
    ck_assert_uint_ge(header, strlen(expected));
    ck_assert_uint_lt(header, strlen(expected) + 8);
    ck_assert_mem_eq(file + 8, expected, strlen(expected));
    for (size_t i = strlen(expected); i < header; i++)
        ck_assert_int_eq(file[8 + i], ' ');
    /* The values of the made tensors stand end to end as well. */
    ck_assert_uint_eq(len, 8 + header + 680);
    ck_assert_mem_eq(file + 8 + header, m.values, 680);
    ck_assert_int_eq(scratch_count("."), 1);
    ld_delete(file);
    unlink("a.safetensors");
}
END_TEST

START_TEST(it_is_read_back_to_the_bit)
{
    struct made_checkpoint m;
    struct ld_err err = {0};
    bool equal;

    checkpoint_make(&m, 0);
    write_ok("a", &m.c);
    m.c.n_momentum = 0; /* which no .safetensors of ours keeps */
    m.c.step_of_epoch = 0;
    m.c.n_ranks = 0;
    ck_assert_msg(checkpoint_is("a", &m.c, &equal, &err), "%s", err.text);
    ck_assert(equal);
    unlink("a");
}
END_TEST

START_TEST(equal_detectors_give_equal_files)
{
    struct made_checkpoint m;
    size_t n, k;
    char *a, *b;

    checkpoint_make(&m, 0);
    write_ok("a", &m.c);
    write_ok("b", &m.c);
    a = scratch_get("a", &n);
    b = scratch_get("b", &k);
    ck_assert_uint_eq(n, k);
    ck_assert_mem_eq(a, b, n);
    ld_delete(a);
    ld_delete(b);
    unlink("a");
    unlink("b");
}
END_TEST

START_TEST(a_class_of_two_lines_is_refused)
{
    struct made_checkpoint m;
    struct ld_err err = {0};

    checkpoint_make(&m, 0);
    m.classes[1] = "traffic\nlight";
    ck_assert(!ld_safetensors_write("a", &m.c, &err));
    ck_assert_int_eq(err.code, LD_ERR_FORMAT);
    ck_assert_str_eq(err.text, "a: the name of class 1 holds a line break, "
                               "which parts the classes here");
    ck_assert_int_eq(scratch_count("."), 0);
}
END_TEST

START_TEST(a_folder_that_is_not_there_is_an_error)
{
    struct made_checkpoint m;
    struct ld_err err = {0};

    checkpoint_make(&m, 0);
    ck_assert(!ld_safetensors_write("none/a", &m.c, &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_str_eq(err.text,
                     "none/a: cannot create: No such file or directory");
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("safetensors_write");
    TCase *c = tcase_create("safetensors_write");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, the_bytes_are_those_of_the_format);
    tcase_add_test(c, it_is_read_back_to_the_bit);
    tcase_add_test(c, equal_detectors_give_equal_files);
    tcase_add_test(c, a_class_of_two_lines_is_refused);
    tcase_add_test(c, a_folder_that_is_not_there_is_an_error);
    suite_add_tcase(s, c);
    return s;
}
