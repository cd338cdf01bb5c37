/* export_mmdet.h - a detector as mmdetection 2.x loads it. */
#pragma once

#include "trainer/export.h"

/* Writes a .pth (formats/pth_write.h) whose meta.config builds the detector. */
bool ld_export_mmdet(const struct ld_export *in, const char *path,
                     struct ld_err *err);
