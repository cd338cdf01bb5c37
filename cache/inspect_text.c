#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cache/inspect.h"
#include "cache/projection.h"
#include "kernels/base/progress.h"

enum { BEST = 3, SHOWN_SKIPPED = 20, LINE = 72 };

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

/* ---- summary ---- */

static void put_head(struct ld_buf *out, const struct ld_inspection *sum)
{
    const struct ld_shard_facts *facts = sum->facts;
    char bytes[16];

    ld_bytes_text(bytes, (double)sum->sizes.file);
    ld_buf_printf(out, "%s\n", sum->path);
    if (sum->n_shards > 1)
        ld_buf_printf(out, "  %d shards", sum->n_shards);
    else
        ld_buf_printf(out, "  shard %d of %d", facts->part + 1, facts->n_parts);
    ld_buf_printf(out,
                  ": %" PRId64 " images, %" PRId64 " views (%" PRId64
                  " flipped), %s\n",
                  sum->n_images, sum->n_views, sum->n_flipped, bytes);
}

static void put_size(struct ld_buf *out, const struct ld_inspection *sum,
                     const char *name, int64_t bytes, int64_t n_rows)
{
    char text[16];

    ld_bytes_text(text, (double)bytes);
    ld_buf_printf(out, "  %-16s %12s %12.1f %12.2f\n", name, text,
                  share((double)bytes, (double)sum->n_views),
                  share((double)bytes, (double)n_rows));
}

static void put_sizes(struct ld_buf *out, const struct ld_inspection *sum)
{
    const struct ld_shard_sizes *sizes = &sum->sizes;
    const char *storage = ld_codec_name(sum->facts->storage);
    char box[32], class_rows[32], features[32], text[100];

    snprintf(box, sizeof(box), "box, %s", storage);
    snprintf(class_rows, sizeof(class_rows), "class, %s", storage);
    ld_buf_printf(out, "\n  %-16s %12s %12s %12s\n", "part", "stored",
                  "bytes/view", "bytes/row");
    put_size(out, sum, "location", sizes->location, sizes->n_rows);
    put_size(out, sum, "kind", sizes->kind, sizes->n_rows);
    put_size(out, sum, box, sizes->box, sizes->n_rows);
    put_size(out, sum, class_rows, sizes->class_rows, sizes->n_main);
    snprintf(features, sizeof(features), "features, %s",
             sum->facts->storage == LD_STORAGE_FP32 ? "fp32" : "fp16");
    if (sum->facts->feature_channels > 0)
        put_size(out, sum, features, sizes->features, sizes->n_features);
    put_size(out, sum, "index, HDF5", sizes->index, sizes->n_rows);
    put_size(out, sum, "all", sizes->file, sizes->n_rows);
    if (sum->n_views > 0) {
        ld_projection_text(text, sum->facts, sizes, sum->n_views);
        ld_buf_printf(out, "  %s at these bytes a view\n", text);
    }
}

static void put_rows(struct ld_buf *out, const char *name,
                     const int64_t rows[4], int64_t all)
{
    int64_t sum = rows[0] + rows[1] + rows[2] + rows[3];

    ld_buf_printf(out,
                  "  %-16s %12" PRId64 " %12" PRId64 " %12" PRId64 " %12" PRId64
                  " %6.1f %%\n",
                  name, rows[LD_SHARD_MAIN], rows[LD_SHARD_VLR],
                  rows[LD_SHARD_MAIN | LD_SHARD_VLR], sum,
                  100 * share((double)sum, (double)all));
}

