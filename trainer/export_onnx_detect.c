#include "trainer/export_onnx_detect.h"

#include <stdio.h>

#include "kernels/net/net.h"
#include "kernels/ops.h"

/* The places of a level, or of all, that go on; names of values. */
struct places {
    const char *scores;    /* (1, n, K) */
    const char *distances; /* (n, 4) pixels to the left, top, right, bottom */
    const char *centres;   /* (n, 4) x, y, x, y */
};

static const char *to_shape(struct ld_onnx *onnx, const char *x, int n,
                            const int64_t *shape)
{
    return ld_onnx_op(onnx, "Reshape", x, ld_onnx_ints(onnx, n, shape));
}

/* Rows of a location from a map (1, C, H, W): (1, H * W, C). */
static const char *rows_of(struct ld_onnx *onnx, const char *map, int C)
{
    map = ld_onnx_add(
        onnx, (struct ld_onnx_node){
                  .op = "Transpose",
                  .in = {map},
                  .attribute = {
                      {.name = "perm", .n_ints = 4, .ints = {0, 2, 3, 1}}}});
    return to_shape(onnx, map, 3, (int64_t[]){1, -1, C});
}

static const char *gather(struct ld_onnx *onnx, const char *from,
                          const char *index, int64_t axis)
{
    return ld_onnx_add(onnx, (struct ld_onnx_node){
                                 .op = "Gather",
                                 .in = {from, index},
                                 .attribute = {{.name = "axis", .i = axis}}});
}

/* Indices of the `most` largest of the values (n), or of all; of equal ones the
 * first. `sorted` gets the values, falling. */
static const char *largest(struct ld_onnx *onnx, const char *values, int most,
                           const char **sorted)
{
    const char *n = ld_onnx_op(onnx, "Shape", values, NULL);
    const char *limit = ld_onnx_ints(onnx, 1, (int64_t[]){most});
    const char *index;

    n = ld_onnx_op(onnx, "Min", n, limit);
    *sorted = ld_onnx_add(onnx, (struct ld_onnx_node){.op = "TopK",
                                                      .in = {values, n},
                                                      .second = &index});
    return index;
}

static const char *softmax(struct ld_onnx *onnx, const char *x)
{
    return ld_onnx_add(
        onnx, (struct ld_onnx_node){.op = "Softmax",
                                    .in = {x},
                                    .attribute = {{.name = "axis", .i = -1}}});
}

/* The expectation of each side's distribution times the stride. */
static const char *distances_of(struct ld_onnx *onnx, const char *rows, int B,
                                int stride)
{
    int64_t dims[2] = {B, 1};
    float *bins = ld_onnx_room(onnx, (size_t)B, sizeof(*bins));
    char name[40];

    for (int k = 0; bins && k < B; k++)
        bins[k] = (float)(k * stride);
    snprintf(name, sizeof(name), "bins_of_stride_%d", stride);
    rows = to_shape(onnx, rows, 2, (int64_t[]){-1, B});
    rows = softmax(onnx, rows);
    rows = ld_onnx_op(onnx, "MatMul", rows,
                      ld_onnx_floats(onnx, name, bins, 2, dims));
    return to_shape(onnx, rows, 2, (int64_t[]){-1, 4});
}

static const char *as_float(struct ld_onnx *onnx, const char *x)
{
    return ld_onnx_add(
        onnx, (struct ld_onnx_node){
                  .op = "Cast",
                  .in = {x},
                  .attribute = {
                      {.name = "to", .i = LD_ONNX__TENSOR__DATA_TYPE__FLOAT}}});
}

/* (column, row, column, row) times the stride, of locations of a map. */
static const char *centres_of(struct ld_onnx *onnx, const char *locations,
                              const char *map, int stride)
{
    const char *shape = ld_onnx_op(onnx, "Shape", map, NULL);
    const char *W = gather(onnx, shape, ld_onnx_int(onnx, 3), 0);
    const char *index = to_shape(onnx, locations, 2, (int64_t[]){-1, 1});
    const char *x = ld_onnx_op(onnx, "Mod", index, W);
    const char *y = ld_onnx_op(onnx, "Div", index, W);
    const char *centres =
        ld_onnx_concat(onnx, (const char *[]){x, y, x, y}, 4, 1);

    return ld_onnx_op(onnx, "Mul", as_float(onnx, centres),
                      ld_onnx_float(onnx, (float)stride));
}

