#include "formats/config_table.h"

#include <stdio.h>
#include <string.h>

#include "formats/codec.h"
#include "formats/config.h"
#include "formats/dataset.h"
#include "formats/shard.h"

/* The position of a word is the value of its enum. */
_Static_assert(LD_DATASET_COCO == 0 && LD_DATASET_VOC == 1, "data.format");
_Static_assert(LD_TEACHER_NONE == 0 && LD_TEACHER_CACHE == 1 &&
                   LD_TEACHER_RESIDENT == 2,
               "teacher.source");
_Static_assert(LD_RESNET == 0 && LD_RES2NET == 1, "model.backbone");
_Static_assert(LD_DCN_NONE == 0 && LD_DCN_V1 == 1 && LD_DCN_V2 == 2,
               "model.dcn");
_Static_assert(LD_HEAD_GFL == 0 && LD_HEAD_GFLV2 == 1 && LD_HEAD_ATSS == 2 &&
                   LD_HEAD_FCOS == 3 && LD_HEAD_RETINA == 4,
               "model.head");
_Static_assert(LD_STYLE_PYTORCH == 0 && LD_STYLE_CAFFE == 1 &&
                   sizeof(enum ld_style) == sizeof(int),
               "model.style");
_Static_assert(LD_VLR_CODE == 0 && LD_VLR_DIOU == 1, "assign.vlr_mode");
_Static_assert(LD_SCALE_NONE == 0 && LD_SCALE_RANGE == 1 &&
                   LD_SCALE_VALUE == 2 &&
                   sizeof(enum ld_multi_scale) == sizeof(int),
               "view.multi_scale");
_Static_assert(LD_BOX_GIOU == 0 && LD_BOX_CIOU == 1, "loss.box_loss");
_Static_assert(LD_NORM_SUM == 0 && LD_NORM_PER_IMAGE == 1 &&
                   LD_NORM_AVG_FACTOR == 2,
               "loss.ld_norm");
_Static_assert(LD_IMITATE_FINEGRAINED == 0 && LD_IMITATE_FITNET == 1 &&
                   LD_IMITATE_DECOUPLE == 2 && LD_IMITATE_GIBOX == 3 &&
                   LD_IMITATE_MAIN == 4 && LD_IMITATE_GI_TEACHER == 5,
               "loss.imitation");
_Static_assert(LD_NMS_PLAIN == 0 && LD_NMS_VOTING == 1 &&
                   sizeof(enum ld_nms) == sizeof(int),
               "test.nms");
_Static_assert(LD_STORAGE_FP32 == 0 && LD_STORAGE_FP16 == 1 &&
                   LD_STORAGE_PREDICTED == 2,
               "cache.storage");
_Static_assert(LD_SELECT_LD == 0 && LD_SELECT_VLR_ALL == 1 &&
                   LD_SELECT_DENSE == 2,
               "cache.select");
_Static_assert(sizeof(enum ld_vlr_mode) == sizeof(int) &&
                   sizeof(enum ld_ld_norm) == sizeof(int) &&
                   sizeof(enum ld_box_loss) == sizeof(int) &&
                   sizeof(enum ld_imitation) == sizeof(int),
               "an enum is stored as an int");

_Static_assert(offsetof(struct ld_config, train.n_lr_steps) ==
                   offsetof(struct ld_config, train.lr_steps) +
                       LD_MAX_LR_STEPS * sizeof(int),
               "a list of numbers is followed by its length");
_Static_assert((int)LD_MAX_SHORT_EDGES == (int)LD_MAX_LR_STEPS &&
                   offsetof(struct ld_config, views.n_short_edges) ==
                       offsetof(struct ld_config, views.short_edges) +
                           LD_MAX_SHORT_EDGES * sizeof(int),
               "and so is the other");

static const char *const formats[] = {"coco", "voc", NULL};
static const char *const divisors[] = {"32", "64", "128", NULL};
static const char *const scales[] = {"none", "range", "value", NULL};
static const char *const backbones[] = {"resnet", "res2net", NULL};
static const char *const dcns[] = {"none", "v1", "v2", NULL};
static const char *const heads[] = {"gfl",  "gflv2",  "atss",
                                    "fcos", "retina", NULL};
