/* ld-inspect - looks into shards: what is there, is it whole. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cache/inspect.h"
#include "cache/inspect_request.h"
#include "cache/render.h"
#include "cache/report.h"
#include "cache/watch.h"
#include "kernels/base/progress.h"

enum { EXIT_DAMAGED = 1 };

/* What has been said so far. */
struct answer {
    struct ld_buf out;
    int n_items; /* of the JSON array */
    int status;
};

/* ---- answers ---- */

static void set_status(struct answer *answer, int status)
{
    if (answer->status == 0)
        answer->status = status;
}

static void complain(struct answer *answer, const struct ld_err *err)
{
    fflush(stdout); /* in their order, where both go to one place */
    fprintf(stderr, "ld-inspect: %s\n", err->text);
    set_status(answer, (int)err->code);
}

/* What stands between two items. */
static void next_item(const struct ld_inspect_request *request,
                      struct answer *answer)
{
    if (request->json)
        ld_buf_printf(&answer->out, "%s", answer->n_items ? ",\n " : "[");
    else if (answer->n_items && request->task != LD_INSPECT_VERIFY)
        ld_buf_printf(&answer->out, "\n");
    answer->n_items++;
}

/* Prints what has gathered, so that a long answer is seen to grow. */
static void print_answer(struct answer *answer)
{
    struct ld_err err = {0};

    if (!ld_buf_ok(&answer->out, &err))
        complain(answer, &err);
    if (answer->out.len > 0)
        fwrite(answer->out.data, 1, answer->out.len, stdout);
    answer->out.len = 0;
}

/* ---- a summary ---- */

static bool sum_up(struct ld_inspection *sum, const struct ld_cache *cache,
                   const struct ld_shard *shard, struct ld_err *err)
{
    bool ok = true;

    if (shard)
        return ld_inspect_add(sum, shard, err) && ld_inspect_settle(sum, err);
    for (int i = 0; ok && i < ld_cache_n_shards(cache); i++)
        ok = ld_inspect_add(sum, ld_cache_shard(cache, i), err);
    return ok && ld_inspect_settle(sum, err);
}

static void summarise(const struct ld_inspect_request *request,
                      const char *path, bool folder, struct answer *answer)
{
    struct ld_err err = {0};
    struct ld_cache *cache = folder ? ld_cache_open(path, &err) : NULL;
    struct ld_shard *shard = folder ? NULL : ld_shard_open(path, &err);
    struct ld_inspection sum;

    ld_inspect_start(&sum, path);
    if ((cache || shard) && sum_up(&sum, cache, shard, &err)) {
        next_item(request, answer);
        if (request->json)
            ld_inspect_json(&answer->out, &sum);
        else
            ld_inspect_text(&answer->out, &sum);
    } else {
        complain(answer, &err);
    }
    ld_inspect_free(&sum);
    ld_shard_close(shard);
    ld_cache_close(cache);
}

/* ---- a report ---- */

static bool report_on(struct ld_inspection *sum,
                      const struct ld_inspect_request *request,
                      const struct ld_cache *cache,
                      const struct ld_shard *shard, struct ld_err *err)
{
    struct ld_report_count count = {0};
    int n = cache ? ld_cache_n_shards(cache) : 1;
    bool ok = sum_up(sum, cache, shard, err);

    for (int i = 0; ok && i < n; i++)
        ok = ld_report_add(&count, cache ? ld_cache_shard(cache, i) : shard,
                           err);
    return ok &&
           ld_report_write(request->out, sum, &count, request->config, err);
}

static void report(const struct ld_inspect_request *request, const char *path,
                   bool folder, struct answer *answer)
{
    struct ld_err err = {0};
    struct ld_cache *cache = folder ? ld_cache_open(path, &err) : NULL;
    struct ld_shard *shard = folder ? NULL : ld_shard_open(path, &err);
    struct ld_inspection sum;

    ld_inspect_start(&sum, path);
    if ((!cache && !shard) || !report_on(&sum, request, cache, shard, &err))
        complain(answer, &err);
    ld_inspect_free(&sum);
    ld_shard_close(shard);
    ld_cache_close(cache);
}

