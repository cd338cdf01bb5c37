/* ld-shapes - makes a data set of shapes whose borders are hard to place. */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/file.h"
#include "kernels/base/progress.h"
#include "scripts/shapes_truth.h"

static const char usage[] =
    "usage: ld-shapes OUT [options]\n"
    "\n"
    "Draws discs, boxes, triangles, rings and stars of 16 pixels and more "
    "whose\n"
    "borders are uncertain: blurred to one side, faded, smeared by motion, in\n"
    "shadow, behind bars and one another, on a textured ground. A box is the\n"
    "extent of the whole shape, cut at the image's edge. A shape less than a\n"
    "quarter of which is in sight is marked a crowd (COCO) or difficult "
    "(VOC);\n"
    "of less than a fiftieth nothing is said.\n"
    "\n"
    "  OUT/images/train_000001.jpg, train_000002.png, .. val_000001.jpg, ..\n"
    "  OUT/coco/train.json, val.json              COCO instances\n"
    "  OUT/voc/Annotations, ImageSets/Main, JPEGImages (a link to ../images)\n"
    "\n"
    "The same options give the same bytes.\n"
    "\n"
    "  --images N    for training (500)\n"
    "  --val N       for validation (200)\n"
    "  --size WxH    of an image; its ratio varies, its area stays (256x256)\n"
    "  --seed S      of everything random (0)\n"
    "  --one-class   every shape is called \"shape\": what is left to learn "
    "is\n"
    "                where its borders are\n"
    "  --help, --version\n";

enum { MIN_SIDE = 64, MAX_SIDE = 4096, MAX_IMAGES = 999999 };

enum {
    OPT_IMAGES = 256,
    OPT_VAL,
    OPT_SIZE,
    OPT_SEED,
    OPT_ONE_CLASS,
    OPT_HELP,
    OPT_VERSION
};

static const struct option options[] = {
    {"images", required_argument, NULL, OPT_IMAGES},
    {"val", required_argument, NULL, OPT_VAL},
    {"size", required_argument, NULL, OPT_SIZE},
    {"seed", required_argument, NULL, OPT_SEED},
    {"one-class", no_argument, NULL, OPT_ONE_CLASS},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {0},
};

struct plan {
    const char *out;
    int64_t n_train, n_val, H, W, seed;
    bool one_class;
};

/* Everything one image after another needs. */
struct maker {
    const struct plan *plan;
    struct ld_arena arena; /* of one image */
    struct ld_progress progress;
    int64_t n_made; /* the last image's id */
    struct ld_err *err;
};

/* ---- command line ---- */

static bool take_number(const char *flag, const char *text, int64_t low,
                        int64_t high, int64_t *out, struct ld_err *err)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < low || value > high)
        return ld_fail(err, LD_ERR_USAGE,
                       "%s %s: expected a whole number, %" PRId64
                       " to %" PRId64,
                       flag, text, low, high);
    *out = value;
    return true;
}

static bool take_size(struct plan *plan, const char *text, struct ld_err *err)
{
    char width[16];
    const char *x = strchr(text, 'x');

    if (!x || (size_t)(x - text) >= sizeof(width))
        return ld_fail(err, LD_ERR_USAGE, "--size %s: expected WxH, as 256x256",
                       text);
    memcpy(width, text, (size_t)(x - text));
    width[x - text] = 0;
    return take_number("--size", width, MIN_SIDE, MAX_SIDE, &plan->W, err) &&
           take_number("--size", x + 1, MIN_SIDE, MAX_SIDE, &plan->H, err);
}

static bool take_option(struct plan *plan, int option, struct ld_err *err)
{
    switch (option) {
    case OPT_IMAGES:
        return take_number("--images", optarg, 0, MAX_IMAGES, &plan->n_train,
                           err);
    case OPT_VAL:
        return take_number("--val", optarg, 0, MAX_IMAGES, &plan->n_val, err);
    case OPT_SIZE:
        return take_size(plan, optarg, err);
    case OPT_SEED:
        return take_number("--seed", optarg, 0, INT64_MAX, &plan->seed, err);
    case OPT_ONE_CLASS:
        plan->one_class = true;
        return true;
    default: /* getopt has said what is wrong */
        return ld_fail(err, LD_ERR_USAGE, "see ld-shapes --help");
    }
}

/* ---- the data set ---- */

