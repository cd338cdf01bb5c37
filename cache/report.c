#include "cache/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cache/report_html.h"
#include "formats/file.h"
#include "kernels/base/progress.h"

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

/* ---- what it is ---- */

static void put_tile(struct ld_buf *out, const char *name, const char *value)
{
    ld_buf_printf(out, "<div class=tile><b>%s</b><span>%s</span></div>\n",
                  value, name);
}

static void put_number(struct ld_buf *out, const char *name, int64_t value)
{
    char text[32];

    snprintf(text, sizeof(text), "%" PRId64, value);
    put_tile(out, name, text);
}

static void put_tiles(struct ld_buf *out, const struct ld_inspection *sum,
                      const struct ld_report_count *count)
{
    char text[32];

    ld_buf_printf(out, "<section class=tiles>\n");
    put_number(out, sum->n_shards == 1 ? "shard" : "shards", sum->n_shards);
    put_number(out, "images", sum->n_images);
    put_number(out, "views", sum->n_views);
    put_number(out, "rows", sum->sizes.n_rows);
    put_number(out, "rows with classes", sum->sizes.n_main);
    ld_bytes_text(text, (double)sum->sizes.file);
    put_tile(out, "on disk", text);
    ld_bytes_text(text, share((double)sum->sizes.file, (double)sum->n_views));
    put_tile(out, "a view", text);
    for (int main = 1; main >= 0; main--) {
        snprintf(text, sizeof(text), "%.2f bits",
                 share(count->entropy_sum[main], (double)count->n_sides[main]));
        put_tile(out, main ? "a side, main region" : "a side, VLR", text);
    }
    ld_buf_printf(out, "</section>\n");
}

static void put_fact(struct ld_buf *out, const char *name, const char *value)
{
    ld_buf_printf(out, "<tr><th>%s<td>", name);
    ld_html_text(out, value);
    ld_buf_printf(out, "\n");
}

static void put_error(struct ld_buf *out, const char *name, double early,
                      double late)
{
    ld_buf_printf(out, "<tr><th>%s<td>%.1e early, %.1e late in training\n",
                  name, early, late);
}

static void put_facts(struct ld_buf *out, const struct ld_inspection *sum)
{
    const struct ld_shard_facts *facts = sum->facts;
    char text[64];

    ld_buf_printf(out, "<section><h2>Where it comes from</h2><table>\n");
    put_fact(out, "teacher", facts->teacher_model);
    put_fact(out, "checkpoint, SHA-256", facts->teacher_sha256);
    put_fact(out, "annotations, SHA-256", facts->annotations_sha256);
    snprintf(text, sizeof(text), "%d", facts->n_classes);
    put_fact(out, "classes", text);
    snprintf(text, sizeof(text), "into %d x %.40s", facts->long_edge,
             facts->short_edges);
    put_fact(out, "views", text);
    put_fact(out, "main region", facts->assigner);
    put_fact(out, "features", facts->imitation);
    put_fact(out, "written by", facts->program);
    ld_buf_printf(out, "</table></section>\n"
                       "<section><h2>What storing costs</h2><table>\n");
    put_fact(out, "numbers", ld_codec_name(facts->storage));
    ld_buf_printf(out, "<tr><th>largest error of a logit<td>%.1e\n",
                  facts->largest_logit_error);
    put_error(out, "error of the LD gradient", facts->ld_gradient_error_early,
              facts->ld_gradient_error_late);
    put_error(out, "error of the KD gradient", facts->kd_gradient_error_early,
              facts->kd_gradient_error_late);
    if (facts->storage == LD_STORAGE_PREDICTED)
        ld_buf_printf(out,
                      "<tr><th>entropy of the numbers<td>%.1f bytes a box row, "
                      "%.1f a class row\n",
                      facts->box_entropy, facts->class_entropy);
    ld_buf_printf(out, "</table></section>\n");
}

static void put_part(struct ld_buf *out, const char *name, int64_t bytes,
                     int64_t rows, int64_t all)
{
    char text[16];

    ld_bytes_text(text, (double)bytes);
    ld_buf_printf(out,
                  "<tr><th>%s<td class=n>%s<td class=n>%.1f<td><div class=bar "
                  "style=\"width:%.1f%%\"></div>\n",
                  name, text, share((double)bytes, (double)rows),
                  100 * share((double)bytes, (double)all));
}

