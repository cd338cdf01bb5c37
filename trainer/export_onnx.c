#include "trainer/export_onnx.h"

#include <stdio.h>
#include <string.h>

#include "formats/json.h"
#include "formats/setup.h"
#include "kernels/net/gfl.h"
#include "kernels/net/net.h"
#include "trainer/export_onnx_detect.h"
#include "trainer/export_onnx_model.h"

/* Old enough for programs of years ago, and with all that is needed. */
enum { OPERATOR_SET = 17 };

static const char doc[] =
    "A GFL detector. image: float32 (1, 3, height, width), RGB, (value - mean) "
    "/ std with values 0 to 255, mean and std in metadata_props; the scaled "
    "image at the top left, zeros to the right and below, height and width "
    "multiples of 32. image_size: int64, rows and columns of the scaled image. "
    "boxes: x0, y0, x1, y1 in pixels of the scaled image, clipped to it: "
    "divide by the scale for those of the picture. scores: falling. labels: "
    "indices into class_names of metadata_props.";

/* ---- what the checkpoint holds ---- */

static bool same_shape(const struct ld_tensor *t,
                       const struct ld_param_spec *spec)
{
    if (t->n_dims != spec->n_dims)
        return false;
    for (int i = 0; i < t->n_dims; i++)
        if (t->dim[i] != spec->dim[i])
            return false;
    return true;
}

/* The graph's parameters, in its order. */
static struct ld_tensor *find_params(const struct ld_checkpoint *from,
                                     const struct ld_graph *graph,
                                     struct ld_arena *arena, struct ld_err *err)
{
    struct ld_tensor *params =
        ld_arena_new(arena, (size_t)graph->n_params, sizeof(*params), err);

    for (int i = 0; params && i < graph->n_params; i++) {
        const struct ld_param_spec *spec = &graph->param[i];
        int at = 0;

        while (at < from->n_tensors &&
               strcmp(from->tensors[at].name, spec->name) != 0)
            at++;
        if (at == from->n_tensors || !same_shape(&from->tensors[at], spec)) {
            ld_fail(err, LD_ERR_MISMATCH,
                    "the checkpoint has no %s of the model's shape",
                    spec->name);
            return NULL;
        }
        params[i] = from->tensors[at];
    }
    return params;
}

/* ---- what a user must know ---- */

static void put_three(struct ld_onnx *onnx, const char *key,
                      const float value[3])
{
    char text[64];

    snprintf(text, sizeof(text), "[%.9g, %.9g, %.9g]", (double)value[0],
             (double)value[1], (double)value[2]);
    ld_onnx_property(onnx, key, text);
}

static void put_classes(struct ld_onnx *onnx, const struct ld_checkpoint *from)
{
    struct ld_buf text = {.max = 1 << 24};

    for (int i = 0; i < from->n_classes; i++) {
        ld_buf_put(&text, i ? ", " : "[", i ? 2 : 1);
        ld_json_put_string(&text, from->class_names[i]);
    }
    ld_buf_put(&text, "]", 2);
    if (ld_buf_ok(&text, onnx->err))
        ld_onnx_property(onnx, "class_names", (char *)text.data);
    ld_buf_free(&text);
}

/* Values are JSON. */
static void put_properties(struct ld_onnx *onnx, const struct ld_export *in)
{
    const struct ld_detect_rules *test = &in->config.test;
    const struct ld_view_rules *view = &in->config.views.rules;
    char text[160];

    put_classes(onnx, &in->checkpoint);
    put_three(onnx, "mean", view->mean);
    put_three(onnx, "std", view->std);
    snprintf(text, sizeof(text), "[%d, %d]", view->long_edge, view->short_edge);
    ld_onnx_property(onnx, "long_edge_short_edge", text);
    ld_onnx_property(onnx, "strides", "[8, 16, 32, 64, 128]");
    snprintf(text, sizeof(text), "%d", in->model.reg_max);
    ld_onnx_property(onnx, "reg_max", text);
    snprintf(text, sizeof(text),
             "{\"score\": %.9g, \"nms_iou\": %.9g, \"per_level\": %d, "
             "\"per_image\": %d}",
             (double)test->score_limit, (double)test->iou_limit,
             test->per_level, test->per_image);
    ld_onnx_property(onnx, "test", text);
}

static void put_ports(struct ld_onnx *onnx)
{
    const int FLOAT = LD_ONNX__TENSOR__DATA_TYPE__FLOAT;
    const int INT64 = LD_ONNX__TENSOR__DATA_TYPE__INT64;

    ld_onnx_input(onnx, "image", FLOAT,
                  (const char *[]){"1", "3", "height", "width", NULL});
    ld_onnx_input(onnx, "image_size", INT64, (const char *[]){"2", NULL});
    ld_onnx_output(onnx, "boxes", FLOAT, (const char *[]){"n", "4", NULL});
    ld_onnx_output(onnx, "scores", FLOAT, (const char *[]){"n", NULL});
    ld_onnx_output(onnx, "labels", INT64, (const char *[]){"n", NULL});
}

/* ---- all of it ---- */

static bool write_graph(const struct ld_export *in,
                        const struct ld_graph *graph, const char *path,
                        struct ld_arena *arena, struct ld_err *err)
{
    struct ld_onnx onnx = {.arena = arena, .err = err};
    struct ld_onnx_logits logits = {0};
    struct ld_tensor *params = find_params(&in->checkpoint, graph, arena, err);
    char name[160];

    if (!params)
        return false;
    ld_onnx_need(&onnx, OPERATOR_SET);
    put_ports(&onnx);
    put_properties(&onnx, in);
    ld_onnx_network(&onnx, graph, params, "image", &logits);
    ld_onnx_detect(&onnx, &logits, &in->model, &in->config.test, "image_size");
    ld_setup_model_text(&in->model, name);
    return ld_onnx_write(&onnx, name, doc, path);
}

static bool check_nms(const struct ld_detect_rules *test, struct ld_err *err)
{
    return test->nms == LD_NMS_PLAIN ||
           ld_fail(err, LD_ERR_USAGE,
                   "test.nms: voting has no operator in ONNX: expected --set "
                   "test.nms=plain");
}

bool ld_export_onnx(const struct ld_export *in, const char *path,
                    struct ld_err *err)
{
    struct ld_arena arena = {0};
    struct ld_graph *graph = ld_arena_new(&arena, 1, sizeof(*graph), err);
    bool ok = graph && ld_model_check(&in->model, "model", err) &&
              check_nms(&in->config.test, err);

    if (ok) {
        ld_gfl_build(graph, &in->model, false);
        ok = write_graph(in, graph, path, &arena, err);
    }
    ld_arena_free(&arena);
    return ok;
}
