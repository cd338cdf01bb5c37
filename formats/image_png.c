#include <png.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "formats/exif.h"
#include "formats/image_codec.h"

/* A PNG file is 8 fixed bytes, then chunks:
 *
 *     length, 4 bytes, big-endian | type, 4 letters | length bytes | CRC, 4
 *
 * The first is IHDR: width 4, height 4, bit depth 1, colour type 1, ... */
enum {
    SIGNATURE_SIZE = 8,
    CHUNK_HEAD = 8,
    CHUNK_CRC = 4,
    IHDR_SIZE = 13,
    LEVEL = 6 /* of zlib: its own default */
};

struct chunk {
    const unsigned char *type, *body;
    size_t len;
};

static uint32_t read32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           p[3];
}

static bool next_chunk(const struct ld_file *file, size_t *at,
                       struct chunk *out)
{
    const unsigned char *p = file->data + *at;
    size_t room = file->len - *at;

    if (room < CHUNK_HEAD + CHUNK_CRC)
        return false;
    *out = (struct chunk){p + 4, p + CHUNK_HEAD, read32(p)};
    if (out->len > room - CHUNK_HEAD - CHUNK_CRC)
        return false;
    *at += CHUNK_HEAD + out->len + CHUNK_CRC;
    return true;
}

static bool is_type(const struct chunk *chunk, const char *type)
{
    return memcmp(chunk->type, type, 4) == 0;
}

/* libpng, and so OpenCV, passes over a chunk that is not needed and is damaged.
 */
static bool is_whole(const struct chunk *chunk)
{
    return crc32(0, chunk->type, (uInt)(4 + chunk->len)) ==
           read32(chunk->body + chunk->len);
}

bool ld_png_known(const struct ld_file *file)
{
    return file->len >= SIGNATURE_SIZE &&
           png_sig_cmp(file->data, 0, SIGNATURE_SIZE) == 0;
}

static bool read_size(const struct chunk *chunk, struct ld_image_header *out,
                      struct ld_err *err)
{
    uint32_t W, H;

    if (!is_type(chunk, "IHDR") || chunk->len != IHDR_SIZE)
        return ld_fail(err, LD_ERR_FORMAT,
                       "malformed PNG: it does not start with a header");
    W = read32(chunk->body);
    H = read32(chunk->body + 4);
    if (W == 0 || H == 0 || W > INT32_MAX || H > INT32_MAX)
        return ld_fail(err, LD_ERR_FORMAT, "malformed PNG: %u x %u pixels", W,
                       H);
    *out = (struct ld_image_header){(int)H, (int)W, 1, 3};
    return true;
}

bool ld_png_header(const struct ld_file *file, struct ld_image_header *out,
                   struct ld_err *err)
{
    size_t at = SIGNATURE_SIZE;
    struct chunk chunk;

    if (!next_chunk(file, &at, &chunk))
        return ld_fail(err, LD_ERR_FORMAT,
                       "truncated PNG: it ends within its header, at byte %zu",
                       file->len);
    if (!read_size(&chunk, out, err))
        return false;
    /* Behind the pixels OpenCV looks for no orientation either. */
    while (next_chunk(file, &at, &chunk) && !is_type(&chunk, "IDAT"))
        if (is_type(&chunk, "eXIf") && is_whole(&chunk))
            out->orientation = ld_exif_orientation(chunk.body, chunk.len);
    return true;
}

/* One reading or writing: all that libpng's calls need after a longjmp, none of
 * it a local variable whose value would be lost. */
struct codec {
    png_structp png;
    png_infop info;
    const struct ld_file *file;
    size_t at; /* in the file */
    struct ld_buf *out;
    struct ld_err *err;
};

static void stop(png_structp png, png_const_charp text)
{
    struct codec *codec = png_get_error_ptr(png);
    bool cut = codec->file && codec->at == codec->file->len;

    ld_fail(codec->err, LD_ERR_FORMAT, "%s PNG: %s",
            cut ? "truncated" : "damaged", text);
    longjmp(png_jmpbuf(png), 1);
}