static bool make_folders(const char *out, struct ld_err *err)
{
    static const char *const folders[] = {"images", "coco", "voc/Annotations",
                                          "voc/ImageSets/Main"};
    char path[4096];

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        if (!ld_path_join(path, out, folders[i], err) ||
            !ld_folder_make(path, err))
            return false;
    if (!ld_path_join(path, out, "voc/JPEGImages", err))
        return false;
    if (symlink("../images", path) != 0 && errno != EEXIST)
        return ld_fail(err, LD_ERR_IO, "%s: cannot link to ../images: %s", path,
                       strerror(errno));
    return true;
}

static bool write_image(const struct maker *m,
                        const struct ld_truth_image *name,
                        const struct ld_image *image)
{
    char file[64], path[4096];

    snprintf(file, sizeof(file), "images/%s.%s", name->name, name->ending);
    return ld_path_join(path, m->plan->out, file, m->err) &&
           ld_image_write(path, image, m->err);
}

static bool make_image(struct maker *m, struct ld_truth_split *split,
                       const struct ld_truth_image *name, struct ld_rng rng)
{
    struct ld_sight sights[LD_SCENE_MAX_FIGURES];
    struct ld_image image = {0};
    struct ld_scene scene;
    bool ok;

    ld_arena_clear(&m->arena);
    ld_scene_draw(&scene, (int)m->plan->H, (int)m->plan->W, &rng);
    ok = ld_scene_paint(&scene, &rng, &image, sights, &m->arena, m->err) &&
         write_image(m, name, &image) &&
         ld_truth_add(split, m->plan->out, name, &scene, sights, m->err);
    ld_image_free(&image);
    if (ok)
        ld_progress_show(&m->progress, name->id, "");
    return ok;
}

/* An image depends on the seed, its split and its place there alone. */
static bool make_split(struct maker *m, const char *name, uint64_t stream,
                       int64_t n, int64_t *n_objects)
{
    struct ld_truth_split split = {.name = name,
                                   .one_class = m->plan->one_class,
                                   .images.max = SIZE_MAX,
                                   .annotations.max = SIZE_MAX,
                                   .names.max = SIZE_MAX,
                                   .n_objects = *n_objects};
    uint64_t seed = (uint64_t)m->plan->seed;
    bool ok = true;

    for (int64_t i = 0; ok && i < n; i++) {
        struct ld_truth_image image = {.id = ++m->n_made,
                                       .ending = i % 2 ? "png" : "jpg"};

        snprintf(image.name, sizeof(image.name), "%s_%06" PRId64, name, i + 1);
        ok = make_image(m, &split, &image,
                        ld_rng_seed(ld_rng_hash(seed, stream, (uint64_t)i), 1));
    }
    ok = ok && ld_truth_write(&split, m->plan->out, m->err);
    *n_objects = split.n_objects;
    ld_buf_free(&split.images);
    ld_buf_free(&split.annotations);
    ld_buf_free(&split.names);
    return ok;
}

static bool make_all(const struct plan *plan, struct ld_err *err)
{
    struct maker m = {.plan = plan, .err = err};
    int64_t n_objects = 0;
    bool ok;

    ld_progress_start(&m.progress, "drawing", "images", 0,
                      plan->n_train + plan->n_val);
    ok = make_folders(plan->out, err) &&
         make_split(&m, "train", 0, plan->n_train, &n_objects) &&
         make_split(&m, "val", 1, plan->n_val, &n_objects);
    if (ok) {
        ld_progress_end(&m.progress, m.n_made, "");
        printf("%s: %" PRId64 " images for training, %" PRId64
               " for validation, %" PRId64 " objects\n",
               plan->out, plan->n_train, plan->n_val, n_objects);
    }
    ld_arena_free(&m.arena);
    return ok;
}

static bool run(int argc, char **argv, struct ld_err *err)
{
    struct plan plan = {.n_train = 500, .n_val = 200, .H = 256, .W = 256};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == OPT_HELP || option == OPT_VERSION) {
            fputs(option == OPT_HELP ? usage : "ld-shapes " LD_VERSION "\n",
                  stdout);
            return true;
        }
        if (!take_option(&plan, option, err))
            return false;
    }
    if (optind != argc - 1)
        return ld_fail(err, LD_ERR_USAGE,
                       "expected one folder to write, see ld-shapes --help");
    plan.out = argv[optind];
    return make_all(&plan, err);
}

int main(int argc, char **argv)
{
    struct ld_err err = {0};

    if (run(argc, argv, &err))
        return fflush(stdout) == 0 ? 0 : LD_ERR_IO;
    fprintf(stderr, "ld-shapes: %s\n", err.text);
    return (int)err.code;
}
