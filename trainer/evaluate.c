#include "trainer/evaluate.h"

#include <math.h>
#include <stdio.h>

#include "formats/file.h"
#include "formats/json.h"
#include "trainer/voc_eval.h"

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
