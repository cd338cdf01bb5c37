#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache_command.h"
#include "formats/codec.h"

/* Temperatures of the losses whose gradients are compared: spec losses 5, 6. */
static const float LD_TEMPERATURE = 10, KD_TEMPERATURE = 2;

/* What differs on one level of the grid, or on all. */
struct change {
    int64_t n_rows, n_main;
    double box, class; /* largest difference of a logit */
    struct ld_codec_error ld, kd;
};

struct diff {
    struct ld_cache *a, *b;
    struct change levels[LD_MAX_LEVELS], all;
    int64_t n_both, n_lacking, n_other_rows; /* views */
    struct ld_arena arena;                   /* one view's, of both */
};

/* The largest difference, and, of a side's bins, but for what all have in
 * common: softmax does not see it, and a codec may drop it. */
static double largest(const float *a, const float *b, int n, bool but_mean)
{
    double mean = 0, most = 0;

    for (int i = 0; but_mean && i < n; i++)
        mean += ((double)a[i] - (double)b[i]) / n;
    for (int i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i] - mean));
    return most;
}

/* `runs` distributions, each of `width` logits. */
static void add_box(struct change *change, const float *a, const float *b,
                    int runs, int width)
{
    for (int run = 0; run < runs; run++)
        change->box = fmax(change->box, largest(a + run * width,
                                                b + run * width, width, true));
    ld_codec_measure(&change->ld, a, b, (size_t)runs, width, LD_TEMPERATURE);
    change->n_rows++;
}

static void add_class(struct change *change, const float *a, const float *b,
                      int n)
{
    change->class = fmax(change->class, largest(a, b, n, false));
    ld_codec_measure(&change->kd, a, b, 1, n, KD_TEMPERATURE);
    change->n_main++;
}

static void add_view(struct diff *d, const struct ld_record *a,
                     const struct ld_record *b)
{
    const struct ld_shard_facts *facts = ld_cache_facts(d->a);
    struct ld_grid grid = ld_shard_grid(facts, &a->view);
    int runs = ld_shard_runs(facts), width = 4 * (facts->reg_max + 1) / runs;
    int K = facts->n_logits;
    size_t class_at = 0;

    for (int i = 0; i < a->n_rows; i++) {
        struct change *level = &d->levels[ld_grid_level(&grid, a->location[i])];
        size_t at = (size_t)i * (size_t)(runs * width);

        add_box(level, a->box_logits + at, b->box_logits + at, runs, width);
        add_box(&d->all, a->box_logits + at, b->box_logits + at, runs, width);
        if (!ld_shard_all_classes(facts) && !(a->kind[i] & LD_SHARD_MAIN))
            continue;
        add_class(level, a->class_logits + class_at, b->class_logits + class_at,
                  K);
        add_class(&d->all, a->class_logits + class_at,
                  b->class_logits + class_at, K);
        class_at += (size_t)K;
    }
}

static bool same_rows(const struct ld_record *a, const struct ld_record *b)
{
    size_t n = (size_t)a->n_rows;

    return a->n_rows == b->n_rows && a->n_main == b->n_main &&
           a->view.canvas_H == b->view.canvas_H &&
           a->view.canvas_W == b->view.canvas_W &&
           (n == 0 ||
            (memcmp(a->location, b->location, n * sizeof(int32_t)) == 0 &&
             memcmp(a->kind, b->kind, n) == 0));
}

static bool compare_view(struct diff *d, const struct ld_shard *shard,
                         int index, struct ld_err *err)
{
    struct ld_record a, b;
    const struct ld_shard *other;
    int at;

    ld_shard_entry(shard, index, &a);
    if (!ld_cache_find(d->b, a.image_id, a.view.number, &other, &at)) {
        d->n_lacking++;
        return true;
    }
    d->n_both++;
    ld_arena_clear(&d->arena);
    if (!ld_shard_read(shard, index, &d->arena, &a, err) ||
        !ld_shard_read(other, at, &d->arena, &b, err))
        return false;
    if (same_rows(&a, &b))
        add_view(d, &a, &b);
    else
        d->n_other_rows++;
    return true;
}

