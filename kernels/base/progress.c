#include "kernels/base/progress.h"

#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

double ld_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void ld_duration_text(char out[16], double seconds)
{
    long long s = (long long)(seconds + 0.5);

    if (s < 0 || s > 1000LL * 3600)
        snprintf(out, 16, "-");
    else if (s >= 3600)
        snprintf(out, 16, "%lldh%02lldm", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(out, 16, "%lldm%02llds", s / 60, s % 60);
    else
        snprintf(out, 16, "%llds", s);
}

void ld_bytes_text(char out[16], double bytes)
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
    int i = 0;

    for (; bytes >= 999.5 && i < 4; i++)
        bytes /= 1000;
    snprintf(out, 16, i && bytes < 99.95 ? "%.1f %s" : "%.0f %s", bytes,
             unit[i]);
}

double ld_peak_memory(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)use.ru_maxrss * 1024;
}

void ld_progress_start(struct ld_progress *p, const char *verb,
                       const char *unit, int64_t done, int64_t total)
{
    *p = (struct ld_progress){.verb = verb,
                              .unit = unit,
                              .total = total,
                              .done_before = done,
                              .started = ld_seconds()};
    p->shown = p->started;
}

static void show(const struct ld_progress *p, int64_t done, const char *note,
                 const char *end)
{
    double elapsed = ld_seconds() - p->started;
    double rate = elapsed > 0 ? (double)(done - p->done_before) / elapsed : 0;
    char eta[16] = "-";

    if (rate > 0)
        ld_duration_text(eta, (double)(p->total - done) / rate);
    fprintf(stderr, "%s%s %lld/%lld %s, %.3g %s/s, ETA %s%s%s%s",
            isatty(2) ? "\r\033[K" : "", p->verb, (long long)done,
            (long long)p->total, p->unit, rate, p->unit, eta,
            *note ? ", " : "", note, end);
}

void ld_progress_show(struct ld_progress *p, int64_t done, const char *note)
{
    double now = ld_seconds();

    if (now - p->shown < (isatty(2) ? 0.2 : 10))
        return;
    p->shown = now;
    show(p, done, note, isatty(2) ? "" : "\n");
}

void ld_progress_end(struct ld_progress *p, int64_t done, const char *note)
{
    show(p, done, note, "\n");
}
