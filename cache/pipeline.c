#include "cache/pipeline.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/file.h"
#include "kernels/base/belt.h"
#include "kernels/base/parallel.h"

enum { READING, TEACHING, WRITING, N_STAGES };

/* Of readers, and to code rows: at 1333x800 a GPU that makes 400 views a second
 * keeps some two cores reading and three coding. */
enum { MAX_THREADS = 8 };

/* An image that its views share. */
struct picture {
    struct ld_image image;
    atomic_int n_users;
};

/* What goes over the belt: a view, or what happens in its place. */
enum kind {
    NOTHING,
    VIEW,
    LEFT_OUT, /* the image of a view: err says why */
    FAILED,   /* err says why; the run ends here */
};

struct piece {
    enum kind kind;
    const struct ld_sample *sample; /* NULL: of no image */
    int part;
    bool begins, ends; /* the part; one that only ends is there already */
    bool is_last;      /* of the run */
    struct picture *picture;
    struct ld_recording recording;
    struct ld_err err;
};

/* What a reader is to put onto the belt: pieces first to first + n - 1. */
struct order {
    const struct ld_sample *sample; /* all views of it; NULL: NOTHING */
    int part;
    bool begins, ends, is_last;
    int64_t first;
    int n;
};

struct pipeline {
    struct ld_job *job;
    int n_threads;
    struct ld_belt *belt;
    int n_places;
    struct piece *places; /* (n_places) */

    /* of who deals out orders */
    pthread_mutex_t dealing;
    int round;          /* 0; 1: also what other processes are writing */
    int next_part;      /* to be looked at, in this round */
    int part;           /* whose images are dealt */
    int begin, at, end; /* its images, and the next of them */
    int64_t n_dealt;    /* pieces */
    bool all_dealt;

    /* of the writer */
    struct ld_shard_writer *shard; /* the one being written, or NULL */
    struct ld_err err;             /* what ended the run */
};

static struct piece *piece_at(struct pipeline *p, int64_t number)
{
    return &p->places[number % p->n_places];
}

static void let_go(struct picture *picture)
{
    if (picture && atomic_fetch_sub(&picture->n_users, 1) == 1) {
        ld_image_free(&picture->image);
        ld_delete(picture);
    }
}

/* ---- dealing ---- */

/* The path was found good when the job was opened. */
static void path_of(const struct pipeline *p, int part, char path[4096])
{
    struct ld_err ignored = {0};

    ld_job_path(p->job, part, path, &ignored);
}

/* The next part that nobody has made or is making, or -1. */
static int choose_part(struct pipeline *p)
{
    const struct ld_job *job = p->job;
    char path[4096];

    for (; p->round < 2; p->round++, p->next_part = 0)
        while (p->next_part < job->n_parts) {
            int part = p->next_part++;

            if (job->parts[part] != LD_PART_MISSING ||
                !ld_share_has(&job->share, part))
                continue;
            path_of(p, part, path);
            if (p->round > 0 || !ld_file_is_being_written(path))
                return part;
        }
    return -1;
}

/* All that was dealt is written by now, or the belt is stopped. */
static bool wait_for_all(struct pipeline *p)
{
    return p->n_dealt == 0 ||
           ld_belt_take(p->belt, READING, p->n_dealt - 1 + p->n_places);
}

/* The pieces between two parts: none, or one that says that a part is there
 * already or that all is dealt. */
static bool turn_to_next_part(struct pipeline *p, struct order *out)
{
    char path[4096];
    int part = choose_part(p);

    *out = (struct order){.part = part};
    if (part < 0) {
        p->all_dealt = out->is_last = true;
        return true;
    }
    if (p->round > 0 && !wait_for_all(p))
        return false;
    path_of(p, part, path);
    if (access(path, F_OK) == 0) { /* by now: another process was quicker */
        out->ends = true;
        return true;
    }
    ld_file_claim(path);
    p->job->parts[part] = LD_PART_DEALT;
    p->part = part;
    ld_job_images(p->job, part, &p->begin, &p->end);
    p->at = p->begin;
    return true;
}

static void deal_image(struct pipeline *p, struct order *out)
{
    const struct ld_job *job = p->job;

    *out = (struct order){
        .sample = &job->recorder.set->samples[job->samples[p->at]],
        .part = p->part,
        .begins = p->at == p->begin,
        .ends = p->at == p->end - 1,
    };
    p->at++;
}