static void put_parts(struct ld_buf *out, const struct ld_inspection *sum)
{
    const struct ld_shard_sizes *sizes = &sum->sizes;

    ld_buf_printf(out, "<section><h2>Bytes</h2><table class=wide>"
                       "<tr><th>part<th>stored<th>a row<th>\n");
    put_part(out, "box rows", sizes->box, sizes->n_rows, sizes->file);
    put_part(out, "class rows", sizes->class_rows, sizes->n_main, sizes->file);
    put_part(out, "locations", sizes->location, sizes->n_rows, sizes->file);
    put_part(out, "kinds", sizes->kind, sizes->n_rows, sizes->file);
    if (sizes->features > 0)
        put_part(out, "features", sizes->features, sizes->n_features,
                 sizes->file);
    put_part(out, "index, HDF5", sizes->index, sizes->n_rows, sizes->file);
    ld_buf_printf(out, "</table></section>\n");
}

static void put_levels(struct ld_buf *out, const struct ld_inspection *sum)
{
    ld_buf_printf(out, "<section><h2>Rows by level</h2><table class=wide>"
                       "<tr><th>level<th>main only<th>VLR only<th>both<th>\n");
    for (int l = 0; l < LD_MAX_LEVELS; l++) {
        const int64_t *rows = sum->rows[l];
        int64_t all = rows[1] + rows[2] + rows[3];

        ld_buf_printf(out,
                      "<tr><th>P%d, stride %d<td class=n>%" PRId64
                      "<td class=n>%" PRId64 "<td class=n>%" PRId64
                      "<td><div class=bar style=\"width:%.1f%%\"></div>\n",
                      l + 3, 8 << l, rows[1], rows[2], rows[3],
                      100 * share((double)all, (double)sum->sizes.n_rows));
    }
    ld_buf_printf(out, "</table></section>\n");
}

/* ---- how the teacher sees it ---- */

static void put_groups(struct ld_buf *out, const char *title,
                       const struct ld_report_histogram *groups, double least,
                       double most)
{
    static const char *const sizes[LD_REPORT_SIZES] = {
        "boxes under 32 pixels", "32 to 96 pixels", "over 96 pixels"};
    char name[32];

    ld_buf_printf(out,
                  "<section class=full><h2>%s</h2><p><i class=main></i> main "
                  "region <i class=vlr></i> VLR only</p><div class=charts>\n",
                  title);
    for (int g = 0; g < LD_REPORT_GROUPS; g++) {
        snprintf(name, sizeof(name), "P%d", g + 3);
        ld_html_histogram(out,
                          g < LD_MAX_LEVELS ? name : sizes[g - LD_MAX_LEVELS],
                          groups[g].counts[1], groups[g].counts[0],
                          LD_REPORT_BINS, least, most);
    }
    ld_buf_printf(out, "</div></section>\n");
}

static void put_regions(struct ld_buf *out, const struct ld_inspection *sum,
                        const struct ld_report_count *count)
{
    const int64_t none[LD_REPORT_BINS] = {0};
    const int32_t *n_rows = (const int32_t *)sum->n_rows.data;
    int64_t rows[LD_REPORT_BINS] = {0};

    for (int64_t i = 0; i < sum->n_views; i++)
        rows[(int64_t)n_rows[i] * LD_REPORT_BINS / (sum->most_rows + 1)]++;
    ld_buf_printf(out, "<section class=full><h2>Regions</h2>"
                       "<div class=charts>\n");
    ld_html_histogram(out, "views by their rows", rows, none, LD_REPORT_BINS, 0,
                      sum->most_rows + 1);
    ld_html_histogram(out,
                      "views by the share of locations that have a row, "
                      "in %",
                      count->region, none, LD_REPORT_BINS, 0, 100);
    ld_buf_printf(out, "</div></section>\n");
}

static void put_charts(struct ld_buf *out, const struct ld_inspection *sum,
                       const struct ld_report_count *count)
{
    put_groups(out,
               "Entropy of a side, in bits: left is certain, right knows "
               "nothing",
               count->entropy, 0, log2(count->B));
    put_groups(out, "Sharpness of a side: the probability of its likeliest bin",
               count->sharpness, 0, 1);
    put_regions(out, sum, count);
}

/* ---- views that stand out ---- */

/* One view's small picture, and the large one it leads to. */
static bool put_pictures(struct ld_buf *out, const char *folder,
                         const struct ld_sights *sights,
                         const struct ld_shard *shard,
                         const struct ld_record *record, struct ld_arena *arena,
                         struct ld_err *err)
{
    struct ld_render render = {ld_shard_facts(shard), record, NULL, {0}, 0};
    struct ld_sight sight;
    char name[64], path[4096];
    bool ok = ld_sight_read(&sight, sights, record, arena, err);