static void put_levels(struct ld_buf *out, const struct ld_inspection *sum)
{
    int64_t all[4] = {0};
    char name[32];

    ld_buf_printf(out, "\n  %-16s %12s %12s %12s %12s\n", "rows by level",
                  "main only", "VLR only", "both", "all");
    for (int l = 0; l < LD_MAX_LEVELS; l++) {
        snprintf(name, sizeof(name), "P%d, stride %d", l + 3, 8 << l);
        put_rows(out, name, sum->rows[l], sum->sizes.n_rows);
        for (int kind = 0; kind < 4; kind++)
            all[kind] += sum->rows[l][kind];
    }
    put_rows(out, "all", all, sum->sizes.n_rows);
    ld_buf_printf(out, "  rows a view: median %d, most %d", sum->median_rows,
                  sum->most_rows);
    ld_buf_printf(out, "; %" PRId64 " views without any\n", sum->n_empty);
    if (sum->facts->select == LD_SELECT_DENSE)
        ld_buf_printf(out, "  rows of neither region: %" PRId64 "\n", all[0]);
    if (sum->n_views > 0)
        ld_buf_printf(out,
                      "  views: %dx%d (height x width) to %dx%d, padded to "
                      "multiples of %d\n"
                      "  shorter side: %d to %d, quartiles %d, %d, %d\n",
                      sum->smallest.H, sum->smallest.W, sum->largest.H,
                      sum->largest.W, sum->facts->divisor, sum->sides[0],
                      sum->sides[4], sum->sides[1], sum->sides[2],
                      sum->sides[3]);
}

static void put_classes(struct ld_buf *out, const struct ld_shard_facts *facts)
{
    int column = 16;

    ld_buf_printf(out, "  %-13s %d:", "classes", facts->n_classes);
    for (int k = 0; k < facts->n_classes; k++) {
        int len = (int)strlen(facts->class_names[k]) + 2;

        if (column + len > LINE) {
            ld_buf_printf(out, "\n  %-13s ", "");
            column = 16;
        }
        ld_buf_printf(out, " %s%s", facts->class_names[k],
                      k + 1 < facts->n_classes ? "," : "");
        column += len;
    }
    ld_buf_printf(out, "\n");
}

static void put_errors(struct ld_buf *out, const struct ld_shard_facts *facts)
{
    ld_buf_printf(out, "  %-13s %s", "logits", ld_codec_name(facts->storage));
    if (facts->storage == LD_STORAGE_FP32) {
        ld_buf_printf(out, ", as the teacher gave them\n");
        return;
    }
    if (facts->storage == LD_STORAGE_PREDICTED)
        ld_buf_printf(out, ", gradient off by %g asked",
                      facts->asked_gradient_error);
    ld_buf_printf(out, ", off by %.1e at most\n", facts->largest_logit_error);
    ld_buf_printf(out,
                  "  %-13s LD %.1e, KD %.1e for a student early in training,\n"
                  "  %-13s LD %.1e, KD %.1e late (relative, measured%s)\n",
                  "gradient off", facts->ld_gradient_error_early,
                  facts->kd_gradient_error_early, "",
                  facts->ld_gradient_error_late, facts->kd_gradient_error_late,
                  facts->n_parts > 1 ? ", first shard" : "");
}

/* What no coder of single numbers can go below. */
static void put_entropy(struct ld_buf *out, const struct ld_inspection *sum)
{
    const struct ld_shard_facts *facts = sum->facts;

    if (facts->storage == LD_STORAGE_PREDICTED)
        ld_buf_printf(out, "  %-13s %.1f bytes a box row, %.1f a class row%s\n",
                      "entropy", facts->box_entropy, facts->class_entropy,
                      facts->n_parts > 1 ? " (first shard)" : "");
}

static void put_scheme(struct ld_buf *out, const struct ld_shard_facts *facts)
{
    if (facts->seeded_views > 0)
        ld_buf_printf(
            out, "  %-13s %d an image, drawn by seed %d: scale (%s)%s\n",
            "views", facts->seeded_views, facts->view_seed, facts->multi_scale,
            facts->view_flip ? " and flip" : ", never flipped");
    else
        ld_buf_printf(out, "  %-13s %s\n", "views",
                      facts->view_flip ? "2 an image, plain and flipped"
                                       : "1 an image, plain");
}

