#include "trainer/export.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/made_checkpoint.h"
#include "tests/scratch.h"
#include "tests/suite.h"
#include "tests/zip_check.h"
#include "trainer/export_mmdet.h"

static void save(const char *path, const char *config)
{
    struct made_checkpoint m;

    checkpoint_make(&m, 0);
    m.c.config = config;
    checkpoint_save_ok(path, &m.c);
}

static void export_ok(const char *format, const char *out)
{
    const struct ld_settings none = {0};
    struct ld_err err = {0};

    ck_assert_msg(ld_export_run("a.h5", format, out, &none, &err), "%s",
                  err.text);
}

static void expect_refused(const char *from, const char *format,
                           const char *out, const char *text)
{
    const struct ld_settings none = {0};
    struct ld_err err = {0};
    int before = scratch_count(".");

    ck_assert(!ld_export_run(from, format, out, &none, &err));
    ck_assert_str_eq(err.text, text);
    ck_assert_int_eq(scratch_count("."), before);
}

static void clear(void)
{
    unlink("a.h5");
    unlink("out.h5");
    unlink("out.pth");
    unlink("out.safetensors");
}

START_TEST(an_h5_is_the_checkpoint_without_momentum)
{
    struct made_checkpoint m;
    struct ld_err err = {0};
    bool equal;

    save("a.h5", "train: {lr: 0.01}\n");
    export_ok(NULL, "out.h5");
    checkpoint_make(&m, 0);
    m.c.config = "train: {lr: 0.01}\n";
    m.c.n_momentum = 0;
    ck_assert(checkpoint_is("out.h5", &m.c, &equal, &err));
    ck_assert(equal);
    clear();
}
END_TEST

START_TEST(settings_change_the_config_that_goes_along_but_not_the_model)
{
    const struct ld_settings settings = {
        .items = {"test.score=0.5", "model.depth=101"}, .n = 2};
    struct ld_checkpoint c;
    struct ld_config config;
    struct ld_model model;
    struct ld_arena arena = {0};
    struct ld_err err = {0};

    save("a.h5", "model: {depth: 34}\ntest: {per_image: 7}\n");
    ck_assert_msg(ld_export_run("a.h5", NULL, "out.h5", &settings, &err), "%s",
                  err.text);
    ck_assert(ld_checkpoint_load("out.h5", &c, &arena, &err));
    ck_assert(ld_setup_model(&c, "out.h5", &model, &config, &arena, &err));
    ck_assert_int_eq(model.depth, 34);
    ck_assert_int_eq(model.n_classes, 3);
    ck_assert_int_eq(config.test.per_image, 7);
    ck_assert(config.test.score_limit == 0.5f);
    ld_arena_free(&arena);
    clear();
}
END_TEST

START_TEST(a_checkpoint_is_exported_over_itself)
{
    struct made_checkpoint m;
    struct ld_err err = {0};
    bool equal;

    save("a.h5", "");
    export_ok(NULL, "a.h5");
    checkpoint_make(&m, 0);
    m.c.config = "";
    m.c.n_momentum = 0;
    ck_assert(checkpoint_is("a.h5", &m.c, &equal, &err));
    ck_assert(equal);
    clear();
}
END_TEST

START_TEST(the_format_is_the_endings_or_the_one_named)
{
    struct zip_content pickle;
    size_t len;
    char *bytes;

    save("a.h5", "");
    export_ok(NULL, "out.pth");
    bytes = scratch_get("out.pth", &len);
    ck_assert_int_gt(zip_check(bytes, len, &pickle, 1), 1);
    ld_delete(bytes);
    export_ok("safetensors", "out.pth");
    bytes = scratch_get("out.pth", &len);
    ck_assert_mem_eq(bytes + 8, "{\"__metadata__\"", 15);
    ld_delete(bytes);
    clear();
}
END_TEST

START_TEST(what_has_no_format_is_refused_with_those_there_are)
{
    save("a.h5", "");
    expect_refused(
        "a.h5", "tf", "out.h5",
        "--format: 'tf': expected one of mmdet, safetensors, onnx, h5");
    expect_refused("a.h5", NULL, "out.bin",
                   "out.bin: its ending is of no format: expected --format, "
                   "one of mmdet, safetensors, onnx, h5");
    expect_refused("a.h5", NULL, ".pth",
                   ".pth: its ending is of no format: expected --format, "
                   "one of mmdet, safetensors, onnx, h5");
    expect_refused("none.h5", NULL, "out.pth",
                   "none.h5: cannot open: No such file or directory");
    expect_refused("a.h5", NULL, "none/out.pth",
                   "none/out.pth: cannot create: No such file or directory");
    clear();
}
END_TEST

