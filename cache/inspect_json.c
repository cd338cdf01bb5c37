#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cache/inspect.h"
#include "cache/projection.h"
#include "formats/json.h"

/* "name": , after a comma but for the first of an object. */
static void put_key(struct ld_buf *out, const char *name)
{
    bool first = out->len > 0 && out->data[out->len - 1] == '{';

    ld_buf_printf(out, first ? "" : ", ");
    ld_json_put_string(out, name);
    ld_buf_printf(out, ": ");
}

static void put_integer(struct ld_buf *out, const char *name, int64_t value)
{
    put_key(out, name);
    ld_buf_printf(out, "%" PRId64, value);
}

static void put_number(struct ld_buf *out, const char *name, double value)
{
    put_key(out, name);
    ld_buf_printf(out, "%.9g", value);
}

static void put_bool(struct ld_buf *out, const char *name, bool value)
{
    put_key(out, name);
    ld_buf_printf(out, value ? "true" : "false");
}

static void put_text(struct ld_buf *out, const char *name, const char *value)
{
    put_key(out, name);
    ld_json_put_string(out, value);
}

static void put_floats(struct ld_buf *out, const char *name,
                       const float *values, int count)
{
    put_key(out, name);
    for (int i = 0; i < count; i++)
        ld_buf_printf(out, "%s%.9g", i ? ", " : "[", (double)values[i]);
    ld_buf_printf(out, count ? "]" : "[]");
}

static void put_view(struct ld_buf *out, const char *name,
                     const struct ld_view *view)
{
    put_key(out, name);
    ld_buf_printf(out, "{");
    put_integer(out, "height", view->H);
    put_integer(out, "width", view->W);
    put_integer(out, "canvas_height", view->canvas_H);
    put_integer(out, "canvas_width", view->canvas_W);
    ld_buf_printf(out, "}");
}

/* ---- summary ---- */

static void put_facts(struct ld_buf *out, const struct ld_shard_facts *facts)
{
    put_key(out, "facts");
    ld_buf_printf(out, "{");
    put_integer(out, "format", facts->format);
    put_text(out, "program", facts->program);
    put_text(out, "teacher_sha256", facts->teacher_sha256);
    put_text(out, "teacher_model", facts->teacher_model);
    put_text(out, "annotations_sha256", facts->annotations_sha256);
    put_key(out, "class_names");
    for (int k = 0; k < facts->n_classes; k++) {
        ld_buf_printf(out, k ? ", " : "[");
        ld_json_put_string(out, facts->class_names[k]);
    }
    ld_buf_printf(out, "]");
    put_integer(out, "reg_max", facts->reg_max);
    put_integer(out, "anchors", facts->n_anchors);
    put_integer(out, "n_logits", facts->n_logits);
    put_integer(out, "long_edge", facts->long_edge);
    put_text(out, "multi_scale", facts->multi_scale);
    put_text(out, "short_edges", facts->short_edges);
    put_integer(out, "seeded_views", facts->seeded_views);
    put_integer(out, "view_seed", facts->view_seed);
    put_bool(out, "view_flip", facts->view_flip);
    put_integer(out, "divisor", facts->divisor);
    put_floats(out, "mean", facts->mean, 3);
    put_floats(out, "std", facts->std, 3);
    put_bool(out, "bgr", facts->bgr);
    put_text(out, "assigner", facts->assigner);
    put_text(out, "vlr_mode", facts->vlr_mode);
    put_number(out, "vlr_gamma", (double)facts->vlr_gamma);
    put_bool(out, "vlr_exclude_main", facts->vlr_exclude_main);
    put_text(out, "select", ld_select_name(facts->select));
    put_text(out, "imitation", facts->imitation);
    put_integer(out, "feature_channels", facts->feature_channels);
    put_text(out, "storage", ld_codec_name(facts->storage));
    put_number(out, "asked_gradient_error", facts->asked_gradient_error);
    put_number(out, "ld_gradient_error_early", facts->ld_gradient_error_early);
    put_number(out, "ld_gradient_error_late", facts->ld_gradient_error_late);
    put_number(out, "kd_gradient_error_early", facts->kd_gradient_error_early);
    put_number(out, "kd_gradient_error_late", facts->kd_gradient_error_late);
    put_number(out, "largest_logit_error", facts->largest_logit_error);
    put_number(out, "feature_error", facts->feature_error);
    put_number(out, "box_entropy", facts->box_entropy);
    put_number(out, "class_entropy", facts->class_entropy);
    put_integer(out, "part", facts->part);
    put_integer(out, "n_parts", facts->n_parts);
    ld_buf_printf(out, "}");
}

static void put_sizes(struct ld_buf *out, const struct ld_shard_sizes *sizes)
{
    put_key(out, "bytes");
    ld_buf_printf(out, "{");
    put_integer(out, "file", sizes->file);
    put_integer(out, "location", sizes->location);
    put_integer(out, "kind", sizes->kind);
    put_integer(out, "box", sizes->box);
    put_integer(out, "class", sizes->class_rows);
    put_integer(out, "features", sizes->features);
    put_integer(out, "index", sizes->index);
    ld_buf_printf(out, "}");
}

static void put_levels(struct ld_buf *out, const struct ld_inspection *sum)
{
    put_key(out, "levels");
    for (int l = 0; l < LD_MAX_LEVELS; l++) {
        ld_buf_printf(out, l ? ", {" : "[{");
        put_integer(out, "stride", 8 << l);
        put_integer(out, "main_only", sum->rows[l][LD_SHARD_MAIN]);
        put_integer(out, "vlr_only", sum->rows[l][LD_SHARD_VLR]);
        put_integer(out, "neither", sum->rows[l][0]);
        put_integer(out, "both", sum->rows[l][LD_SHARD_MAIN | LD_SHARD_VLR]);
        ld_buf_printf(out, "}");
    }
    ld_buf_printf(out, "]");
}

