#include "trainer/export_onnx.h"

#include <math.h>
#include <string.h>

#include "tests/made_detector.h"
#include "tests/scratch.h"
#include "tests/suite.h"
#include "trainer/onnx.pb-c.h"

static LdOnnx__Model *exported(const struct made_detector *m)
{
    struct ld_err err = {0};
    LdOnnx__Model *model;
    char *bytes;
    size_t len;

    check_ok(ld_export_onnx(&m->e, "a.onnx", &err), &err);
    bytes = scratch_get("a.onnx", &len);
    model = ld_onnx__model__unpack(NULL, len, (uint8_t *)bytes);
    ck_assert_ptr_nonnull(model);
    ld_delete(bytes);
    return model;
}

/* ---- the file, read back ---- */

struct names {
    const char *items[8192];
    int n;
};

static bool has(const struct names *names, const char *name)
{
    for (int i = 0; i < names->n; i++)
        if (strcmp(names->items[i], name) == 0)
            return true;
    return false;
}

static void define(struct names *names, const char *name)
{
    ck_assert_msg(name[0] && !has(names, name), "'%s' is defined twice", name);
    ck_assert_int_lt(names->n, 8192);
    names->items[names->n++] = name;
}

static void check_order(const LdOnnx__Graph *graph)
{
    static struct names defined, used;

    defined.n = used.n = 0;
    for (size_t i = 0; i < graph->n_input; i++)
        define(&defined, graph->input[i]->name);
    for (size_t i = 0; i < graph->n_initializer; i++)
        define(&defined, graph->initializer[i]->name);
    for (size_t i = 0; i < graph->n_node; i++) {
        const LdOnnx__Node *node = graph->node[i];

        for (size_t k = 0; k < node->n_input; k++) {
            ck_assert_msg(!node->input[k][0] || has(&defined, node->input[k]),
                          "%s reads '%s' before it is there", node->name,
                          node->input[k]);
            used.items[used.n++] = node->input[k];
        }
        for (size_t k = 0; k < node->n_output; k++)
            define(&defined, node->output[k]);
    }
    for (size_t i = 0; i < graph->n_output; i++)
        ck_assert(has(&defined, graph->output[i]->name));
    for (size_t i = 0; i < graph->n_initializer; i++)
        ck_assert_msg(has(&used, graph->initializer[i]->name),
                      "'%s' is stored for nothing",
                      graph->initializer[i]->name);
}

static void check_tensors(const LdOnnx__Graph *graph)
{
    for (size_t i = 0; i < graph->n_initializer; i++) {
        const LdOnnx__Tensor *t = graph->initializer[i];
        bool is_float = t->data_type == LD_ONNX__TENSOR__DATA_TYPE__FLOAT;
        size_t count = 1;

        for (size_t d = 0; d < t->n_dims; d++)
            count *= (size_t)t->dims[d];
        ck_assert_msg(t->n_float_data == (is_float ? count : 0) &&
                          t->n_int64_data == (is_float ? 0 : count),
                      "%s: %zu numbers by its sizes", t->name, count);
    }
}

START_TEST(the_graph_is_whole_and_in_order)
{
    struct made_detector m;
    LdOnnx__Model *model;

    detector_make(&m, _i);
    model = exported(&m);
    check_order(model->graph);
    check_tensors(model->graph);
    ck_assert_uint_eq(model->base.n_unknown_fields, 0);
    ck_assert_uint_eq(model->graph->n_input, 2);
    ck_assert_uint_eq(model->graph->n_output, 3);
    ck_assert_uint_eq(model->n_opset_import, 1);
    ld_onnx__model__free_unpacked(model, NULL);
    detector_free(&m);
}
END_TEST

static const LdOnnx__Tensor *stored(const LdOnnx__Model *model,
                                    const char *name)
{
    for (size_t i = 0; i < model->graph->n_initializer; i++)
        if (strcmp(model->graph->initializer[i]->name, name) == 0)
            return model->graph->initializer[i];
    ck_abort_msg("no %s", name);
    return NULL;
}

static const float *given(const struct made_detector *m, const char *name)
{
    for (int i = 0; i < m->e.checkpoint.n_tensors; i++)
        if (strcmp(m->e.checkpoint.tensors[i].name, name) == 0)
            return m->e.checkpoint.tensors[i].data;
    ck_abort_msg("no %s", name);
    return NULL;
}

START_TEST(batch_norms_are_folded)
{
    struct made_detector m;
    LdOnnx__Model *model;
    const float *w, *g, *b, *mean, *var, *folded, *shift;
    double worst = 0;

    detector_make(&m, 0);
    model = exported(&m);
    w = given(&m, "backbone.conv1.weight");
    g = given(&m, "backbone.bn1.weight");
    b = given(&m, "backbone.bn1.bias");
    mean = given(&m, "backbone.bn1.running_mean");
    var = given(&m, "backbone.bn1.running_var");
    folded = stored(model, "backbone.conv1.weight")->float_data;
    shift = stored(model, "backbone.bn1.bias")->float_data;
    for (int o = 0; o < 16; o++) {
        double x = 1.5, y = 0, z = shift[o]; /* an image of 1.5 everywhere */

        for (int i = 0; i < 3 * 7 * 7; i++) {
            y += x * w[o * 147 + i];
            z += x * folded[o * 147 + i];
        }
        y = (y - mean[o]) / sqrt(var[o] + 1e-5) * g[o] + b[o];
        worst = fmax(worst, fabs(y - z));
    }
    /* 147 numbers of 0.2, each rounded once to 24 bits. */
    ck_assert_double_lt(worst, 1e-6);
    ld_onnx__model__free_unpacked(model, NULL);
    detector_free(&m);
}
END_TEST

