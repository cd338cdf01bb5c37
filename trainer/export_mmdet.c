#include "trainer/export_mmdet.h"

#include "formats/pth_write.h"

/* ---- the detector in mmdetection's own words: configs/_base_ of 2.x ---- */

static const char *yes_no(bool is)
{
    return is ? "True" : "False";
}

static void put_backbone(struct ld_buf *out, const struct ld_model *m)
{
    bool caffe = m->style == LD_STYLE_CAFFE;
    bool grouped = m->groups > 1, res2net = m->backbone == LD_RES2NET;

    ld_buf_printf(out,
                  "    backbone=dict(\n"
                  "        type='%s',\n"
                  "        depth=%d,\n"
                  "        base_channels=%d,\n",
                  res2net   ? "Res2Net"
                  : grouped ? "ResNeXt"
                            : "ResNet",
                  m->depth, m->width);
    if (grouped)
        ld_buf_printf(out, "        groups=%d,\n", m->groups);
    if (res2net)
        ld_buf_printf(out, "        scales=4,\n");
    if (grouped || res2net) /* theirs is in parts of base_channels, not of 64 */
        ld_buf_printf(out, "        base_width=%g,\n",
                      m->base_width * m->width / 64.0);
    if (m->dcn != LD_DCN_NONE)
        ld_buf_printf(out,
                      "        dcn=dict(\n"
                      "            type='%s',\n"
                      "            deform_groups=1,\n"
                      "            fallback_on_stride=False),\n"
                      "        stage_with_dcn=(%s, %s, %s, True),\n",
                      m->dcn == LD_DCN_V2 ? "DCNv2" : "DCN",
                      yes_no(m->dcn_from <= 1), yes_no(m->dcn_from <= 2),
                      yes_no(m->dcn_from <= 3));
    ld_buf_printf(out,
                  "        num_stages=4,\n"
                  "        out_indices=(0, 1, 2, 3),\n"
                  "        frozen_stages=%d,\n"
                  "        norm_cfg=dict(type='BN', requires_grad=%s),\n"
                  "        norm_eval=%s,\n"
                  "        style='%s'),\n",
                  m->frozen_stages, yes_no(!caffe), yes_no(m->norm_eval),
                  caffe ? "caffe" : "pytorch");
}

static void put_neck(struct ld_buf *out, const struct ld_model *m)
{
    int base = m->depth >= 50 ? 4 * m->width : m->width; /* bottlenecks */

    ld_buf_printf(out,
                  "    neck=dict(\n"
                  "        type='FPN',\n"
                  "        in_channels=[%d, %d, %d, %d],\n"
                  "        out_channels=%d,\n"
                  "        start_level=1,\n"
                  "        add_extra_convs='on_output',\n"
                  "        num_outs=5),\n",
                  base, 2 * base, 4 * base, 8 * base, m->fpn_channels);
}

static void put_head(struct ld_buf *out, const struct ld_export *in)
{
    const struct ld_model *m = &in->model;
    const struct ld_loss_rules *loss = &in->config.loss;
    bool v2 = m->head == LD_HEAD_GFLV2;

    ld_buf_printf(out,
                  "    bbox_head=dict(\n"
                  "        type='%s',\n"
                  "        num_classes=%d,\n"
                  "        in_channels=%d,\n"
                  "        stacked_convs=%d,\n"
                  "        feat_channels=%d,\n",
                  v2 ? "GFocalHead" : "GFLHead", m->n_classes, m->fpn_channels,
                  m->head_convs, m->fpn_channels);
    ld_buf_printf(out,
                  "        norm_cfg=dict(\n"
                  "            type='GN', num_groups=%d, requires_grad=True),\n"
                  "        anchor_generator=dict(\n"
                  "            type='AnchorGenerator',\n"
                  "            ratios=[1.0],\n"
                  "            octave_base_scale=8,\n"
                  "            scales_per_octave=1,\n"
                  "            strides=[8, 16, 32, 64, 128]),\n",
                  m->gn_groups);
    if (v2)
        ld_buf_printf(out, "        reg_topk=4,\n"
                           "        reg_channels=64,\n"
                           "        add_mean=True,\n");
    ld_buf_printf(out,
                  "        reg_max=%d,\n"
                  "        loss_cls=dict(\n"
                  "            type='QualityFocalLoss',\n"
                  "            use_sigmoid=%s,\n"
                  "            beta=2.0,\n"
                  "            loss_weight=%g),\n"
                  "        loss_dfl=dict(\n"
                  "            type='DistributionFocalLoss',\n"
                  "            loss_weight=%g),\n"
                  "        loss_bbox=dict(type='%s', loss_weight=%g)),\n",
                  m->reg_max, yes_no(!m->background_logit), (double)loss->qfl,
                  (double)loss->dfl,
                  loss->box_loss == LD_BOX_CIOU ? "CIoULoss" : "GIoULoss",
                  (double)loss->box);
}