START_TEST(for_torch_the_distances_of_the_bins_are_there)
{
    static const char entry[] =
        "\"bbox_head.integral.project\":{\"dtype\":\"F32\",\"shape\":[8],"
        "\"data_offsets\":[460,492]},";
    static const float project[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    size_t len;
    char *bytes;

    save("a.h5", "model: {reg_max: 7}\n");
    export_ok(NULL, "out.safetensors");
    bytes = scratch_get("out.safetensors", &len);
    ck_assert_ptr_nonnull(memmem(bytes, len, entry, strlen(entry)));
    /* after the two tensors whose names are before its own */
    ck_assert_mem_eq(bytes + len - 712 + 460, project, sizeof(project));
    ld_delete(bytes);
    export_ok(NULL, "out.pth");
    bytes = scratch_get("out.pth", &len);
    ck_assert_ptr_nonnull(memmem(bytes, len, entry + 1, 26));
    ck_assert_ptr_nonnull(memmem(bytes, len, project, sizeof(project)));
    ld_delete(bytes);
    clear();
}
END_TEST

/* ---- meta.config is Python that builds the detector ---- */

/* Writes meta.config of a .pth, which begins with "model = ", to config.py. */
static void take_config(const char *path)
{
    struct zip_content pickle;
    size_t len;
    char *zip = scratch_get(path, &len), *text;
    uint32_t bytes;

    zip_check(zip, len, &pickle, 1);
    text = memmem(pickle.bytes, pickle.len, "model = ", 8);
    ck_assert_ptr_nonnull(text);
    memcpy(&bytes, text - 4, 4);
    scratch_put("config.py", text, bytes);
    ld_delete(zip);
}

/* What `expression` is by the config of `path`. */
static void expect_python(const char *expression, const char *value)
{
    char command[1024], line[1024];
    FILE *pipe;

    snprintf(command, sizeof(command),
             "python3 -c \"exec(open('config.py').read()); print((%s))\"",
             expression);
    pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    ck_assert_ptr_nonnull(fgets(line, sizeof(line), pipe));
    ck_assert_int_eq(pclose(pipe), 0);
    ck_assert_str_eq(line, value);
}

START_TEST(the_config_is_the_detectors)
{
    save("a.h5", "model: {depth: 50, width: 16, reg_max: 8, gn_groups: 4,\n"
                 "  fpn_channels: 24, frozen_stages: 0, norm_eval: false}\n"
                 "view: {long_edge: 640, short_edge: 480}\n"
                 "test: {score: 0.25}\n");
    export_ok(NULL, "out.pth");
    take_config("out.pth");
    expect_python(
        "[model[k]['type'] for k in ('backbone', 'neck', 'bbox_head')], "
        "[model['backbone'][k] for k in ('depth', 'base_channels', "
        "'frozen_stages', 'norm_eval')], "
        "[model['neck'][k] for k in ('in_channels', 'out_channels')], "
        "[model['bbox_head'][k] for k in ('num_classes', 'in_channels', "
        "'feat_channels', 'stacked_convs', 'reg_max')], "
        "model['bbox_head']['norm_cfg']['num_groups'], "
        "model['test_cfg']['score_thr'], "
        "data['test']['pipeline'][1]['img_scale'], "
        "img_norm_cfg['mean']",
        "(['ResNet', 'FPN', 'GFLHead'], [50, 16, 0, False], "
        "[[64, 128, 256, 512], 24], [3, 24, 24, 4, 8], 4, 0.25, (640, 480), "
        "[123.675, 116.28, 103.53])\n");
    unlink("config.py");
    clear();
}
END_TEST

START_TEST(the_config_names_the_other_backbones_and_heads)
{
    struct made_checkpoint m;
    struct ld_err err = {0};
    struct ld_export e = {.model = {.depth = 101,
                                    .width = 64,
                                    .groups = 32,
                                    .base_width = 4,
                                    .dcn = LD_DCN_V1,
                                    .dcn_from = 3,
                                    .head = LD_HEAD_GFLV2,
                                    .background_logit = true}};

    checkpoint_make(&m, 0);
    e.checkpoint = m.c;
    ck_assert_msg(ld_export_mmdet(&e, "out.pth", &err), "%s", err.text);
    take_config("out.pth");
    expect_python("[model['backbone'][k] for k in ('type', 'groups', "
                  "'base_width', 'stage_with_dcn')], "
                  "model['backbone']['dcn']['type'], "
                  "model['bbox_head']['type'], "
                  "model['bbox_head']['loss_cls']['use_sigmoid']",
                  "(['ResNeXt', 32, 4, (False, False, True, True)], 'DCN', "
                  "'GFocalHead', False)\n");
    e.model.backbone = LD_RES2NET;
    e.model.groups = 1;
    e.model.base_width = 26;
    e.model.dcn = LD_DCN_NONE;
    ck_assert_msg(ld_export_mmdet(&e, "out.pth", &err), "%s", err.text);
    take_config("out.pth");
    expect_python("[model['backbone'][k] for k in ('type', 'scales', "
                  "'base_width')], 'dcn' in model['backbone']",
                  "(['Res2Net', 4, 26], False)\n");
    unlink("config.py");
    clear();
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("export");
    TCase *c = tcase_create("export");

    tcase_add_unchecked_fixture(c, scratch_open, scratch_close);
    tcase_add_test(c, an_h5_is_the_checkpoint_without_momentum);
    tcase_add_test(
        c, settings_change_the_config_that_goes_along_but_not_the_model);
    tcase_add_test(c, a_checkpoint_is_exported_over_itself);
    tcase_add_test(c, the_format_is_the_endings_or_the_one_named);
    tcase_add_test(c, what_has_no_format_is_refused_with_those_there_are);
    tcase_add_test(c, for_torch_the_distances_of_the_bins_are_there);
    tcase_add_test(c, the_config_is_the_detectors);
    tcase_add_test(c, the_config_names_the_other_backbones_and_heads);
    suite_add_tcase(s, c);
    return s;
}
