#include "trainer/profile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/file.h"
#include "trainer/profile_report.h"

enum { WARM_UP = 10 };

struct ld_profile {
    const char *path;
    struct ld_device *dev;
    struct ld_trace *trace;
    struct ld_lane *lane; /* the main thread's */
    int n_seen;           /* steps that have begun */
    bool device;          /* it notes what it does */
    bool done;
    struct ld_profile_seen seen;
    struct ld_buf activities; /* struct ld_activity */
    const char *names[LD_PROFILE_ROWS];
    int n_names;
    struct ld_arena arena; /* of names, and of what is reported */
    struct ld_err lost;    /* an activity there was no memory for */
};

/* ---- the device ---- */

/* The run goes on without what the device cannot tell. */
static void tell_missing(const struct ld_err *why)
{
    fprintf(stderr, "ld-distill: profile: without the device: %s\n", why->text);
}

static void start_device(struct ld_profile *p)
{
    struct ld_err why = {0};

    if (!p->dev->ops->profile_start)
        return;
    p->device = p->dev->ops->profile_start(p->dev, &why);
    if (!p->device)
        tell_missing(&why);
}

/* One copy of each name; of more than there are rows the last serves. */
static const char *keep_name(struct ld_profile *p, const char *name)
{
    char *copy;

    for (int i = 0; i < p->n_names; i++)
        if (strcmp(p->names[i], name) == 0)
            return p->names[i];
    if (p->n_names == LD_PROFILE_ROWS)
        return "others";
    copy = ld_arena_text(&p->arena, name, strlen(name), &p->lost);
    if (copy)
        p->names[p->n_names++] = copy;
    return copy;
}

static void keep(void *context, const struct ld_activity *activity)
{
    struct ld_profile *p = context;
    struct ld_activity kept = *activity;

    if (activity->ended <= p->seen.record.began ||
        activity->began >= p->seen.record.ended)
        return;
    kept.name = keep_name(p, activity->name);
    if (kept.name)
        ld_buf_put(&p->activities, &kept, sizeof(kept));
}

static bool stop_device(struct ld_profile *p, struct ld_err *err)
{
    struct ld_profile_record *record = &p->seen.record;
    struct ld_err why = {0};

    if (!p->device)
        return true;
    p->device = false;
    if (!p->dev->ops->profile_stop(p->dev, keep, p, &why))
        tell_missing(&why);
    if (p->lost.code != LD_OK)
        return ld_fail(err, p->lost.code, "%s", p->lost.text);
    record->activities = (const struct ld_activity *)p->activities.data;
    record->n_activities =
        (int)(p->activities.len / sizeof(*record->activities));
    return ld_buf_ok(&p->activities, err);
}

/* ---- beginning and end ---- */

/* Said now, not after thirty steps. */
static bool check_folder(const char *path, struct ld_err *err)
{
    const char *slash = strrchr(path, '/');
    char folder[4096];

    snprintf(folder, sizeof(folder), "%.*s",
             slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    return access(folder, W_OK) == 0 ||
           ld_fail(err, LD_ERR_IO, "%s: cannot be written: %s", path,
                   strerror(errno));
}

struct ld_profile *ld_profile_start(const char *path, struct ld_device *dev,
                                    struct ld_err *err)
{
    struct ld_profile *p;

    if (!check_folder(path, err))
        return NULL;
    p = ld_new(1, sizeof(*p), err);
    if (!p)
        return NULL;
    p->path = path;
    p->dev = dev;
    p->activities.max = (size_t)1 << 32;
    p->trace = ld_trace_new(err);
    p->lane = ld_trace_lane(p->trace, "main");
    if (!p->lane) {
        ld_fail(err, LD_ERR_MEMORY, "out of memory: spans of a profile");
        ld_profile_free(p);
        return NULL;
    }
    p->seen.trace = p->trace;
    start_device(p);
    return p;
}

static void forget(void *context, const struct ld_activity *activity)
{
    (void)context;
    (void)activity;
}

void ld_profile_free(struct ld_profile *p)
{
    struct ld_err ignored = {0};

    if (!p)
        return;
    if (p->device)
        p->dev->ops->profile_stop(p->dev, forget, NULL, &ignored);
    ld_trace_free(p->trace);
    ld_buf_free(&p->activities);
    ld_arena_free(&p->arena);
    ld_delete(p);
}

struct ld_trace *ld_profile_trace(const struct ld_profile *p)
{
    return p ? p->trace : NULL;
}

struct ld_lane *ld_profile_lane(const struct ld_profile *p)
{
    return p ? p->lane : NULL;
}

/* ---- the steps ---- */

static bool report(struct ld_profile *p, struct ld_err *err)
{
    struct ld_profile_seen *seen = &p->seen;
    struct ld_profile_record *record = &seen->record;
    int n_lost;

    seen->has_device = p->device;
    record->began = seen->step_began[0];
    record->ended = seen->step_began[seen->n_steps];
    record->spans = ld_lane_spans(p->lane, &record->n_spans, &n_lost);
    return stop_device(p, err) && ld_profile_write(seen, p->path, err) &&
           ld_profile_print(seen, p->path, &p->arena, err);
}

/* What can't be told ends no training. */
static void finish(struct ld_profile *p)
{
    struct ld_err err = {0};

    p->seen.step_began[p->seen.n_steps] = ld_clock();
    ld_trace_record(p->trace, false);
    p->done = true;
    if (!report(p, &err))
        fprintf(stderr, "\nld-distill: --profile: %s; the run goes on\n",
                err.text);
}

void ld_profile_step(struct ld_profile *p)
{
    if (!p || p->done || p->n_seen++ < WARM_UP)
        return;
    if (p->seen.n_steps == LD_PROFILE_STEPS) {
        finish(p);
        return;
    }
    ld_trace_record(p->trace, true);
    p->seen.step_began[p->seen.n_steps++] = ld_clock();
}

void ld_profile_end(struct ld_profile *p)
{
    if (!p || p->done)
        return;
    if (p->seen.n_steps > 0)
        finish(p);
    else
        fprintf(stderr,
                "ld-distill: profile: nothing to show, %s is not written: the "
                "run ended after %d steps, and the first %d are warm-up\n",
                p->path, p->n_seen, WARM_UP);
}
