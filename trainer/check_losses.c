#include "trainer/check_losses.h"

#include <stdio.h>

#include "kernels/loss.h"

struct line {
    const char *name;
    double weight, T; /* T 0: it has none */
    const char *over;
    const char *divisor;
    const char *factor; /* of each location */
};

static void print_line(const struct line *line)
{
    char T[16] = "-";

    if (line->T > 0)
        snprintf(T, sizeof(T), "%g", line->T);
    printf("          %-15s %8g %5s  %-21s %-24s %s\n", line->name,
           line->weight, T, line->over, line->divisor, line->factor);
}

/* What the localization distillation of `sides` is divided by. */
static void divisor_text(const struct ld_config *config, int sides,
                         char out[64])
{
    switch (config->loss.ld_norm) {
    case LD_NORM_SUM:
        snprintf(out, 64, "%d", sides);
        break;
    case LD_NORM_PER_IMAGE:
        snprintf(out, 64, "%d x %d images / %g", sides, config->train.batch,
                 (double)config->loss.norm_images);
        break;
    case LD_NORM_AVG_FACTOR:
        snprintf(out, 64, "%d x sum of %s", sides,
                 ld_head_has_centerness(config->model.head) ? "centerness"
                                                            : "scores");
        break;
    }
}

/* Of heads with a centerness. */
static void print_centred(const struct ld_loss_rules *r)
{
    print_line(&(struct line){"loss_cls", (double)r->qfl, 0, "all locations",
                              "positives of the batch", "1 (focal)"});
    print_line(&(struct line){
        "loss_bbox", (double)r->box, 0, "main region", "sum of centerness",
        r->box_loss == LD_BOX_CIOU ? "centerness, CIoU" : "centerness, GIoU"});
    print_line(&(struct line){"loss_dfl", (double)r->dfl, 0, "main region",
                              "4 x sum of centerness", "centerness"});
    print_line(&(struct line){"loss_centerness", (double)r->centerness, 0,
                              "main region", "positives of the batch", "1"});
}

static void print_retina(const struct ld_loss_rules *r)
{
    print_line(&(struct line){"loss_cls", (double)r->qfl, 0,
                              "anchors, not ignored", "positives of the batch",
                              "1 (focal)"});
    print_line(&(struct line){
        "loss_bbox", (double)r->box, 0, "main region", "positives of the batch",
        r->box_loss == LD_BOX_CIOU ? "1, CIoU" : "1, GIoU"});
    print_line(&(struct line){"loss_dfl", (double)r->dfl, 0, "main region",
                              "4 x positives", "1"});
}

static void print_plain(const struct ld_loss_rules *r)
{
    print_line(&(struct line){"loss_cls", (double)r->qfl, 0, "all locations",
                              "positives of the batch", "1"});
    print_line(&(struct line){
        "loss_bbox", (double)r->box, 0, "main region", "sum of scores",
        r->box_loss == LD_BOX_CIOU ? "score, CIoU" : "score, GIoU"});
    print_line(&(struct line){"loss_dfl", (double)r->dfl, 0, "main region",
                              "4 x sum of scores", "score"});
}

static void print_imitation(const struct ld_loss_rules *r)
{
    static const char *const over[] = {
        [LD_IMITATE_FINEGRAINED] = "near an object's best",
        [LD_IMITATE_FITNET] = "centres inside boxes",
        [LD_IMITATE_DECOUPLE] = "inside; rest twice",
        [LD_IMITATE_GIBOX] = "10 a level and batch",
        [LD_IMITATE_MAIN] = "main region",
        [LD_IMITATE_GI_TEACHER] = "10 a level and image",
    };

    print_line(&(struct line){"loss_im", (double)r->im, 0, over[r->imitation],
                              "places x channels", "1"});
}

static void print_distilling(const struct ld_config *config)
{
    const struct ld_loss_rules *r = &config->loss;
    char main_divisor[64], vlr_divisor[64];

    divisor_text(config, 4, main_divisor);
    divisor_text(config, 16, vlr_divisor);
    print_line(&(struct line){"loss_ld", (double)r->ld, (double)r->ld_T,
                              "main region", main_divisor, "score"});
    print_line(&(struct line){
        "loss_ld_vlr", (double)r->vlr, (double)r->vlr_T, "VLR", vlr_divisor,
        config->model.head == LD_HEAD_FCOS ? "score" : "IoU"});
    print_line(&(struct line){"loss_kd", (double)r->kd, (double)r->kd_T,
                              "main region", "positives of the level", "1"});
    if (r->vlr_kd > 0)
        print_line(&(struct line){"loss_kd_vlr", (double)r->vlr_kd,
                                  (double)r->kd_T, "VLR",
                                  "locations of the level", "1"});
    if (r->im > 0)
        print_imitation(r);
}

static void warn(const char *text)
{
    printf("  note:   %s\n", text);
}

static void warn_distilling(const struct ld_config *config, int n_classes)
{
    const struct ld_loss_rules *r = &config->loss;

    if (r->ld_norm == LD_NORM_SUM)
        warn("loss_ld and loss_ld_vlr are sums over the batch, as published: "
             "they grow with train.batch (loss.ld_norm: per_image does not)");
    if (r->kd > 0 && n_classes == 1)
        warn("loss_kd is 0 with one class: its softmax has nothing to "
             "compare");
    else if (r->kd > 0 && n_classes < 20)
        warn("loss_kd is a mean over the classes: with so few it is far "
             "stronger than with COCO's 80; try a lower loss.kd");
}

void ld_check_losses_print(const struct ld_config *config, int n_classes,
                           bool distils)
{
    printf("losses    %-15s %8s %5s  %-21s %-24s %s\n", "name", "weight", "T",
           "summed over", "divided by", "each location's factor");
    if (config->model.head == LD_HEAD_RETINA)
        print_retina(&config->loss);
    else if (ld_head_has_centerness(config->model.head))
        print_centred(&config->loss);
    else
        print_plain(&config->loss);
    if (distils) {
        print_distilling(config);
        warn_distilling(config, n_classes);
    } else {
        warn("no teacher (teacher.source: none): plain training");
    }
}