static const char *const styles[] = {"pytorch", "caffe", NULL};
static const char *const depths[] = {"18", "34", "50", "101", NULL};
static const char *const sources[] = {"none", "cache", "resident", NULL};
static const char *const vlr_modes[] = {"code", "diou", NULL};
static const char *const box_losses[] = {"giou", "ciou", NULL};
static const char *const ld_norms[] = {"sum", "per_image", "avg_factor", NULL};
static const char *const imitations[] = {
    "finegrained", "fitnet", "decouple", "gibox", "main", "gi_teacher", NULL};
static const char *const nmses[] = {"plain", "voting", NULL};
static const char *const storages[] = {"fp32", "fp16", "predicted", NULL};
static const char *const selects[] = {"ld", "vlr-all", "dense", NULL};
static const char *const devices[] = {"auto", "cpu", "cuda", NULL};
static const char *const precisions[] = {"auto", "fp32", "tf32", "bf16", NULL};

#define AT(field) offsetof(struct ld_config, field)

/* Defaults: GFL R-18, COCO 1x, as the LD paper trains it (spec configs 1). */
const struct ld_setting ld_settings_table[] = {
    {"data.format", LD_SETTING_ENUM, AT(data.format), "coco", 0, 0, formats,
     "How the annotations are written."},
    {"data.train", LD_SETTING_PATHS, AT(data.train), "''", 0, 0, NULL,
     "Training annotations. COCO: the instances JSON. VOC: the folder with "
     "Annotations, ImageSets and JPEGImages; ':' joins several."},
    {"data.train_images", LD_SETTING_PATH, AT(data.train_images), "''", 0, 0,
     NULL, "COCO: folder of the training images."},
    {"data.train_split", LD_SETTING_TEXT, AT(data.train_split), "''", 0, 0,
     NULL,
     "VOC: name in ImageSets/Main, such as trainval; ':' joins one for each "
     "folder of data.train."},
    {"data.val", LD_SETTING_PATHS, AT(data.val), "''", 0, 0, NULL,
     "Annotations to evaluate on, as data.train."},
    {"data.val_images", LD_SETTING_PATH, AT(data.val_images), "''", 0, 0, NULL,
     "COCO: folder of the images to evaluate on."},
    {"data.val_split", LD_SETTING_TEXT, AT(data.val_split), "''", 0, 0, NULL,
     "VOC: as data.train_split."},
    {"data.classes", LD_SETTING_TEXTS, AT(data.classes), "[]", 0,
     LD_MAX_CLASSES, NULL,
     "Classes to learn, in order. [] takes all of the training data: COCO by "
     "rising category id, VOC by alphabet."},
    {"data.repeat", LD_SETTING_INT, AT(data.repeat), "1", 1, 10000, NULL,
     "Passes over the training images that make one epoch (VOC recipes: 3)."},

    {"view.long_edge", LD_SETTING_INT, AT(views.rules.long_edge), "1333", 32,
     16384, NULL,
     "Images are scaled to fit: longer side at most this, in pixels."},
    {"view.short_edge", LD_SETTING_INT, AT(views.rules.short_edge), "800", 32,
     16384, NULL, "Shorter side at most this, in pixels."},
    {"view.multi_scale", LD_SETTING_ENUM, AT(views.multi_scale), "none", 0, 0,
     scales,
     "Scales to train at: none is view.short_edge alone; range a whole number "
     "between the two view.short_edges, inclusive; value one of them. "
     "Evaluation is always at view.short_edge."},
    {"view.short_edges", LD_SETTING_INTS, AT(views.short_edges), "[]", 32,
     16384, NULL,
     "Short edges to train at: [480, 800] or [480, 960] in the range recipes, "
     "[640, 800] in the value ones."},
    {"view.divisor", LD_SETTING_CHOICE, AT(views.rules.divisor), "32", 0, 0,
     divisors, "Canvas sides are padded to multiples of this."},
    {"view.flip", LD_SETTING_BOOL, AT(views.flip), "true", 0, 0, NULL,
     "Train on images and their mirror images, each with probability 1/2; a "
     "cache then holds both views."},
    {"view.mean", LD_SETTING_FLOATS, AT(views.rules.mean),
     "[123.675, 116.28, 103.53]", -1000, 1000, NULL,
     "Subtracted from red, green, blue (0 to 255), or as view.bgr orders "
     "them."},
    {"view.std", LD_SETTING_FLOATS, AT(views.rules.std),
     "[58.395, 57.12, 57.375]", 0.001, 1000, NULL,
     "What red, green, blue are then divided by."},
    {"view.bgr", LD_SETTING_BOOL, AT(views.rules.bgr), "false", 0, 0, NULL,
     "The network sees blue, green, red: for backbones of style caffe, with "
     "mean [103.53, 116.28, 123.675] and std [1, 1, 1]."},

    {"model.backbone", LD_SETTING_ENUM, AT(model.backbone), "resnet", 0, 0,
     backbones,
     "resnet (ResNeXt is one with groups), or res2net (v1d, 4 splits)."},
    {"model.depth", LD_SETTING_CHOICE, AT(model.depth), "18", 0, 0, depths,
     "ResNet: 18 and 34 with basic, 50 and 101 with bottleneck blocks."},
    {"model.style", LD_SETTING_ENUM, AT(model.style), "pytorch", 0, 0, styles,
     "Where a bottleneck has its stride: pytorch its 3x3; caffe its first 1x1, "
     "and the batch norms are fixed, gamma and beta too."},
    {"model.width", LD_SETTING_INT, AT(model.width), "64", 1, 1024, NULL,
     "Channels of the stem; ResNet's own is 64, a smaller one makes a tiny "
     "model."},
    {"model.groups", LD_SETTING_INT, AT(model.groups), "1", 1, 1024, NULL,
     "Groups of the 3x3 convolution of each bottleneck: 32 or 64 in ResNeXt."},
    {"model.base_width", LD_SETTING_INT, AT(model.base_width), "64", 1, 1024,
     NULL,
     "Channels of a group of that convolution, in 64ths of the block's own: "
     "ResNeXt 4, Res2Net 26."},
    {"model.dcn", LD_SETTING_ENUM, AT(model.dcn), "none", 0, 0, dcns,
     "Deformable 3x3 convolutions in the bottlenecks: v1, or v2 with a mask. "
     "The published \"DCN\" detectors are v1."},
    {"model.dcn_from", LD_SETTING_INT, AT(model.dcn_from), "2", 1, 4, NULL,
     "First layer that has them: 2 in R-101-DCN (C3 to C5), 3 in X-101-DCN "
     "(C4, C5)."},
    {"model.head", LD_SETTING_ENUM, AT(model.head), "gfl", 0, 0, heads,
     "gfl; gflv2: scores times a quality read off the distributions; atss or "
     "fcos: focal loss, scores times a centerness; retina: focal loss, nine "
     "anchors a place."},
    {"model.background_logit", LD_SETTING_BOOL, AT(model.background_logit),
     "false", 0, 0, NULL,
     "The class head has one channel more than there are classes, as in the "
     "reference's GFL V2 checkpoints."},
    {"model.fpn_channels", LD_SETTING_INT, AT(model.fpn_channels), "256", 1,
     4096, NULL, "Channels of the feature pyramid and of the head."},
    {"model.head_convs", LD_SETTING_INT, AT(model.head_convs), "4", 1, 8, NULL,
     "Convolutions in each of the head's two towers."},
    {"model.gn_groups", LD_SETTING_INT, AT(model.gn_groups), "32", 1, 1024,
     NULL, "Groups of the head's GroupNorm; divides model.fpn_channels."},
    {"model.reg_max", LD_SETTING_INT, AT(model.reg_max), "16", 1, 63, NULL,
     "A box side is a distribution over 0 to reg_max strides. Teacher and "
     "student must agree."},
    {"model.frozen_stages", LD_SETTING_INT, AT(model.frozen_stages), "1", -1, 4,
     NULL,
     "Not trained: 0 the stem; 1 to 4 also layer1 to that layer; -1 "
     "nothing is frozen."},
    {"model.norm_eval", LD_SETTING_BOOL, AT(model.norm_eval), "true", 0, 0,
     NULL,
     "BatchNorm uses its stored statistics in training too. For pretrained "
     "backbones; false to train from scratch."},
    {"model.init", LD_SETTING_PATH, AT(model_init), "''", 0, 0, NULL,
     "Checkpoint to start from: names that fit are taken over; a head of other "
     "classes begins anew. '' starts from random numbers."},

    {"teacher.source", LD_SETTING_ENUM, AT(teacher.source), "none", 0, 0,
     sources,
     "Where the teacher's logits come from: none (plain training), shards "
     "made by ld-cache, or the teacher run beside the student. `teacher: "
     "cache` is short for it."},
    {"teacher.checkpoint", LD_SETTING_PATH, AT(teacher.checkpoint), "''", 0, 0,
     NULL, "The teacher's checkpoint, for a resident one."},
    {"teacher.cache", LD_SETTING_PATH, AT(teacher.cache), "''", 0, 0, NULL,
     "Folder of shards."},

    {"assign.topk", LD_SETTING_INT, AT(assign.topk), "9", 1, 1000, NULL,
     "ATSS: candidates a level for each object."},
    {"assign.vlr_mode", LD_SETTING_ENUM, AT(assign.vlr_mode), "code", 0, 0,
     vlr_modes,
     "Valuable localization region: code as the published runs computed it, "
     "diou as the paper's text has it."},
    {"assign.vlr_gamma", LD_SETTING_FLOAT, AT(assign.vlr_gamma), "0.25", 0, 1,
     NULL, "The region reaches down to gamma times the ATSS threshold."},
    {"assign.vlr_exclude_main", LD_SETTING_BOOL, AT(assign.vlr_exclude_main),
     "false", 0, 0, NULL, "Take positive locations out of the region."},

    {"loss.qfl", LD_SETTING_FLOAT, AT(loss.qfl), "1", 0, 1000, NULL,
     "Weight of the class loss: quality focal; atss, fcos, retina: focal."},
    {"loss.box", LD_SETTING_FLOAT, AT(loss.box), "2", 0, 1000, NULL,
     "Weight of the box loss."},
    {"loss.dfl", LD_SETTING_FLOAT, AT(loss.dfl), "0.25", 0, 1000, NULL,
     "Weight of the distribution focal loss (box sides)."},
    {"loss.centerness", LD_SETTING_FLOAT, AT(loss.centerness), "1", 0, 1000,
     NULL, "Weight of the centerness loss, of heads atss and fcos."},
    {"loss.ld", LD_SETTING_FLOAT, AT(loss.ld), "0.25", 0, 1000, NULL,
     "Weight of localization distillation at positive locations."},
    {"loss.ld_T", LD_SETTING_FLOAT, AT(loss.ld_T), "10", 0.01, 1000, NULL,
     "Its temperature."},
    {"loss.vlr", LD_SETTING_FLOAT, AT(loss.vlr), "0.25", 0, 1000, NULL,
     "Weight of localization distillation in the valuable region."},
    {"loss.vlr_T", LD_SETTING_FLOAT, AT(loss.vlr_T), "10", 0.01, 1000, NULL,
     "Its temperature."},
    {"loss.kd", LD_SETTING_FLOAT, AT(loss.kd), "10", 0, 1000, NULL,
     "Weight of class distillation at positive locations."},
    {"loss.kd_T", LD_SETTING_FLOAT, AT(loss.kd_T), "2", 0.01, 1000, NULL,
     "Its temperature."},
    {"loss.vlr_kd", LD_SETTING_FLOAT, AT(loss.vlr_kd), "0", 0, 1000, NULL,
     "Weight of class distillation in the valuable region. Above 0, a cache "
     "holds class logits of that region too."},
    {"loss.box_loss", LD_SETTING_ENUM, AT(loss.box_loss), "giou", 0, 0,
     box_losses, "Which box loss."},
    {"loss.ld_norm", LD_SETTING_ENUM, AT(loss.ld_norm), "sum", 0, 0, ld_norms,
     "What the localization distillation sums are divided by: sum nothing, as "
     "published, so they grow with the batch; per_image keeps the strength of "
     "loss.norm_images images whatever the batch; avg_factor as GIoU and DFL."},
    {"loss.norm_images", LD_SETTING_FLOAT, AT(loss.norm_images), "3", 0.01,
     1000, NULL,
     "Images of the batch whose strength per_image keeps: 3 in the R-18 "
     "recipe."},
    {"loss.im", LD_SETTING_FLOAT, AT(loss.im), "0", 0, 1000, NULL,
     "Weight of feature imitation: the mean squared difference of the feature "
     "pyramids (2 in the R-50 recipe). Above 0, a cache holds feature rows."},
    {"loss.imitation", LD_SETTING_ENUM, AT(loss.imitation), "finegrained", 0, 0,
     imitations,
     "Where: finegrained at anchors whose IoU with an object is over half its "
     "best; fitnet at centres inside a box; decouple (DeFeat) there and, "
     "twice, everywhere else; main at positives; gibox where student and "
     "teacher differ most, 10 a level and batch; gi_teacher at the teacher's "
     "best boxes, 10 a level and image. decouple and gibox need a resident "
     "teacher."},

    {"train.batch", LD_SETTING_INT, AT(train.batch), "3", 1, 1024, NULL,
     "Images a step, of each rank if mpirun started several."},
    {"train.epochs", LD_SETTING_INT, AT(train.epochs), "12", 1, 10000, NULL,
     "Passes over the data."},
    {"train.seed", LD_SETTING_INT, AT(train.seed), "0", 0, 2147483647, NULL,
     "Start of every random choice: weights, order, flips."},
    {"train.group_by_aspect", LD_SETTING_BOOL, AT(train.group_by_aspect),
     "true", 0, 0, NULL,
     "Each batch holds images that are wider than high, or none, so that less "
     "of its canvas is padding."},
    {"train.lr", LD_SETTING_FLOAT, AT(train.lr), "0.00375", 0, 10, NULL,
     "Learning rate after warm-up; the published runs use 0.01 a 16 images, "
     "counted over all devices."},
    {"train.base_batch", LD_SETTING_INT, AT(train.base_batch), "0", 0, 100000,
     NULL,
     "Images a step that train.lr is meant for: the rate is train.lr times "
     "train.batch of all ranks over this (the published rule: 0.01 for 16). 0: "
     "train.lr as it stands."},
    {"train.momentum", LD_SETTING_FLOAT, AT(train.momentum), "0.9", 0, 1, NULL,
     "Momentum of SGD."},
    {"train.weight_decay", LD_SETTING_FLOAT, AT(train.weight_decay), "0.0001",
     0, 1, NULL, "Weight decay, on every trained parameter."},
    {"train.bias_rate", LD_SETTING_FLOAT, AT(train.bias_rate), "1", 0, 100,
     NULL,
     "Factor of the learning rate of the convolutions' biases: 2 for FCOS."},
    {"train.bias_decay", LD_SETTING_FLOAT, AT(train.bias_decay), "1", 0, 100,
     NULL, "Factor of their weight decay: 0 for FCOS."},
    {"train.warmup_steps", LD_SETTING_INT, AT(train.warmup_steps), "500", 0,
     1000000, NULL, "Steps over which the learning rate rises linearly."},
    {"train.warmup_ratio", LD_SETTING_FLOAT, AT(train.warmup_ratio), "0.001", 0,
     1, NULL, "Part of the learning rate that warm-up starts from."},
    {"train.lr_steps", LD_SETTING_INTS, AT(train.lr_steps), "[8, 11]", 0, 10000,
     NULL,
     "Before each of these epochs, counted from 0, the learning rate is "
     "divided by 10."},
    {"train.eval_every", LD_SETTING_INT, AT(train.eval_every), "1", 0, 10000,
     NULL, "Epochs between evaluations; 0: never."},
    {"train.save_every", LD_SETTING_INT, AT(train.save_every), "0", 0,
     1000000000, NULL,
     "Steps between checkpoints inside an epoch; 0: after each epoch only."},
    {"train.log_every", LD_SETTING_INT, AT(train.log_every), "50", 1, 1000000,
     NULL, "Steps between lines of the log."},
    {"train.loader_threads", LD_SETTING_INT, AT(train.loader_threads), "0", 0,
     256, NULL,
     "Threads that decode images and shards ahead of the step; 0: two beside a "
     "network on the CPU, else all cores of the rank but one, 8 at most."},

    {"test.score", LD_SETTING_FLOAT, AT(test.score_limit), "0.05", 0, 1, NULL,
     "A detection's score is above this."},
    {"test.iou", LD_SETTING_FLOAT, AT(test.iou_limit), "0.6", 0, 1, NULL,
     "A box that overlaps a better one by more is suppressed."},
    {"test.nms", LD_SETTING_ENUM, AT(test.nms), "plain", 0, 0, nmses,
     "plain, or voting: suppressed by IoU less the distance of centres, and "
     "the boxes kept averaged with their like, 0.1 to 0.3 AP better."},
    {"test.per_level", LD_SETTING_INT, AT(test.per_level), "1000", 1, 1000000,
     NULL, "Locations of a level that go on to suppression."},
    {"test.per_image", LD_SETTING_INT, AT(test.per_image), "100", 1, 100000,
     NULL, "Detections kept of an image."},

    {"cache.storage", LD_SETTING_ENUM, AT(cache.storage), "predicted", 0, 0,
     storages,
     "Logits in shards: fp32 is exact, fp16 half the size, predicted a sixth: "
     "whole numbers of a step chosen by cache.grad_error."},
    {"cache.grad_error", LD_SETTING_FLOAT, AT(cache.grad_error), "0.01", 0.0001,
     0.5, NULL,
     "Error of the distillation gradients that predicted storage may cost, "
     "relative, late in training; what it costs is measured and kept."},
    {"cache.select", LD_SETTING_ENUM, AT(cache.select), "ld", 0, 0, selects,
     "Logits that a cache holds. ld: what the losses read, boxes in both "
     "regions, classes in the main one; vlr-all: classes in both; dense: "
     "both at every location, for any rules of regions."},
    {"cache.views", LD_SETTING_INT, AT(views.n_seeded), "0", 0,
     LD_MAX_SEEDED_VIEWS, NULL,
     "Views of each image in a cache of several scales, drawn by "
     "cache.view_seed; that many passes over the data show each once. As many "
     "as the run has passes is the recipe itself; 0: one scale, plain and "
     "mirrored."},
    {"cache.view_seed", LD_SETTING_INT, AT(views.seed), "0", 0, 2147483647,
     NULL,
     "Seed of those views, apart from train.seed, so that a cache serves runs "
     "of any."},
    {"cache.images_per_shard", LD_SETTING_INT, AT(cache.images_per_shard),
     "1024", 1, 1000000, NULL,
     "Images in one shard file; an interrupted ld-cache loses at most one "
     "shard."},
    {"cache.skip_bad", LD_SETTING_BOOL, AT(cache.skip_bad), "false", 0, 0, NULL,
     "Leave out, and record, images that cannot be read; otherwise stop."},

    {"device", LD_SETTING_WORD, AT(device), "auto", 0, 0, devices,
     "What computes; auto takes CUDA where it works, else the CPU."},
    {"threads", LD_SETTING_INT, AT(threads), "0", 0, 1024, NULL,
     "CPU threads of the network; beside a GPU those of ld-cache that read, "
     "and "
     "that code. 0: one for each core, of the latter 8 at most."},
    {"precision", LD_SETTING_ENUM, AT(precision), "auto", 0, 0, precisions,
     "Numbers of the network. auto is fp32 on the CPU, which has no other, and "
     "tf32 with CUDA: fp32 whose products keep 10 bits of fraction. bf16 keeps "
     "maps in 16 bits too; parameters and losses are always fp32."},
};
const int ld_n_settings =
    sizeof(ld_settings_table) / sizeof(ld_settings_table[0]);

