#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache_command.h"
#include "cache/recorder.h"
#include "formats/codec.h"

enum { DEFAULT_RECORDS = 16, LD_TEMPERATURE = 10, KD_TEMPERATURE = 2 };

/* The gradient's error was measured over a whole shard; some views have more of
 * it, so a sample may exceed it by this factor. */
#define SAMPLE_FACTOR 2.0

/* A view of the cache, to be drawn by lot. */
struct lot {
    uint64_t number;
    const struct ld_shard *shard;
    int index;
};

struct trial {
    const struct ld_cache *cache;
    struct ld_recorder *recorder;
    struct ld_recording recording; /* the teacher's of now */
    struct lot *lots;              /* by rising number */
    int n_lots;
    struct ld_codec_error ld, kd;
    double off; /* largest of a logit so far */
};

/* ---- which views ---- */

/* SplitMix64's finalizer (Steele et al. 2014): neighbours end far apart. */
static uint64_t spread(uint64_t x)
{
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

static int by_number(const void *a, const void *b)
{
    uint64_t p = ((const struct lot *)a)->number;
    uint64_t q = ((const struct lot *)b)->number;

    return (p > q) - (p < q);
}

static bool draw_lots(struct trial *trial, struct ld_arena *arena,
                      struct ld_err *err)
{
    int n = 0;

    for (int s = 0; s < ld_cache_n_shards(trial->cache); s++)
        n += ld_shard_count(ld_cache_shard(trial->cache, s));
    trial->lots = ld_arena_new(arena, (size_t)n, sizeof(*trial->lots), err);
    if (!trial->lots)
        return false;
    for (int s = 0; s < ld_cache_n_shards(trial->cache); s++) {
        const struct ld_shard *shard = ld_cache_shard(trial->cache, s);

        for (int i = 0; i < ld_shard_count(shard); i++) {
            struct ld_record entry;

            ld_shard_entry(shard, i, &entry);
            trial->lots[trial->n_lots++] =
                (struct lot){spread(spread((uint64_t)entry.image_id) +
                                    (uint64_t)entry.view.number),
                             shard, i};
        }
    }
    qsort(trial->lots, (size_t)n, sizeof(*trial->lots), by_number);
    return true;
}

/* ---- one view ---- */

static bool is_exact(const struct trial *trial)
{
    return ld_cache_facts(trial->cache)->storage == LD_STORAGE_FP32;
}

static bool same_places(const struct ld_record *a, const struct ld_record *b)
{
    const struct ld_view *p = &a->view, *q = &b->view;
    size_t n = (size_t)a->n_rows;

    return p->H == q->H && p->W == q->W && p->canvas_H == q->canvas_H &&
           p->canvas_W == q->canvas_W && p->flipped == q->flipped &&
           a->n_rows == b->n_rows && a->n_main == b->n_main &&
           memcmp(a->location, b->location, n * sizeof(*a->location)) == 0 &&
           memcmp(a->kind, b->kind, n) == 0;
}

/* How far a row is from the teacher's. A distribution's logits may all have
 * moved as one: its softmax, and so every loss, does not see that. */
static double row_off(const float *stored, const float *fresh, int width,
                      bool moves)
{
    double least = INFINITY, most = -INFINITY;

    for (int i = 0; i < width; i++) {
        double off = (double)stored[i] - (double)fresh[i];

        least = fmin(least, off);
        most = fmax(most, off);
    }
    return moves ? (most - least) / 2 : fmax(fabs(least), fabs(most));
}

/* The largest of all rows; *row is where. */
static double rows_off(const float *stored, const float *fresh, int n_rows,
                       int width, bool moves, int *row)
{
    double largest = 0;

    *row = 0;
    for (int i = 0; i < n_rows; i++) {
        double off = row_off(stored + (size_t)i * (size_t)width,
                             fresh + (size_t)i * (size_t)width, width, moves);

        if (off > largest) {
            largest = off;
            *row = i;
        }
    }
    return largest;
}

/* An exact cache has the teacher's bits: its limit is 0. */
static bool check_off(double off, const struct ld_shard *shard,
                      const char *what, int row, struct ld_err *err)
{
    double limit = ld_shard_facts(shard)->largest_logit_error;

    return off <= limit ||
           ld_fail(err, LD_ERR_MISMATCH,
                   "%s %d is off by %.2e from what the teacher says, by %.2e "
                   "at most as the shard states",
                   what, row, off, limit);
}

/* The features as a whole, relative, as the shard measured them. */
static bool check_features(const struct ld_shard *shard,
                           const struct ld_record *stored,
                           const struct ld_record *fresh, struct ld_err *err)
{
    double limit = SAMPLE_FACTOR * ld_shard_facts(shard)->feature_error;
    size_t n = (size_t)stored->n_features *
               (size_t)ld_shard_facts(shard)->feature_channels;
    double change = 0, sum = 0;

    if (stored->n_features != fresh->n_features)
        return ld_fail(err, LD_ERR_MISMATCH, "%d features, expected %d",
                       stored->n_features, fresh->n_features);
    for (size_t i = 0; i < n; i++) {
        double off = (double)stored->features[i] - (double)fresh->features[i];

        change += off * off;
        sum += (double)fresh->features[i] * (double)fresh->features[i];
    }
    return sqrt(change) <= limit * sqrt(sum) ||
           ld_fail(err, LD_ERR_MISMATCH,
                   "its features are off by %.2e, expected %.2e at most",
                   sum > 0 ? sqrt(change / sum) : INFINITY, limit);
}

static bool compare(struct trial *trial, const struct ld_shard *shard,
                    const struct ld_record *stored,
                    const struct ld_record *fresh, struct ld_err *err)
{
    const struct ld_shard_facts *facts = ld_shard_facts(shard);
    int runs = ld_shard_runs(facts), run = 4 * (facts->reg_max + 1) / runs;
    int row, K = stored->n_logits;
    double box, class_rows;

    if (!same_places(stored, fresh))
        return ld_fail(err, LD_ERR_MISMATCH,
                       "its rows are not those of the config's boxes and "
                       "regions");
    box = rows_off(stored->box_logits, fresh->box_logits, runs * stored->n_rows,
                   run, !is_exact(trial), &row);
    if (!check_off(box, shard, "a box logit of row", row / runs, err))
        return false;
    class_rows = rows_off(stored->class_logits, fresh->class_logits,
                          stored->n_main, K, false, &row);
    if (!check_off(class_rows, shard, "a class logit of class row", row, err))
        return false;
    trial->off = fmax(trial->off, fmax(box, class_rows));
    ld_codec_measure(&trial->ld, fresh->box_logits, stored->box_logits,
                     (size_t)(runs * stored->n_rows), run, LD_TEMPERATURE);
    ld_codec_measure(&trial->kd, fresh->class_logits, stored->class_logits,
                     (size_t)stored->n_main, K, KD_TEMPERATURE);
    return check_features(shard, stored, fresh, err);
}

static const struct ld_sample *find_sample(const struct ld_dataset *set,
                                           int64_t id)
{
    for (int i = 0; i < set->n_samples; i++)
        if (set->samples[i].id == id)
            return &set->samples[i];
    return NULL;
}

static bool replay(struct trial *trial, const struct lot *lot,
                   const struct ld_record *stored, struct ld_err *err)
{
    const struct ld_sample *sample =
        find_sample(trial->recorder->set, stored->image_id);
    struct ld_recorder *recorder = trial->recorder;
    struct ld_recording *recording = &trial->recording;
    struct ld_image image = {0};
    bool ok;

    if (!sample)
        return ld_fail(err, LD_ERR_MISMATCH, "is not in the config's data");
    ok = ld_recorder_image(recorder, sample, &image, err) &&
         ld_recorder_prepare(recorder, recording, sample, &image,
                             stored->view.number, err) &&
         ld_recorder_start(recorder, recording, &image, err) &&
         ld_recorder_finish(recorder, recording, err) &&
         compare(trial, lot->shard, stored, &recording->record, err);
    ld_image_free(&image);
    return ok;
}

static bool try_lot(struct trial *trial, const struct lot *lot,
                    struct ld_arena *arena, struct ld_err *err)
{
    const struct ld_shard_facts *facts = ld_shard_facts(lot->shard);
    struct ld_record stored;
    char name[32], place[4200];

    if (!ld_shard_read(lot->shard, lot->index, arena, &stored, err) ||
        !ld_shard_read_features(lot->shard, lot->index, arena, &stored, err))
        return false;
    if (replay(trial, lot, &stored, err))
        return true;
    ld_view_name(&stored.view, facts->seeded_views > 0, name);
    snprintf(place, sizeof(place), "%s: image %" PRId64 "%s",
             ld_shard_path(lot->shard), stored.image_id, name);
    return ld_fail_in(err, place);
}

/* ---- all of them ---- */

static bool check_gradient(const char *name, const struct ld_codec_error *error,
                           double stated, const char *cache, struct ld_err *err)
{
    double found = ld_codec_error_late(error);

    return found <= SAMPLE_FACTOR * stated ||
           ld_fail(err, LD_ERR_MISMATCH,
                   "%s: the error of the %s gradient is %.2e (late in "
                   "training), the cache states %.2e",
                   cache, name, found, stated);
}

static bool try_all(struct trial *trial, int n, const char *path,
                    struct ld_arena *arena, struct ld_err *err)
{
    const struct ld_shard_facts *facts = ld_cache_facts(trial->cache);
    bool ok = true;

    for (int i = 0; ok && i < n; i++) {
        ok = try_lot(trial, &trial->lots[i], arena, err);
        ld_arena_clear(arena);
    }
    if (!ok ||
        !check_gradient("LD", &trial->ld, facts->ld_gradient_error_late, path,
                        err) ||
        !check_gradient("KD", &trial->kd, facts->kd_gradient_error_late, path,
                        err))
        return false;
    printf("%s: %d of %d views are what the teacher says: ", path, n,
           trial->n_lots);
    if (is_exact(trial))
        printf("to the bit\n");
    else
        printf("logits off by %.1e at most, the gradients of LD by %.1e, of "
               "KD by %.1e (late in training)\n",
               trial->off, ld_codec_error_late(&trial->ld),
               ld_codec_error_late(&trial->kd));
    return true;
}

static bool verify(const struct ld_cache *cache, struct ld_recorder *recorder,
                   const struct ld_cache_command *command, struct ld_err *err)
{
    struct trial trial = {.cache = cache, .recorder = recorder};
    struct ld_arena arena = {0};
    int n = command->records > 0 ? command->records : DEFAULT_RECORDS;
    const struct ld_shard_facts *facts = ld_cache_facts(cache);
    bool ok;

    /* Whatever more the cache holds is to be right too. */
    if (facts->select > recorder->facts.select)
        recorder->facts.select = facts->select;
    ok =
        ld_shard_facts_match(facts, &recorder->facts, command->words[0], err) &&
        draw_lots(&trial, command->arena, err) &&
        try_all(&trial, n < trial.n_lots ? n : trial.n_lots, command->words[0],
                &arena, err);

    ld_arena_free(&trial.recording.arena);
    ld_arena_free(&arena);
    return ok;
}

bool ld_cache_verify(struct ld_cache_command *command, struct ld_err *err)
{
    struct ld_recorder recorder = {0};
    struct ld_config config;
    struct ld_cache *cache;
    bool ok;

    if (command->n_words != 2 || !command->teacher)
        return ld_fail(err, LD_ERR_USAGE,
                       "expected: ld-cache verify CACHE CONFIG --teacher "
                       "CHECKPOINT (see --help)");
    cache = ld_cache_open(command->words[0], err);
    ok = cache &&
         ld_setup_config(&config, command->words[1], &command->settings,
                         command->arena, err) &&
         ld_recorder_open(&recorder, &config, command->teacher, 0, err) &&
         verify(cache, &recorder, command, err);
    ld_recorder_close(&recorder);
    ld_cache_close(cache);
    return ok;
}
