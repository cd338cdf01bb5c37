/* export_onnx.h - a detector as one ONNX file, from the image to the boxes.
 *
 *     image       float32 (1, 3, height, width): normalised RGB on its canvas
 *     image_size  int64 (2): rows and columns of the scaled image on it
 *  -> boxes       float32 (n, 4): x0, y0, x1, y1 in pixels of the scaled image
 *     scores      float32 (n), falling
 *     labels      int64 (n): indices of classes
 *
 * Batch norms are folded into the convolutions; the limits of test.* stand in
 * the graph as constants. What a user must know to feed it (mean, deviation,
 * sizes, class names) is in the model's doc_string and metadata_props. */
#pragma once

#include "trainer/export.h"

/* Writes the file, whole or not at all. LD_ERR_MISMATCH names a tensor that the
 * model needs and the checkpoint has not, or has in another shape; LD_ERR_USAGE
 * for test.nms voting, which ONNX cannot say. */
bool ld_export_onnx(const struct ld_export *in, const char *path,
                    struct ld_err *err);