static void put_rules(struct ld_buf *out, const struct ld_config *c)
{
    ld_buf_printf(
        out,
        "    train_cfg=dict(\n"
        "        assigner=dict(type='ATSSAssigner', topk=%d),\n"
        "        allowed_border=-1,\n"
        "        pos_weight=-1,\n"
        "        debug=False),\n"
        "    test_cfg=dict(\n"
        "        nms_pre=%d,\n"
        "        min_bbox_size=0,\n"
        "        score_thr=%g,\n"
        "        nms=dict(type='%s', iou_threshold=%g),\n"
        "        max_per_img=%d))\n",
        c->assign.topk, c->test.per_level, (double)c->test.score_limit,
        c->test.nms == LD_NMS_VOTING ? "voting_cluster_diounms" : "nms",
        (double)c->test.iou_limit, c->test.per_image);
}

static void put_pipeline(struct ld_buf *out, const struct ld_view_rules *v)
{
    ld_buf_printf(out,
                  "img_norm_cfg = dict(\n"
                  "    mean=[%.7g, %.7g, %.7g],\n"
                  "    std=[%.7g, %.7g, %.7g],\n"
                  "    to_rgb=%s)\n"
                  "test_pipeline = [\n"
                  "    dict(type='LoadImageFromFile'),\n"
                  "    dict(\n"
                  "        type='MultiScaleFlipAug',\n"
                  "        img_scale=(%d, %d),\n"
                  "        flip=False,\n"
                  "        transforms=[\n"
                  "            dict(type='Resize', keep_ratio=True),\n"
                  "            dict(type='RandomFlip'),\n"
                  "            dict(type='Normalize', **img_norm_cfg),\n"
                  "            dict(type='Pad', size_divisor=%d),\n"
                  "            dict(type='ImageToTensor', keys=['img']),\n"
                  "            dict(type='Collect', keys=['img'])])]\n"
                  "data = dict(test=dict(pipeline=test_pipeline))\n",
                  (double)v->mean[0], (double)v->mean[1], (double)v->mean[2],
                  (double)v->std[0], (double)v->std[1], (double)v->std[2],
                  yes_no(!v->bgr), v->long_edge, v->short_edge, v->divisor);
}

static void put_config(struct ld_buf *out, const struct ld_export *in)
{
    ld_buf_printf(out, "model = dict(\n"
                       "    type='GFL',\n");
    put_backbone(out, &in->model);
    put_neck(out, &in->model);
    put_head(out, in);
    put_rules(out, &in->config);
    put_pipeline(out, &in->config.views.rules);
    ld_buf_put(out, "", 1);
}

bool ld_export_mmdet(const struct ld_export *in, const char *path,
                     struct ld_err *err)
{
    struct ld_buf config = {.max = 1 << 20};
    struct ld_pth_meta meta = {.seed = in->config.train.seed};
    bool ok;

    put_config(&config, in);
    meta.config = (const char *)config.data;
    ok = ld_buf_ok(&config, err) &&
         ld_pth_write(path, &in->checkpoint, &meta, err);
    ld_buf_free(&config);
    return ok;
}
