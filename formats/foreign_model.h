/* foreign_model.h - which detector tensors of other programs are: read off
 * their names and shapes (spec: model, sections 2 to 11). */
#pragma once

#include <stdbool.h>

#include "formats/foreign.h"
#include "kernels/rules.h"

enum { LD_WHY_SIZE = 400 };

/* Fills what names and shapes tell: backbone, depth, width, groups, base_width,
 * style, dcn, dcn_from, head, background_logit, fpn_channels, head_convs,
 * gn_groups, n_classes, reg_max; leaves the rest as it is. No file stores the
 * groups of a GroupNorm: they are taken to be 32, mmdetection's number, or the
 * largest below it that divides the channels. The class head's channel beyond
 * the named classes is the background's; without names a GFL V2 head of 81 or
 * 21 channels is taken to have one. The style is what the recipe says, or
 * FCOS's own, caffe. Tensors are in the order of their names.
 *
 * False if it is no such detector: `why` says what in it is not, as the end of
 * a sentence that begins with the file's name. */
bool ld_foreign_model(const struct ld_foreign *foreign, struct ld_model *model,
                      char why[LD_WHY_SIZE]);
