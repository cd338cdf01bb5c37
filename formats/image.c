#include "formats/image.h"

#include <string.h>
#include <strings.h>

#include "formats/image_codec.h"

/* No file packs more pixels into a byte: deflate's best is 1032 bytes of 8
 * one-bit pixels for one, Huffman-coded JPEG's a bit for 32 x 32 pixels. What
 * promises more is refused before memory is taken for it. */
enum { MAX_PIXELS_PER_BYTE = 8 * 1032 };

static bool read_header(const struct ld_file *file, struct ld_image_header *out,
                        struct ld_err *err)
{
    if (ld_jpeg_known(file)) {
        if (!ld_jpeg_header(file, out, err))
            return false;
    } else if (ld_png_known(file)) {
        if (!ld_png_header(file, out, err))
            return false;
    } else {
        return ld_fail(err, LD_ERR_FORMAT,
                       file->len ? "not a JPEG or PNG file" : "an empty file");
    }
    return (out->H <= LD_IMAGE_MAX_SIDE && out->W <= LD_IMAGE_MAX_SIDE) ||
           ld_fail(err, LD_ERR_FORMAT,
                   "%d x %d pixels, expected at most %d a side", out->W, out->H,
                   LD_IMAGE_MAX_SIDE);
}

/* Orientations 5 to 8 lie on their side. */
static bool is_turned(int orientation)
{
    return orientation >= 5;
}

static bool image_new(struct ld_image *out, int H, int W, struct ld_err *err)
{
    *out = (struct ld_image){ld_new((size_t)H * W, 3, err), H, W};
    return out->rgb != NULL;
}

/* Row y, column x of the upright picture is row x, column y of a turned one,
 * each counted from the other end if mirrored. Exif 2.32, tag 274. */
static void upright(struct ld_image *to, const struct ld_image *from,
                    int orientation)
{
    bool mirror_x = orientation == 2 || orientation == 3 || orientation == 6 ||
                    orientation == 7;
    bool mirror_y = orientation == 3 || orientation == 4 || orientation == 7 ||
                    orientation == 8;

    for (int y = 0; y < to->H; y++)
        for (int x = 0; x < to->W; x++) {
            int row = mirror_y ? to->H - 1 - y : y;
            int column = mirror_x ? to->W - 1 - x : x;
            size_t i = is_turned(orientation) ? (size_t)column * from->W + row
                                              : (size_t)row * from->W + column;

            memcpy(to->rgb + 3 * ((size_t)y * to->W + x), from->rgb + 3 * i, 3);
        }
}

static bool set_upright(struct ld_image *image, int orientation,
                        struct ld_err *err)
{
    bool turned = is_turned(orientation);
    struct ld_image to;

    if (orientation == 1)
        return true;
    if (!image_new(&to, turned ? image->W : image->H,
                   turned ? image->H : image->W, err))
        return false;
    upright(&to, image, orientation);
    ld_image_free(image);
    *image = to;
    return true;
}

static bool decode(const struct ld_file *file, struct ld_image *image,
                   struct ld_err *err)
{
    struct ld_image_header header;

    if (!read_header(file, &header, err))
        return false;
    if ((size_t)header.H * header.W / MAX_PIXELS_PER_BYTE > file->len)
        return ld_fail(err, LD_ERR_FORMAT,
                       "%zu bytes cannot hold %d x %d pixels", file->len,
                       header.W, header.H);
    if (!image_new(image, header.H, header.W, err))
        return false;
    return (ld_jpeg_known(file)
                ? ld_jpeg_decode(file, &header, image->rgb, err)
                : ld_png_decode(file, &header, image->rgb, err)) &&
           set_upright(image, header.orientation, err);
}

bool ld_image_read(const char *path, struct ld_image *out, struct ld_err *err)
{
    struct ld_image image = {0};
    struct ld_file file;
    bool ok;

    if (!ld_file_open(path, &file, err))
        return false;
    ok = decode(&file, &image, err) || ld_fail_in(err, path);
    ld_file_close(&file);
    if (ok)
        *out = image;
    else
        ld_image_free(&image);
    return ok;
}

void ld_image_free(struct ld_image *image)
{
    ld_delete(image->rgb);
    *image = (struct ld_image){0};
}

static bool ends_in(const char *path, const char *ending)
{
    size_t len = strlen(path), n = strlen(ending);

    return len > n && strcasecmp(path + len - n, ending) == 0;
}

static bool encode(const char *path, const struct ld_image *image,
                   struct ld_buf *out, struct ld_err *err)
{
    if (ends_in(path, ".jpg") || ends_in(path, ".jpeg"))
        return ld_jpeg_encode(image, out, err);
    if (ends_in(path, ".png"))
        return ld_png_encode(image, out, err);
    return ld_fail(err, LD_ERR_USAGE,
                   "pictures are written as .jpg, .jpeg or .png");
}

bool ld_image_write(const char *path, const struct ld_image *image,
                    struct ld_err *err)
{
    /* Incompressible pixels grow a little: tables, checksums, a byte a row. */
    struct ld_buf bytes = {.max = (size_t)image->H * image->W * 4 + (1U << 20)};
    bool ok = encode(path, image, &bytes, err) || ld_fail_in(err, path);

    ok = ok && ld_file_replace(path, bytes.data, bytes.len, err);
    ld_buf_free(&bytes);
    return ok;
}
