/* safetensors_write.h - named tensors as a file that every framework maps.
 *
 * The layout is drawn in formats/safetensors.h. The header is filled with
 * spaces to a multiple of 8 bytes, the tensors are F32, end to end in the order
 * given; the metadata are "format": "pt", "classes", "config", and "epoch" and
 * "step" in digits.
 * (https://huggingface.co/docs/safetensors, "Format") */
#pragma once

#include "formats/checkpoint.h"

/* Writes the tensors, not the momentum; whole or not at all. LD_ERR_FORMAT
 * names a class whose name holds a line break, LD_ERR_IO what the system
 * refuses. */
bool ld_safetensors_write(const char *path, const struct ld_checkpoint *in,
                          struct ld_err *err);
