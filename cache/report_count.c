#include "cache/report_count.h"

#include <math.h>
#include <string.h>

#include "cache/inspect.h"
#include "cache/render.h"

static int bin_of(double share)
{
    int bin = (int)(share * LD_REPORT_BINS);

    return bin < 0 ? 0 : bin < LD_REPORT_BINS ? bin : LD_REPORT_BINS - 1;
}

/* False if another view of the image stands out as much; else it is taken out
 * of the list. */
static bool make_way(struct ld_report_views *views,
                     const struct ld_report_view *view)
{
    for (int i = 0; i < views->n; i++) {
        if (views->is[i].image_id != view->image_id)
            continue;
        if (views->is[i].value >= view->value)
            return false;
        views->n--;
        memmove(views->is + i, views->is + i + 1,
                (size_t)(views->n - i) * sizeof(*views->is));
        return true;
    }
    return true;
}

/* Keeps the list's order, and the best of all that were offered. */
static void offer(struct ld_report_views *views, struct ld_report_view view,
                  double value)
{
    int at;

    view.value = value;
    if (!make_way(views, &view))
        return;
    at = views->n < LD_REPORT_WORST ? views->n++ : LD_REPORT_WORST;
    for (; at > 0 && views->is[at - 1].value < value; at--)
        if (at < LD_REPORT_WORST)
            views->is[at] = views->is[at - 1];
    if (at < LD_REPORT_WORST)
        views->is[at] = view;
}

static int size_of(struct ld_box box)
{
    double side = sqrt((double)(box.x1 - box.x0) * (double)(box.y1 - box.y0));

    return side < 32 ? 0 : side < 96 ? 1 : 2;
}

/* Returns the entropy of the row's four sides. */
static double add_row(struct ld_report_count *count,
                      const struct ld_shard_facts *facts,
                      const struct ld_record *record, int row, int level)
{
    int B = count->B, main = record->kind[row] & LD_SHARD_MAIN;
    int groups[2] = {level, LD_MAX_LEVELS +
                                size_of(ld_render_box(facts, record, row))};
    double sum = 0;

    for (int s = 0; s < 4; s++) {
        struct ld_inspect_side side =
            ld_inspect_side(record->box_logits + (4 * row + s) * B, B, 1);

        for (int g = 0; g < 2; g++) {
            int group = groups[g];

            count->entropy[group]
                .counts[main][bin_of((double)side.entropy / log2(B))]++;
            count->sharpness[group]
                .counts[main][bin_of((double)side.top_share)]++;
        }
        sum += (double)side.entropy;
    }
    count->entropy_sum[main] += sum;
    count->n_sides[main] += 4;
    return sum;
}

static void add_view(struct ld_report_count *count,
                     const struct ld_shard *shard, int index,
                     const struct ld_record *record)
{
    struct ld_grid grid = ld_shard_grid(ld_shard_facts(shard), &record->view);
    const struct ld_report_view view = {shard, index, record->image_id, 0};
    double sum = 0;
    int n_main = 0, n_regions = 0;

    for (int i = 0; i < record->n_rows; i++) {
        double bits;

        if (record->kind[i] == 0)
            continue;
        n_regions++;
        bits = add_row(count, ld_shard_facts(shard), record, i,
                       ld_grid_level(&grid, record->location[i]));

        if (record->kind[i] & LD_SHARD_MAIN) {
            sum += bits;
            n_main++;
        }
    }
    count->region[bin_of((double)n_regions / grid.start[grid.n_levels])]++;
    if (n_regions == 0)
        offer(&count->empty, view, 0);
    else
        offer(&count->largest, view, n_regions);
    if (n_main > 0)
        offer(&count->uncertain, view, sum / (4 * n_main));
}

bool ld_report_add(struct ld_report_count *count, const struct ld_shard *shard,
                   struct ld_err *err)
{
    struct ld_arena arena = {0};
    struct ld_record record;
    bool ok = true;

    count->B = ld_shard_facts(shard)->reg_max + 1;
    for (int i = 0; ok && i < ld_shard_count(shard); i++) {
        ok = ld_shard_read(shard, i, &arena, &record, err);
        if (ok)
            add_view(count, shard, i, &record);
        ld_arena_clear(&arena);
    }
    ld_arena_free(&arena);
    return ok;
}
