#include "trainer/commands.h"

#include <stdio.h>
#include <string.h>

#include "formats/file.h"
#include "kernels/backend.h"
#include "trainer/check.h"
#include "trainer/draw.h"
#include "trainer/evaluate.h"
#include "trainer/export.h"
#include "trainer/log.h"
#include "trainer/run.h"
#include "trainer/train.h"

static bool want_words(const struct ld_command_line *line, int least, int most,
                       const char *expected, struct ld_err *err)
{
    return (line->n_words >= least && line->n_words <= most) ||
           ld_fail(err, LD_ERR_USAGE, "expected: ld-distill %s (see --help)",
                   expected);
}

static bool want_out(const struct ld_command_line *line, struct ld_err *err)
{
    return line->out ||
           ld_fail(err, LD_ERR_USAGE, "--out is missing (see --help)");
}

/* ---- train, check ---- */

static bool read_config(const struct ld_command_line *line,
                        struct ld_config *config, struct ld_err *err)
{
    if (!ld_setup_config(config, line->words[0], &line->settings, line->arena,
                         err))
        return false;
    if (line->cache) {
        config->teacher.cache = line->cache;
        config->teacher.source = LD_TEACHER_CACHE;
    }
    return true;
}

bool ld_command_train(const struct ld_command_line *line, struct ld_err *err)
{
    struct ld_config config;
    struct ld_team team;
    struct ld_train job = {&config, line->out, line->resume, &team,
                           line->profile};
    bool ok = ld_team_start(&team, err) &&
              ld_team_agree(
                  &team,
                  want_words(line, 1, 1, "train CONFIG --out FOLDER", err) &&
                      want_out(line, err) && read_config(line, &config, err),
                  err) &&
              ld_train_run(&job, err);

    if (!ok)
        ld_team_fail(&team, err);
    ld_team_stop(&team);
    return ok;
}

bool ld_command_check(const struct ld_command_line *line, struct ld_err *err)
{
    struct ld_config config;

    return want_words(line, 1, 1, "check CONFIG", err) &&
           read_config(line, &config, err) && ld_check_run(&config, err);
}

/* ---- eval ---- */

static bool open_detector(struct ld_detector *detector, struct ld_device **dev,
                          const struct ld_command_line *line, const char *path,
                          struct ld_err *err)
{
    struct ld_device_options options;
    struct ld_config config;
    char note[200];

    /* The device is wanted before the checkpoint's own config is known: the
     * command line's keys alone say which. */
    *dev = NULL;
    if (!ld_config_default(&config, line->arena, err) ||
        !ld_settings_apply(&line->settings, &config, line->arena, err))
        return false;
    options = ld_setup_device(&config);
    *dev = ld_device_open(&options, note, err);
    if (!*dev)
        return false;
    fprintf(stderr, "ld-distill: %s\n", note);
    return ld_detector_open(detector, *dev, path, err) &&
           ld_settings_apply(&line->settings, &detector->config,
                             &detector->arena, err);
}

static bool eval_set(const struct ld_command_line *line,
                     struct ld_detector *detector, struct ld_device *dev,
                     const char *path, struct ld_err *err)
{
    struct ld_dataset *set =
        ld_setup_dataset(&detector->config, LD_SPLIT_VAL, err);
    struct ld_evaluation e = {&detector->config, set, dev, detector->net, NULL};
    struct ld_checkpoint classes = {.class_names = detector->class_names,
                                    .n_classes = detector->n_classes,
                                    .classes_assumed =
                                        detector->classes_assumed};
    struct ld_image_detections *images;
    struct ld_arena arena = {0};
    struct ld_scores scores;
    bool ok;

    ok = set && ld_setup_same_classes(&classes, path, set, err) &&
         ld_evaluate_detect(&e, &images, &arena, err) &&
         (!line->json || ld_evaluate_write_json(&e, images, line->json, err)) &&
         ld_evaluate_score(&e, images, true, &scores, err);
    ld_arena_free(&arena);
    ld_dataset_free(set);
    return ok;
}

bool ld_command_eval(const struct ld_command_line *line, struct ld_err *err)
{
    struct ld_detector detector = {0};
    struct ld_device *dev;
    bool ok;

    if (!want_words(line, 1, 1, "eval CHECKPOINT", err))
        return false;
    ok = open_detector(&detector, &dev, line, line->words[0], err) &&
         eval_set(line, &detector, dev, line->words[0], err);
    ld_detector_close(&detector);
    if (dev)
        dev->ops->close(dev);
    return ok;
}

