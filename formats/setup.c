#include "formats/setup.h"

#include <string.h>

#include "formats/config_table.h"

bool ld_settings_add(struct ld_settings *settings, const char *prefix,
                     const char *value, struct ld_arena *arena,
                     struct ld_err *err)
{
    size_t len = strlen(prefix) + strlen(value);
    char *item = ld_arena_new(arena, len + 1, 1, err);

    if (!item)
        return false;
    if (settings->n == sizeof(settings->items) / sizeof(settings->items[0]))
        return ld_fail(err, LD_ERR_USAGE, "--set: more than %d settings",
                       settings->n);
    snprintf(item, len + 1, "%s%s", prefix, value);
    settings->items[settings->n++] = item;
    return true;
}

bool ld_settings_apply(const struct ld_settings *settings,
                       struct ld_config *config, struct ld_arena *arena,
                       struct ld_err *err)
{
    for (int i = 0; i < settings->n; i++)
        if (!ld_config_set(config, settings->items[i], arena, err))
            return false;
    return true;
}

bool ld_setup_config(struct ld_config *config, const char *path,
                     const struct ld_settings *settings, struct ld_arena *arena,
                     struct ld_err *err)
{
    return ld_config_default(config, arena, err) &&
           ld_config_read(config, path, arena, err) &&
           ld_settings_apply(settings, config, arena, err);
}

struct ld_device_options ld_setup_device(const struct ld_config *config)
{
    return (struct ld_device_options){
        .name = config->device,
        .n_threads = config->threads,
        .precision = (enum ld_precision)config->precision,
    };
}

void ld_setup_print_keys(FILE *to)
{
    struct ld_buf text = {.max = 1 << 20};

    ld_config_help(&text);
    fwrite(text.data, 1, text.len, to);
    ld_buf_free(&text);
}

struct ld_dataset *ld_setup_dataset(const struct ld_config *config,
                                    enum ld_split split, struct ld_err *err)
{
    bool train = split == LD_SPLIT_TRAIN;
    struct ld_dataset_source source = {
        .kind = (enum ld_dataset_kind)config->data.format,
        .annotations = train ? config->data.train : config->data.val,
        .images = train ? config->data.train_images : config->data.val_images,
        .split = train ? config->data.train_split : config->data.val_split,
        .class_names = config->data.classes.items,
        .n_classes = config->data.classes.n,
    };
    const char *key = train ? "data.train" : "data.val";

    if (!source.annotations[0]) {
        ld_fail(err, LD_ERR_USAGE, "%s: not set: expected %s", key,
                source.kind == LD_DATASET_COCO
                    ? "a COCO instances JSON"
                    : "a folder with Annotations, ImageSets and JPEGImages");
        return NULL;
    }
    return ld_dataset_read(&source, err);
}

bool ld_setup_model(const struct ld_checkpoint *checkpoint, const char *path,
                    struct ld_model *model, struct ld_config *config,
                    struct ld_arena *arena, struct ld_err *err)
{
    struct ld_config own;

    if (!checkpoint->config)
        return ld_fail(err, LD_ERR_FORMAT, "%s: no GFL detector: %s", path,
                       checkpoint->why_no_model);
    if (!ld_config_default(&own, arena, err) ||
        !ld_config_parse(&own, checkpoint->config, path, arena, err))
        return false;
    *model = own.model;
    model->n_classes = checkpoint->n_classes;
    if (config)
        *config = own;
    return true;
}

/* "-DCN (v1, C3-C5)", or nothing. */
static void dcn_text(const struct ld_model *model, char out[32])
{
    if (model->dcn == LD_DCN_NONE)
        out[0] = 0;
    else if (model->dcn_from >= 4)
        snprintf(out, 32, "-DCN (v%d, C5)", (int)model->dcn);
    else
        snprintf(out, 32, "-DCN (v%d, C%d-C5)", (int)model->dcn,
                 model->dcn_from + 1);
}

