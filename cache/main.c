/* ld-cache - runs the teacher once over a data set and keeps what it said.
 *
 *     image -> view -> teacher -> regions -> codec -> shard */

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache_command.h"
#include "kernels/base/parallel.h"

static const char usage[] =
    "usage: ld-cache precompute CONFIG --teacher CHECKPOINT --out FOLDER\n"
    "       ld-cache verify CACHE CONFIG --teacher CHECKPOINT [--records N]\n"
    "       ld-cache merge OUT FOLDER...\n"
    "       ld-cache export FOLDER --npz|--native --out FOLDER\n"
    "       ld-cache diff FOLDER FOLDER [--tolerance X]\n"
    "\n"
    "precompute runs the teacher over every view (plain and mirrored, or as "
    "many seeded\n"
    "ones as cache.views says) of the training images that CONFIG names, and\n"
    "keeps, in HDF5 shards in FOLDER, the logits that a student's losses "
    "read:\n"
    "the box distributions of the main region and of the valuable "
    "localization\n"
    "region, the classes of the main region; more with --select.\n"
    "Run again after a kill, it goes on after the last finished shard.\n"
    "\n"
    "verify runs the teacher again over N views of a cache, spread over all "
    "of\n"
    "it, and fails if what is stored is further off than the cache states; of\n"
    "fp32, if a bit differs, which another device may make it do.\n"
    "\n"
    "merge joins folders that hold parts of one job, by hard links or copies;\n"
    "export writes a file a shard, of plain numbers, for numpy or for HDF5\n"
    "without a filter; diff compares two caches of the same views, and ends\n"
    "with status 1 if they differ.\n"
    "\n"
    "  --teacher CHECKPOINT  of ld-distill train, or a .pth or .safetensors\n"
    "  --out FOLDER          of the shards; made if absent\n"
    "  --part I/N            only every Nth shard, from the Ith on: N "
    "processes\n"
    "                        or machines share the work; so do the ranks of\n"
    "                        mpirun, without this\n"
    "  --grad-error E        what storing may cost the distillation "
    "gradients,\n"
    "                        relative (key cache.grad_error, 0.01), or exact\n"
    "  --select WHAT         ld: what the losses read (key cache.select);\n"
    "                        vlr-all: classes of both regions, as loss.vlr_kd\n"
    "                        reads; dense: boxes and classes everywhere, for\n"
    "                        students of any assign.*\n"
    "  --records N           that verify compares (16)\n"
    "  --tolerance X         of the LD and KD gradients' relative difference "
    "[0]\n"
    "  --set KEY=VALUE       sets one key of the config; may be repeated\n"
    "  --device NAME         auto, cpu or cuda (key device)\n"
    "  --threads N           of the CPU; 0: all cores (key threads)\n"
    "  --help-config         every key with its default and meaning\n"
    "  --help, --version\n"
    "\n"
    "Keys of interest: cache.storage, cache.images_per_shard,\n"
    "cache.skip_bad, cache.views, view.*, assign.*, data.*. See the README.\n";

enum {
    OPT_TEACHER = 256,
    OPT_OUT,
    OPT_PART,
    OPT_GRAD_ERROR,
    OPT_SELECT,
    OPT_RECORDS,
    OPT_NPZ,
    OPT_NATIVE,
    OPT_TOLERANCE,
    OPT_SET,
    OPT_DEVICE,
    OPT_THREADS,
    OPT_HELP_CONFIG,
    OPT_HELP,
    OPT_VERSION
};

static const struct option options[] = {
    {"teacher", required_argument, NULL, OPT_TEACHER},
    {"out", required_argument, NULL, OPT_OUT},
    {"part", required_argument, NULL, OPT_PART},
    {"grad-error", required_argument, NULL, OPT_GRAD_ERROR},
    {"select", required_argument, NULL, OPT_SELECT},
    {"records", required_argument, NULL, OPT_RECORDS},
    {"npz", no_argument, NULL, OPT_NPZ},
    {"native", no_argument, NULL, OPT_NATIVE},
    {"tolerance", required_argument, NULL, OPT_TOLERANCE},
    {"set", required_argument, NULL, OPT_SET},
    {"device", required_argument, NULL, OPT_DEVICE},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"help-config", no_argument, NULL, OPT_HELP_CONFIG},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {0},
};

typedef bool command_fn(struct ld_cache_command *command, struct ld_err *err);

#define BIT(option) (1U << ((option)-OPT_TEACHER))
#define FOR_A_RUN \
    (BIT(OPT_TEACHER) | BIT(OPT_SET) | BIT(OPT_DEVICE) | BIT(OPT_THREADS))

