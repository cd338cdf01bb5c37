/* ld-distill - trains detectors, plain or from a cached teacher; evaluates. */

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/parallel.h"
#include "trainer/commands.h"

static const char usage[] =
    "usage: ld-distill train CONFIG --out FOLDER [--cache FOLDER] [--resume]\n"
    "       ld-distill check CONFIG [--cache FOLDER]\n"
    "       ld-distill eval CHECKPOINT [--json FILE]\n"
    "       ld-distill detect IMAGE... --checkpoint FILE --out FOLDER\n"
    "       ld-distill export CHECKPOINT --out FILE [--format NAME]\n"
    "       ld-distill curves KEY FOLDER... --out FILE\n"
    "\n"
    "train    Trains the detector of CONFIG. With --cache it is distilled "
    "from\n"
    "         the shards that ld-cache precompute wrote; without, it is plain\n"
    "         (this is how a teacher is made), unless teacher.source says\n"
    "         resident. Writes FOLDER/epoch_NNN.h5, FOLDER/latest.h5 and\n"
    "         FOLDER/log.jsonl. The ranks of mpirun train together, each "
    "with\n"
    "         train.batch images a step of its own.\n"
    "check    Says what train would train: model, teacher, data, losses as "
    "they\n"
    "         really count, sizes of the regions, memory, time. Writes "
    "nothing.\n"
    "eval     COCO's twelve numbers or VOC's mean AP, and AP by class, over "
    "the\n"
    "         data.val of the checkpoint's config.\n"
    "detect   Draws what the detector finds into FOLDER/<name>.png, and "
    "prints\n"
    "         image, class, score, x0, y0, x1, y1 with tabs between.\n"
    "export   Writes the detector alone, without what only training needs, "
    "for\n"
    "         other programs, by --format or FILE's ending:\n"
    "         mmdet        .pth          torch.load, mmdetection 2.x\n"
    "         safetensors  .safetensors  its names and shapes too\n"
    "         h5           .h5           a checkpoint of this program\n"
    "         onnx         .onnx         from the image to the boxes, for\n"
    "                                    onnxruntime and others\n"
    "         --set changes the config that goes along: test.score, data.val\n"
    "curves   Plots KEY (loss, loss_ld, AP, ..) of the log of each FOLDER,\n"
    "         as SVG or PNG by FILE's ending.\n"
    "\n"
    "A CHECKPOINT is one of train, or another program's .pth or .safetensors.\n"
    "\n"
    "  --cache FOLDER        shards of the teacher (keys teacher.source "
    "cache,\n"
    "                        teacher.cache FOLDER)\n"
    "  --checkpoint FILE     the detector of detect: a CHECKPOINT\n"
    "  --out PATH            folder or file to write\n"
    "  --json FILE           of eval: detections as COCO results\n"
    "  --format NAME         of export; without, by FILE's ending\n"
    "  --profile FILE        of train: looks on for 20 steps, after 10 of "
    "warm-up,\n"
    "                        prints where their time went, and writes it "
    "as a\n"
    "                        trace for Perfetto or chrome://tracing\n"
    "  --resume              train goes on from FOLDER/latest.h5, to the bit\n"
    "  --set KEY=VALUE       sets one key of the config; may be repeated\n"
    "  --device NAME         auto, cpu or cuda (key device)\n"
    "  --threads N           of the CPU; 0: all cores (key threads)\n"
    "  --help-config         every key with its default and meaning\n"
    "  --help, --version\n";

enum {
    OPT_CACHE = 256,
    OPT_CHECKPOINT,
    OPT_OUT,
    OPT_JSON,
    OPT_FORMAT,
    OPT_PROFILE,
    OPT_RESUME,
    OPT_SET,
    OPT_DEVICE,
    OPT_THREADS,
    OPT_HELP_CONFIG,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option options[] = {
    {"cache", required_argument, NULL, OPT_CACHE},
    {"checkpoint", required_argument, NULL, OPT_CHECKPOINT},
    {"out", required_argument, NULL, OPT_OUT},
    {"json", required_argument, NULL, OPT_JSON},
    {"format", required_argument, NULL, OPT_FORMAT},
    {"profile", required_argument, NULL, OPT_PROFILE},
    {"resume", no_argument, NULL, OPT_RESUME},
    {"set", required_argument, NULL, OPT_SET},
    {"device", required_argument, NULL, OPT_DEVICE},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"help-config", no_argument, NULL, OPT_HELP_CONFIG},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {0},
};

typedef bool command_fn(const struct ld_command_line *line, struct ld_err *err);

static const struct {
    const char *name;
    command_fn *run;
} commands[] = {
    {"train", ld_command_train},   {"check", ld_command_check},
    {"eval", ld_command_eval},     {"detect", ld_command_detect},
    {"export", ld_command_export}, {"curves", ld_command_curves},
};

/* True if the option asks for a text, which is then printed. */
static bool answer(int option)
{
    if (option == OPT_HELP_CONFIG)
        ld_setup_print_keys(stdout);
    else if (option == OPT_HELP)
        fputs(usage, stdout);
    else if (option == OPT_VERSION)
        puts("ld-distill " LD_VERSION);
    else
        return false;
    return true;
}

static bool take_option(struct ld_command_line *line, int option,
                        struct ld_err *err)
{
    struct ld_settings *settings = &line->settings;

    switch (option) {
    case OPT_CACHE:
        line->cache = optarg;
        return true;
    case OPT_CHECKPOINT:
        line->checkpoint = optarg;
        return true;
    case OPT_OUT:
        line->out = optarg;
        return true;
    case OPT_JSON:
        line->json = optarg;
        return true;
    case OPT_FORMAT:
        line->format = optarg;
        return true;
    case OPT_PROFILE:
        line->profile = optarg;
        return true;
    case OPT_RESUME:
        line->resume = true;
        return true;
    case OPT_SET:
        return ld_settings_add(settings, "", optarg, line->arena, err);
    case OPT_DEVICE:
        return ld_settings_add(settings, "device=", optarg, line->arena, err);
    case OPT_THREADS:
        return ld_settings_add(settings, "threads=", optarg, line->arena, err);
    default: /* getopt has said what is wrong */
        return ld_fail(err, LD_ERR_USAGE, "see ld-distill --help");
    }
}

static bool run_command(struct ld_command_line *line, int argc, char **argv,
                        struct ld_err *err)
{
    const char *name = optind < argc ? argv[optind] : "";

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        line->words = (const char *const *)argv + optind + 1;
        line->n_words = argc - optind - 1;
        return commands[i].run(line, err);
    }
    return ld_fail(err, LD_ERR_USAGE,
                   "'%s': expected train, check, eval, detect, export or "
                   "curves (see --help)",
                   name);
}

int main(int argc, char **argv)
{
    struct ld_err err = {0};
    struct ld_arena arena = {0};
    struct ld_command_line line = {.arena = &arena};
    int option;

    ld_parallel_start(argv);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (answer(option) || !take_option(&line, option, &err))
            break;
    if (option == -1)
        run_command(&line, argc, argv, &err);
    ld_arena_free(&arena);

    if (err.code != LD_OK)
        fprintf(stderr, "ld-distill: %s\n", err.text);
    return (int)err.code;
}