static int64_t count_views(const struct ld_cache *cache)
{
    int64_t n = 0;

    for (int i = 0; i < ld_cache_n_shards(cache); i++)
        n += ld_shard_count(ld_cache_shard(cache, i));
    return n;
}

static bool comparable(const struct diff *d, struct ld_err *err)
{
    const struct ld_shard_facts *a = ld_cache_facts(d->a);
    const struct ld_shard_facts *b = ld_cache_facts(d->b);

    return (a->reg_max == b->reg_max && a->n_logits == b->n_logits &&
            a->n_anchors == b->n_anchors && a->select == b->select) ||
           ld_fail(err, LD_ERR_MISMATCH,
                   "the caches hold other things: %d anchors a place, %d bins, "
                   "%d class logits, select %s, against %d, %d, %d, %s",
                   a->n_anchors, a->reg_max + 1, a->n_logits,
                   ld_select_name(a->select), b->n_anchors, b->reg_max + 1,
                   b->n_logits, ld_select_name(b->select));
}

static bool compare(struct diff *d, struct ld_err *err)
{
    for (int s = 0; s < ld_cache_n_shards(d->a); s++) {
        const struct ld_shard *shard = ld_cache_shard(d->a, s);

        for (int i = 0; i < ld_shard_count(shard); i++)
            if (!compare_view(d, shard, i, err))
                return false;
    }
    d->n_lacking += count_views(d->b) - d->n_both;
    return true;
}

/* ---- what is said of it ---- */

static void print_change(const char *name, const struct change *c)
{
    printf("%-6s %9lld %9lld %11.4g %11.4g %12.4g %11.4g\n", name,
           (long long)c->n_rows, (long long)c->n_main, c->box,
           ld_codec_error_late(&c->ld), c->class, ld_codec_error_late(&c->kd));
}

static void print(const struct diff *d)
{
    char name[8];

    printf("%lld views in both, %lld in one alone, %lld with other rows\n",
           (long long)d->n_both, (long long)d->n_lacking,
           (long long)d->n_other_rows);
    printf("%-6s %9s %9s %11s %11s %12s %11s\n", "level", "rows", "classes",
           "box logit", "LD gradient", "class logit", "KD gradient");
    for (int i = 0; i < LD_MAX_LEVELS; i++) {
        snprintf(name, sizeof(name), "P%d", i + 3);
        print_change(name, &d->levels[i]);
    }
    print_change("all", &d->all);
}

static bool differ(const struct diff *d, double tolerance)
{
    const struct change *all = &d->all;
    double worst =
        fmax(ld_codec_error_late(&all->ld), ld_codec_error_late(&all->kd));

    return d->n_lacking > 0 || d->n_other_rows > 0 || !(worst <= tolerance) ||
           (tolerance == 0 && (all->box > 0 || all->class > 0));
}

static bool read_tolerance(const char *text, double *out, struct ld_err *err)
{
    char *end;

    *out = 0;
    if (!text)
        return true;
    *out = strtod(text, &end);
    return (end != text && *end == 0 && *out >= 0) ||
           ld_fail(err, LD_ERR_USAGE,
                   "--tolerance %s: expected a number from 0", text);
}

bool ld_cache_diff(struct ld_cache_command *command, struct ld_err *err)
{
    struct diff d = {0};
    double tolerance;
    bool ok;

    if (command->n_words != 2)
        return ld_fail(err, LD_ERR_USAGE,
                       "expected: ld-cache diff FOLDER FOLDER (see --help)");
    if (!read_tolerance(command->tolerance, &tolerance, err))
        return false;
    d.a = ld_cache_open(command->words[0], err);
    d.b = d.a ? ld_cache_open(command->words[1], err) : NULL;
    ok = d.b && comparable(&d, err) && compare(&d, err);
    if (ok) {
        print(&d);
        command->differs = differ(&d, tolerance);
    }
    ld_cache_close(d.a);
    ld_cache_close(d.b);
    ld_arena_free(&d.arena);
    return ok;
}
