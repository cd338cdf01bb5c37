#include "trainer/evaluate.h"

#include <math.h>
#include <stdio.h>

#include "formats/file.h"
#include "formats/json.h"
#include "kernels/base/progress.h"
#include "trainer/evaluate_team.h"
#include "trainer/voc_eval.h"

/* ---- detections ---- */

static bool run_net(const struct ld_evaluation *e, const struct ld_view *view,
                    const struct ld_image *image, struct ld_err *err)
{
    struct ld_draw draw =
        ld_view_draw(view, &e->config->views.rules, image->H, image->W);

    if (!ld_net_resize(e->net, 1, view->canvas_H, view->canvas_W, err) ||
        !ld_net_show(e->net, 0, image->rgb, &draw, err))
        return false;
    ld_net_forward(e->net);
    return true;
}

static float *download_rows(const struct ld_evaluation *e, const float *rows,
                            size_t count, struct ld_arena *arena,
                            struct ld_err *err)
{
    float *host = ld_arena_new(arena, count, sizeof(float), err);

    if (host)
        e->dev->ops->download(e->dev, host, rows, count * sizeof(float));
    return host;
}

bool ld_evaluate_image(const struct ld_evaluation *e,
                       const struct ld_image *image, struct ld_arena *arena,
                       struct ld_detections *out, struct ld_err *err)
{
    struct ld_view view =
        ld_view_of(&e->config->views.rules, image->H, image->W, 0);
    const struct ld_model *model = ld_net_model(e->net);
    struct ld_detect_input in = {.K = model->n_classes,
                                 .B = model->reg_max + 1,
                                 .H = view.H,
                                 .W = view.W,
                                 .n_logits = ld_model_class_logits(model),
                                 .centerness =
                                     ld_head_has_centerness(model->head)};
    struct ld_grid grid;
    size_t A;

    if (!run_net(e, &view, image, err))
        return false;
    grid = ld_net_grid(e->net);
    A = (size_t)grid.start[grid.n_levels];
    in.grid = &grid;
    in.class_logits = download_rows(e, ld_net_class_rows(e->net),
                                    A * (size_t)in.n_logits, arena, err);
    in.box_logits = download_rows(e, ld_net_box_rows(e->net),
                                  A * 4 * (size_t)in.B, arena, err);
    if (ld_net_quality_rows(e->net))
        in.quality =
            download_rows(e, ld_net_quality_rows(e->net), A, arena, err);
    ld_view_scale(&view, image->H, image->W, &in.scale_x, &in.scale_y);
    return err->code == LD_OK && e->dev->ops->sync(e->dev, err) &&
           ld_detect(out, &in, &e->config->test, arena, err);
}

/* One image's detections, kept in `arena`; `work` holds the rest. */
static bool detect_sample(const struct ld_evaluation *e, int sample,
                          struct ld_arena *work, struct ld_arena *arena,
                          struct ld_image_detections *out, struct ld_err *err)
{
    const struct ld_sample *s = &e->set->samples[sample];
    struct ld_image image = {0};
    struct ld_detections found;
    char path[4096];
    bool ok;

    ld_arena_clear(work);
    ok = ld_dataset_path(e->set, s, path, err) &&
         ld_image_read(path, &image, err) &&
         (ld_evaluate_image(e, &image, work, &found, err) ||
          ld_fail_in(err, path));
    ld_image_free(&image);
    if (!ok)
        return false;

    out->sample = sample;
    out->detections.n = found.n;
    out->detections.items =
        ld_arena_new(arena, (size_t)found.n, sizeof(*found.items), err);
    for (int i = 0; out->detections.items && i < found.n; i++)
        out->detections.items[i] = found.items[i];
    return out->detections.items != NULL;
}

bool ld_evaluate_detect(const struct ld_evaluation *e,
                        struct ld_image_detections **out,
                        struct ld_arena *arena, struct ld_err *err)
{
    struct ld_image_detections *images =
        ld_arena_new(arena, (size_t)e->set->n_samples, sizeof(*images), err);
    struct ld_progress progress;
    struct ld_arena work = {0};
    bool tells = !e->team || e->team->rank == 0;
    bool ok = images != NULL;

    ld_progress_start(&progress, "evaluating", "images", 0, e->set->n_samples);
    for (int i = 0; ok && i < e->set->n_samples; i++) {
        if (!ld_evaluate_has(e->team, i))
            continue;
        ok = detect_sample(e, i, &work, arena, &images[i], err);
        if (tells)
            ld_progress_show(&progress, i + 1, "");
    }
    ok = ok &&
         ld_evaluate_gather(e->team, images, e->set->n_samples, arena, err);
    if (ok && tells)
        ld_progress_end(&progress, e->set->n_samples, "");
    ld_arena_free(&work);
    *out = images;
    return ok;
}

