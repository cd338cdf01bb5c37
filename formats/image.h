/* image.h - a decoded picture, and the one door to its formats. */
#pragma once

#include <stdint.h>

#include "kernels/base/error.h"

enum { LD_IMAGE_MAX_SIDE = 16384 }; /* pixels; larger is LD_ERR_FORMAT */

struct ld_image {
    uint8_t *rgb; /* (H, W, 3), owned; NULL is an empty image */
    int H, W;
};

/* Reads a JPEG or PNG, told apart by its first bytes, as OpenCV's imread reads
 * in colour: gray becomes RGB, alpha is dropped, 16 bit becomes 8 by the high
 * byte, palettes are expanded, EXIF orientation (JPEG and PNG) is applied, CMYK
 * JPEG is converted. A truncated or corrupt file is LD_ERR_FORMAT and names the
 * path; so does one that promises more pixels than its bytes can hold. JPEG of
 * 12 bits is not read. `out` is written only on success; the caller frees it.
 */
bool ld_image_read(const char *path, struct ld_image *out, struct ld_err *err);
void ld_image_free(struct ld_image *image); /* leaves it empty */

/* By the ending of path: .jpg or .jpeg (quality 90, 4:2:0) or .png; written
 * whole or not at all. LD_ERR_USAGE for another ending. */
bool ld_image_write(const char *path, const struct ld_image *image,
                    struct ld_err *err);