void ld_setup_model_text(const struct ld_model *model, char out[160])
{
    static const char *const heads[] = {[LD_HEAD_GFL] = "GFL",
                                        [LD_HEAD_GFLV2] = "GFL V2",
                                        [LD_HEAD_ATSS] = "ATSS-GFL",
                                        [LD_HEAD_FCOS] = "FCOS-GFL",
                                        [LD_HEAD_RETINA] = "Retina-GFL"};
    char backbone[32], dcn[32];

    dcn_text(model, dcn);
    if (model->groups > 1)
        snprintf(backbone, sizeof(backbone), "X-%d-%dx%dd", model->depth,
                 model->groups, model->base_width);
    else
        snprintf(backbone, sizeof(backbone), "%s-%d",
                 model->backbone == LD_RES2NET ? "R2N" : "R", model->depth);
    snprintf(out, 160,
             "%s %s%s%s, width %d, FPN %d, head %d x GN %d, %d classes%s, "
             "%d bins",
             heads[model->head], backbone, dcn,
             model->style == LD_STYLE_CAFFE ? " caffe" : "", model->width,
             model->fpn_channels, model->head_convs, model->gn_groups,
             model->n_classes, model->background_logit ? " + background" : "",
             model->reg_max + 1);
}

static bool has_class(const struct ld_dataset *set, const char *name)
{
    for (int i = 0; i < set->n_classes; i++)
        if (strcmp(set->class_names[i], name) == 0)
            return true;
    return false;
}

/* Names that are only assumed, none of which the data knows. */
static bool names_nothing(const struct ld_checkpoint *checkpoint,
                          const struct ld_dataset *set)
{
    for (int i = 0; i < checkpoint->n_classes; i++)
        if (has_class(set, checkpoint->class_names[i]))
            return false;
    return checkpoint->classes_assumed;
}

bool ld_setup_same_classes(const struct ld_checkpoint *checkpoint,
                           const char *path, const struct ld_dataset *set,
                           struct ld_err *err)
{
    const char *assumed =
        checkpoint->classes_assumed ? " (assumed: the file names none)" : "";

    if (checkpoint->n_classes != set->n_classes)
        return ld_fail(err, LD_ERR_MISMATCH,
                       "%s: has %d classes, the data set has %d", path,
                       checkpoint->n_classes, set->n_classes);
    if (names_nothing(checkpoint, set))
        return true;
    for (int i = 0; i < set->n_classes; i++)
        if (strcmp(checkpoint->class_names[i], set->class_names[i]) != 0)
            return ld_fail(err, LD_ERR_MISMATCH,
                           "%s: class %d is '%s'%s, in the data set it is '%s'",
                           path, i, checkpoint->class_names[i], assumed,
                           set->class_names[i]);
    return true;
}

bool ld_setup_teacher(const char *path, const struct ld_dataset *set,
                      const struct ld_config *config,
                      struct ld_checkpoint *checkpoint, struct ld_model *model,
                      struct ld_arena *arena, struct ld_err *err)
{
    const struct ld_model *student = &config->model;

    if (!ld_checkpoint_load(path, checkpoint, arena, err) ||
        !ld_setup_model(checkpoint, path, model, NULL, arena, err) ||
        !ld_setup_same_classes(checkpoint, path, set, err))
        return false;
    if (model->reg_max != student->reg_max)
        return ld_fail(err, LD_ERR_MISMATCH,
                       "%s: model.reg_max is %d, the student's is %d", path,
                       model->reg_max, student->reg_max);
    if ((model->head == LD_HEAD_FCOS) != (student->head == LD_HEAD_FCOS))
        return ld_fail(err, LD_ERR_MISMATCH,
                       "%s: one of teacher and student is FCOS, whose boxes "
                       "are told from other centres: model.head must be fcos "
                       "in both or none",
                       path);
    if ((model->head == LD_HEAD_RETINA) != (student->head == LD_HEAD_RETINA))
        return ld_fail(err, LD_ERR_MISMATCH,
                       "%s: one of teacher and student is RetinaNet, which has "
                       "nine anchors a place: model.head must be retina in "
                       "both or none",
                       path);
    if (config->loss.im > 0 && student->head == LD_HEAD_RETINA)
        return ld_fail(err, LD_ERR_USAGE,
                       "loss.im: %g, expected 0 with model.head retina: "
                       "features have places, not anchors",
                       (double)config->loss.im);
    return config->loss.im == 0 ||
           model->fpn_channels == student->fpn_channels ||
           ld_fail(err, LD_ERR_MISMATCH,
                   "%s: model.fpn_channels is %d, the student's is %d: "
                   "loss.im compares them one by one",
                   path, model->fpn_channels, student->fpn_channels);
}

