/* picture.h - small pictures for tests of their reading and writing.
 *
 * Files are made in the working folder: see scratch.h. What fails here fails
 * the running test. */
#pragma once

#include "formats/image.h"
#include "kernels/base/mem.h"

enum { PICTURE_H = 37, PICTURE_W = 53 }; /* no multiples of a block */

/* A smooth picture of that size, each channel and corner unlike the others. */
struct ld_image picture_made(void);

/* Its file, PNG or JPEG by the name's ending, as ld_image_write makes it. */
struct ld_buf picture_bytes(const char *name);

/* Its file as a JPEG of another kind: TJPF_RGB, TJPF_GRAY or TJPF_CMYK, 4:4:4,
 * TurboJPEG's flags. Inks of TJPF_CMYK are the picture's channels, inverted
 * black is 200 + column. */
struct ld_buf picture_jpeg(int pixel_format, int flags);

/* A copy of a file with an Exif block: behind SOI in a JPEG, behind IHDR in a
 * PNG. */
struct ld_buf picture_with_exif(const struct ld_buf *file, bool is_png,
                                int orientation);

void picture_put(const char *path, const void *bytes, size_t len);

/* The picture of a path, of a file's bytes. */
struct ld_image picture_read(const char *path);
struct ld_image picture_of(const struct ld_buf *file);

/* Reading must fail with this code, naming the path, with these words. */
void picture_refuse(const char *path, enum ld_code code, const char *words);

/* As LD_ERR_FORMAT, of a file with these bytes. */
void picture_refuse_bytes(const void *bytes, size_t len, const char *words);

/* Mean over all samples, 0 to 255. */
double picture_difference(const struct ld_image *a, const struct ld_image *b);
