/* foreign_names.h - the tensors of other programs under the names of ours,
 * which are those of mmdetection. */
#pragma once

#include "formats/foreign.h"
#include "kernels/base/error.h"
#include "kernels/base/mem.h"

/* Takes "module." off if all names begin with it; puts "backbone." before those
 * of a bare torchvision ResNet and drops its fc.*; calls conv2_offset
 * conv2.conv_offset; drops num_batches_tracked and integral.project. The
 * tensors are in the order of their names then. LD_ERR_FORMAT names `path` and
 * a name used twice. */
bool ld_foreign_rename(struct ld_foreign *foreign, const char *path,
                       struct ld_arena *arena, struct ld_err *err);
