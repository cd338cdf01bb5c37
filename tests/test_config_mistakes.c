#include "formats/config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/rng.h"
#include "tests/scratch.h"
#include "tests/suite.h"

/* Each test runs in a process of its own. */
static struct ld_arena arena;

static void defaults(struct ld_config *config)
{
    struct ld_err err = {0};

    ck_assert_msg(ld_config_default(config, &arena, &err), "%s", err.text);
}

static void expect_set_fails(const char *assignment, const char *text)
{
    struct ld_config config;
    struct ld_err err = {0};

    defaults(&config);
    ck_assert_msg(!ld_config_set(&config, assignment, &arena, &err),
                  "%s was taken", assignment);
    ck_assert_int_eq(err.code, LD_ERR_USAGE);
    ck_assert_str_eq(err.text, text);
}

static void expect_read_fails(const char *path, const char *yaml,
                              const char *text)
{
    struct ld_config config;
    struct ld_err err = {0};

    defaults(&config);
    scratch_text(path, yaml);
    ck_assert_msg(!ld_config_read(&config, path, &arena, &err), "taken: %s",
                  yaml);
    ck_assert_int_eq(err.code, LD_ERR_USAGE);
    ck_assert_str_eq(err.text, text);
}

static void set_ok(struct ld_config *config, const char *assignment)
{
    struct ld_err err = {0};

    ck_assert_msg(ld_config_set(config, assignment, &arena, &err), "%s",
                  err.text);
}

static char *text_of(const struct ld_config *config)
{
    struct ld_err err = {0};
    struct ld_buf out = {.max = 1 << 20};
    char *text;

    ld_config_text(config, &out);
    ck_assert(ld_buf_ok(&out, &err));
    text = ld_arena_text(&arena, (const char *)out.data, out.len, &err);
    ck_assert_ptr_nonnull(text);
    ld_buf_free(&out);
    return text;
}

START_TEST(bases_in_a_circle_or_too_many_are_refused)
{
    expect_read_fails("self.yaml", "base: ./self.yaml\n",
                      "./self.yaml: is, through base, a base of itself");
    scratch_text("b.yaml", "base: a.yaml\n");
    expect_read_fails("a.yaml", "base: b.yaml\n",
                      "a.yaml: is, through base, a base of itself");
    for (int i = 0; i <= 9; i++) {
        char name[32], text[64];

        snprintf(name, sizeof(name), "chain%d.yaml", i);
        snprintf(text, sizeof(text),
                 i ? "base: chain%d.yaml\n" : "threads: 1\n", i - 1);
        scratch_text(name, text);
    }
    expect_read_fails("chain9.yaml", "base: chain8.yaml\n",
                      "chain0.yaml: more than 8 bases, one under another");
    expect_read_fails("chain8.yaml", "base: chain7.yaml\nthread: 1\n",
                      "chain8.yaml:2:1: thread: unknown key; did you mean "
                      "threads?");
}
END_TEST