static void put_features(struct ld_buf *out, const struct ld_inspection *sum)
{
    const struct ld_shard_facts *facts = sum->facts;
    const struct ld_shard_sizes *sizes = &sum->sizes;

    ld_buf_printf(out, "  %-13s %s", "features", facts->imitation);
    if (facts->feature_channels == 0) {
        ld_buf_printf(out, "\n");
        return;
    }
    ld_buf_printf(out, ": %d channels, %.1f rows a view, %.1f %% of the bytes",
                  facts->feature_channels,
                  share((double)sizes->n_features, (double)sum->n_views),
                  100 * share((double)sizes->features, (double)sizes->file));
    if (facts->storage == LD_STORAGE_FP32)
        ld_buf_printf(out, ", as the teacher gave them\n");
    else
        ld_buf_printf(out, ", off by %.1e (relative, measured%s)\n",
                      facts->feature_error,
                      facts->n_parts > 1 ? ", first shard" : "");
}

static const char *select_text(const struct ld_shard_facts *facts)
{
    static const char *const texts[] = {
        [LD_SELECT_LD] = "ld: boxes of both regions, classes of the main",
        [LD_SELECT_VLR_ALL] = "vlr-all: boxes and classes of both regions",
        [LD_SELECT_DENSE] = "dense: boxes and classes of every location",
    };

    return texts[facts->select];
}

static void put_facts(struct ld_buf *out, const struct ld_inspection *sum)
{
    const struct ld_shard_facts *facts = sum->facts;

    ld_buf_printf(out, "\n  %-13s %s\n  %-13s SHA-256 %s\n", "teacher",
                  facts->teacher_model, "checkpoint", facts->teacher_sha256);
    ld_buf_printf(out, "  %-13s SHA-256 %s\n", "annotations",
                  facts->annotations_sha256);
    put_classes(out, facts);
    ld_buf_printf(out,
                  "  %-13s into %d x %s, sides kept in ratio; mean %g %g %g, "
                  "std %g %g %g%s\n",
                  "scaled", facts->long_edge, facts->short_edges,
                  (double)facts->mean[0], (double)facts->mean[1],
                  (double)facts->mean[2], (double)facts->std[0],
                  (double)facts->std[1], (double)facts->std[2],
                  facts->bgr ? ", BGR" : "");
    put_scheme(out, facts);
    ld_buf_printf(out, "  %-13s %s; VLR '%s', gamma %g, %s the main region\n",
                  "regions", facts->assigner, facts->vlr_mode,
                  (double)facts->vlr_gamma,
                  facts->vlr_exclude_main ? "without" : "may overlap");
    ld_buf_printf(out, "  %-13s %s\n", "selected", select_text(facts));
    ld_buf_printf(out, "  %-13s 4 sides of %d bins\n", "box rows",
                  facts->reg_max + 1);
    put_errors(out, facts);
    put_entropy(out, sum);
    put_features(out, sum);
    ld_buf_printf(out, "  %-13s %s, shard format %d\n", "written by",
                  facts->program, facts->format);
}

static void put_skipped(struct ld_buf *out, const struct ld_inspection *sum)
{
    const struct ld_inspect_skipped *skipped = (const void *)sum->skipped.data;
    size_t n = sum->skipped.len / sizeof(*skipped);

    ld_buf_printf(out, "  %-13s %zu images\n", "skipped", n);
    for (size_t i = 0; i < n && i < SHOWN_SKIPPED; i++)
        ld_buf_printf(out, "    image %" PRId64 ": %s\n", skipped[i].image_id,
                      skipped[i].reason);
    if (n > SHOWN_SKIPPED)
        ld_buf_printf(out, "    ... (--json lists all)\n");
}

void ld_inspect_text(struct ld_buf *out, const struct ld_inspection *sum)
{
    put_head(out, sum);
    put_sizes(out, sum);
    put_levels(out, sum);
    put_facts(out, sum);
    put_skipped(out, sum);
}