/* False: there is nothing more to do. */
static bool deal(struct pipeline *p, struct order *out)
{
    bool ok;

    pthread_mutex_lock(&p->dealing);
    *out = (struct order){0};
    ok = !p->all_dealt && (p->at < p->end || turn_to_next_part(p, out));
    if (ok && p->at < p->end)
        deal_image(p, out);
    out->first = p->n_dealt;
    out->n = out->sample ? p->job->views_per_image : 1;
    p->n_dealt += ok ? out->n : 0;
    pthread_mutex_unlock(&p->dealing);
    return ok;
}

/* ---- reading ---- */

/* NULL with the reason; a failure that may be left out is told from others by
 * its kind. */
static struct picture *read_picture(struct pipeline *p,
                                    const struct order *order, enum kind *kind,
                                    struct ld_err *err)
{
    const struct ld_config *config = p->job->config;
    struct picture *picture = ld_new(1, sizeof(*picture), err);
    struct ld_err bad = {0};

    *kind = FAILED;
    if (!picture)
        return NULL;
    atomic_init(&picture->n_users, order->n);
    if (ld_recorder_image(&p->job->recorder, order->sample, &picture->image,
                          &bad)) {
        *kind = VIEW;
        return picture;
    }
    ld_delete(picture);
    if (config->cache.skip_bad && bad.code != LD_ERR_MEMORY) {
        *kind = LEFT_OUT;
        ld_fail(err, bad.code, "%s", bad.text);
    } else {
        ld_fail(err, bad.code, "%s (--set cache.skip_bad=true leaves it out)",
                bad.text);
    }
    return NULL;
}

/* Readies view `number` of the order's image; an image that is left out, or
 * fails, does so in the place of its first. */
static void prepare(struct pipeline *p, const struct order *order, int number,
                    struct piece *piece)
{
    if (piece->kind != VIEW && number > 0)
        piece->kind = NOTHING;
    if (piece->kind == VIEW &&
        !ld_recorder_prepare(&p->job->recorder, &piece->recording,
                             order->sample, &piece->picture->image, number,
                             &piece->err)) {
        ld_fail_in(&piece->err, order->sample->name);
        piece->kind = FAILED;
    }
}

static void fill_order(struct pipeline *p, const struct order *order)
{
    struct ld_err err = {0};
    enum kind kind = NOTHING;
    struct picture *picture =
        order->sample ? read_picture(p, order, &kind, &err) : NULL;

    for (int i = 0; i < order->n; i++) {
        struct piece *piece = piece_at(p, order->first + i);

        if (!ld_belt_take(p->belt, READING, order->first + i)) {
            let_go(picture);
            continue;
        }
        piece->kind = kind;
        piece->sample = order->sample;
        piece->part = order->part;
        piece->begins = order->begins && i == 0;
        piece->ends = order->ends && i == order->n - 1;
        piece->is_last = order->is_last;
        piece->picture = picture;
        piece->err = err;
        prepare(p, order, i, piece);
        ld_belt_pass(p->belt, order->first + i);
    }
}

static void *read_images(void *context)
{
    struct pipeline *p = context;
    struct order order;

    while (deal(p, &order))
        fill_order(p, &order);
    return NULL;
}

/* ---- teaching ---- */

static void fail_piece(struct piece *piece)
{
    ld_fail_in(&piece->err, piece->sample->name);
    piece->kind = FAILED;
}

static void start_piece(struct pipeline *p, struct piece *piece)
{
    if (piece->kind == VIEW &&
        !ld_recorder_start(&p->job->recorder, &piece->recording,
                           &piece->picture->image, &piece->err))
        fail_piece(piece);
    let_go(piece->picture);
    piece->picture = NULL;
}

static void finish_piece(struct pipeline *p, int64_t number)
{
    struct piece *piece = piece_at(p, number);

    if (piece->kind == VIEW &&
        !ld_recorder_finish(&p->job->recorder, &piece->recording, &piece->err))
        fail_piece(piece);
    ld_belt_pass(p->belt, number);
}

/* Starts a view before the one before it is waited for, so that the device has
 * work when it is done with that; unless none is ready. */
static void teach(struct pipeline *p)
{
    bool is_last = false;
    int64_t done = 0;

    for (int64_t number = 0; !is_last; number++) {
        if (done < number && !ld_belt_ready(p->belt, TEACHING, number))
            finish_piece(p, done++);
        if (!ld_belt_take(p->belt, TEACHING, number))
            return;
        is_last = piece_at(p, number)->is_last;
        start_piece(p, piece_at(p, number));
        while (done < number + is_last)
            finish_piece(p, done++);
    }
}

/* ---- writing ---- */