/* ---- GFL V2's quality ---- */

/* From the largest of a side to these and their mean, by a product. */
static const char *with_mean(struct ld_onnx *onnx, const char *largest)
{
    enum { TOP = LD_QUALITY_TOP };
    int64_t dims[2] = {TOP, TOP + 1};
    float *m = ld_onnx_room(onnx, TOP * (TOP + 1), sizeof(*m));

    for (int i = 0; m && i < TOP; i++) {
        m[i * (TOP + 1) + i] = 1;
        m[i * (TOP + 1) + TOP] = 1.0F / TOP;
    }
    return ld_onnx_op(onnx, "MatMul", largest,
                      ld_onnx_floats(onnx, "largest_and_mean", m, 2, dims));
}

/* rows (n, C) through weight (O, C, 1, 1) and, after it, bias (O). */
static const char *linear(struct ld_onnx *onnx, const char *rows,
                          const struct ld_tensor *param)
{
    int64_t dims[2] = {param[0].dim[0], param[0].dim[1]};
    const char *weight =
        ld_onnx_floats(onnx, param[0].name, param[0].data, 2, dims);
    const char *bias =
        ld_onnx_floats(onnx, param[1].name, param[1].data, 1, dims);

    return ld_onnx_add(
        onnx, (struct ld_onnx_node){.op = "Gemm",
                                    .in = {rows, weight, bias},
                                    .attribute = {{.name = "transB", .i = 1}}});
}

/* (1, n, 1), 0 to 1, of box logits (1, n, 4 * B). */
static const char *quality_of(struct ld_onnx *onnx, const char *rows, int B,
                              const struct ld_tensor *params)
{
    const char *top = ld_onnx_ints(onnx, 1, (int64_t[]){LD_QUALITY_TOP});
    const char *unused, *x;

    x = softmax(onnx, to_shape(onnx, rows, 3, (int64_t[]){-1, 4, B}));
    x = ld_onnx_add(onnx, (struct ld_onnx_node){
                              .op = "TopK", .in = {x, top}, .second = &unused});
    x = with_mean(onnx, x);
    x = to_shape(onnx, x, 2, (int64_t[]){-1, LD_QUALITY_STATS});
    x = ld_onnx_op(onnx, "Relu", linear(onnx, x, params), NULL);
    x = ld_onnx_op(onnx, "Sigmoid", linear(onnx, x, params + 2), NULL);
    return to_shape(onnx, x, 3, (int64_t[]){1, -1, 1});
}

/* ---- places ---- */

/* (1, n, K), without the logit of the background. */
static const char *class_rows(struct ld_onnx *onnx, const char *map,
                              const struct ld_model *model)
{
    const char *rows = rows_of(onnx, map, ld_model_class_logits(model));

    if (!model->background_logit)
        return rows;
    return ld_onnx_add(
        onnx, (struct ld_onnx_node){
                  .op = "Slice",
                  .in = {rows, ld_onnx_ints(onnx, 1, (int64_t[]){0}),
                         ld_onnx_ints(onnx, 1, (int64_t[]){model->n_classes}),
                         ld_onnx_ints(onnx, 1, (int64_t[]){2})}});
}

static struct places level_places(struct ld_onnx *onnx,
                                  const struct ld_onnx_logits *logits,
                                  const struct ld_model *model, int level,
                                  int per_level)
{
    int B = model->reg_max + 1, stride = 8 << level;
    const char *map = logits->classes[level], *best, *index, *scores;
    const char *classes = class_rows(onnx, map, model), *quality = NULL;
    const char *boxes = rows_of(onnx, logits->boxes[level], 4 * B);

    /* Logits rank as their sigmoids do. */
    best = ld_onnx_op(onnx, "GlobalMaxPool", classes, NULL);
    if (logits->quality) {
        quality = quality_of(onnx, boxes, B, logits->quality);
        best = ld_onnx_op(onnx, "Sigmoid", best, NULL);
        best = ld_onnx_op(onnx, "Mul", best, quality);
    }
    best = to_shape(onnx, best, 1, (int64_t[]){-1});
    index = largest(onnx, best, per_level, &best);
    scores = ld_onnx_op(onnx, "Sigmoid", gather(onnx, classes, index, 1), NULL);
    if (quality)
        scores =
            ld_onnx_op(onnx, "Mul", scores, gather(onnx, quality, index, 1));
    boxes = gather(onnx, boxes, index, 1);
    return (struct places){.scores = scores,
                           .distances = distances_of(onnx, boxes, B, stride),
                           .centres = centres_of(onnx, index, map, stride)};
}