START_TEST(a_missing_file_or_base_is_named)
{
    struct ld_config c;
    struct ld_err err = {0};

    defaults(&c);
    ck_assert(!ld_config_read(&c, "none.yaml", &arena, &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    ck_assert_str_eq(err.text,
                     "none.yaml: cannot open: No such file or directory");
    expect_read_fails("m.yaml", "\nbase: none.yaml\n",
                      "m.yaml:2:7: base: none.yaml: cannot open: No such file "
                      "or directory");
    expect_read_fails("m.yaml", "base: [a, b]\n",
                      "m.yaml:1:7: base: expected the name of one file");
    expect_read_fails("m.yaml", "base: b.yaml\nbase: b.yaml\n",
                      "m.yaml:2:7: base: set twice");
}
END_TEST

START_TEST(a_mistake_in_a_file_is_named_with_line_and_column)
{
    static const struct {
        const char *yaml, *text;
    } cases[] = {
        {"train:\n  epoch: 3\n",
         "m.yaml:2:3: train.epoch: unknown key; did you mean train.epochs?"},
        {"lr: 3\n", "m.yaml:1:1: lr: unknown key; did you mean train.lr?"},
        {"banana: 3\n", "m.yaml:1:1: banana: unknown key"},
        {"train: 3\n",
         "m.yaml:1:1: train: expected settings inside, as in 'train: {...}'"},
        {"train: {lr: 1}\ntrain: {lr: 2}\n",
         "m.yaml:2:9: train.lr: set twice, first on line 1"},
        {"teacher: none\nteacher.source: none\n",
         "m.yaml:2:1: teacher.source: set twice, first on line 1"},
        {"train: {lr: abc}\n",
         "m.yaml:1:13: train.lr: 'abc': expected a number from 0 to 10"},
        {"train: {lr: [1]}\n",
         "m.yaml:1:13: train.lr: a list: expected a number from 0 to 10"},
        {"view: {mean: [1, 2]}\n",
         "m.yaml:1:14: view.mean: a list of another length: expected a list "
         "of 3 numbers from -1000 to 1000"},
        {"data: {classes: cat}\n",
         "m.yaml:1:17: data.classes: 'cat': expected a list of at most 2048 "
         "names"},
        {"data: {classes: [a, [b]]}\n",
         "m.yaml:1:21: expected a plain value in this list"},
        {"a: &x 3\n", "m.yaml:1:4: anchors (&), aliases (*) and tags (!) are "
                      "not supported in a config; write the value out"},
        {"a: *x\n", "m.yaml:1:4: anchors (&), aliases (*) and tags (!) are "
                    "not supported in a config; write the value out"},
        {"a: !!int 3\n",
         "m.yaml:1:4: anchors (&), aliases (*) and tags (!) are not supported "
         "in a config; write the value out"},
        {"- 1\n", "m.yaml:1:1: expected settings, as in 'train: {lr: 0.01}'"},
        {"? [a]\n: 1\n", "m.yaml:1:3: expected a plain word as a key"},
        {"threads: 1\n---\nthreads: 2\n",
         "m.yaml:2:1: a second YAML document; a config is one"},
        {"device: \"c\\np\\tu\"\n",
         "m.yaml:1:9: a text with a line break or a control character"},
        {"a: {b: {c: {d: {e: {f: {g: {h: {i: {j: 1}}}}}}}}}}\n",
         "m.yaml:1:36: nested too deep for a config"},
        {"train: {lr: 1\n",
         "m.yaml:2:1: not YAML: did not find expected ',' or '}' while parsing "
         "a flow mapping"},
        {"a: b: c\n",
         "m.yaml:1:5: not YAML: mapping values are not allowed in this "
         "context"},
        {"a: \xff\n", "m.yaml: byte 3: not YAML: invalid leading UTF-8 octet"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_read_fails("m.yaml", cases[i].yaml, cases[i].text);
}
END_TEST

START_TEST(a_value_out_of_bounds_or_of_another_kind_is_refused)
{
    expect_set_fails("train.lr=11",
                     "--set: train.lr: '11': expected a number from 0 to 10");
    expect_set_fails("train.lr=-0.1",
                     "--set: train.lr: '-0.1': expected a number from 0 to 10");
    expect_set_fails("train.lr=nan",
                     "--set: train.lr: 'nan': expected a number from 0 to 10");
    expect_set_fails("train.lr=inf",
                     "--set: train.lr: 'inf': expected a number from 0 to 10");
    expect_set_fails("train.lr=.nan",
                     "--set: train.lr: '.nan': expected a number from 0 to 10");
    expect_set_fails("train.lr=0x1p-3", "--set: train.lr: '0x1p-3': expected a "
                                        "number from 0 to 10");
    expect_set_fails("train.lr=",
                     "--set: train.lr: '': expected a number from 0 to 10");
    expect_set_fails("train.batch=2.5", "--set: train.batch: '2.5': expected a "
                                        "whole number from 1 to 1024");
    expect_set_fails("train.batch=99999999999999999999",
                     "--set: train.batch: '99999999999999999999': expected a "
                     "whole number from 1 to 1024");
    expect_set_fails("model.norm_eval=yes",
                     "--set: model.norm_eval: 'yes': expected true or false");
    expect_set_fails("model.depth=20",
                     "--set: model.depth: '20': expected 18, 34, 50 or 101");
    expect_set_fails(
        "data.format=cooc",
        "--set: data.format: 'cooc' (did you mean coco?): expected "
        "coco or voc");
    expect_set_fails("device=gpu", "--set: device: 'gpu' (did you mean cpu?): "
                                   "expected auto, cpu or cuda");
    expect_set_fails("view.std=[1, 0, 1]",
                     "--set: view.std: '0': expected a list of 3 numbers from "
                     "0.001 to 1000");
    expect_set_fails("train.lr_steps=[1,2,3,4,5,6,7,8,9]",
                     "--set: train.lr_steps: a longer list: expected a list "
                     "of at most 8 whole numbers from 0 to 10000");
    expect_set_fails("data.classes=[a, '']",
                     "--set: data.classes: '': expected a list of at most "
                     "2048 names");
}
END_TEST

START_TEST(an_assignment_of_the_command_line_is_checked)
{
    struct ld_config c;

    expect_set_fails("train.lr", "--set train.lr: expected key=value, as in "
                                 "train.lr=0.01");
    expect_set_fails("=3", "--set =3: expected key=value, as in train.lr=0.01");
    expect_set_fails("train.epoch=3", "--set: train.epoch: unknown key; did "
                                      "you mean train.epochs?");
    expect_set_fails("base=a.yaml", "--set: base: unknown key");
    expect_set_fails("train=", "--set: train: expected settings inside, as in "
                               "'train: {...}'");
    expect_set_fails("train.lr=[1", "--set: not YAML: did not find expected "
                                    "',' or ']' while parsing a flow sequence");
    defaults(&c);
    set_ok(&c, "train={lr: 0.5, lr_steps: [1, 2, 3]}");
    ck_assert(c.train.lr == 0.5f);
    ck_assert_int_eq(c.train.n_lr_steps, 3);
    set_ok(&c, "data.train=a=b.json");
    ck_assert_str_eq(c.data.train, "a=b.json");
    set_ok(&c, "data.classes=[a, b c]");
    ck_assert_str_eq(c.data.classes.items[1], "b c");
}
END_TEST

START_TEST(a_checkpoints_text_with_an_error_names_the_checkpoint)
{
    struct ld_config c;
    struct ld_err err = {0};

    defaults(&c);
    ck_assert(!ld_config_parse(&c, "a: 1\n", "x.h5", &arena, &err));
    ck_assert_str_eq(err.text, "x.h5:1:1: a: unknown key");
}
END_TEST

/* Random changes of a config: whatever comes, an error or a config. */
START_TEST(no_text_crashes_the_reader)
{
    static const char pieces[] = "{}[]:,-#&*!|>'\"%@`~?\n\t \\ab0.\xc3\xff\x01";
    struct ld_rng rng = ld_rng_seed(5, 5);
    struct ld_config base;
    const char *whole;
    char text[2048];
    size_t len;

    printf("seed 5\n");
    defaults(&base);
    whole = text_of(&base);
    len = strlen(whole);
    ck_assert_uint_lt(len, sizeof(text));
    for (int i = 0; i < 2000; i++) {
        struct ld_config c = base;
        struct ld_err err = {0};
        struct ld_arena own = {0};
        bool ok;

        memcpy(text, whole, len + 1);
        for (uint32_t k = 0; k <= ld_rng_below(&rng, 4); k++)
            text[ld_rng_below(&rng, (uint32_t)len)] =
                pieces[ld_rng_below(&rng, sizeof(pieces) - 1)];
        ok = ld_config_parse(&c, text, "text", &own, &err);
        ck_assert(ok == (err.code == LD_OK));
        ck_assert_ptr_null(strchr(err.text, '\n'));
        ld_arena_free(&own);
    }
}
END_TEST

START_TEST(running_out_of_memory_is_an_error)
{
    struct ld_config c;
    bool ok = false;

    scratch_text("m.yaml", "train: {lr: 0.5}\ndata: {classes: [a, b]}\n");
    for (int i = 0; !ok && i < 2000; i++) {
        struct ld_err err = {0};
        struct ld_arena own = {0};

        ld_mem_fail_after(i);
        ok = ld_config_default(&c, &own, &err) &&
             ld_config_read(&c, "m.yaml", &own, &err);
        ld_mem_fail_after(-1);
        ck_assert(ok || err.code == LD_ERR_MEMORY);
        ld_arena_free(&own);
    }
    ck_assert(ok);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("config_mistakes");
    TCase *c = tcase_create("config_mistakes");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, bases_in_a_circle_or_too_many_are_refused);
    tcase_add_test(c, a_missing_file_or_base_is_named);
    tcase_add_test(c, a_mistake_in_a_file_is_named_with_line_and_column);
    tcase_add_test(c, a_value_out_of_bounds_or_of_another_kind_is_refused);
    tcase_add_test(c, an_assignment_of_the_command_line_is_checked);
    tcase_add_test(c, a_checkpoints_text_with_an_error_names_the_checkpoint);
    tcase_add_test(c, no_text_crashes_the_reader);
    tcase_add_test(c, running_out_of_memory_is_an_error);
    suite_add_tcase(s, c);
    return s;
}
