#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cache/inspect.h"
#include "cache/projection.h"

void ld_inspect_start(struct ld_inspection *sum, const char *path)
{
    const size_t most = (size_t)1 << 32;

    *sum = (struct ld_inspection){.path = path};
    sum->ids.max = sum->n_rows.max = sum->skipped.max = most;
    sum->shorter.max = most;
}

static int64_t area(const struct ld_view *view)
{
    return (int64_t)view->H * view->W;
}

static void add_view(struct ld_inspection *sum, const struct ld_record *record)
{
    const struct ld_view *view = &record->view;
    int32_t shorter = view->H < view->W ? view->H : view->W;

    if (sum->n_views == 0 || area(view) < area(&sum->smallest))
        sum->smallest = *view;
    if (sum->n_views == 0 || area(view) > area(&sum->largest))
        sum->largest = *view;
    sum->n_views++;
    sum->n_flipped += view->flipped;
    sum->n_empty += record->n_rows == 0;
    ld_buf_put(&sum->ids, &record->image_id, sizeof(record->image_id));
    ld_buf_put(&sum->n_rows, &record->n_rows, sizeof(record->n_rows));
    ld_buf_put(&sum->shorter, &shorter, sizeof(shorter));
}

static void add_rows(struct ld_inspection *sum, const struct ld_record *record)
{
    struct ld_grid grid = ld_shard_grid(sum->facts, &record->view);

    int level = 0;

    for (int i = 0; i < record->n_rows; i++) { /* locations rise */
        while (record->location[i] >= grid.start[level + 1])
            level++;
        sum->rows[level][record->kind[i]]++;
    }
}

static void add_skipped(struct ld_inspection *sum, const struct ld_shard *shard)
{
    for (int i = 0; i < ld_shard_n_skipped(shard); i++) {
        struct ld_inspect_skipped one;

        one.image_id = ld_shard_skipped(shard, i, &one.reason);
        ld_buf_put(&sum->skipped, &one, sizeof(one));
    }
}

bool ld_inspect_add(struct ld_inspection *sum, const struct ld_shard *shard,
                    struct ld_err *err)
{
    struct ld_arena arena = {0};
    struct ld_record *records;
    bool ok;

    if (!sum->facts)
        sum->facts = ld_shard_facts(shard);
    sum->n_shards++;
    ld_projection_add(&sum->sizes, shard);
    add_skipped(sum, shard);
    ok = ld_shard_read_all_places(shard, &records, &arena, err);
    for (int i = 0; ok && i < ld_shard_count(shard); i++) {
        add_view(sum, &records[i]);
        add_rows(sum, &records[i]);
    }
    ld_arena_free(&arena);
    return ok;
}

static int by_id(const void *a, const void *b)
{
    int64_t p = *(const int64_t *)a, q = *(const int64_t *)b;

    return (p > q) - (p < q);
}

static int by_count(const void *a, const void *b)
{
    return *(const int32_t *)a - *(const int32_t *)b;
}

bool ld_inspect_settle(struct ld_inspection *sum, struct ld_err *err)
{
    size_t n = (size_t)sum->n_views;
    int64_t *ids = (int64_t *)sum->ids.data;
    int32_t *n_rows = (int32_t *)sum->n_rows.data;
    int32_t *shorter = (int32_t *)sum->shorter.data;

    if (!ld_buf_ok(&sum->ids, err) || !ld_buf_ok(&sum->n_rows, err) ||
        !ld_buf_ok(&sum->skipped, err) || !ld_buf_ok(&sum->shorter, err))
        return false;
    if (n == 0)
        return true;
    qsort(ids, n, sizeof(*ids), by_id);
    qsort(n_rows, n, sizeof(*n_rows), by_count);
    qsort(shorter, n, sizeof(*shorter), by_count);
    for (size_t q = 0; q < 5; q++)
        sum->sides[q] = shorter[(n - 1) * q / 4];
    for (size_t i = 0; i < n; i++)
        sum->n_images += i == 0 || ids[i] != ids[i - 1];
    sum->median_rows = n_rows[n / 2];
    sum->most_rows = n_rows[n - 1];
    return true;
}

void ld_inspect_free(struct ld_inspection *sum)
{
    ld_buf_free(&sum->ids);
    ld_buf_free(&sum->n_rows);
    ld_buf_free(&sum->shorter);
    ld_buf_free(&sum->skipped);
}

const char *ld_inspect_kind(int kind)
{
    static const char *const names[] = {"-", "main", "VLR", "both"};

    return names[kind & 3];
}

struct ld_inspect_side ld_inspect_side(const float *bins, int B, int stride)
{
    struct ld_inspect_side side = {0};
    float sum = 0, top;

    for (int b = 1; b < B; b++)
        if (bins[b] > bins[side.top_bin])
            side.top_bin = b;
    top = bins[side.top_bin];
    for (int b = 0; b < B; b++)
        sum += expf(bins[b] - top);
    for (int b = 0; b < B; b++) {
        float p = expf(bins[b] - top) / sum;

        side.distance += p * (float)(b * stride);
        side.entropy -= p > 0 ? p * log2f(p) : 0;
    }
    side.top_share = 1 / sum;
    return side;
}

void ld_inspect_best(const float *logits, int K, int count, int *best)
{
    for (int i = 0; i < count; i++) {
        best[i] = -1;
        for (int k = 0; k < K; k++) {
            bool taken = false;

            for (int j = 0; j < i; j++)
                taken = taken || best[j] == k;
            if (!taken && (best[i] < 0 || logits[k] > logits[best[i]]))
                best[i] = k;
        }
    }
}