/* ---- numbers ---- */

static void print_classes(const struct ld_dataset *set, const double *ap)
{
    printf("\n%-24s %7s\n", "class", "AP");
    for (int c = 0; c < set->n_classes; c++)
        if (isnan(ap[c]) || ap[c] < 0)
            printf("%-24s %7s\n", set->class_names[c], "-");
        else
            printf("%-24s %7.3f\n", set->class_names[c], ap[c]);
}

static void print_coco(const struct ld_dataset *set,
                       const struct ld_coco_result *r)
{
    static const char *const line[LD_COCO_N] = {
        "AP        IoU .50:.95  all     100",
        "AP50      IoU .50      all     100",
        "AP75      IoU .75      all     100",
        "AP small  IoU .50:.95  small   100",
        "AP medium IoU .50:.95  medium  100",
        "AP large  IoU .50:.95  large   100",
        "AR 1      IoU .50:.95  all       1",
        "AR 10     IoU .50:.95  all      10",
        "AR 100    IoU .50:.95  all     100",
        "AR small  IoU .50:.95  small   100",
        "AR medium IoU .50:.95  medium  100",
        "AR large  IoU .50:.95  large   100",
    };

    for (int i = 0; i < LD_COCO_N; i++)
        printf("%s  %7.4f\n", line[i], r->value[i]);
    print_classes(set, r->class_ap);
}

static void print_voc(const struct ld_dataset *set,
                      const struct ld_voc_result *r)
{
    printf("AP: %.6f\nAP50..AP95:", r->mean);
    for (int i = 0; i < LD_VOC_THRESHOLDS; i++)
        printf(" %.6f", r->map[i]);
    printf("\nmAP: %.6f\n", r->map[0]);
    print_classes(set, r->class_ap);
}

static bool score_coco(const struct ld_evaluation *e,
                       const struct ld_image_detections *images, bool table,
                       struct ld_scores *out, struct ld_arena *arena,
                       struct ld_err *err)
{
    struct ld_coco_result r;

    if (!ld_coco_eval(&r, e->set, images, e->set->n_samples, arena, err))
        return false;
    if (table)
        print_coco(e->set, &r);
    *out = (struct ld_scores){r.value[LD_COCO_AP], r.value[LD_COCO_AP50],
                              r.value[LD_COCO_AP75]};
    return true;
}

static bool score_voc(const struct ld_evaluation *e,
                      const struct ld_image_detections *images, bool table,
                      struct ld_scores *out, struct ld_arena *arena,
                      struct ld_err *err)
{
    struct ld_voc_result r;

    /* Eleven points, as the reference prints for VOC2007's test set. */
    if (!ld_voc_eval(&r, e->set, images, e->set->n_samples, true, arena, err))
        return false;
    if (table)
        print_voc(e->set, &r);
    *out = (struct ld_scores){r.mean, r.map[0], r.map[5]};
    return true;
}

bool ld_evaluate_score(const struct ld_evaluation *e,
                       const struct ld_image_detections *images, bool table,
                       struct ld_scores *out, struct ld_err *err)
{
    struct ld_arena arena = {0};
    bool ok = e->set->kind == LD_DATASET_COCO
                  ? score_coco(e, images, table, out, &arena, err)
                  : score_voc(e, images, table, out, &arena, err);

    ld_arena_free(&arena);
    return ok;
}

bool ld_evaluate_write_json(const struct ld_evaluation *e,
                            const struct ld_image_detections *images,
                            const char *path, struct ld_err *err)
{
    struct ld_buf text = {.max = (size_t)1 << 34};
    const char *comma = "";
    bool ok;

    ld_buf_put(&text, "[", 1);
    for (int i = 0; i < e->set->n_samples; i++)
        for (int d = 0; d < images[i].detections.n; d++) {
            const struct ld_detection *item = &images[i].detections.items[d];

            ld_buf_printf(
                &text,
                "%s\n{\"image_id\": %lld, \"category_id\": %lld, "
                "\"bbox\": [%.3f, %.3f, %.3f, %.3f], \"score\": %.6f}",
                comma, (long long)e->set->samples[images[i].sample].id,
                (long long)e->set->category_id[item->class_index],
                (double)item->box.x0, (double)item->box.y0,
                (double)(item->box.x1 - item->box.x0),
                (double)(item->box.y1 - item->box.y0), (double)item->score);
            comma = ",";
        }
    ld_buf_put(&text, "\n]\n", 3);
    ok = ld_buf_ok(&text, err) &&
         ld_file_replace(path, text.data, text.len, err);
    ld_buf_free(&text);
    return ok;
}
