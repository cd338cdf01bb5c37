#include "cache/inspect_request.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: ld-inspect [--json] PATH...\n"
    "       ld-inspect --verify [--json] PATH...\n"
    "       ld-inspect --record ID[:flip|:view=N] [--json] PATH...\n"
    "       ld-inspect --render ID[:flip|:view=N] --config CONFIG --out FILE "
    "PATH\n"
    "       ld-inspect --report FOLDER [--config CONFIG] PATH\n"
    "       ld-inspect --watch FOLDER\n"
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
    "                    each damaged shard, image and view, and the parts "
    "that\n"
    "                    a folder lacks\n"
    "  --record ID       one image's rows, of its plain view, which is view "
    "0;\n"
    "                    ID:flip its flipped one, which is ID:view=1; of a "
    "cache\n"
    "                    of several scales ID:view=N one of the seeded views:\n"
    "                    place, region, the four distributions of the box\n"
    "                    and, of main rows, the best classes\n"
    "  --render ID       draws that view: its rows, the teacher's boxes and "
    "the\n"
    "                    truth, and for the best main rows (or --locations)\n"
    "                    what the teacher thinks of each side of the box\n"
    "  --report FOLDER   writes FOLDER/index.html: all that there is to know,\n"
    "                    in one page; with --config, pictures of the views\n"
    "                    that stand out\n"
    "  --watch           follows a running ld-cache precompute by its folder\n"
    "  --config CONFIG   that the cache was made with: it names the images\n"
    "  --locations A,B   which rows to draw, by their numbers in --record; 8 "
    "at\n"
    "                    most\n"
    "  --out FILE        .png or .svg\n"
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

static const char *const task_names[] = {
    [LD_INSPECT_VERIFY] = "--verify", [LD_INSPECT_RECORD] = "--record",
    [LD_INSPECT_RENDER] = "--render", [LD_INSPECT_REPORT] = "--report",
    [LD_INSPECT_WATCH] = "--watch",
};

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

static bool parse_record(const char *text, struct ld_inspect_request *request,
                         struct ld_err *err)
{
    char *end;

    errno = 0;
    request->image_id = strtoll(text, &end, 10);
    return (end != text && errno == 0 && parse_view(end, &request->view)) ||
           ld_fail(err, LD_ERR_USAGE,
                   "%s %s: expected an image's id, ID:flip or "
                   "ID:view=NUMBER",
                   task_names[request->task], text);
}

static bool parse_locations(const char *text,
                            struct ld_inspect_request *request,
                            struct ld_err *err)
{
    const char *at = text;
    char *end;

    for (int i = 0; i < LD_INSPECT_LOCATIONS; i++, at = end + 1) {
        long number = strtol(at, &end, 10);

        if (end == at || number < 0 || number > INT_MAX)
            break;
        request->locations[i] = (int)number;
        request->n_locations = i + 1;
        if (*end == 0)
            return true;
        if (*end != ',')
            break;
    }
    return ld_fail(err, LD_ERR_USAGE,
                   "--locations %s: expected numbers, at most %d, joined by "
                   "commas",
                   text, LD_INSPECT_LOCATIONS);
}

enum {
    OPT_JSON = 256,
    OPT_VERIFY,
    OPT_RECORD,
    OPT_RENDER,
    OPT_REPORT,
    OPT_WATCH,
    OPT_CONFIG,
    OPT_OUT,
    OPT_LOCATIONS,
    OPT_HELP,
    OPT_VERSION
};

static const struct option options[] = {
    {"json", no_argument, NULL, OPT_JSON},
    {"verify", no_argument, NULL, OPT_VERIFY},
    {"record", required_argument, NULL, OPT_RECORD},
    {"render", required_argument, NULL, OPT_RENDER},
    {"report", required_argument, NULL, OPT_REPORT},
    {"watch", no_argument, NULL, OPT_WATCH},
    {"config", required_argument, NULL, OPT_CONFIG},
    {"out", required_argument, NULL, OPT_OUT},
    {"locations", required_argument, NULL, OPT_LOCATIONS},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {0},
};

static bool set_task(struct ld_inspect_request *request,
                     enum ld_inspect_task task, struct ld_err *err)
{
    if (request->task != LD_INSPECT_SUMMARY && request->task != task)
        return ld_fail(err, LD_ERR_USAGE, "%s and %s exclude each other",
                       task_names[request->task], task_names[task]);
    request->task = task;
    return true;
}

static bool take_option(struct ld_inspect_request *request, int option,
                        struct ld_err *err)
{
    switch (option) {
    case OPT_JSON:
        request->json = true;
        return true;
    case OPT_VERIFY:
        return set_task(request, LD_INSPECT_VERIFY, err);
    case OPT_RECORD:
        return set_task(request, LD_INSPECT_RECORD, err) &&
               parse_record(optarg, request, err);
    case OPT_RENDER:
        return set_task(request, LD_INSPECT_RENDER, err) &&
               parse_record(optarg, request, err);
    case OPT_REPORT:
        request->out = optarg;
        return set_task(request, LD_INSPECT_REPORT, err);
    case OPT_WATCH:
        return set_task(request, LD_INSPECT_WATCH, err);
    case OPT_CONFIG:
        request->config = optarg;
        return true;
    case OPT_OUT:
        request->out = optarg;
        return true;
    case OPT_LOCATIONS:
        return parse_locations(optarg, request, err);
    default: /* getopt has said what is wrong */
        return ld_fail(err, LD_ERR_USAGE, "see ld-inspect --help");
    }
}

/* The first option that what is asked for does not take; or NULL. */
static const char *misplaced(const struct ld_inspect_request *request)
{
    bool draws = request->task == LD_INSPECT_RENDER;
    bool reports = request->task == LD_INSPECT_REPORT;

    if (request->json && request->task >= LD_INSPECT_RENDER)
        return "--json";
    if (request->config && !draws && !reports)
        return "--config";
    if (request->out && !draws && !reports)
        return "--out";
    return request->n_locations > 0 && !draws ? "--locations" : NULL;
}

static bool check_request(const struct ld_inspect_request *request,
                          struct ld_err *err)
{
    bool draws = request->task == LD_INSPECT_RENDER;
    const char *option = misplaced(request);

    if (option)
        return ld_fail(err, LD_ERR_USAGE, "%s: not expected here (see --help)",
                       option);
    if (request->n_paths == 0)
        return ld_fail(err, LD_ERR_USAGE,
                       "expected a shard or a folder: see ld-inspect --help");
    if (request->task >= LD_INSPECT_RENDER && request->n_paths > 1)
        return ld_fail(err, LD_ERR_USAGE, "%s takes one path, not %d",
                       task_names[request->task], request->n_paths);
    if (draws && (!request->config || !request->out))
        return ld_fail(err, LD_ERR_USAGE, "%s is missing (see --help)",
                       request->config ? "--out" : "--config");
    return true;
}

bool ld_inspect_parse(int argc, char **argv, struct ld_inspect_request *request,
                      struct ld_err *err)
{
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == OPT_HELP || option == OPT_VERSION) {
            printf("%s",
                   option == OPT_HELP ? usage : "ld-inspect " LD_VERSION "\n");
            return false;
        }
        if (!take_option(request, option, err))
            return false;
    }
    request->paths = argv + optind;
    request->n_paths = argc - optind;
    return check_request(request, err);
}
