#include "scripts/bench_made.h"

#include <stdio.h>
#include <string.h>

#include "formats/safetensors_write.h"
#include "kernels/base/rng.h"

enum { N_BOXES = 4, N_EXTRA = 7, MAX_NAME = 100 };

struct ld_model bench_model(int depth, bool dcn)
{
    return (struct ld_model){.depth = depth,
                             .groups = 1,
                             .base_width = 64,
                             .width = 64,
                             .dcn = dcn ? LD_DCN_V1 : LD_DCN_NONE,
                             .dcn_from = 2,
                             .fpn_channels = 256,
                             .head_convs = 4,
                             .gn_groups = 32,
                             .n_classes = BENCH_K,
                             .reg_max = BENCH_BINS - 1,
                             .frozen_stages = 1,
                             .norm_eval = true};
}

/* ---- images ---- */

static bool make_image(struct ld_batch_image *image, int H, int W,
                       struct ld_rng *rng, struct ld_arena *arena,
                       struct ld_err *err)
{
    static const struct ld_assign_rules rules = {9, LD_VLR_DIOU, 0.25F, false};
    struct ld_grid grid = ld_grid_of_canvas(H, W);
    struct ld_box *boxes = ld_arena_new(arena, N_BOXES, sizeof(*boxes), err);
    int32_t *labels = ld_arena_new(arena, N_BOXES, sizeof(*labels), err);
    int least = H < W ? H : W;

    for (int i = 0; boxes && labels && i < N_BOXES; i++) {
        float side = (float)least * (0.05F + 0.4F * ld_rng_uniform(rng));
        float x = ((float)W - side) * ld_rng_uniform(rng);
        float y = ((float)H - side) * ld_rng_uniform(rng);

        boxes[i] = (struct ld_box){x, y, x + side, y + side};
        labels[i] = (int32_t)ld_rng_below(rng, BENCH_K);
    }
    image->view = (struct ld_view){
        .H = H, .W = W, .canvas_H = H, .canvas_W = W, .flipped = false};
    image->boxes = boxes;
    image->labels = labels;
    image->n_boxes = N_BOXES;
    return boxes && labels &&
           ld_assign(&image->assignment, &grid, boxes, N_BOXES, &rules, arena,
                     err);
}

/* A picture of the view's size, R, G, B of noise. */
static bool make_picture(struct ld_batch_image *image, struct ld_rng *rng,
                         struct ld_arena *arena, struct ld_err *err)
{
    static const struct ld_view_rules rules = {.mean = {128, 128, 128},
                                               .std = {128, 128, 128}};
    struct ld_image *picture = &image->picture;
    size_t n = 3 * (size_t)image->view.H * (size_t)image->view.W;

    *picture = (struct ld_image){ld_arena_new(arena, n, 1, err), image->view.H,
                                 image->view.W};
    for (size_t i = 0; picture->rgb && i < n; i++)
        picture->rgb[i] = (uint8_t)ld_rng_below(rng, 256);
    image->draw =
        ld_view_draw(&image->view, &rules, image->view.H, image->view.W);
    return picture->rgb != NULL;
}

bool bench_batch(struct ld_batch *batch, int N, int H, int W,
                 struct ld_arena *arena, struct ld_err *err)
{
    struct ld_rng rng = ld_rng_seed(1, 1);

    *batch = (struct ld_batch){.N = N, .H = H, .W = W};
    batch->images = ld_arena_new(arena, (size_t)N, sizeof(*batch->images), err);
    if (!batch->images)
        return false;
    for (int i = 0; i < N; i++)
        if (!make_image(&batch->images[i], H, W, &rng, arena, err) ||
            !make_picture(&batch->images[i], &rng, arena, err))
            return false;
    return true;
}

/* ---- rows ---- */

static float *random_logits(size_t n, struct ld_rng *rng,
                            struct ld_arena *arena, struct ld_err *err)
{
    float *logits = ld_arena_new(arena, n, sizeof(float), err);

    for (size_t i = 0; logits && i < n; i++)
        logits[i] = 2 * ld_rng_normal(rng);
    return logits;
}

struct ld_record *bench_records(const struct ld_batch *batch,
                                struct ld_arena *arena, struct ld_err *err)
{
    struct ld_rng rng = ld_rng_seed(1, 2);
    struct ld_record *records =
        ld_arena_new(arena, (size_t)batch->N, sizeof(*records), err);

    for (int i = 0; records && i < batch->N; i++) {
        const struct ld_assignment *a = &batch->images[i].assignment;
        struct ld_record *r = &records[i];

        r->n_rows = a->n_rows;
        r->n_main = a->n_main;
        r->n_logits = BENCH_K;
        r->box_logits =
            random_logits((size_t)a->n_rows * 4 * BENCH_BINS, &rng, arena, err);
        r->class_logits =
            random_logits((size_t)a->n_main * BENCH_K, &rng, arena, err);
    }
    return err->code == LD_OK ? records : NULL;
}

/* ---- networks ---- */

struct ld_tensor *bench_tensors(struct ld_device *dev, struct ld_net *net,
                                int *n_tensors, struct ld_arena *arena,
                                struct ld_err *err)
{
    const struct ld_param *params = ld_net_params(net, n_tensors);
    struct ld_tensor *tensors =
        ld_arena_new(arena, (size_t)*n_tensors, sizeof(*tensors), err);