static void watch(const char *path, struct answer *answer)
{
    struct ld_err err = {0};

    if (!ld_watch(path, &err))
        complain(answer, &err);
}

/* ---- one shard after the other ---- */

static void note_damage(struct ld_inspect_verdict *verdict,
                        const struct ld_err *err)
{
    ld_buf_put(&verdict->damage, err->text, strlen(err->text) + 1);
}

/* Every record, and last every byte: so the views are named first. */
static void check_shard(const struct ld_shard *shard,
                        struct ld_inspect_verdict *verdict)
{
    struct ld_arena arena = {0};
    struct ld_shard_sizes sizes;
    struct ld_record record;

    ld_shard_sizes(shard, &sizes);
    verdict->n_views = ld_shard_count(shard);
    verdict->bytes = sizes.file;
    for (int i = 0; i < ld_shard_count(shard); i++) {
        struct ld_err err = {0};

        if (!ld_shard_read(shard, i, &arena, &record, &err) ||
            !ld_shard_read_features(shard, i, &arena, &record, &err))
            note_damage(verdict, &err);
        ld_arena_clear(&arena);
    }
    if (verdict->damage.len == 0) {
        struct ld_err err = {0};

        if (!ld_shard_check(shard, &err))
            note_damage(verdict, &err);
    }
    ld_arena_free(&arena);
}

static void verify(const struct ld_inspect_request *request, const char *path,
                   struct answer *answer)
{
    struct ld_inspect_verdict verdict = {.path = path};
    double start = ld_seconds();
    struct ld_err err = {0};
    struct ld_shard *shard;

    verdict.damage.max = 1 << 28;
    shard = ld_shard_open(path, &err);
    if (!shard && err.code != LD_ERR_FORMAT) {
        complain(answer, &err);
        return;
    }
    if (shard)
        check_shard(shard, &verdict);
    else
        note_damage(&verdict, &err);
    verdict.seconds = ld_seconds() - start;
    next_item(request, answer);
    if (request->json)
        ld_inspect_verdict_json(&answer->out, &verdict);
    else
        ld_inspect_verdict_text(&answer->out, &verdict);
    if (verdict.damage.len > 0)
        set_status(answer, EXIT_DAMAGED);
    ld_buf_free(&verdict.damage);
    ld_shard_close(shard);
}

static int find_view(const struct ld_shard *shard,
                     const struct ld_inspect_request *request)
{
    struct ld_record entry;

    for (int i = 0; i < ld_shard_count(shard); i++) {
        ld_shard_entry(shard, i, &entry);
        if (entry.image_id == request->image_id &&
            entry.view.number == request->view)
            return i;
    }
    return -1;
}

/* Rows at the locations that were asked for. */
static bool rows_at(const struct ld_inspect_request *request,
                    struct ld_render *render, struct ld_err *err)
{
    const struct ld_record *record = render->record;

    for (int i = 0; i < request->n_locations; i++) {
        int row = 0;

        while (row < record->n_rows &&
               record->location[row] != request->locations[i])
            row++;
        if (row == record->n_rows)
            return ld_fail(err, LD_ERR_USAGE,
                           "--locations: the view has no row at location %d "
                           "(--record lists them)",
                           request->locations[i]);
        render->rows[render->n_rows++] = row;
    }
    return true;
}

static bool draw_record(const struct ld_inspect_request *request,
                        const struct ld_shard *shard,
                        const struct ld_record *record, struct ld_arena *arena,
                        struct ld_err *err)
{
    struct ld_render render = {ld_shard_facts(shard), record, NULL, {0}, 0};
    struct ld_sights sights;
    struct ld_sight sight = {0};
    bool ok = ld_sights_open(&sights, request->config, render.facts, err) &&
              ld_sight_read(&sight, &sights, record, arena, err);

