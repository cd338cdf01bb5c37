/* export_onnx_model.h - what stands around an ONNX graph in its file: inputs,
 * outputs, notes; and the file. */
#pragma once

#include "trainer/export_onnx_graph.h"

/* Adds an input or an output: its name, its type (LD_ONNX__TENSOR__DATA_TYPE__)
 * and its sizes, at most 4, ended by NULL: "3" is fixed, "height" is known when
 * the graph runs. */
void ld_onnx_input(struct ld_onnx *onnx, const char *name, int type,
                   const char *const *dims);
void ld_onnx_output(struct ld_onnx *onnx, const char *name, int type,
                    const char *const *dims);

/* Adds an entry of metadata_props. */
void ld_onnx_property(struct ld_onnx *onnx, const char *key, const char *value);

/* Writes all that was added, whole or not at all, with a name of the graph and
 * a text for the user. Fails with the first failure there was, LD_ERR_USAGE for
 * more than 2 GiB, or LD_ERR_IO. */
bool ld_onnx_write(struct ld_onnx *onnx, const char *name, const char *doc,
                   const char *path);
