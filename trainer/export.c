#include "trainer/export.h"

#include <stdio.h>
#include <string.h>

#include "formats/safetensors_write.h"
#include "formats/setup.h"
#include "kernels/loss.h"
#include "trainer/export_mmdet.h"
#include "trainer/export_onnx.h"

/* mmdetection's GFL heads keep the distances of their bins, 0 to reg_max, as if
 * they were learnt (spec: model.md, section 11); its strict loading wants them.
 * A checkpoint that came from there may hold them, one of ours does not. */
static const char PROJECT[] = "bbox_head.integral.project";

static void drop_project(struct ld_checkpoint *c)
{
    int kept = 0;

    for (int i = 0; i < c->n_tensors; i++)
        if (strcmp(c->tensors[i].name, PROJECT) != 0)
            c->tensors[kept++] = c->tensors[i];
    c->n_tensors = kept;
}

/* At its place in the order of names. */
static bool add_project(struct ld_export *e, struct ld_arena *arena,
                        struct ld_err *err)
{
    struct ld_checkpoint *c = &e->checkpoint;
    size_t n = (size_t)c->n_tensors, n_bins = (size_t)e->model.reg_max + 1;
    struct ld_tensor *all = ld_arena_new(arena, n + 1, sizeof(*all), err);
    float *distance = ld_arena_new(arena, n_bins, sizeof(float), err);
    size_t place = 0;

    if (!all || !distance)
        return false;
    while (place < n && strcmp(c->tensors[place].name, PROJECT) < 0)
        place++;
    for (size_t i = 0; i < n_bins; i++)
        distance[i] = (float)i;
    memcpy(all, c->tensors, place * sizeof(*all));
    all[place] = (struct ld_tensor){PROJECT, distance, 1, {(int)n_bins}};
    memcpy(all + place + 1, c->tensors + place, (n - place) * sizeof(*all));
    c->tensors = all;
    c->n_tensors++;
    return true;
}

static bool write_safetensors(const struct ld_export *in, const char *path,
                              struct ld_err *err)
{
    return ld_safetensors_write(path, &in->checkpoint, err);
}

static bool write_h5(const struct ld_export *in, const char *path,
                     struct ld_err *err)
{
    return ld_checkpoint_save(path, &in->checkpoint, err);
}

/* The config that goes along, with the settings in it; but the model is what
 * the tensors are. The text is the buffer's. */
static bool apply_settings(struct ld_export *e,
                           const struct ld_settings *settings,
                           struct ld_buf *text, struct ld_arena *arena,
                           struct ld_err *err)
{
    const struct ld_model model = e->config.model;

    if (settings->n == 0)
        return true;
    if (!ld_settings_apply(settings, &e->config, arena, err))
        return false;
    e->config.model = model;
    ld_config_text(&e->config, text);
    ld_buf_put(text, "", 1);
    e->checkpoint.config = (const char *)text->data;
    return ld_buf_ok(text, err);
}

struct format {
    const char *name, *ending;
    bool for_torch; /* holds all of the state_dict of mmdetection */
    bool (*write)(const struct ld_export *in, const char *path,
                  struct ld_err *err);
};

static const struct format formats[] = {
    {"mmdet", ".pth", true, ld_export_mmdet},
    {"safetensors", ".safetensors", true, write_safetensors},
    {"onnx", ".onnx", false, ld_export_onnx},
    {"h5", ".h5", false, write_h5},
};

enum { N_FORMATS = sizeof(formats) / sizeof(formats[0]) };

/* "h5, mmdet, safetensors" */
static void list_formats(char out[100])
{
    size_t len = 0;

    for (size_t i = 0; i < N_FORMATS; i++)
        len += (size_t)snprintf(out + len, 100 - len, "%s%s", i ? ", " : "",
                                formats[i].name);
}

static bool ends_in(const char *text, const char *ending)
{
    size_t len = strlen(text), n = strlen(ending);

    return len > n && strcmp(text + len - n, ending) == 0;
}

static const struct format *find_format(const char *name, const char *out,
                                        struct ld_err *err)
{
    char names[100];

    for (size_t i = 0; i < N_FORMATS; i++)
        if (name ? strcmp(name, formats[i].name) == 0
                 : ends_in(out, formats[i].ending))
            return &formats[i];
    list_formats(names);
    if (name)
        ld_fail(err, LD_ERR_USAGE, "--format: '%s': expected one of %s", name,
                names);
    else
        ld_fail(err, LD_ERR_USAGE,
                "%s: its ending is of no format: expected --format, one of %s",
                out, names);
    return NULL;
}

/* What only our own format can say. */
static bool check_format(const struct format *f, const struct ld_export *e,
                         struct ld_err *err)
{
    bool own = strcmp(f->name, "h5") == 0;

    if (!own && e->model.head != LD_HEAD_GFL && e->model.head != LD_HEAD_GFLV2)
        return ld_fail(err, LD_ERR_USAGE,
                       "--format: %s has no form for a head of %s with "
                       "distributions: expected h5",
                       f->name,
                       e->model.head == LD_HEAD_FCOS   ? "FCOS"
                       : e->model.head == LD_HEAD_ATSS ? "ATSS"
                                                       : "RetinaNet");
    if (strcmp(f->name, "onnx") == 0 && e->config.views.rules.bgr)
        return ld_fail(err, LD_ERR_USAGE,
                       "--format: onnx says that images are RGB, view.bgr is "
                       "true: expected another");
    return true;
}

bool ld_export_run(const char *from, const char *format, const char *out,
                   const struct ld_settings *settings, struct ld_err *err)
{
    const struct format *f = find_format(format, out, err);
    struct ld_buf text = {.max = 1 << 24};
    struct ld_arena arena = {0};
    struct ld_export e;
    bool ok;

    if (!f)
        return false;
    ok =
        ld_checkpoint_load(from, &e.checkpoint, &arena, err) &&
        ld_setup_model(&e.checkpoint, from, &e.model, &e.config, &arena, err) &&
        apply_settings(&e, settings, &text, &arena, err);
    if (ok && e.checkpoint.note)
        fprintf(stderr, "ld-distill: %s: %s\n", from, e.checkpoint.note);
    e.checkpoint.n_momentum = 0;
    drop_project(&e.checkpoint);
    ok = ok && check_format(f, &e, err) &&
         (!f->for_torch || add_project(&e, &arena, err)) &&
         f->write(&e, out, err);
    ld_buf_free(&text);
    ld_arena_free(&arena);
    return ok;
}