/* ---- detect ---- */

static bool draw_path(const char *image, const char *out, char path[4096],
                      struct ld_err *err)
{
    const char *slash = strrchr(image, '/');
    const char *name = slash ? slash + 1 : image;
    const char *dot = strrchr(name, '.');
    char png[1024];

    snprintf(png, sizeof(png), "%.*s.png",
             (int)(dot ? dot - name : (ptrdiff_t)strlen(name)), name);
    return ld_path_join(path, out, png, err);
}

static void print_detections(const struct ld_detector *detector,
                             const char *image,
                             const struct ld_detections *found)
{
    for (int i = 0; i < found->n; i++) {
        const struct ld_detection *d = &found->items[i];

        printf("%s\t%s\t%.4f\t%.1f\t%.1f\t%.1f\t%.1f\n", image,
               detector->class_names[d->class_index], (double)d->score,
               (double)d->box.x0, (double)d->box.y0, (double)d->box.x1,
               (double)d->box.y1);
    }
}

static bool detect_image(const struct ld_evaluation *e,
                         const struct ld_detector *detector, const char *path,
                         const char *out, struct ld_err *err)
{
    struct ld_arena arena = {0};
    struct ld_image image = {0};
    struct ld_detections found;
    char picture[4096];
    bool ok;

    ok = ld_image_read(path, &image, err) &&
         ld_evaluate_image(e, &image, &arena, &found, err) &&
         draw_path(path, out, picture, err) &&
         ld_draw_detections(picture, &image, found.items, found.n, NULL, 0,
                            detector->class_names, err);
    if (ok)
        print_detections(detector, path, &found);
    ld_image_free(&image);
    ld_arena_free(&arena);
    return ok;
}

bool ld_command_detect(const struct ld_command_line *line, struct ld_err *err)
{
    struct ld_detector detector = {0};
    struct ld_evaluation e = {&detector.config, NULL, NULL, NULL, NULL};
    bool ok;

    if (!want_words(line, 1, 1 << 30,
                    "detect IMAGE... --checkpoint FILE --out FOLDER", err) ||
        !want_out(line, err))
        return false;
    if (!line->checkpoint)
        return ld_fail(err, LD_ERR_USAGE,
                       "--checkpoint is missing (see --help)");
    ok = ld_folder_make(line->out, err) &&
         open_detector(&detector, &e.dev, line, line->checkpoint, err);
    e.net = detector.net;
    for (int i = 0; ok && i < line->n_words; i++)
        ok = detect_image(&e, &detector, line->words[i], line->out, err);
    ld_detector_close(&detector);
    if (e.dev)
        e.dev->ops->close(e.dev);
    return ok;
}

/* ---- export ---- */

bool ld_command_export(const struct ld_command_line *line, struct ld_err *err)
{
    return want_words(line, 1, 1, "export CHECKPOINT --out FILE", err) &&
           want_out(line, err) &&
           ld_export_run(line->words[0], line->format, line->out,
                         &line->settings, err);
}

/* ---- curves ---- */

static bool read_curve(const char *folder, const char *key,
                       struct ld_curve *curve, struct ld_arena *arena,
                       struct ld_err *err)
{
    double *steps, *values;
    char path[4096];

    if (!ld_path_join(path, folder, "log.jsonl", err) ||
        !ld_log_read(path, key, &steps, &values, &curve->n, arena, err))
        return false;
    if (curve->n == 0)
        return ld_fail(err, LD_ERR_FORMAT, "%s: no line with \"%s\"", path,
                       key);
    curve->label = folder;
    curve->x = steps;
    curve->y = values;
    return true;
}

bool ld_command_curves(const struct ld_command_line *line, struct ld_err *err)
{
    struct ld_curve *curves;
    int n = line->n_words - 1;

    if (!want_words(line, 2, 64, "curves KEY FOLDER... --out FILE.svg", err) ||
        !want_out(line, err))
        return false;
    curves = ld_arena_new(line->arena, (size_t)n, sizeof(*curves), err);
    for (int i = 0; curves && i < n; i++)
        if (!read_curve(line->words[i + 1], line->words[0], &curves[i],
                        line->arena, err))
            return false;
    return curves && ld_draw_curves(line->out, line->words[0], "step",
                                    line->words[0], curves, n, err);
}