const struct ld_setting *ld_setting_find(const char *key)
{
    for (int i = 0; i < ld_n_settings; i++)
        if (strcmp(ld_settings_table[i].key, key) == 0)
            return &ld_settings_table[i];
    return NULL;
}

bool ld_setting_is_section(const char *name)
{
    size_t len = strlen(name);

    for (int i = 0; i < ld_n_settings; i++)
        if (strncmp(ld_settings_table[i].key, name, len) == 0 &&
            ld_settings_table[i].key[len] == '.')
            return true;
    return false;
}

/* ---- what is expected ---- */

/* "coco or voc", "none, cache or resident" */
static void list_words(const char *const *words, char out[200])
{
    int at = 0;

    for (int i = 0; words[i]; i++) {
        const char *between = i == 0 ? "" : words[i + 1] ? ", " : " or ";

        at += snprintf(out + at, (size_t)(200 - at), "%s%s", between, words[i]);
    }
}

void ld_setting_expected(const struct ld_setting *s, char out[200])
{
    switch (s->kind) {
    case LD_SETTING_INT:
        snprintf(out, 200, "a whole number from %.0f to %.0f", s->low, s->high);
        break;
    case LD_SETTING_FLOAT:
        snprintf(out, 200, "a number from %g to %g", s->low, s->high);
        break;
    case LD_SETTING_BOOL:
        snprintf(out, 200, "true or false");
        break;
    case LD_SETTING_TEXT:
        snprintf(out, 200, "a text");
        break;
    case LD_SETTING_PATH:
        snprintf(out, 200, "a path");
        break;
    case LD_SETTING_PATHS:
        snprintf(out, 200, "a path, or several joined by ':'");
        break;
    case LD_SETTING_ENUM:
    case LD_SETTING_CHOICE:
    case LD_SETTING_WORD:
        list_words(s->words, out);
        break;
    case LD_SETTING_FLOATS:
        snprintf(out, 200, "a list of 3 numbers from %g to %g", s->low,
                 s->high);
        break;
    case LD_SETTING_INTS:
        snprintf(out, 200,
                 "a list of at most %d whole numbers from %.0f to %.0f",
                 LD_MAX_LR_STEPS, s->low, s->high);
        break;
    case LD_SETTING_TEXTS:
        snprintf(out, 200, "a list of at most %.0f names", s->high);
        break;
    }
}
