/* Files that PyTorch and mmdetection wrote, against the tensors they hold. */
#include "formats/pth.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/checkpoint.h"
#include "formats/json.h"
#include "tests/golden.h"
#include "tests/suite.h"

static const char *const kinds[] = {"zip", "legacy"};

/* A file of the instance, which lies beside the folder of expected values. */
static bool load(const struct golden *g, const char *kind,
                 struct ld_foreign *out, struct ld_arena *arena,
                 struct ld_err *err)
{
    const char *instance = strrchr(g->name, '/') + 1;
    char path[1400];
    struct ld_file file;
    bool ok;

    snprintf(path, sizeof(path), "%s/../../ckpt/%s_%s.pth", g->folder, instance,
             kind);
    if (!ld_file_open(path, &file, err))
        return false;
    ok = ld_pth_is(&file) && ld_pth_load(&file, path, out, arena, err);
    ld_file_close(&file);
    return ok;
}

static const struct ld_tensor *find(const struct ld_foreign *f,
                                    const char *name)
{
    for (int i = 0; i < f->n_tensors; i++)
        if (strcmp(f->tensors[i].name, name) == 0)
            return &f->tensors[i];
    ck_abort_msg("no tensor '%s'", name);
}

static float expected_at(const struct golden_array *want, size_t i)
{
    switch (want->dtype) {
    case 'f':
        return ((const float *)want->data)[i];
    case 'i':
        return (float)((const int64_t *)want->data)[i];
    case 'w':
        return (float)((const int32_t *)want->data)[i];
    case 'u':
        return ((const uint8_t *)want->data)[i];
    default:
        ck_abort_msg("an array of an unknown type");
    }
}

/* To the bit: both round the same stored number to the nearest float. */
static void compare(struct golden *g, const struct ld_foreign *f,
                    const char *array, const char *tensor)
{
    struct golden_array want = golden_array(g, array);
    const struct ld_tensor *got = find(f, tensor);
    size_t n_wrong = 0;

    ck_assert_msg(
        got->n_dims == want.n_dims &&
            memcmp(got->dim, want.dim, (size_t)want.n_dims * sizeof(int)) == 0,
        "%s: %s has another shape", g->name, tensor);
    for (size_t i = 0; i < want.count; i++)
        n_wrong += !(got->data[i] == expected_at(&want, i));
    ck_assert_msg(n_wrong == 0, "%s: %s: %zu of %zu numbers differ", g->name,
                  tensor, n_wrong, want.count);
}

/* Arrays named w__<tensor>; in "odd" all, by the tensor's own name. */
static int compare_arrays(struct golden *g, const struct ld_foreign *f)
{
    bool odd = strstr(g->name, "/odd") != NULL;
    char path[1400], line[256], *end;
    int n = 0;
    FILE *file;

    snprintf(path, sizeof(path), "%s/arrays.txt", g->folder);
    file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s", path);
    while (fgets(line, sizeof(line), file)) {
        end = strchr(line, ' ');
        if (!end || (!odd && strncmp(line, "w__", 3) != 0))
            continue;
        *end = 0;
        compare(g, f, line, odd ? line : line + 3);
        n++;
    }
    fclose(file);
    return n;
}

/* The sum is in double, in the order of the numbers; the reference's, whatever
 * order it took, differs by rounding: 1e-12 of what was added. */
static void compare_sum(struct golden *g, const struct ld_tensor *t)
{
    double sum = 0, size = 0, want;
    char path[512];

    for (size_t i = 0; i < ld_tensor_count(t); i++) {
        sum += (double)t->data[i];
        size += fabs((double)t->data[i]);
    }
    snprintf(path, sizeof(path), "values.state_dict.%s.sum", t->name);
    want = golden_number(g, path);
    ck_assert_msg(fabs(sum - want) <= 1e-12 * size,
                  "%s: %s: sum %.17g not %.17g", g->name, t->name, sum, want);
    for (int i = 0; i < t->n_dims; i++) {
        snprintf(path, sizeof(path), "values.state_dict.%s.shape.%d", t->name,
                 i);
        ck_assert_int_eq((int)golden_number(g, path), t->dim[i]);
    }
}

/* How many tensors case.json lists. */
static int count_listed(const struct golden *g)
{
    struct ld_err err = {0};
    char path[1400], key[256];
    struct ld_file file;
    struct ld_json j;
    int n = 0;

    snprintf(path, sizeof(path), "%s/case.json", g->folder);
    ck_assert_msg(ld_file_open(path, &file, &err), "%s", err.text);
    ld_json_open(&j, (const char *)file.data, file.len, path, &err);
    ld_json_object(&j);
    while (ld_json_key(&j, key, sizeof(key)) && strcmp(key, "values") != 0)
        ld_json_skip(&j);
    ld_json_object(&j);
    while (ld_json_key(&j, key, sizeof(key)) && strcmp(key, "state_dict") != 0)
        ld_json_skip(&j);
    ld_json_object(&j);
    for (; ld_json_key(&j, key, sizeof(key)); n++)
        ld_json_skip(&j);
    ck_assert_msg(err.code == LD_OK, "%s", err.text);
    ld_file_close(&file);
    return n;
}

