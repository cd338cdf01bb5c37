#include "formats/config.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/codec.h"
#include "formats/dataset.h"
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

static void read_ok(struct ld_config *config, const char *path)
{
    struct ld_err err = {0};

    defaults(config);
    ck_assert_msg(ld_config_read(config, path, &arena, &err), "%s", err.text);
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

START_TEST(defaults_are_the_papers_r18_1x_run)
{
    struct ld_config c;

    defaults(&c);
    ck_assert_int_eq(c.data.format, LD_DATASET_COCO);
    ck_assert_str_eq(c.data.train, "");
    ck_assert_int_eq(c.data.classes.n, 0);
    ck_assert_int_eq(c.views.rules.long_edge, 1333);
    ck_assert_int_eq(c.views.rules.short_edge, 800);
    ck_assert(c.views.flip);
    ck_assert(c.views.rules.mean[1] == 116.28f &&
              c.views.rules.std[2] == 57.375f);
    ck_assert_int_eq(c.model.depth, 18);
    ck_assert_int_eq(c.model.width, 64);
    ck_assert_int_eq(c.model.reg_max, 16);
    ck_assert_int_eq(c.model.frozen_stages, 1);
    ck_assert(c.model.norm_eval);
    ck_assert_int_eq(c.teacher.source, LD_TEACHER_NONE);
    ck_assert_int_eq(c.assign.vlr_mode, LD_VLR_CODE);
    ck_assert(c.loss.ld == 0.25f && c.loss.ld_T == 10 && c.loss.kd == 10);
    ck_assert_int_eq(c.loss.ld_norm, LD_NORM_SUM);
    ck_assert_int_eq(c.train.batch, 3);
    ck_assert(c.train.lr == 0.00375f && c.train.weight_decay == 1e-4f);
    ck_assert_int_eq(c.train.n_lr_steps, 2);
    ck_assert_int_eq(c.train.lr_steps[1], 11);
    ck_assert(c.test.iou_limit == 0.6f);
    ck_assert_int_eq(c.cache.storage, LD_STORAGE_PREDICTED);
    ck_assert_str_eq(c.device, "auto");
    ck_assert_int_eq(c.threads, 0);
}
END_TEST

START_TEST(every_kind_of_setting_is_read)
{
    struct ld_config c;

    scratch_text("a.yaml", "# a comment\n"
                           "data:\n"
                           "  format: voc\n"
                           "  classes: [person, traffic light, \"a: b\"]\n"
                           "  train_split: 'trainval'\n"
                           "model: {depth: 101, norm_eval: false, width: 16}\n"
                           "teacher: resident\n"
                           "view: {mean: [1, 2.5, -3e1]}\n"
                           "loss:\n"
                           "  # nothing here but this\n"
                           "loss.ld: 1.5\n"
                           "train:\n"
                           "  lr: 1e-4\n"
                           "  lr_steps: []\n"
                           "assign.vlr_mode: diou\n"
                           "device: cpu\n"
                           "threads: +4\n");
    read_ok(&c, "a.yaml");
    ck_assert_int_eq(c.data.format, LD_DATASET_VOC);
    ck_assert_int_eq(c.data.classes.n, 3);
    ck_assert_str_eq(c.data.classes.items[1], "traffic light");
    ck_assert_str_eq(c.data.classes.items[2], "a: b");
    ck_assert_str_eq(c.data.train_split, "trainval");
    ck_assert_int_eq(c.model.depth, 101);
    ck_assert(!c.model.norm_eval);
    ck_assert_int_eq(c.teacher.source, LD_TEACHER_RESIDENT);
    ck_assert(c.views.rules.mean[1] == 2.5f && c.views.rules.mean[2] == -30);
    ck_assert(c.loss.ld == 1.5f && c.train.lr == 1e-4f);
    ck_assert_int_eq(c.train.n_lr_steps, 0);
    ck_assert_int_eq(c.assign.vlr_mode, LD_VLR_DIOU);
    ck_assert_str_eq(c.device, "cpu");
    ck_assert_int_eq(c.threads, 4);
    ck_assert_int_eq(c.train.batch, 3);
}
END_TEST

START_TEST(an_empty_file_sets_nothing)
{
    static const char *const texts[] = {
        "", "\n\n", "# only this\n", "---\n", "{}\n", "\xef\xbb\xbf# a mark\n"};
    struct ld_config c, plain;

    defaults(&plain);
    for (int i = 0; i < 6; i++) {
        scratch_text("a.yaml", texts[i]);
        read_ok(&c, "a.yaml");
        ck_assert_str_eq(text_of(&c), text_of(&plain));
    }
}
END_TEST

START_TEST(a_base_is_read_first_and_paths_belong_to_their_file)
{
    struct ld_config c;

    mkdir("configs", 0777);
    mkdir("configs/base", 0777);
    scratch_text("configs/base/common.yaml",
                 "train: {lr: 0.5, batch: 7}\n"
                 "data: {train: ../../data/a.json, val: /v/b.json}\n"
                 "model: {init: start.h5}\n");
    scratch_text("configs/a.yaml", "train: {lr: 0.25}\n"
                                   "base: base/common.yaml\n"
                                   "data: {train_images: images, val: 'x:y'}\n"
                                   "teacher: {cache: shards}\n");
    read_ok(&c, "configs/a.yaml");
    ck_assert(c.train.lr == 0.25f);
    ck_assert_int_eq(c.train.batch, 7);
    ck_assert_str_eq(c.data.train, "configs/base/../../data/a.json");
    ck_assert_str_eq(c.data.train_images, "configs/images");
    ck_assert_str_eq(c.data.val, "configs/x:configs/y");
    ck_assert_str_eq(c.model_init, "configs/base/start.h5");
    ck_assert_str_eq(c.teacher.cache, "configs/shards");
    set_ok(&c, "teacher.cache=elsewhere");
    ck_assert_str_eq(c.teacher.cache, "elsewhere");
    set_ok(&c, "model.init=");
    ck_assert_str_eq(c.model_init, "");
    ck_assert_int_eq(chdir("configs"), 0);
    read_ok(&c, "a.yaml");
    ck_assert_str_eq(c.data.train_images, "images");
}
END_TEST

START_TEST(a_config_survives_its_own_text)
{
    static const char *const changes[] = {
        "data.classes=['it''s', \"a \\\"b\\\" \\\\\", 'größe', '[x, y]', '~', "
        "'null', '# no', 'a: b', ' spaces ', '日本']",
        "data.train='with \"quotes\" and \\ and : all'",
        "data.format=voc",
        "view.mean=[0.1, 123456.789e-3, -1e-30]",
        "train.lr=0.0123456789",
        "train.weight_decay=3.0e-38",
        "train.lr_steps=[0, 1, 2, 3, 4, 5, 6, 7]",
        "loss.ld_norm=avg_factor",
        "teacher=cache",
        "cache.storage=fp32",
        "view.divisor=128",
        "device=cuda",
        "view.flip=false",
    };
    struct ld_config a, b;
    struct ld_err err = {0};

    defaults(&a);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
        set_ok(&a, changes[i]);
    defaults(&b);
    ck_assert_msg(ld_config_parse(&b, text_of(&a), "x.h5", &arena, &err), "%s",
                  err.text);
    ck_assert_str_eq(text_of(&a), text_of(&b));
    ck_assert(a.train.lr == b.train.lr);
    ck_assert(memcmp(&a.views, &b.views, sizeof(a.views)) == 0);
    ck_assert_str_eq(b.data.classes.items[4], "~");
    ck_assert_str_eq(b.data.classes.items[9], "日本");
    ck_assert_str_eq(a.data.train, b.data.train);
}
END_TEST

START_TEST(floats_come_back_to_the_bit)
{
    struct ld_rng rng = ld_rng_seed(11, 3);
    struct ld_config a, b;

    printf("seed 11\n");
    defaults(&a);
    for (int i = 0; i < 200; i++) {
        struct ld_err err = {0};
        struct ld_arena own = {0};

        a.train.lr = 10 * ld_rng_uniform(&rng) * ld_rng_uniform(&rng);
        a.loss.kd = 1000 * ld_rng_uniform(&rng);
        ck_assert(ld_config_default(&b, &own, &err) &&
                  ld_config_parse(&b, text_of(&a), "text", &own, &err));
        ck_assert(a.train.lr == b.train.lr && a.loss.kd == b.loss.kd);
        ld_arena_free(&own);
    }
}
END_TEST

START_TEST(every_recipe_of_the_project_is_read)
{
    const char *tests = getenv("LD_TESTS");
    char pattern[1024];
    glob_t found = {0};

    if (!tests)
        SKIP_TEST("LD_TESTS does not say where the source is");
    snprintf(pattern, sizeof(pattern), "%s/../configs/*.yaml", tests);
    glob(pattern, 0, NULL, &found);
    snprintf(pattern, sizeof(pattern), "%s/../configs/*/*.yaml", tests);
    glob(pattern, GLOB_APPEND, NULL, &found);
    ck_assert_uint_gt(found.gl_pathc, 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct ld_config c;

        read_ok(&c, found.gl_pathv[i]);
    }
    globfree(&found);
}
END_TEST

START_TEST(help_names_every_key)
{
    struct ld_config c;
    struct ld_buf help = {.max = 1 << 20};

    defaults(&c);
    ld_config_help(&help);
    ld_buf_put(&help, "", 1);
    ck_assert(strstr((char *)help.data, "  train.lr: 0.00375 (a number from 0 "
                                        "to 10)\n      Learning rate after"));
    for (const char *line = (char *)help.data; line;
         line = strchr(line + 1, '\n'))
        ck_assert_uint_le(strcspn(line + 1, "\n"), 80);
    ld_buf_free(&help);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("config");
    TCase *c = tcase_create("config");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, defaults_are_the_papers_r18_1x_run);
    tcase_add_test(c, every_kind_of_setting_is_read);
    tcase_add_test(c, an_empty_file_sets_nothing);
    tcase_add_test(c, a_base_is_read_first_and_paths_belong_to_their_file);
    tcase_add_test(c, a_config_survives_its_own_text);
    tcase_add_test(c, floats_come_back_to_the_bit);
    tcase_add_test(c, every_recipe_of_the_project_is_read);
    tcase_add_test(c, help_names_every_key);
    suite_add_tcase(s, c);
    return s;
}