/* ---- one record ---- */

static void put_side(struct ld_buf *out, const float *bins, int B, int stride)
{
    struct ld_inspect_side side = ld_inspect_side(bins, B, stride);

    ld_buf_printf(out, " | %6.1f %4.2f %2d %3.0f%%", (double)side.distance,
                  (double)side.entropy, side.top_bin,
                  (double)(100 * side.top_share));
}

static void put_best(struct ld_buf *out, const float *logits,
                     const struct ld_shard_facts *facts)
{
    int count = facts->n_classes < BEST ? facts->n_classes : BEST;
    int best[BEST];

    ld_inspect_best(logits, facts->n_classes, count, best);
    for (int i = 0; i < count; i++)
        ld_buf_printf(out, "%s%s %.3f", i ? ", " : " | ",
                      facts->class_names[best[i]],
                      1 / (1 + exp(-(double)logits[best[i]])));
}

static void put_record_row(struct ld_buf *out,
                           const struct ld_shard_facts *facts,
                           const struct ld_grid *grid,
                           const struct ld_record *record, int i)
{
    int at = record->location[i], level = ld_grid_level(grid, at);
    int place = (at - grid->start[level]) / facts->n_anchors;
    int B = facts->reg_max + 1;

    ld_buf_printf(out, "  %8d  P%d %4d %4d  %-4s", at, level + 3,
                  place / grid->W[level], place % grid->W[level],
                  ld_inspect_kind(record->kind[i]));
    for (int side = 0; side < 4; side++)
        put_side(out, record->box_logits + (4 * i + side) * B, B,
                 grid->stride[level]);
}

void ld_inspect_record_text(struct ld_buf *out, const struct ld_shard *shard,
                            const struct ld_record *record)
{
    const struct ld_shard_facts *facts = ld_shard_facts(shard);
    const struct ld_view *view = &record->view;
    struct ld_grid grid = ld_shard_grid(facts, view);
    const float *logits = record->class_logits;
    char name[32];

    ld_view_name(view, facts->seeded_views > 0, name);
    ld_buf_printf(out,
                  "%s: image %" PRId64 "%s: %dx%d (height x width) on a canvas "
                  "of %dx%d, %d rows, %d with classes\n",
                  ld_shard_path(shard), record->image_id, name, view->H,
                  view->W, view->canvas_H, view->canvas_W, record->n_rows,
                  record->n_main);
    ld_buf_printf(out,
                  "  Each side: expected distance in pixels, entropy in bits "
                  "(0 to %.2f), likeliest bin and its share.\n",
                  log2(facts->reg_max + 1));
    ld_buf_printf(out,
                  "  %8s %3s %4s %4s  %-4s | %-19s | %-19s | %-19s | %-19s"
                  " | sigmoid of the best classes\n",
                  "location", "lvl", "row", "col", "kind", "left", "top",
                  "right", "bottom");
    for (int i = 0; i < record->n_rows; i++) {
        put_record_row(out, facts, &grid, record, i);
        if (ld_shard_all_classes(facts) || (record->kind[i] & LD_SHARD_MAIN)) {
            put_best(out, logits, facts);
            logits += facts->n_logits;
        }
        ld_buf_printf(out, "\n");
    }
}

/* ---- verdict ---- */

void ld_inspect_verdict_text(struct ld_buf *out,
                             const struct ld_inspect_verdict *verdict)
{
    const char *text = (const char *)verdict->damage.data;
    char bytes[16];

    if (verdict->damage.len == 0) {
        ld_bytes_text(bytes, (double)verdict->bytes);
        ld_buf_printf(out,
                      "%s: whole: %" PRId64 " views, %s, every checksum right "
                      "(%.2f s)\n",
                      verdict->path, verdict->n_views, bytes, verdict->seconds);
        return;
    }
    for (size_t at = 0; at < verdict->damage.len; at += strlen(text + at) + 1)
        ld_buf_printf(out, "%s\n", text + at);
}