    for (int i = 0; tensors && i < *n_tensors; i++) {
        size_t count = ld_tensor_count(&params[i].value);

        tensors[i] = params[i].value;
        tensors[i].name = ld_arena_text(arena, params[i].value.name,
                                        strlen(params[i].value.name), err);
        tensors[i].data = ld_arena_new(arena, count, sizeof(float), err);
        if (!tensors[i].name || !tensors[i].data)
            return NULL;
        dev->ops->download(dev, tensors[i].data, params[i].value.data,
                           count * sizeof(float));
    }
    return tensors && dev->ops->sync(dev, err) ? tensors : NULL;
}

struct ld_teacher *bench_teacher(struct ld_device *dev,
                                 const struct ld_model *model,
                                 struct ld_tensor **tensors, int *n_tensors,
                                 struct ld_arena *arena, struct ld_err *err)
{
    struct ld_net *net = ld_net_new(dev, model, LD_NET_INFER, err);

    if (!net)
        return NULL;
    ld_net_init(net, 2);
    *tensors = bench_tensors(dev, net, n_tensors, arena, err);
    ld_net_free(net);
    return *tensors ? ld_teacher_new(dev, model, *tensors, *n_tensors, err)
                    : NULL;
}

/* ---- the file ---- */

struct dump {
    struct ld_arena arena;
    struct ld_tensor *tensors;
    int n;
    struct ld_err *err;
};

static void put(struct dump *d, const char *prefix, struct ld_tensor tensor)
{
    char name[MAX_NAME];
    int len = snprintf(name, sizeof(name), "%s%s", prefix, tensor.name);

    tensor.name = ld_arena_text(&d->arena, name, (size_t)len, d->err);
    d->tensors[d->n++] = tensor;
}

/* A new tensor (n, width), or (n) if width is 0. */
static float *put_rows(struct dump *d, const char *name, int n, int width)
{
    size_t count = (size_t)n * (size_t)(width ? width : 1);
    float *data = ld_arena_new(&d->arena, count, sizeof(float), d->err);

    put(d, "", (struct ld_tensor){name, data, width ? 2 : 1, {n, width}});
    return data;
}

/* The bytes as numbers, (N, H, W, 3). */
static void put_pictures(struct dump *d, const struct ld_batch *batch)
{
    size_t n = 3 * (size_t)batch->H * (size_t)batch->W;
    float *to =
        ld_arena_new(&d->arena, (size_t)batch->N * n, sizeof(*to), d->err);

    put(d, "",
        (struct ld_tensor){
            "pictures", to, 4, {batch->N, batch->H, batch->W, 3}});
    for (int i = 0; to && i < batch->N; i++)
        for (size_t j = 0; j < n; j++)
            *to++ = batch->images[i].picture.rgb[j];
}

static void put_batch(struct dump *d, const struct ld_batch *batch,
                      const struct ld_record *records, int n_rows, int A)
{
    float *index = put_rows(d, "index", n_rows, 0);
    float *label = put_rows(d, "label", n_rows, 0);
    float *vlr = put_rows(d, "vlr", n_rows, 0);
    float *box = put_rows(d, "box", n_rows, 4);
    float *sides = put_rows(d, "teacher_box", n_rows, 4 * BENCH_BINS);
    float *classes = put_rows(d, "teacher_class", n_rows, BENCH_K);

    for (int i = 0; d->err->code == LD_OK && i < batch->N; i++) {
        const struct ld_batch_image *image = &batch->images[i];
        const float *from = records[i].class_logits;
        size_t n = (size_t)image->assignment.n_rows;

        memcpy(sides, records[i].box_logits,
               n * 4 * BENCH_BINS * sizeof(float));
        sides += n * 4 * BENCH_BINS;
        for (size_t j = 0; j < n; j++, box += 4, classes += BENCH_K) {
            const struct ld_row *row = &image->assignment.rows[j];
            bool main = row->kind & LD_ROW_MAIN;

            *index++ = (float)(i * A + row->location);
            *label++ = main ? (float)image->labels[row->object] : -1;
            *vlr++ = row->vlr;
            if (!main)
                continue;
            memcpy(box, &image->boxes[row->object], 4 * sizeof(float));
            memcpy(classes, from, BENCH_K * sizeof(float));
            from += BENCH_K;
        }
    }
}

bool bench_dump(const char *path, struct ld_device *dev, struct ld_net *student,
                const struct ld_tensor *teacher, int n_teacher,
                const struct ld_batch *batch, const struct ld_record *records,
                struct ld_err *err)
{
    struct ld_grid grid = ld_grid_of_canvas(batch->H, batch->W);
    struct dump d = {.err = err};
    struct ld_tensor *own;
    int n_own, n_rows = 0;
    bool ok = false;

    for (int i = 0; i < batch->N; i++)
        n_rows += batch->images[i].assignment.n_rows;
    own = bench_tensors(dev, student, &n_own, &d.arena, err);
    if (own)
        d.tensors =
            ld_arena_new(&d.arena, (size_t)(n_own + n_teacher + N_EXTRA),
                         sizeof(*d.tensors), err);
    if (d.tensors) {
        for (int i = 0; i < n_own; i++)
            put(&d, "student.", own[i]);
        for (int i = 0; i < n_teacher; i++)
            put(&d, "teacher.", teacher[i]);
        put_pictures(&d, batch);
        put_batch(&d, batch, records, n_rows, grid.start[grid.n_levels]);
        ok = err->code == LD_OK &&
             ld_safetensors_write(path,
                                  &(struct ld_checkpoint){.config = "",
                                                          .tensors = d.tensors,
                                                          .n_tensors = d.n},
                                  err);
    }
    ld_arena_free(&d.arena);
    return ok;
}