static struct places all_places(struct ld_onnx *onnx,
                                const struct ld_onnx_logits *logits,
                                const struct ld_model *model, int per_level)
{
    const char *scores[LD_MAX_LEVELS], *distances[LD_MAX_LEVELS];
    const char *centres[LD_MAX_LEVELS];

    for (int i = 0; i < LD_MAX_LEVELS; i++) {
        struct places p = level_places(onnx, logits, model, i, per_level);

        scores[i] = p.scores;
        distances[i] = p.distances;
        centres[i] = p.centres;
    }
    return (struct places){
        .scores = ld_onnx_concat(onnx, scores, LD_MAX_LEVELS, 1),
        .distances = ld_onnx_concat(onnx, distances, LD_MAX_LEVELS, 0),
        .centres = ld_onnx_concat(onnx, centres, LD_MAX_LEVELS, 0)};
}

/* To the left and up, to the right and down. */
static const char *outward(struct ld_onnx *onnx)
{
    float *sign = ld_onnx_room(onnx, 4, sizeof(*sign));

    for (int i = 0; sign && i < 4; i++)
        sign[i] = i < 2 ? -1 : 1;
    return ld_onnx_floats(onnx, "outward", sign, 1, (int64_t[]){4});
}

/* (n, 4), clipped to the image. */
static const char *boxes_of(struct ld_onnx *onnx, const struct places *places,
                            const char *size)
{
    const char *index = ld_onnx_ints(onnx, 4, (int64_t[]){1, 0, 1, 0});
    const char *limit = as_float(onnx, gather(onnx, size, index, 0));
    const char *boxes =
        ld_onnx_op(onnx, "Mul", places->distances, outward(onnx));

    boxes = ld_onnx_op(onnx, "Add", places->centres, boxes);
    boxes = ld_onnx_op(onnx, "Max", boxes, ld_onnx_float(onnx, 0));
    return ld_onnx_op(onnx, "Min", boxes, limit);
}

/* (1, K, n) */
static const char *scores_of(struct ld_onnx *onnx, const struct places *places)
{
    return ld_onnx_add(
        onnx,
        (struct ld_onnx_node){
            .op = "Transpose",
            .in = {places->scores},
            .attribute = {{.name = "perm", .n_ints = 3, .ints = {0, 2, 1}}}});
}

static void add_output(struct ld_onnx *onnx, const char *name, const char *x)
{
    ld_onnx_add(
        onnx, (struct ld_onnx_node){.op = "Identity", .in = {x}, .out = name});
}

void ld_onnx_detect(struct ld_onnx *onnx, const struct ld_onnx_logits *logits,
                    const struct ld_model *model,
                    const struct ld_detect_rules *rules, const char *size)
{
    struct places places = all_places(onnx, logits, model, rules->per_level);
    const char *boxes = boxes_of(onnx, &places, size);
    const char *scores = scores_of(onnx, &places);
    /* (m, 3): image, class, place. The best per_image of all hold no more than
     * that of one class. */
    const char *kept = ld_onnx_add(
        onnx, (struct ld_onnx_node){
                  .op = "NonMaxSuppression",
                  .in = {to_shape(onnx, boxes, 3, (int64_t[]){1, -1, 4}),
                         scores, ld_onnx_int(onnx, rules->per_image),
                         ld_onnx_float(onnx, rules->iou_limit),
                         ld_onnx_float(onnx, rules->score_limit)}});
    const char *best = ld_onnx_op(onnx, "GatherND", scores, kept);
    const char *order = largest(onnx, best, rules->per_image, &best);

    kept = gather(onnx, kept, order, 0);
    boxes = gather(onnx, boxes, gather(onnx, kept, ld_onnx_int(onnx, 2), 1), 0);
    add_output(onnx, "boxes", boxes);
    add_output(onnx, "scores", best);
    add_output(onnx, "labels", gather(onnx, kept, ld_onnx_int(onnx, 1), 1));
}
