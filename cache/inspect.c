/* ld-inspect - looks into shards: what is there, is it whole. */

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cache/inspect.h"
#include "kernels/base/progress.h"

static const char usage[] =
    "usage: ld-inspect [--json] PATH...\n"
    "       ld-inspect --verify [--json] PATH...\n"
    "       ld-inspect --record ID[:flip|:view=N] [--json] PATH...\n"
    "\n"
    "Looks into the shards that ld-cache precompute wrote. PATH is a shard\n"
    "(*.h5) or a folder of them, which must be complete: name the shards\n"
    "themselves to look into an unfinished one.\n"
    "\n"
    "Without an option: how many images, views and rows there are, on which\n"
    "levels and of which region; the bytes of each part; where the cache came\n"
    "from; the error that storing adds to a gradient; images left out.\n"
    "\n"
    "  --verify          reads every byte and checks every checksum; names\n"
    "                    each damaged shard, image and view\n"
    "  --record ID       one image's rows, of its plain view, which is view "
    "0;\n"
    "                    ID:flip its flipped one, which is ID:view=1; of a "
    "cache\n"
    "                    of several scales ID:view=N one of the seeded views:\n"
    "                    place, region, the four distributions of the box\n"
    "                    and, of main rows, the best classes\n"
    "  --json            for programs: one JSON array, an element a path\n"
    "                    (summary), shard (--verify) or record found; records\n"
    "                    hold all their logits\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 all is well; 1 --verify found damage, or no PATH holds "
    "the\n"
    "record; 2 wrong usage; 3 a file cannot be read; 4 a file is no shard or "
    "is\n"
    "damaged; 8 the shards of a folder do not belong together. Of several\n"
    "failures the first counts; the other paths are looked into all the "
    "same.\n";

enum { EXIT_DAMAGED = 1 };

struct request {
    bool json, verify, record;
    int64_t image_id;
    int view;
    char **paths;
    int n_paths;
};

/* What has been said so far. */
struct answer {
    struct ld_buf out;
    int n_items; /* of the JSON array */
    int status;
};

/* ---- the command line ---- */

/* What follows the image's id: nothing, ":flip" or ":view=3". */
static bool parse_view(const char *text, int *view)
{
    static const char named[] = ":view=";
    const size_t len = sizeof(named) - 1;
    char *end;
    long number;

    *view = strcmp(text, ":flip") == 0;
    if (*text == 0 || *view)
        return true;
    if (strncmp(text, named, len) != 0)
        return false;
    number = strtol(text + len, &end, 10);
    *view = (int)number;
    return end != text + len && *end == 0 && number >= 0 && number <= INT_MAX;
}

static bool parse_record(const char *text, struct request *request,
                         struct ld_err *err)
{
    char *end;

    errno = 0;
    request->record = true;
    request->image_id = strtoll(text, &end, 10);
    return (end != text && errno == 0 && parse_view(end, &request->view)) ||
           ld_fail(err, LD_ERR_USAGE,
                   "--record %s: expected an image's id, ID:flip or "
                   "ID:view=NUMBER",
                   text);
}

enum { OPT_JSON = 256, OPT_VERIFY, OPT_RECORD, OPT_HELP, OPT_VERSION };

static const struct option options[] = {
    {"json", no_argument, NULL, OPT_JSON},
    {"verify", no_argument, NULL, OPT_VERIFY},
    {"record", required_argument, NULL, OPT_RECORD},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {0},
};

/* False with err unset: --help or --version was answered. */
static bool parse(int argc, char **argv, struct request *request,
                  struct ld_err *err)
{
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == OPT_JSON)
            request->json = true;
        else if (option == OPT_VERIFY)
            request->verify = true;
        else if (option == OPT_RECORD && !parse_record(optarg, request, err))
            return false;
        else if (option == '?')
            return ld_fail(err, LD_ERR_USAGE, "see ld-inspect --help");
        else if (option == OPT_HELP || option == OPT_VERSION) {
            printf("%s",
                   option == OPT_HELP ? usage : "ld-inspect " LD_VERSION "\n");
            return false;
        }
    }
    request->paths = argv + optind;
    request->n_paths = argc - optind;
    if (request->n_paths == 0)
        return ld_fail(err, LD_ERR_USAGE,
                       "expected a shard or a folder: see ld-inspect --help");
    if (request->verify && request->record)
        return ld_fail(err, LD_ERR_USAGE,
                       "--verify and --record exclude each other");
    return true;
}

/* ---- answers ---- */

static void set_status(struct answer *answer, int status)
{
    if (answer->status == 0)
        answer->status = status;
}

static void complain(struct answer *answer, const struct ld_err *err)
{
    fprintf(stderr, "ld-inspect: %s\n", err->text);
    set_status(answer, (int)err->code);
}

/* What stands between two items. */
static void next_item(const struct request *request, struct answer *answer)
{
    if (request->json)
        ld_buf_printf(&answer->out, "%s", answer->n_items ? ",\n " : "[");
    else if (answer->n_items && !request->verify)
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

static void summarise(const struct request *request, const char *path,
                      bool folder, struct answer *answer)
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

static void verify(const struct request *request, const char *path,
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
                     const struct request *request)
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

static void show_record(const struct request *request, const char *path,
                        struct answer *answer)
{
    struct ld_err err = {0};
    struct ld_arena arena = {0};
    struct ld_shard *shard = ld_shard_open(path, &err);
    int index = shard ? find_view(shard, request) : -1;
    struct ld_record record;

    if (index >= 0 && ld_shard_read(shard, index, &arena, &record, &err)) {
        next_item(request, answer);
        if (request->json)
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

static void visit_shards(const struct request *request, const char *path,
                         bool folder, struct answer *answer)
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
        if (request->verify)
            verify(request, paths[i], answer);
        else
            show_record(request, paths[i], answer);
        print_answer(answer);
    }
    ld_arena_free(&arena);
}

static void visit(const struct request *request, const char *path,
                  struct answer *answer)
{
    struct stat info;
    bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);

    if (request->verify || request->record) {
        visit_shards(request, path, folder, answer);
    } else {
        summarise(request, path, folder, answer);
        print_answer(answer);
    }
}

static void finish(const struct request *request, struct answer *answer)
{
    if (request->json)
        printf("%s]\n", answer->n_items ? "" : "[");
    if (request->record && answer->n_items == 0 && answer->status == 0) {
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
    struct request request = {0};
    struct answer answer = {.out.max = (size_t)1 << 32};

    if (!parse(argc, argv, &request, &err)) {
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
