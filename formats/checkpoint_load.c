#include <stdio.h>
#include <string.h>

#include "formats/checkpoint.h"
#include "formats/config.h"
#include "formats/file.h"
#include "formats/foreign_model.h"
#include "formats/foreign_names.h"
#include "formats/known_classes.h"
#include "formats/pth.h"
#include "formats/safetensors.h"

enum { MAX_CONFIG = 1 << 20, TAR_MAGIC = 257 };

/* ---- what else a checkpoint says ---- */

/* The names of known data sets, or numbers. */
static bool assume_classes(struct ld_checkpoint *out, int n_classes,
                           struct ld_arena *arena, struct ld_err *err)
{
    const char *set, *const *known = ld_known_classes(n_classes, &set);
    char text[160];

    if (n_classes > LD_MAX_CLASSES)
        return ld_fail(err, LD_ERR_FORMAT, "%d classes, expected at most %d",
                       n_classes, LD_MAX_CLASSES);
    out->class_names =
        ld_arena_new(arena, (size_t)n_classes, sizeof(*out->class_names), err);
    if (!out->class_names)
        return false;
    for (; out->n_classes < n_classes; out->n_classes++) {
        int i = out->n_classes;

        snprintf(text, sizeof(text), "class %d", i);
        out->class_names[i] =
            known ? known[i] : ld_arena_text(arena, text, strlen(text), err);
        if (!out->class_names[i])
            return false;
    }
    out->classes_assumed = true;
    snprintf(text, sizeof(text),
             "it names no classes: its %d are taken to be "
             "%s%s",
             n_classes, known ? set : "those of the data", known ? "'s" : "");
    out->note = ld_arena_text(arena, text, strlen(text), err);
    return out->note != NULL;
}

/* A whole config of which the model alone is known. */
static bool write_config(struct ld_checkpoint *out,
                         const struct ld_config *config, struct ld_arena *arena,
                         struct ld_err *err)
{
    struct ld_buf text = {.max = MAX_CONFIG};

    ld_config_text(config, &text);
    if (ld_buf_ok(&text, err))
        out->config =
            ld_arena_text(arena, (const char *)text.data, text.len, err);
    ld_buf_free(&text);
    return out->config != NULL;
}

static bool read_model(struct ld_checkpoint *out, const struct ld_foreign *f,
                       struct ld_arena *arena, struct ld_err *err)
{
    struct ld_config config;
    char why[LD_WHY_SIZE];

    if (!ld_config_default(&config, arena, err))
        return false;
    if (!ld_foreign_model(f, &config.model, why)) {
        out->why_no_model = ld_arena_text(arena, why, strlen(why), err);
        return out->why_no_model != NULL;
    }
    return write_config(out, &config, arena, err) &&
           (out->n_classes > 0 ||
            assume_classes(out, config.model.n_classes, arena, err));
}

static bool from_foreign(struct ld_checkpoint *out, struct ld_foreign *f,
                         const char *path, struct ld_arena *arena,
                         struct ld_err *err)
{
    *out = (struct ld_checkpoint){.epoch = f->epoch,
                                  .step = f->step,
                                  .config = f->config,
                                  .class_names = f->class_names,
                                  .n_classes = f->n_classes};
    if (!ld_foreign_rename(f, path, arena, err))
        return false;
    out->tensors = f->tensors;
    out->n_tensors = f->n_tensors;
    return out->config || read_model(out, f, arena, err) ||
           ld_fail_in(err, path);
}

/* ---- which format ---- */

/* Before 2017, torch.save wrote a tar archive. */
static bool is_tar(const struct ld_file *file)
{
    return file->len > TAR_MAGIC + 5 &&
           memcmp(file->data + TAR_MAGIC, "ustar", 5) == 0;
}

static bool load_foreign(const struct ld_file *file, const char *path,
                         struct ld_checkpoint *out, struct ld_arena *arena,
                         struct ld_err *err)
{
    struct ld_foreign foreign;
    bool ok = ld_pth_is(file)
                  ? ld_pth_load(file, path, &foreign, arena, err)
                  : ld_safetensors_load(file, path, &foreign, arena, err);

    return ok && from_foreign(out, &foreign, path, arena, err);
}

bool ld_checkpoint_load(const char *path, struct ld_checkpoint *out,
                        struct ld_arena *arena, struct ld_err *err)
{
    struct ld_file file;
    bool ok;

    *out = (struct ld_checkpoint){0};
    if (!ld_file_open(path, &file, err))
        return false;
    if (is_tar(&file))
        ok = ld_fail(err, LD_ERR_FORMAT,
                     "%s: is in the tar format of PyTorch before 0.1.10: load "
                     "it with torch.load and torch.save it again",
                     path);
    else if (ld_pth_is(&file) || ld_safetensors_is(&file))
        ok = load_foreign(&file, path, out, arena, err);
    else
        ok = ld_checkpoint_load_own(path, out, arena, err);
    ld_file_close(&file);
    return ok;
}
