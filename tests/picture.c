#include "tests/picture.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>
#include <unistd.h>
#include <zlib.h>

#include "formats/file.h"
#include "tests/scratch.h"

struct ld_image picture_made(void)
{
    struct ld_err err = {0};
    struct ld_image image = {ld_new((size_t)PICTURE_H * PICTURE_W, 3, &err),
                             PICTURE_H, PICTURE_W};

    ck_assert_msg(image.rgb != NULL, "%s", err.text);
    for (int y = 0; y < PICTURE_H; y++)
        for (int x = 0; x < PICTURE_W; x++) {
            uint8_t *p = image.rgb + 3 * (y * PICTURE_W + x);

            p[0] = (uint8_t)(4 * x);
            p[1] = (uint8_t)(6 * y);
            p[2] = (uint8_t)(220 - x - 3 * y);
        }
    return image;
}

struct ld_buf picture_bytes(const char *name)
{
    struct ld_image image = picture_made();
    struct ld_buf bytes = {.max = 1U << 24};
    struct ld_err err = {0};
    struct ld_file file;

    ck_assert_msg(ld_image_write(name, &image, &err) &&
                      ld_file_open(name, &file, &err),
                  "%s", err.text);
    ld_buf_put(&bytes, file.data, file.len);
    ld_file_close(&file);
    ld_image_free(&image);
    return bytes;
}

struct ld_buf picture_jpeg(int pixel_format, int flags)
{
    int sampling = pixel_format == TJPF_GRAY ? TJSAMP_GRAY : TJSAMP_444;
    size_t size = (size_t)tjPixelSize[pixel_format];
    uint8_t pixels[PICTURE_H * PICTURE_W * 4] = {0};
    struct ld_image image = picture_made();
    struct ld_buf bytes = {.max = 1U << 24};
    tjhandle tj = tjInitCompress();
    unsigned char *jpeg = NULL;
    unsigned long len = 0;

    for (size_t i = 0; i < (size_t)PICTURE_H * PICTURE_W; i++) {
        memcpy(pixels + size * i, image.rgb + 3 * i, size < 3 ? size : 3);
        if (pixel_format == TJPF_CMYK)
            pixels[4 * i + 3] = (uint8_t)(200 + i % PICTURE_W);
    }
    ck_assert(tj != NULL);
    ck_assert_int_eq(tjCompress2(tj, pixels, PICTURE_W, 0, PICTURE_H,
                                 pixel_format, &jpeg, &len, sampling, 95,
                                 flags),
                     0);
    ld_buf_put(&bytes, jpeg, len);
    tjFree(jpeg);
    tjDestroy(tj);
    ld_image_free(&image);
    return bytes;
}

static void put_be(struct ld_buf *out, uint32_t value, int n_bytes)
{
    while (n_bytes-- > 0) {
        unsigned char byte = (unsigned char)(value >> (8 * n_bytes));

        ld_buf_put(out, &byte, 1);
    }
}

static void put_exif_chunk(struct ld_buf *out, const unsigned char *tiff,
                           size_t len)
{
    size_t from;

    put_be(out, (uint32_t)len, 4);
    from = out->len;
    ld_buf_put(out, "eXIf", 4);
    ld_buf_put(out, tiff, len);
    put_be(out, (uint32_t)crc32(0, out->data + from, (uInt)(len + 4)), 4);
}

static void put_exif_segment(struct ld_buf *out, const unsigned char *tiff,
                             size_t len)
{
    put_be(out, 0xffe1, 2);
    put_be(out, (uint32_t)(2 + 6 + len), 2);
    ld_buf_put(out, "Exif\0", 6);
    ld_buf_put(out, tiff, len);
}

struct ld_buf picture_with_exif(const struct ld_buf *file, bool is_png,
                                int orientation)
{
    /* One directory entry: tag 0x0112, type SHORT, count 1, the value. */
    const unsigned char tiff[] = {
        'M', 'M',  0, 42, 0, 0, 0, 8, 0, 1,
        1,   0x12, 0, 3,  0, 0, 0, 1, 0, (unsigned char)orientation,
        0,   0,    0, 0,  0, 0};
    struct ld_buf out = {.max = 1U << 24};
    size_t head = is_png ? 33 : 2;

    ld_buf_put(&out, file->data, head);
    if (is_png)
        put_exif_chunk(&out, tiff, sizeof(tiff));
    else
        put_exif_segment(&out, tiff, sizeof(tiff));
    ld_buf_put(&out, file->data + head, file->len - head);
    return out;
}

/* Anew each time: some file systems flush a file that is truncated, which costs
 * seconds in thousands of rounds. */
void picture_put(const char *path, const void *bytes, size_t len)
{
    unlink(path);
    scratch_put(path, bytes, len);
}

struct ld_image picture_read(const char *path)
{
    struct ld_image image = {0};
    struct ld_err err = {0};

    ck_assert_msg(ld_image_read(path, &image, &err), "%s", err.text);
    return image;
}

struct ld_image picture_of(const struct ld_buf *file)
{
    picture_put("picture", file->data, file->len);
    return picture_read("picture");
}

void picture_refuse(const char *path, enum ld_code code, const char *words)
{
    struct ld_image image = {0};
    struct ld_err err = {0};

    ck_assert_msg(!ld_image_read(path, &image, &err), "%s was read", path);
    ck_assert(image.rgb == NULL);
    ck_assert_msg(err.code == code, "%s", err.text);
    ck_assert_msg(strncmp(err.text, path, strlen(path)) == 0, "%s", err.text);
    ck_assert_msg(strstr(err.text, words) != NULL, "%s", err.text);
}

void picture_refuse_bytes(const void *bytes, size_t len, const char *words)
{
    picture_put("refused", bytes, len);
    picture_refuse("refused", LD_ERR_FORMAT, words);
}

double picture_difference(const struct ld_image *a, const struct ld_image *b)
{
    size_t n = (size_t)a->H * a->W * 3;
    double sum = 0;

    ck_assert_int_eq(a->H, b->H);
    ck_assert_int_eq(a->W, b->W);
    for (size_t i = 0; i < n; i++)
        sum += abs(a->rgb[i] - b->rgb[i]);
    return sum / (double)n;
}
