#include "cache/watch.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "formats/file.h"
#include "formats/shard.h"
#include "kernels/base/progress.h"

enum { MOST_PARTS = 10000000, WINDOW = 16, SILENCE = 60 /* seconds */ };

/* A part of the cache. */
struct part {
    int64_t views;
    int64_t bytes;  /* of the shard; 0 until it is published */
    double written; /* when, in seconds */
};

struct watch {
    const char *folder;
    struct part *parts; /* (n_parts) */
    int n_parts;        /* 0: none seen yet */

    /* of one look */
    int n_done, n_writing;
    int64_t views, bytes, writing_bytes;
    double newest; /* when anything was written last */
};

/* ---- looking ---- */

/* "part-00002-of-00010.h5", or with an ending of a temporary file's. */
static bool parse_name(const char *name, int *part, int *n_parts,
                       bool *published)
{
    int end = 0;

    if (sscanf(name, "part-%d-of-%d.h5%n", part, n_parts, &end) != 2 || !end)
        return false;
    *published = name[end] == 0;
    return *n_parts > 0 && *n_parts <= MOST_PARTS && *part >= 0 &&
           *part < *n_parts &&
           (*published || strstr(name + end, ".tmp") != NULL);
}

static bool count_parts(struct watch *w, const char *name, int n_parts,
                        struct ld_err *err)
{
    if (w->n_parts == 0) {
        w->parts = ld_new((size_t)n_parts, sizeof(*w->parts), err);
        if (!w->parts)
            return false;
        w->n_parts = n_parts;
    }
    return n_parts == w->n_parts ||
           ld_fail(err, LD_ERR_MISMATCH, "%s/%s: expected a part of %d",
                   w->folder, name, w->n_parts);
}

static double seconds_of(struct timespec t)
{
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A shard is opened once: when it is first seen. */
static bool look_at_shard(struct watch *w, const char *path, struct part *part,
                          const struct stat *info, struct ld_err *err)
{
    if (part->bytes == 0) {
        struct ld_shard *shard = ld_shard_open(path, err);

        if (!shard)
            return false;
        part->views = ld_shard_count(shard);
        part->bytes = info->st_size;
        part->written = seconds_of(info->st_mtim);
        ld_shard_close(shard);
    }
    w->n_done++;
    w->views += part->views;
    w->bytes += part->bytes;
    return true;
}

static bool look_at(struct watch *w, const char *name, struct ld_err *err)
{
    struct stat info;
    char path[4096];
    int part, n_parts;
    bool published;

    if (!parse_name(name, &part, &n_parts, &published))
        return true;
    if (!count_parts(w, name, n_parts, err) ||
        !ld_path_join(path, w->folder, name, err))
        return false;
    if (stat(path, &info) != 0) /* renamed since it was listed */
        return true;
    if (seconds_of(info.st_mtim) > w->newest)
        w->newest = seconds_of(info.st_mtim);
    if (published)
        return look_at_shard(w, path, &w->parts[part], &info, err);
    w->n_writing++;
    w->writing_bytes += info.st_size;
    return true;
}

static bool look(struct watch *w, struct ld_err *err)
{
    DIR *folder = opendir(w->folder);
    const struct dirent *entry;
    bool ok = true;

    if (!folder)
        return ld_fail(err, LD_ERR_IO, "%s: cannot list the folder: %s",
                       w->folder, strerror(errno));
    w->n_done = w->n_writing = 0;
    w->views = w->bytes = w->writing_bytes = 0;
    w->newest = 0;
    while (ok && (entry = readdir(folder)) != NULL)
        ok = look_at(w, entry->d_name, err);
    closedir(folder);
    return ok;
}

/* ---- reckoning ---- */

/* Views a second between the first and the last of the newest shards; 0 where
 * there is but one. */
static double rate(const struct watch *w)
{
    struct part newest[WINDOW];
    double views = 0;
    int n = 0;

    for (int i = 0; i < w->n_parts; i++) {
        struct part part = w->parts[i];
        int at;

        if (part.bytes == 0)
            continue;
        at = n < WINDOW ? n++ : WINDOW;
        for (; at > 0 && newest[at - 1].written < part.written; at--)
            if (at < WINDOW)
                newest[at] = newest[at - 1];
        if (at < WINDOW)
            newest[at] = part;
    }
    for (int i = 0; i + 1 < n; i++)
        views += (double)newest[i].views;
    return n > 1 && newest[0].written > newest[n - 1].written
               ? views / (newest[0].written - newest[n - 1].written)
               : 0;
}

/* Views of the shards that are being written: their bytes tell, and the time
 * since the last one was finished where bytes come late. */
static double views_begun(const struct watch *w, double speed, double now)
{
    double most = (double)w->views / w->n_done * w->n_writing, by_time, by_size;
    double last = 0;

    for (int i = 0; i < w->n_parts; i++)
        if (w->parts[i].bytes > 0 && w->parts[i].written > last)
            last = w->parts[i].written;
    by_time = speed * (now - last);
    by_size = (double)w->writing_bytes * (double)w->views / (double)w->bytes;
    return fmin(most, fmax(by_time, by_size));
}

/* Views that are still to come: shards are alike. */
static double views_left(const struct watch *w, double speed, double now)
{
    double a_shard = (double)w->views / w->n_done;

    return a_shard * (w->n_parts - w->n_done) - views_begun(w, speed, now);
}

static void print_line(const struct watch *w)
{
    double now = (double)time(NULL), speed = rate(w);
    char text[16];

    ld_bytes_text(text, (double)(w->bytes + w->writing_bytes));
    printf("%s: %d/%d shards", w->folder, w->n_done, w->n_parts);
    if (w->n_done == w->n_parts) {
        printf(", %" PRId64 " views, %s: complete", w->views, text);
        return;
    }
    printf(" and %d being written, %" PRId64, w->n_writing, w->views);
    if (w->views > 0)
        printf(" of about %.0f", (double)w->views / w->n_done * w->n_parts);
    printf(" views, %s", text);
    if (speed > 0) {
        printf(", %.3g views/s", speed);
        ld_duration_text(text, views_left(w, speed, now) / speed);
        printf(", ETA %s", text);
    }
    if (now - w->newest > SILENCE) {
        ld_duration_text(text, now - w->newest);
        printf("; nothing was written for %s", text);
    }
}

bool ld_watch(const char *folder, struct ld_err *err)
{
    struct watch w = {.folder = folder};
    bool terminal = isatty(1), ok;

    while ((ok = look(&w, err))) {
        printf("%s", terminal ? "\r\033[K" : "");
        if (w.n_parts > 0)
            print_line(&w);
        else
            printf("%s: no shard yet", folder);
        fflush(stdout);
        if (!terminal || (w.n_parts > 0 && w.n_done == w.n_parts))
            break;
        sleep(1);
    }
    if (ok)
        putchar('\n');
    ld_delete(w.parts);
    return ok;
}
