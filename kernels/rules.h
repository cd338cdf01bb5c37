/* rules.h - what is trained and by which rules: the numbers a config sets.
 *
 * Plain structs without code, so that formats/config fills the very ones that
 * the network, the assigner and the losses read. */
#pragma once

#include <stdbool.h>

enum ld_backbone {
    LD_RESNET,  /* also ResNeXt: groups > 1 */
    LD_RES2NET, /* v1d: deep stem, average pooling in the shortcuts */
};

enum ld_dcn { LD_DCN_NONE, LD_DCN_V1, LD_DCN_V2 };

enum ld_head {
    LD_HEAD_GFL,
    LD_HEAD_GFLV2,  /* scores times a quality read off the box distributions */
    LD_HEAD_ATSS,   /* these two: focal loss, scores times centerness */
    LD_HEAD_FCOS,   /* also its own centres, positives and P7 */
    LD_HEAD_RETINA, /* nine anchors a location, focal loss */
};

enum ld_style {
    LD_STYLE_PYTORCH, /* a bottleneck's stride is that of its 3x3 */
    LD_STYLE_CAFFE,   /* of its first 1x1; gamma and beta are never trained */
};

/* A GFL detector: backbone, FPN, head. */
struct ld_model {
    enum ld_backbone backbone;
    int depth; /* 18, 34, 50, 101 */
    enum ld_style style;
    int width;       /* channels of the stem: 64 */
    int groups;      /* of the bottlenecks' 3x3: 1; ResNeXt 32, 64 */
    int base_width;  /* the 3x3 has floor(planes * base_width / 64) * groups
                        channels: 64; ResNeXt 4; Res2Net 26, a split */
    enum ld_dcn dcn; /* deformable 3x3 in the bottlenecks ... */
    int dcn_from;    /* ... of layer2 to layer4: 2; of layer3, layer4: 3 */
    enum ld_head head;
    bool background_logit; /* K + 1 class logits: the reference's GFL V2 */
    int fpn_channels;      /* 256; also of the head */
    int head_convs;        /* 4 in each tower */
    int gn_groups;         /* 32 */
    int n_classes;         /* K */
    int reg_max;           /* 16: B = reg_max + 1 = 17 bins */
    int frozen_stages;     /* 1: stem and layer1; 0: the stem; -1: none */
    bool norm_eval;        /* BN on stored statistics, also in training */
};

enum ld_vlr_mode {
    LD_VLR_CODE, /* X = IoF(anchor, object) - centre gap: the published runs */
    LD_VLR_DIOU, /* X = IoU - centre gap: the paper's text */
};

/* The main and the valuable localization region (kernels/net/assign.h): by
 * ATSS, or for the head of FCOS by its own rules, which have no numbers. */
struct ld_assign_rules {
    int topk; /* 9 */
    enum ld_vlr_mode vlr_mode;
    float vlr_gamma;       /* 0.25: VLR where gamma * thr <= X < thr */
    bool vlr_exclude_main; /* false: a location may be in both */
};

enum ld_ld_norm {
    LD_NORM_SUM,        /* as the reference: grows with the images of a batch */
    LD_NORM_PER_IMAGE,  /* the sum times norm_images / N */
    LD_NORM_AVG_FACTOR, /* divided by the weights' sum, as GIoU and DFL are */
};

enum ld_box_loss { LD_BOX_GIOU, LD_BOX_CIOU };

/* Where a student imitates the teacher's features (kernels/net/imitate.h). The
 * names are the reference's; what each means is not always what they say. */
enum ld_imitation {
    LD_IMITATE_FINEGRAINED, /* anchors near the best one of an object */
    LD_IMITATE_FITNET,      /* centres inside a box: not the whole map */
    LD_IMITATE_DECOUPLE,    /* DeFeat: these, and twice all the others */
    LD_IMITATE_GIBOX,       /* where both networks differ most, in a batch */
    LD_IMITATE_MAIN,        /* the positives */
    LD_IMITATE_GI_TEACHER,  /* the teacher's best boxes, in an image */
};

struct ld_loss_rules {
    float qfl, box, dfl; /* loss weights: 1, 2, 0.25; qfl also of the focal
                            loss of the heads that have one */
    float centerness;    /* 1, of the heads that have one */
    float ld, ld_T;      /* 0.25, 10 */
    float vlr, vlr_T;    /* 0.25, 10 */
    float kd, kd_T;      /* 10, 2 */
    float vlr_kd;        /* 0: the reference has it, always off */
    enum ld_box_loss box_loss;
    enum ld_ld_norm ld_norm;
    float norm_images; /* images of the reference's batch, for per_image: 3 */
    float im;          /* feature imitation: 0; 2 in the R-50 recipe */
    enum ld_imitation imitation;
};

enum ld_nms {
    LD_NMS_PLAIN,  /* by IoU */
    LD_NMS_VOTING, /* by IoU and centres; boxes are voted on by their like */
};

struct ld_detect_rules {
    enum ld_nms nms;
    float score_limit; /* 0.05: a candidate's score is above it */
    float iou_limit;   /* 0.6: suppressed above it */
    int per_level;     /* 1000 locations of a level go on, by best score */
    int per_image;     /* 100 */
};