static const struct command {
    const char *name;
    command_fn *run;
    unsigned options; /* that it takes, a bit each */
} commands[] = {
    {"precompute", ld_precompute,
     FOR_A_RUN | BIT(OPT_OUT) | BIT(OPT_PART) | BIT(OPT_GRAD_ERROR) |
         BIT(OPT_SELECT)},
    {"verify", ld_cache_verify, FOR_A_RUN | BIT(OPT_RECORDS)},
    {"merge", ld_cache_merge, 0},
    {"export", ld_cache_export, BIT(OPT_OUT) | BIT(OPT_NPZ) | BIT(OPT_NATIVE)},
    {"diff", ld_cache_diff, BIT(OPT_TOLERANCE)},
};

/* True if the option asks for a text, which is then printed. */
static bool answer(int option)
{
    if (option == OPT_HELP_CONFIG)
        ld_setup_print_keys(stdout);
    else if (option == OPT_HELP)
        fputs(usage, stdout);
    else if (option == OPT_VERSION)
        puts("ld-cache " LD_VERSION);
    else
        return false;
    return true;
}

static bool parse_records(const char *text, int *records, struct ld_err *err)
{
    char *end;
    long number = strtol(text, &end, 10);

    *records = (int)number;
    return (end != text && *end == 0 && number > 0 && number <= INT_MAX) ||
           ld_fail(err, LD_ERR_USAGE, "--records %s: expected a number from 1",
                   text);
}

static bool take_grad_error(struct ld_settings *settings, const char *value,
                            struct ld_arena *arena, struct ld_err *err)
{
    if (strcmp(value, "exact") == 0)
        return ld_settings_add(settings, "cache.storage=", "fp32", arena, err);
    return ld_settings_add(settings, "cache.storage=", "predicted", arena,
                           err) &&
           ld_settings_add(settings, "cache.grad_error=", value, arena, err);
}

static bool take_option(struct ld_cache_command *command, int option,
                        struct ld_err *err)
{
    struct ld_settings *settings = &command->settings;
    struct ld_arena *arena = command->arena;

    switch (option) {
    case OPT_TEACHER:
        command->teacher = optarg;
        return true;
    case OPT_OUT:
        command->out = optarg;
        return true;
    case OPT_PART:
        command->part = optarg;
        return true;
    case OPT_GRAD_ERROR:
        return take_grad_error(settings, optarg, arena, err);
    case OPT_SELECT:
        return ld_settings_add(settings, "cache.select=", optarg, arena, err);
    case OPT_RECORDS:
        return parse_records(optarg, &command->records, err);
    case OPT_NPZ:
        command->npz = true;
        return true;
    case OPT_NATIVE:
        command->native = true;
        return true;
    case OPT_TOLERANCE:
        command->tolerance = optarg;
        return true;
    case OPT_SET:
        return ld_settings_add(settings, "", optarg, arena, err);
    case OPT_DEVICE:
        return ld_settings_add(settings, "device=", optarg, arena, err);
    case OPT_THREADS:
        return ld_settings_add(settings, "threads=", optarg, arena, err);
    default: /* getopt has said what is wrong */
        return ld_fail(err, LD_ERR_USAGE, "see ld-cache --help");
    }
}

static bool only_own(const struct command *command, unsigned given,
                     struct ld_err *err)
{
    for (const struct option *o = options; o->name; o++)
        if (given & ~command->options & BIT(o->val))
            return ld_fail(err, LD_ERR_USAGE,
                           "--%s: is no option of %s (see --help)", o->name,
                           command->name);
    return true;
}

/* `given`: the options that there were, a bit each. */
static bool run_command(struct ld_cache_command *command, unsigned given,
                        int argc, char **argv, struct ld_err *err)
{
    const char *name = optind < argc ? argv[optind] : "";

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        command->words = (const char *const *)argv + optind + 1;
        command->n_words = argc - optind - 1;
        return only_own(&commands[i], given, err) &&
               commands[i].run(command, err);
    }
    return ld_fail(err, LD_ERR_USAGE,
                   "'%s': expected precompute, verify, merge, export or diff "
                   "(see --help)",
                   name);
}

int main(int argc, char **argv)
{
    struct ld_err err = {0};
    struct ld_arena arena = {0};
    struct ld_cache_command command = {.arena = &arena};
    unsigned given = 0;
    int option;

    ld_parallel_start(argv);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (answer(option) || !take_option(&command, option, &err))
            break;
        given |= BIT(option);
    }
    if (option == -1)
        run_command(&command, given, argc, argv, &err);
    ld_arena_free(&arena);

    if (err.code != LD_OK)
        fprintf(stderr, "ld-cache: %s\n", err.text);
    else if (command.differs)
        return 1;
    return (int)err.code;
}