bool ld_setup_cacheable(const struct ld_config *config, struct ld_err *err)
{
    if (config->loss.im == 0)
        return true;
    if (config->loss.imitation == LD_IMITATE_GIBOX)
        return ld_fail(err, LD_ERR_USAGE,
                       "loss.imitation: gibox chooses by the student's output "
                       "too, which no cache can hold: use gi_teacher, or "
                       "teacher.source resident");
    if (config->loss.imitation == LD_IMITATE_DECOUPLE)
        return ld_fail(err, LD_ERR_USAGE,
                       "loss.imitation: decouple reads the teacher everywhere, "
                       "too much for a cache: use fitnet, its foreground, or "
                       "teacher.source resident");
    return true;
}

static const char *imitation_name(const struct ld_config *config)
{
    if (config->loss.im == 0)
        return "none";
    return ld_setting_find("loss.imitation")->words[config->loss.imitation];
}

enum ld_select ld_setup_reads(const struct ld_config *config)
{
    return config->loss.vlr_kd > 0 ? LD_SELECT_VLR_ALL : LD_SELECT_LD;
}

static enum ld_select wider(int a, enum ld_select b)
{
    return (enum ld_select)a > b ? (enum ld_select)a : b;
}

struct ld_shard_facts ld_setup_facts(const struct ld_config *config,
                                     const struct ld_dataset *set,
                                     struct ld_setup_texts *texts)
{
    const struct ld_view_rules *view = &config->views.rules;
    struct ld_shard_facts facts = {
        .format = LD_SHARD_FORMAT,
        .program = "ld-cache " LD_VERSION,
        .annotations_sha256 = set->sha256,
        .class_names = set->class_names,
        .n_classes = set->n_classes,
        .reg_max = config->model.reg_max,
        .n_anchors = ld_head_anchors(config->model.head),
        .long_edge = view->long_edge,
        .multi_scale = ld_views_scale_name(config->views.multi_scale),
        .short_edges = texts->short_edges,
        .seeded_views = config->views.n_seeded,
        .view_seed = config->views.n_seeded > 0 ? config->views.seed : 0,
        .view_flip = config->views.flip,
        .divisor = view->divisor,
        .assigner = texts->assigner,
        .vlr_mode = config->assign.vlr_mode == LD_VLR_CODE ? "code" : "diou",
        .vlr_gamma = config->assign.vlr_gamma,
        .vlr_exclude_main = config->assign.vlr_exclude_main,
        .select = wider(config->cache.select, ld_setup_reads(config)),
        .imitation = imitation_name(config),
        .feature_channels =
            config->loss.im > 0 ? config->model.fpn_channels : 0,
        .storage = (enum ld_storage)config->cache.storage,
        .asked_gradient_error = config->cache.storage == LD_STORAGE_PREDICTED
                                    ? (double)config->cache.grad_error
                                    : 0,
    };

    memcpy(facts.mean, view->mean, sizeof(facts.mean));
    memcpy(facts.std, view->std, sizeof(facts.std));
    facts.bgr = view->bgr;
    ld_views_edges_text(&config->views, texts->short_edges);
    if (config->model.head == LD_HEAD_FCOS) {
        facts.vlr_mode = "inside";
        snprintf(texts->assigner, sizeof(texts->assigner), "FCOS");
    } else if (config->model.head == LD_HEAD_RETINA) {
        snprintf(texts->assigner, sizeof(texts->assigner),
                 "MaxIoU 0.5/0.4, 9 anchors, topk %d", config->assign.topk);
    } else {
        snprintf(texts->assigner, sizeof(texts->assigner), "ATSS topk %d",
                 config->assign.topk);
    }
    return facts;
}