static bool begin_shard(struct pipeline *p, int part, struct ld_err *err)
{
    struct ld_shard_facts facts = p->job->recorder.facts;
    char path[4096];

    facts.part = part;
    path_of(p, part, path);
    p->shard = ld_shard_create(path, &facts, err);
    return p->shard != NULL;
}

/* Of a part that another process has made all views are new to the count. */
static bool end_shard(struct pipeline *p, int part, struct ld_err *err)
{
    struct ld_job *job = p->job;
    struct ld_shard_writer *shard = p->shard;
    int64_t n_views;

    p->shard = NULL;
    if ((shard && !ld_shard_finish(shard, err)) ||
        !ld_job_count(job, part, &n_views, err))
        return false;
    job->n_done += shard ? 0 : n_views;
    return true;
}

static bool write_piece(struct pipeline *p, const struct piece *piece,
                        struct ld_err *err)
{
    struct ld_job *job = p->job;

    if (piece->begins && !begin_shard(p, piece->part, err))
        return false;
    switch (piece->kind) {
    case NOTHING:
        break;
    case VIEW:
        if (!ld_shard_append(p->shard, &piece->recording.record, err))
            return ld_fail_in(err, piece->sample->name);
        break;
    case LEFT_OUT:
        fprintf(stderr, "\nld-cache: left out: %s\n", piece->err.text);
        job->n_skipped++;
        if (!ld_shard_skip(p->shard, piece->sample->id, piece->err.text, err))
            return false;
        break;
    case FAILED:
        return ld_fail(err, piece->err.code, "%s", piece->err.text);
    }
    job->n_done += piece->sample != NULL;
    if (piece->kind == VIEW)
        ld_progress_show(&job->progress, job->n_done, "");
    return !piece->ends || end_shard(p, piece->part, err);
}

static void *write_shards(void *context)
{
    struct pipeline *p = context;
    bool is_last = false;

    ld_parallel_set_threads(p->n_threads); /* of this thread */
    for (int64_t number = 0; !is_last; number++) {
        struct piece *piece = piece_at(p, number);

        if (!ld_belt_take(p->belt, WRITING, number))
            return NULL;
        is_last = piece->is_last;
        if (!write_piece(p, piece, &p->err)) {
            ld_belt_stop(p->belt);
            return NULL;
        }
        ld_belt_pass(p->belt, number);
    }
    return NULL;
}

/* ---- all together ---- */

/* Readers, and threads that code rows together. A network on the CPU has its
 * threads on all cores, and takes hundreds of times as long as either. */
static int count_threads(const struct ld_job *job)
{
    int n = job->config->threads ? job->config->threads : ld_parallel_threads();

    if (strcmp(job->recorder.dev->ops->name, "cpu") == 0)
        return 1;
    return n < MAX_THREADS ? n : MAX_THREADS;
}

static bool open_pipeline(struct pipeline *p, struct ld_job *job,
                          struct ld_err *err)
{
    int n_threads = count_threads(job);

    *p = (struct pipeline){
        .job = job, .n_threads = n_threads, .n_places = 2 * n_threads + 2};
    pthread_mutex_init(&p->dealing, NULL);
    p->places = ld_new((size_t)p->n_places, sizeof(*p->places), err);
    p->belt = ld_belt_new(p->n_places, N_STAGES, err);
    return p->places && p->belt &&
           ld_belt_start(p->belt, n_threads, read_images, p, err) &&
           ld_belt_start(p->belt, 1, write_shards, p, err);
}

/* Also what a failure has left. */
static void close_pipeline(struct pipeline *p)
{
    char path[4096];

    ld_belt_free(p->belt);
    ld_shard_abandon(p->shard);
    for (int part = 0; p->err.code != LD_OK && part < p->job->n_parts; part++)
        if (p->job->parts[part] == LD_PART_DEALT) {
            path_of(p, part, path);
            ld_file_unclaim(path);
        }
    for (int i = 0; p->places && i < p->n_places; i++) {
        let_go(p->places[i].picture);
        ld_arena_free(&p->places[i].recording.arena);
    }
    ld_delete(p->places);
    pthread_mutex_destroy(&p->dealing);
}

bool ld_pipeline_run(struct ld_job *job, struct ld_err *err)
{
    struct pipeline p;

    if (open_pipeline(&p, job, &p.err)) {
        teach(&p);
        ld_belt_join(p.belt);
    }
    close_pipeline(&p);
    return p.err.code == LD_OK || ld_fail(err, p.err.code, "%s", p.err.text);
}
