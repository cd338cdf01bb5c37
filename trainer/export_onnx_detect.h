/* export_onnx_detect.h - from a head's maps to boxes with scores, as nodes of
 * an ONNX graph: what kernels/net/detect.h does. */
#pragma once

#include "kernels/rules.h"
#include "trainer/export_onnx_net.h"

/* Adds the nodes whose outputs are `boxes` (n, 4), `scores` (n) and `labels`
 * (n): boxes in pixels, clipped to the value `size`, int64 rows and columns. Of
 * equal scores the lower class comes first, where ld_detect puts the lower
 * location. */
void ld_onnx_detect(struct ld_onnx *onnx, const struct ld_onnx_logits *logits,
                    const struct ld_model *model,
                    const struct ld_detect_rules *rules, const char *size);
