/* image_codec.h - what image.c asks of a picture format: JPEG and PNG give it.
 *
 * Errors name what is wrong and not the path, which image.c puts before it. */
#pragma once

#include "formats/file.h"
#include "formats/image.h"

struct ld_image_header {
    int H, W;        /* as stored: before the orientation is applied; > 0 */
    int orientation; /* Exif, 1 to 8 */
    int n_channels;  /* as stored; 4 in a JPEG is CMYK or YCCK */
};

/* Whether a file's first bytes are the format's own. */
bool ld_jpeg_known(const struct ld_file *file);
bool ld_png_known(const struct ld_file *file);

/* From the header alone. LD_ERR_FORMAT if it is cut, malformed, or of a kind
 * that is not read (JPEG of other than 8 bits). Sides are not limited here. */
bool ld_jpeg_header(const struct ld_file *file, struct ld_image_header *out,
                    struct ld_err *err);
bool ld_png_header(const struct ld_file *file, struct ld_image_header *out,
                   struct ld_err *err);

/* The pixels as stored, into the caller's (H, W, 3) bytes of RGB, of which
 * nothing is promised on failure. LD_ERR_FORMAT if any is missing or damaged.
 */
bool ld_jpeg_decode(const struct ld_file *file,
                    const struct ld_image_header *header, uint8_t *rgb,
                    struct ld_err *err);
bool ld_png_decode(const struct ld_file *file,
                   const struct ld_image_header *header, uint8_t *rgb,
                   struct ld_err *err);

/* A whole file's bytes, appended to `out`, whose max is set. */
bool ld_jpeg_encode(const struct ld_image *image, struct ld_buf *out,
                    struct ld_err *err);
bool ld_png_encode(const struct ld_image *image, struct ld_buf *out,
                   struct ld_err *err);
