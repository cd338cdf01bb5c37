/* pth_write.h - a checkpoint as mmdetection 2.x and torch.load read it.
 *
 * What torch.save writes since PyTorch 1.6, a zip (formats/zip_write.h):
 *
 *   archive/data.pkl    pickle, protocol 2, of the dict
 *                         meta: dict of epoch, iter, seed, CLASSES (tuple),
 *                           mmdet_version, config (Python text),
 *                           ld_distill (version), ld_distill_config (YAML)
 *                         state_dict: OrderedDict of name to tensor
 *   archive/byteorder   "little"
 *   archive/data/N      bytes of the Nth tensor
 *   archive/version     "3\n"
 *
 * The pickle names no class but OrderedDict and what rebuilds a tensor, so
 * torch.load reads it with weights_only=True as well. */
#pragma once

#include "formats/checkpoint.h"

/* What mmdetection wants to know beside the checkpoint. */
struct ld_pth_meta {
    const char *config; /* Python text: mmcv reads it when a run is resumed */
    int seed;
};

/* Writes the tensors, not the momentum, whole or not at all. After each
 * "x.running_var" stands "x.num_batches_tracked", which a BatchNorm of torch
 * has too: 0. LD_ERR_FORMAT names a text that is not UTF-8; else as
 * ld_zip_write. */
bool ld_pth_write(const char *path, const struct ld_checkpoint *in,
                  const struct ld_pth_meta *meta, struct ld_err *err);