static const char *note(const LdOnnx__Model *model, const char *key)
{
    for (size_t i = 0; i < model->n_metadata_props; i++)
        if (strcmp(model->metadata_props[i]->key, key) == 0)
            return model->metadata_props[i]->value;
    return "";
}

START_TEST(a_user_finds_what_the_input_must_be)
{
    struct made_detector m;
    LdOnnx__Model *model;

    detector_make(&m, 0);
    model = exported(&m);
    ck_assert_str_eq(note(model, "class_names"),
                     "[\"person\", \"traffic \\\"light\\\"\", \"cat\"]");
    ck_assert_str_eq(note(model, "mean"),
                     "[123.675003, 116.279999, 103.529999]");
    ck_assert_str_eq(note(model, "reg_max"), "3");
    ck_assert_ptr_nonnull(strstr(note(model, "test"), "\"per_image\": 100"));
    ck_assert_ptr_nonnull(strstr(model->doc_string, "image_size"));
    ld_onnx__model__free_unpacked(model, NULL);
    detector_free(&m);
}
END_TEST

/* ---- what goes wrong ---- */

START_TEST(a_checkpoint_that_lacks_a_tensor_is_refused)
{
    struct ld_err err = {0};
    struct made_detector m;

    detector_make(&m, 0);
    m.e.checkpoint.tensors[3].name = "another";
    ck_assert(!ld_export_onnx(&m.e, "a.onnx", &err));
    ck_assert_int_eq(err.code, LD_ERR_MISMATCH);
    ck_assert_ptr_nonnull(strstr(err.text, "backbone.bn1.running_mean"));
    ck_assert_int_eq(scratch_count("."), 0);
    detector_free(&m);
}
END_TEST

START_TEST(suppression_that_onnx_cannot_say_is_refused)
{
    struct ld_err err = {0};
    struct made_detector m;

    detector_make(&m, 0);
    m.e.config.test.nms = LD_NMS_VOTING;
    ck_assert(!ld_export_onnx(&m.e, "a.onnx", &err));
    ck_assert_int_eq(err.code, LD_ERR_USAGE);
    ck_assert_ptr_nonnull(strstr(err.text, "test.nms"));
    ck_assert_int_eq(scratch_count("."), 0);
    detector_free(&m);
}
END_TEST

static void older_stands(void)
{
    size_t len;
    char *bytes = scratch_get("a.onnx", &len);

    ck_assert_str_eq(bytes, "older");
    ck_assert_int_eq(scratch_count("."), 1);
    ld_delete(bytes);
}

START_TEST(a_full_disk_leaves_what_stood_there)
{
    struct ld_err err = {0};
    struct made_detector m;

    detector_make(&m, 0);
    scratch_text("a.onnx", "older");
    scratch_limit_files(4096);
    ck_assert(!ld_export_onnx(&m.e, "a.onnx", &err));
    ck_assert_int_eq(err.code, LD_ERR_IO);
    older_stands();
    detector_free(&m);
}
END_TEST

START_TEST(memory_that_runs_out_leaves_what_stood_there)
{
    struct ld_err err = {.code = LD_ERR_MEMORY};
    struct made_detector m;
    int failed = 0;

    detector_make(&m, 0);
    scratch_text("a.onnx", "older");
    for (; err.code != LD_OK; failed++) {
        older_stands();
        err = (struct ld_err){0};
        ld_mem_fail_after(failed);
        ld_export_onnx(&m.e, "a.onnx", &err);
        ld_mem_fail_after(-1);
        ck_assert(err.code == LD_OK || err.code == LD_ERR_MEMORY);
    }
    ck_assert_int_gt(failed, 5);
    detector_free(&m);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("export_onnx");
    TCase *c = tcase_create("all");

    tcase_add_checked_fixture(c, scratch_open, scratch_close);
    tcase_add_loop_test(c, the_graph_is_whole_and_in_order, 0, DETECTOR_KINDS);
    tcase_add_test(c, batch_norms_are_folded);
    tcase_add_test(c, a_user_finds_what_the_input_must_be);
    tcase_add_test(c, a_checkpoint_that_lacks_a_tensor_is_refused);
    tcase_add_test(c, suppression_that_onnx_cannot_say_is_refused);
    tcase_add_test(c, a_full_disk_leaves_what_stood_there);
    tcase_add_test(c, memory_that_runs_out_leaves_what_stood_there);
    suite_add_tcase(s, c);
    return s;
}