    render.sight = &sight;
    ok = ok && rows_at(request, &render, err);
    if (ok && request->n_locations == 0)
        render.n_rows = ld_render_best(render.facts, record, 0.2F, render.rows,
                                       LD_RENDER_SHOWN);
    ok = ok && ld_render_write(request->out, &render, err);
    ld_image_free(&sight.image);
    ld_sights_close(&sights);
    return ok;
}

static void show_record(const struct ld_inspect_request *request,
                        const char *path, struct answer *answer)
{
    struct ld_err err = {0};
    struct ld_arena arena = {0};
    struct ld_shard *shard = ld_shard_open(path, &err);
    int index = shard ? find_view(shard, request) : -1;
    struct ld_record record;

    if (index >= 0 && ld_shard_read(shard, index, &arena, &record, &err)) {
        next_item(request, answer);
        if (request->task == LD_INSPECT_RENDER) {
            if (!draw_record(request, shard, &record, &arena, &err))
                complain(answer, &err);
        } else if (request->json)
            ld_inspect_record_json(&answer->out, shard, &record);
        else
            ld_inspect_record_text(&answer->out, shard, &record);
    } else if (err.code != LD_OK) {
        complain(answer, &err);
    }
    ld_arena_free(&arena);
    ld_shard_close(shard);
}

/* ---- main ---- */

/* Whole shards that are not all, or do not belong together, are no cache. */
static void verify_folder(const char *path, struct answer *answer)
{
    struct ld_err err = {0};
    struct ld_cache *cache =
        answer->status == 0 ? ld_cache_open(path, &err) : NULL;

    if (err.code != LD_OK)
        complain(answer, &err);
    ld_cache_close(cache);
}

static void visit_shards(const struct ld_inspect_request *request,
                         const char *path, bool folder, struct answer *answer)
{
    struct ld_err err = {0};
    struct ld_arena arena = {0};
    const char **paths = &path;
    int n = 1;

    if (folder && !ld_cache_list(path, &paths, &n, &arena, &err)) {
        complain(answer, &err);
        n = 0;
    }
    for (int i = 0; i < n; i++) {
        if (request->task == LD_INSPECT_VERIFY)
            verify(request, paths[i], answer);
        else
            show_record(request, paths[i], answer);
        print_answer(answer);
    }
    if (folder && n > 0 && request->task == LD_INSPECT_VERIFY)
        verify_folder(path, answer);
    ld_arena_free(&arena);
}

static void visit(const struct ld_inspect_request *request, const char *path,
                  struct answer *answer)
{
    struct stat info;
    bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);

    switch (request->task) {
    case LD_INSPECT_SUMMARY:
        summarise(request, path, folder, answer);
        print_answer(answer);
        break;
    case LD_INSPECT_REPORT:
        report(request, path, folder, answer);
        break;
    case LD_INSPECT_WATCH:
        watch(path, answer);
        break;
    default:
        visit_shards(request, path, folder, answer);
    }
}

static void finish(const struct ld_inspect_request *request,
                   struct answer *answer)
{
    if (request->json && request->task <= LD_INSPECT_RECORD)
        printf("%s]\n", answer->n_items ? "" : "[");
    if ((request->task == LD_INSPECT_RECORD ||
         request->task == LD_INSPECT_RENDER) &&
        answer->n_items == 0 && answer->status == 0) {
        fprintf(stderr, "ld-inspect: no view %d of image %lld found\n",
                request->view, (long long)request->image_id);
        set_status(answer, EXIT_DAMAGED);
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "ld-inspect: cannot write the answer: %s\n",
                strerror(errno));
        set_status(answer, LD_ERR_IO);
    }
}

int main(int argc, char **argv)
{
    struct ld_err err = {0};
    struct ld_inspect_request request = {0};
    struct answer answer = {.out.max = (size_t)1 << 32};

    if (!ld_inspect_parse(argc, argv, &request, &err)) {
        if (err.code != LD_OK)
            complain(&answer, &err);
        return answer.status;
    }
    for (int i = 0; i < request.n_paths; i++)
        visit(&request, request.paths[i], &answer);
    finish(&request, &answer);
    ld_buf_free(&answer.out);
    return answer.status;
}
