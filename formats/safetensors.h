/* safetensors.h - reads .safetensors: a JSON header, then plain numbers.
 *
 *   8 bytes   length of the header, little-endian
 *   header    {"<name>": {"dtype": "F32", "shape": [64, 3, 7, 7],
 *                         "data_offsets": [begin, end]}, ...,
 *              "__metadata__": {"<key>": "<text>", ...}}
 *   data      little-endian, row-major; offsets count from here
 *
 * Ranges that overlap, leave a gap or pass the end are refused, as is a header
 * of over 64 MB. In the metadata of our own exports stand the class names and
 * the config, so that such a file needs no guessing. */
#pragma once

#include "formats/file.h"
#include "formats/foreign.h"

#define LD_SAFETENSORS_CLASSES "classes" /* names, joined by newlines */
#define LD_SAFETENSORS_CONFIG "config"   /* YAML text (formats/config.h) */
#define LD_SAFETENSORS_EPOCH "epoch"     /* digits */
#define LD_SAFETENSORS_STEP "step"

/* True if the file begins as one: a plausible length, then '{'. */
bool ld_safetensors_is(const struct ld_file *file);

/* Tensors of all number types, as float32 (formats/element.h), of at most
 * LD_MAX_DIMS dimensions. LD_ERR_FORMAT names path, tensor or place, and what
 * is wrong; no file asks for more than four times its size of memory. */
bool ld_safetensors_load(const struct ld_file *file, const char *path,
                         struct ld_foreign *out, struct ld_arena *arena,
                         struct ld_err *err);
