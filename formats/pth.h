/* pth.h - reads what torch.save wrote, in both of its formats; runs nothing.
 *
 * Since PyTorch 1.6, a zip archive of stored entries:
 *
 *   <any>/data.pkl       one pickle: the object; a tensor names its storage
 *   <any>/data/<key>     the bytes of a storage
 *   <any>/byteorder      "little" or "big"; absent: little
 *
 * Before, pickles one behind another, then the storages:
 *
 *   the number 0x1950a86a20f9469cfc6c, the protocol 1001, facts of the system,
 *   the object, a list of keys; for each key 8 bytes, how many numbers, and
 *   these: all little-endian
 *
 * The object is a dict of tensors, or has one under "state_dict" or "model".
 * A tensor is a view of a storage (offset, shape, strides); several may share
 * one. Optimizer states are not read. */
#pragma once

#include "formats/file.h"
#include "formats/foreign.h"

#define LD_PTH_CONFIG "ld_distill_config" /* in meta: YAML of a run of ours */

/* True if the file begins as one of the two. */
bool ld_pth_is(const struct ld_file *file);

/* Tensors of all number types, as contiguous float32 (formats/element.h), of at
 * most LD_MAX_DIMS dimensions; class names from meta.CLASSES. LD_ERR_FORMAT
 * names path, tensor or byte, and what is wrong. No file asks for more memory
 * than four times its size and 150 MB. */
bool ld_pth_load(const struct ld_file *file, const char *path,
                 struct ld_foreign *out, struct ld_arena *arena,
                 struct ld_err *err);