static void pass_over(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void give_bytes(png_structp png, png_bytep bytes, size_t len)
{
    struct codec *codec = png_get_io_ptr(png);

    if (len > codec->file->len - codec->at) {
        codec->at = codec->file->len;
        png_error(png, "unexpected end of file");
    }
    memcpy(bytes, codec->file->data + codec->at, len);
    codec->at += len;
}

/* Every kind of pixel to 8-bit RGB: as OpenCV asks libpng for it. */
static void ask_for_rgb(struct codec *codec)
{
    png_structp png = codec->png;

    png_set_strip_16(png);
    png_set_strip_alpha(png);
    png_set_palette_to_rgb(png);
    png_set_expand_gray_1_2_4_to_8(png);
    png_set_gray_to_rgb(png);
}

static bool read_pixels(struct codec *codec,
                        const struct ld_image_header *header, uint8_t *rgb)
{
    size_t stride = (size_t)header->W * 3;
    int n_passes;

    if (setjmp(png_jmpbuf(codec->png)))
        return false;
    png_set_user_limits(codec->png, LD_IMAGE_MAX_SIDE, LD_IMAGE_MAX_SIDE);
    png_set_read_fn(codec->png, codec, give_bytes);
    png_read_info(codec->png, codec->info);
    ask_for_rgb(codec);
    n_passes = png_set_interlace_handling(codec->png);
    png_read_update_info(codec->png, codec->info);
    if (png_get_rowbytes(codec->png, codec->info) != stride)
        png_error(codec->png, "pixels that are not RGB");
    for (int pass = 0; pass < n_passes; pass++)
        for (int y = 0; y < header->H; y++)
            png_read_row(codec->png, rgb + y * stride, NULL);
    png_read_end(codec->png, NULL);
    return true;
}

bool ld_png_decode(const struct ld_file *file,
                   const struct ld_image_header *header, uint8_t *rgb,
                   struct ld_err *err)
{
    struct codec codec = {.file = file, .err = err};
    bool ok = false;

    codec.png =
        png_create_read_struct(PNG_LIBPNG_VER_STRING, &codec, stop, pass_over);
    if (codec.png)
        codec.info = png_create_info_struct(codec.png);
    if (codec.info)
        ok = read_pixels(&codec, header, rgb);
    else
        ld_fail(err, LD_ERR_MEMORY, "PNG decoder: out of memory");
    png_destroy_read_struct(&codec.png, &codec.info, NULL);
    return ok;
}

static void take_bytes(png_structp png, png_bytep bytes, size_t len)
{
    struct codec *codec = png_get_io_ptr(png);

    ld_buf_put(codec->out, bytes, len);
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

static bool write_pixels(struct codec *codec, const struct ld_image *image)
{
    png_structp png = codec->png;

    if (setjmp(png_jmpbuf(png)))
        return false;
    png_set_write_fn(png, codec, take_bytes, flush_nothing);
    png_set_IHDR(png, codec->info, (png_uint_32)image->W, (png_uint_32)image->H,
                 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(png, LEVEL);
    png_write_info(png, codec->info);
    for (int y = 0; y < image->H; y++)
        png_write_row(png, image->rgb + (size_t)y * image->W * 3);
    png_write_end(png, codec->info);
    return ld_buf_ok(codec->out, codec->err);
}

bool ld_png_encode(const struct ld_image *image, struct ld_buf *out,
                   struct ld_err *err)
{
    struct codec codec = {.out = out, .err = err};
    bool ok = false;

    codec.png =
        png_create_write_struct(PNG_LIBPNG_VER_STRING, &codec, stop, pass_over);
    if (codec.png)
        codec.info = png_create_info_struct(codec.png);
    if (codec.info)
        ok = write_pixels(&codec, image);
    else
        ld_fail(err, LD_ERR_MEMORY, "PNG encoder: out of memory");
    png_destroy_write_struct(&codec.png, &codec.info);
    return ok;
}