static void put_skipped(struct ld_buf *out, const struct ld_inspection *sum)
{
    const struct ld_inspect_skipped *skipped = (const void *)sum->skipped.data;
    size_t n = sum->skipped.len / sizeof(*skipped);

    put_key(out, "skipped");
    ld_buf_printf(out, "[");
    for (size_t i = 0; i < n; i++) {
        ld_buf_printf(out, i ? ", {" : "{");
        put_integer(out, "image_id", skipped[i].image_id);
        put_text(out, "reason", skipped[i].reason);
        ld_buf_printf(out, "}");
    }
    ld_buf_printf(out, "]");
}

void ld_inspect_json(struct ld_buf *out, const struct ld_inspection *sum)
{
    ld_buf_printf(out, "{");
    put_text(out, "path", sum->path);
    put_integer(out, "shards", sum->n_shards);
    put_integer(out, "images", sum->n_images);
    put_integer(out, "views", sum->n_views);
    put_integer(out, "flipped_views", sum->n_flipped);
    put_integer(out, "empty_views", sum->n_empty);
    put_integer(out, "rows", sum->sizes.n_rows);
    put_integer(out, "class_rows", sum->sizes.n_main);
    put_integer(out, "feature_rows", sum->sizes.n_features);
    put_integer(out, "median_rows", sum->median_rows);
    put_integer(out, "most_rows", sum->most_rows);
    put_view(out, "smallest_view", &sum->smallest);
    put_view(out, "largest_view", &sum->largest);
    put_key(out, "shorter_side");
    for (int q = 0; q < 5; q++)
        ld_buf_printf(out, "%s%d", q ? ", " : "[", sum->sides[q]);
    ld_buf_printf(out, "]");
    put_sizes(out, &sum->sizes);
    if (sum->n_views > 0)
        put_integer(out, "train2017_bytes",
                    (int64_t)ld_projection_bytes(sum->facts, &sum->sizes,
                                                 sum->n_views));
    put_levels(out, sum);
    put_facts(out, sum->facts);
    put_skipped(out, sum);
    ld_buf_printf(out, "}");
}

/* ---- one record ---- */

static void put_row(struct ld_buf *out, const struct ld_shard_facts *facts,
                    const struct ld_grid *grid, const struct ld_record *record,
                    int i)
{
    static const char *const names[] = {"left", "top", "right", "bottom"};
    int at = record->location[i], level = ld_grid_level(grid, at);
    int place = (at - grid->start[level]) / facts->n_anchors;
    int B = facts->reg_max + 1;

    put_integer(out, "location", at);
    put_integer(out, "level", level);
    put_integer(out, "stride", grid->stride[level]);
    put_integer(out, "row", place / grid->W[level]);
    put_integer(out, "column", place % grid->W[level]);
    if (facts->n_anchors > 1)
        put_integer(out, "anchor", at % facts->n_anchors);
    put_text(out, "kind", ld_inspect_kind(record->kind[i]));
    for (int s = 0; s < 4; s++) {
        const float *bins = record->box_logits + (4 * i + s) * B;
        struct ld_inspect_side side =
            ld_inspect_side(bins, B, grid->stride[level]);

        put_key(out, names[s]);
        ld_buf_printf(out, "{");
        put_number(out, "distance", (double)side.distance);
        put_number(out, "entropy", (double)side.entropy);
        put_integer(out, "top_bin", side.top_bin);
        put_number(out, "top_share", (double)side.top_share);
        put_floats(out, "logits", bins, B);
        ld_buf_printf(out, "}");
    }
}

void ld_inspect_record_json(struct ld_buf *out, const struct ld_shard *shard,
                            const struct ld_record *record)
{
    const struct ld_shard_facts *facts = ld_shard_facts(shard);
    struct ld_grid grid = ld_shard_grid(facts, &record->view);
    const float *logits = record->class_logits;

    ld_buf_printf(out, "{");
    put_text(out, "path", ld_shard_path(shard));
    put_integer(out, "image_id", record->image_id);
    put_integer(out, "view_number", record->view.number);
    put_bool(out, "flipped", record->view.flipped);
    put_view(out, "view", &record->view);
    put_key(out, "rows");
    ld_buf_printf(out, "[");
    for (int i = 0; i < record->n_rows; i++) {
        ld_buf_printf(out, i ? ", {" : "{");
        put_row(out, facts, &grid, record, i);
        if (ld_shard_all_classes(facts) || (record->kind[i] & LD_SHARD_MAIN)) {
            put_floats(out, "class_logits", logits, facts->n_logits);
            logits += facts->n_logits;
        }
        ld_buf_printf(out, "}");
    }
    ld_buf_printf(out, "]}");
}

/* ---- verdict ---- */

void ld_inspect_verdict_json(struct ld_buf *out,
                             const struct ld_inspect_verdict *verdict)
{
    const char *text = (const char *)verdict->damage.data;

    ld_buf_printf(out, "{");
    put_text(out, "path", verdict->path);
    put_bool(out, "whole", verdict->damage.len == 0);
    put_integer(out, "views", verdict->n_views);
    put_integer(out, "bytes", verdict->bytes);
    put_key(out, "damage");
    ld_buf_printf(out, "[");
    for (size_t at = 0; at < verdict->damage.len; at += strlen(text + at) + 1) {
        ld_buf_printf(out, at ? ", " : "");
        ld_json_put_string(out, text + at);
    }
    ld_buf_printf(out, "]}");
}
