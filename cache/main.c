/* ld-cache - runs the teacher once over a data set and keeps what it said.
 *
 *     image -> view -> teacher -> regions -> codec -> shard */

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cache/precompute.h"
#include "formats/setup.h"
#include "kernels/base/parallel.h"

static const char usage[] =
    "usage: ld-cache precompute CONFIG --teacher CHECKPOINT --out FOLDER\n"
    "\n"
    "Runs the teacher over every view (plain and mirrored, or as many seeded\n"
    "ones as cache.views says) of the training images that CONFIG names, and\n"
    "keeps, in HDF5 shards in FOLDER, the logits that a student's losses "
    "read:\n"
    "the box distributions of the main region and of the valuable "
    "localization\n"
    "region, the classes of the main region (of both with loss.vlr_kd).\n"
    "Run again after a kill, it goes on after the last finished shard.\n"
    "\n"
    "  --teacher CHECKPOINT  of ld-distill train, or a .pth or .safetensors\n"
    "  --out FOLDER          of the shards; made if absent\n"
    "  --set KEY=VALUE       sets one key of the config; may be repeated\n"
    "  --device NAME         auto, cpu or cuda (key device)\n"
    "  --threads N           of the CPU; 0: all cores (key threads)\n"
    "  --help-config         every key with its default and meaning\n"
    "  --help, --version\n"
    "\n"
    "Keys of interest: cache.storage (fp16, fp32), cache.images_per_shard,\n"
    "cache.skip_bad, cache.views, view.*, assign.*, data.*. See the README.\n";

enum {
    OPT_TEACHER = 256,
    OPT_OUT,
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
    {"set", required_argument, NULL, OPT_SET},
    {"device", required_argument, NULL, OPT_DEVICE},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"help-config", no_argument, NULL, OPT_HELP_CONFIG},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {0},
};

struct command {
    struct ld_precompute job;
    struct ld_settings settings; /* applied after the config file */
    struct ld_arena *arena;
    bool answered; /* --help and the like: nothing is left to do */
};

static bool take_option(struct command *command, int option, struct ld_err *err)
{
    struct ld_settings *settings = &command->settings;
    struct ld_arena *arena = command->arena;

    switch (option) {
    case OPT_TEACHER:
        command->job.teacher = optarg;
        return true;
    case OPT_OUT:
        command->job.out = optarg;
        return true;
    case OPT_SET:
        return ld_settings_add(settings, "", optarg, arena, err);
    case OPT_DEVICE:
        return ld_settings_add(settings, "device=", optarg, arena, err);
    case OPT_THREADS:
        return ld_settings_add(settings, "threads=", optarg, arena, err);
    case OPT_HELP_CONFIG:
        ld_setup_print_keys(stdout);
        break;
    case OPT_HELP:
        fputs(usage, stdout);
        break;
    case OPT_VERSION:
        puts("ld-cache " LD_VERSION);
        break;
    default: /* getopt has said what is wrong */
        return ld_fail(err, LD_ERR_USAGE, "see ld-cache --help");
    }
    command->answered = true;
    return true;
}

static bool read_command(struct command *command, int argc, char **argv,
                         struct ld_config *config, struct ld_err *err)
{
    struct ld_arena *arena = command->arena;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!take_option(command, option, err))
            return false;
        if (command->answered)
            return true;
    }
    if (argc - optind != 2 || strcmp(argv[optind], "precompute") != 0)
        return ld_fail(err, LD_ERR_USAGE,
                       "expected: ld-cache precompute CONFIG --teacher "
                       "CHECKPOINT --out FOLDER (see --help)");
    if (!command->job.teacher || !command->job.out)
        return ld_fail(err, LD_ERR_USAGE, "%s is missing (see --help)",
                       command->job.teacher ? "--out" : "--teacher");

    return ld_setup_config(config, argv[optind + 1], &command->settings, arena,
                           err);
}

int main(int argc, char **argv)
{
    struct ld_err err = {0};
    struct ld_arena arena = {0};
    struct ld_config config;
    struct command command = {.job.config = &config, .arena = &arena};

    ld_parallel_start(argv);
    if (read_command(&command, argc, argv, &config, &err) && !command.answered)
        ld_precompute_run(&command.job, &err);
    ld_arena_free(&arena);

    if (err.code != LD_OK)
        fprintf(stderr, "ld-cache: %s\n", err.text);
    return (int)err.code;
}