    render.sight = &sight;
    render.n_rows = ld_render_best(render.facts, record, 0.2F, render.rows,
                                   LD_RENDER_SHOWN);
    snprintf(name, sizeof(name), "view-%" PRId64 "-%d.png", record->image_id,
             record->view.number);
    ok = ok && ld_path_join(path, folder, name, err) &&
         ld_render_write(path, &render, err);
    if (ok) {
        ld_buf_printf(out, "<a href=\"%s\">", name);
        ok = ld_html_thumbnail(out, &render, err);
        ld_buf_printf(out, "</a>");
    }
    ld_image_free(&sight.image);
    return ok;
}

static bool put_view(struct ld_buf *out, const char *folder,
                     const struct ld_sights *sights,
                     const struct ld_report_view *view, const char *unit,
                     struct ld_err *err)
{
    const struct ld_shard_facts *facts = ld_shard_facts(view->shard);
    struct ld_arena arena = {0};
    struct ld_record record;
    char name[32];
    bool ok = ld_shard_read(view->shard, view->index, &arena, &record, err);

    ld_buf_printf(out, "<figure>");
    if (ok && sights)
        ok = put_pictures(out, folder, sights, view->shard, &record, &arena,
                          err);
    ld_view_name(&record.view, facts->seeded_views > 0, name);
    ld_buf_printf(out,
                  "<figcaption>image %" PRId64 "%s<br>%.4g %s</figcaption>"
                  "</figure>\n",
                  record.image_id, name, view->value, unit);
    ld_arena_free(&arena);
    return ok;
}

static bool put_views(struct ld_buf *out, const char *title,
                      const struct ld_report_views *views, const char *unit,
                      const char *folder, const struct ld_sights *sights,
                      struct ld_err *err)
{
    bool ok = true;

    ld_buf_printf(out, "<section class=full><h2>%s</h2><div class=views>\n",
                  title);
    for (int i = 0; ok && i < views->n; i++)
        ok = put_view(out, folder, sights, &views->is[i], unit, err);
    ld_buf_printf(out, "%s</div></section>\n", views->n ? "" : "none");
    return ok;
}

static void put_skipped(struct ld_buf *out, const struct ld_inspection *sum)
{
    const struct ld_inspect_skipped *skipped = (const void *)sum->skipped.data;
    size_t n = sum->skipped.len / sizeof(*skipped);

    if (n == 0)
        return;
    ld_buf_printf(out, "<section class=full><h2>Images left out</h2><table>\n");
    for (size_t i = 0; i < n; i++) {
        ld_buf_printf(out, "<tr><th>%" PRId64 "<td>", skipped[i].image_id);
        ld_html_text(out, skipped[i].reason);
    }
    ld_buf_printf(out, "</table></section>\n");
}

/* ---- the page ---- */

static bool put_page(struct ld_buf *out, const char *folder,
                     const struct ld_inspection *sum,
                     const struct ld_report_count *count,
                     const struct ld_sights *sights, struct ld_err *err)
{
    bool ok;

    ld_html_start(out, sum->path);
    put_tiles(out, sum, count);
    put_facts(out, sum);
    put_parts(out, sum);
    put_levels(out, sum);
    put_charts(out, sum, count);
    ok = put_views(out, "Views with the most rows", &count->largest, "rows",
                   folder, sights, err) &&
         put_views(out, "Views of which the teacher is least certain",
                   &count->uncertain, "bits a side of the main rows", folder,
                   sights, err) &&
         put_views(out, "Views without a row", &count->empty, "rows", folder,
                   sights, err);
    put_skipped(out, sum);
    ld_html_end(out);
    return ok;
}

bool ld_report_write(const char *folder, const struct ld_inspection *sum,
                     const struct ld_report_count *count, const char *config,
                     struct ld_err *err)
{
    struct ld_sights sights = {0};
    struct ld_buf out = {.max = (size_t)1 << 30};
    char path[4096];
    bool ok =
        (!config || ld_sights_open(&sights, config, sum->facts, err)) &&
        ld_folder_make(folder, err) &&
        ld_path_join(path, folder, "index.html", err) &&
        put_page(&out, folder, sum, count, config ? &sights : NULL, err) &&
        ld_buf_ok(&out, err) && ld_file_replace(path, out.data, out.len, err);

    ld_buf_free(&out);
    ld_sights_close(&sights);
    return ok;
}
