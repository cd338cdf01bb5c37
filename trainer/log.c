#include "trainer/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/file.h"
#include "formats/json.h"
#include "kernels/base/progress.h"

struct ld_log {
    FILE *file;
    char path[4096];
};

static bool fail_write(const struct ld_log *log, struct ld_err *err)
{
    return ld_fail(err, LD_ERR_IO, "%s: cannot write: %s", log->path,
                   strerror(errno));
}

/* Reads one line's "step" and, if present, `key`. A line cut short by a kill is
 * not an error: it has no step. */
static bool parse_line(const char *text, size_t len, const char *key,
                       double *step, double *value)
{
    struct ld_err ignored = {0};
    struct ld_json j;
    bool has_step = false, has_value = false;
    char name[64];

    ld_json_open(&j, text, len, "log", &ignored);
    ld_json_object(&j);
    while (ld_json_key(&j, name, sizeof(name))) {
        double number;

        if (!ld_json_number(&j, &number))
            return false;
        if (strcmp(name, "step") == 0) {
            *step = number;
            has_step = true;
        } else if (strcmp(name, key) == 0) {
            *value = number;
            has_value = true;
        }
    }
    return ld_json_end(&j) && has_step && (has_value || !*key);
}

static size_t line_length(const char *text, size_t len)
{
    const char *end = memchr(text, '\n', len);

    return end ? (size_t)(end - text) + 1 : len;
}

/* Rewrites the file without the lines after `step`. */
static bool drop_later(const char *path, int64_t step, struct ld_err *err)
{
    struct ld_buf kept = {.max = (size_t)1 << 32};
    struct ld_file file;
    double at, unused;
    bool ok;

    if (access(path, F_OK) != 0)
        return true;
    if (!ld_file_open(path, &file, err))
        return false;
    for (size_t i = 0; i < file.len;) {
        const char *line = (const char *)file.data + i;
        size_t len = line_length(line, file.len - i);

        if (parse_line(line, len, "", &at, &unused) && at <= (double)step)
            ld_buf_put(&kept, line, len);
        i += len;
    }
    ok = ld_buf_ok(&kept, err) &&
         ld_file_replace(path, kept.data, kept.len, err);
    ld_buf_free(&kept);
    ld_file_close(&file);
    return ok;
}

struct ld_log *ld_log_open(const char *path, int64_t step, struct ld_err *err)
{
    struct ld_log *log;

    if (!drop_later(path, step, err))
        return NULL;
    log = ld_new(1, sizeof(*log), err);
    if (!log)
        return NULL;
    snprintf(log->path, sizeof(log->path), "%s", path);
    log->file = fopen(path, "ae");
    if (!log->file) {
        ld_fail(err, LD_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
        ld_delete(log);
        return NULL;
    }
    return log;
}

bool ld_log_close(struct ld_log *log, struct ld_err *err)
{
    bool ok = true;

    if (!log)
        return true;
    if (fclose(log->file) != 0)
        ok = fail_write(log, err);
    ld_delete(log);
    return ok;
}

bool ld_log_step(struct ld_log *log, const struct ld_log_step *s,
                 struct ld_err *err)
{
    fprintf(log->file, "{\"epoch\": %lld, \"step\": %lld, \"lr\": %.6g",
            (long long)s->epoch, (long long)s->step, s->lr);
    for (int term = 0; term < LD_N_TERMS; term++)
        fprintf(log->file, ", \"%s\": %.6g", ld_term_name((enum ld_term)term),
                ld_loss_term(s->terms, (enum ld_term)term));
    fprintf(log->file,
            ", \"loss\": %.6g, \"steps_per_s\": %.4g, \"wait\": %.3g, "
            "\"memory_mb\": %.0f}\n",
            ld_loss_total(s->terms), s->steps_per_second, s->wait,
            ld_peak_memory() / 1e6);
    return fflush(log->file) == 0 || fail_write(log, err);
}

bool ld_log_scores(struct ld_log *log, int64_t epoch, int64_t step,
                   const struct ld_scores *scores, struct ld_err *err)
{
    fprintf(log->file,
            "{\"epoch\": %lld, \"step\": %lld, \"AP\": %.6f, \"AP50\": %.6f, "
            "\"AP75\": %.6f}\n",
            (long long)epoch, (long long)step, scores->ap, scores->ap50,
            scores->ap75);
    return fflush(log->file) == 0 || fail_write(log, err);
}

bool ld_log_read(const char *path, const char *key, double **steps,
                 double **values, int *n, struct ld_arena *arena,
                 struct ld_err *err)
{
    struct ld_file file;
    size_t n_lines = 0;

    if (!ld_file_open(path, &file, err))
        return false;
    for (size_t i = 0; i < file.len; i++)
        n_lines += file.data[i] == '\n';
    *n = 0;
    *steps = ld_arena_new(arena, n_lines + 1, sizeof(double), err);
    *values = ld_arena_new(arena, n_lines + 1, sizeof(double), err);
    for (size_t i = 0; *steps && *values && i < file.len;) {
        const char *line = (const char *)file.data + i;
        size_t len = line_length(line, file.len - i);

        *n += parse_line(line, len, key, *steps + *n, *values + *n);
        i += len;
    }
    ld_file_close(&file);
    return *steps && *values;
}