static void check_file(struct golden *g, const char *kind)
{
    struct ld_arena arena = {0};
    struct ld_err err = {0};
    struct ld_foreign f;

    ck_assert_msg(load(g, kind, &f, &arena, &err), "%s", err.text);
    ck_assert_int_gt(compare_arrays(g, &f), 0);
    if (golden_has_value(g, "values.state_dict")) {
        ck_assert_int_eq(f.n_tensors, count_listed(g));
        for (int i = 0; i < f.n_tensors; i++)
            compare_sum(g, &f.tensors[i]);
    } else {
        ck_assert_int_eq(f.n_tensors, compare_arrays(g, &f));
    }
    ld_arena_free(&arena);
}

static void check_instance(struct golden *g)
{
    for (int i = 0; i < 2; i++)
        check_file(g, kinds[i]);
}

START_TEST(both_formats_hold_the_tensors_that_were_saved)
{
    golden_each("ckpt_expected", check_instance);
}
END_TEST

static int n_metas; /* checked so far */

static void check_meta(struct golden *g)
{
    char name[32];

    if (!strstr(g->name, "/gfl_r18"))
        return;
    n_metas++;
    for (int i = 0; i < 2; i++) {
        struct ld_arena arena = {0};
        struct ld_err err = {0};
        struct ld_foreign f;

        ck_assert_msg(load(g, kinds[i], &f, &arena, &err), "%s", err.text);
        ck_assert_int_eq(f.epoch, 12);
        ck_assert_int_eq(f.step, 87960);
        ck_assert_int_eq(f.n_classes, 20);
        ck_assert_ptr_null(f.config);
        ck_assert_ptr_nonnull(strstr(f.recipe, "type=\"GFL\""));
        for (int c = 0; c < 20; c++) {
            snprintf(name, sizeof(name), "class_%d", c);
            ck_assert_str_eq(f.class_names[c], name);
        }
        ld_arena_free(&arena);
    }
}

START_TEST(the_notes_of_mmdetection_are_read)
{
    n_metas = 0;
    golden_each("ckpt_expected", check_meta);
    if (n_metas == 0)
        SKIP_TEST("no golden/ckpt/gfl_r18 below $LD_SHARED");
}
END_TEST

/* ---- real files ---- */

static bool load_real(const char *relative, struct ld_checkpoint *out,
                      struct ld_arena *arena, struct ld_err *err)
{
    struct golden g = {.arena = {0}};
    const char *path = shared_path(&g, relative);
    bool ok = path != NULL;

    if (ok)
        ck_assert_msg(ld_checkpoint_load(path, out, arena, err), "%s",
                      err->text);
    ld_arena_free(&g.arena);
    return ok;
}

START_TEST(a_real_detector_of_another_kind_is_read_and_said_to_be_none)
{
    struct ld_arena arena = {0};
    struct ld_err err = {0};
    struct ld_checkpoint c;

    if (!load_real("data/pth/yunet/yunet_n.pth", &c, &arena, &err))
        SKIP_TEST("no data/pth/yunet below $LD_SHARED");
    ck_assert_int_eq(c.n_classes, 1);
    ck_assert_str_eq(c.class_names[0], "FG");
    ck_assert_int_eq(c.epoch, 560);
    ck_assert_int_eq(c.n_momentum, 0);
    ck_assert_ptr_null(c.config);
    ck_assert_str_eq(c.why_no_model,
                     "its head has 'bbox_head.multi_level_bbox.0.conv1.bias' "
                     "and no bbox_head.gfl_cls");
    ld_arena_free(&arena);
}
END_TEST

START_TEST(a_real_file_of_the_older_format_and_a_bare_backbone_is_renamed)
{
    struct ld_arena arena = {0};
    struct ld_err err = {0};
    struct ld_checkpoint c;

    if (!load_real("data/pth/resnet_cifar10/resnet20-12fca82f.th", &c, &arena,
                   &err))
        SKIP_TEST("no data/pth/resnet_cifar10 below $LD_SHARED");
    ck_assert_int_eq(c.n_tensors, 97);
    ck_assert_str_eq(c.tensors[0].name, "backbone.bn1.bias");
    ck_assert_str_eq(c.why_no_model,
                     "it holds a backbone alone, to start from (model.init)");
    ld_arena_free(&arena);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("pth");
    TCase *c = tcase_create("golden");
    TCase *r = tcase_create("real");

    tcase_add_test(c, both_formats_hold_the_tensors_that_were_saved);
    tcase_add_test(c, the_notes_of_mmdetection_are_read);
    suite_add_tcase(s, c);
    tcase_add_test(r,
                   a_real_detector_of_another_kind_is_read_and_said_to_be_none);
    tcase_add_test(
        r, a_real_file_of_the_older_format_and_a_bare_backbone_is_renamed);
    suite_add_tcase(s, r);
    return s;
}
