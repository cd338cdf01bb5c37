#include <stdint.h>
#include <string.h>
#include <turbojpeg.h>

#include "formats/exif.h"
#include "formats/image_codec.h"

/* A JPEG file is markers, FF and a code; most head a segment:
 *
 *     FF code | length, 2 bytes, big-endian, itself counted | length - 2 bytes
 *
 * Up to the first scan nothing else may come. */
enum {
    SOI = 0xd8,  /* start of image; no segment */
    EOI = 0xd9,  /* end of image; no segment */
    SOS = 0xda,  /* start of scan: compressed data follows */
    SOF0 = 0xc0, /* a frame header, one of 13 codes up to SOF15 */
    SOF15 = 0xcf,
    DHT = 0xc4, /* among those 16 codes, no frame header: Huffman tables, */
    JPG = 0xc8, /* a reserved one, */
    DAC = 0xcc, /* arithmetic coding's conditions */
    APP1 = 0xe1,
    QUALITY = 90
};

struct marker {
    int code;
    const unsigned char *body; /* of its segment */
    size_t len;
};

static bool is_frame(int code)
{
    return code >= SOF0 && code <= SOF15 && code != DHT && code != JPG &&
           code != DAC;
}

static bool has_segment(int code)
{
    return code != 0x01 && (code < 0xd0 || code > EOI);
}

/* The next marker at or after `at`, over fill bytes and stray ones, as libjpeg
 * reads. False where the file ends first. */
static bool next_marker(const struct ld_file *file, size_t *at,
                        struct marker *out)
{
    const unsigned char *p = file->data;
    size_t i = *at;

    while (i + 1 < file->len &&
           (p[i] != 0xff || p[i + 1] == 0 || p[i + 1] == 0xff))
        i++;
    if (i + 1 >= file->len)
        return false;
    *out = (struct marker){.code = p[i + 1]};
    i += 2;
    if (has_segment(out->code)) {
        size_t len = file->len - i < 2 ? 0 : (size_t)(p[i] << 8 | p[i + 1]);

        if (len < 2 || len > file->len - i)
            return false;
        out->body = p + i + 2;
        out->len = len - 2;
        i += len;
    }
    *at = i;
    return true;
}

/* Precision in bits, height, width, number of components: 1, 2, 2, 1 bytes. */
static bool read_frame(const struct marker *frame, struct ld_image_header *out,
                       struct ld_err *err)
{
    const unsigned char *p = frame->body;

    if (frame->len < 6)
        return ld_fail(err, LD_ERR_FORMAT,
                       "malformed JPEG: a frame header of %zu bytes",
                       frame->len);
    if (p[0] != 8)
        return ld_fail(err, LD_ERR_FORMAT,
                       "unsupported JPEG: samples of %d bits, expected 8",
                       p[0]);
    out->H = p[1] << 8 | p[2];
    out->W = p[3] << 8 | p[4];
    out->n_channels = p[5];
    return (out->H > 0 && out->W > 0) ||
           ld_fail(err, LD_ERR_FORMAT, "malformed JPEG: %d x %d pixels", out->W,
                   out->H);
}

static bool is_exif(const struct marker *marker)
{
    return marker->code == APP1 && marker->len >= 6 &&
           memcmp(marker->body, "Exif\0", 6) == 0;
}

bool ld_jpeg_known(const struct ld_file *file)
{
    return file->len >= 3 && file->data[0] == 0xff && file->data[1] == SOI &&
           file->data[2] == 0xff;
}

/* Reads up to and including the first start of scan; *scan_at is where its data
 * begins. */
static bool read_markers(const struct ld_file *file,
                         struct ld_image_header *out, size_t *scan_at,
                         struct ld_err *err)
{
    struct marker marker = {0};

    *out = (struct ld_image_header){0};
    *scan_at = 2;
    while (marker.code != SOS) {
        if (!next_marker(file, scan_at, &marker))
            return ld_fail(err, LD_ERR_FORMAT,
                           "truncated JPEG: it ends within its header, at byte "
                           "%zu",
                           file->len);
        if (marker.code == EOI)
            return ld_fail(err, LD_ERR_FORMAT, "malformed JPEG: no image data");
        if (is_exif(&marker) && out->orientation == 0)
            out->orientation =
                ld_exif_orientation(marker.body + 6, marker.len - 6);
        if (is_frame(marker.code) && !read_frame(&marker, out, err))
            return false;
    }
    if (out->orientation == 0)
        out->orientation = 1;
    return out->H > 0 || ld_fail(err, LD_ERR_FORMAT,
                                 "malformed JPEG: no frame before its scan");
}

bool ld_jpeg_header(const struct ld_file *file, struct ld_image_header *out,
                    struct ld_err *err)
{
    size_t scan_at;

    return read_markers(file, out, &scan_at, err);
}

/* Compressed data never holds FF D9, so one behind the start of the first scan
 * ends the image. */
static bool reaches_its_end(const struct ld_file *file)
{
    static const unsigned char end[] = {0xff, EOI};
    struct ld_image_header header;
    struct ld_err ignored = {0};
    size_t at;

    return read_markers(file, &header, &at, &ignored) &&
           memmem(file->data + at, file->len - at, end, sizeof(end));
}

/* libjpeg reports the first of its warnings only. These leave every pixel what
 * it should be, unless worse follows: then the file's end tells. */
static bool is_harmless(const char *warning)
{
    return strstr(warning, "extraneous bytes before marker") ||
           strstr(warning, "Unknown Adobe color transform code") ||
           strstr(warning, "unknown JFIF revision number");
}

static bool judge_failure(tjhandle tj, const struct ld_file *file,
                          struct ld_err *err)
{
    const char *text = tjGetErrorStr2(tj);
    bool warned = tjGetErrorCode(tj) == TJERR_WARNING;

    if (warned && !reaches_its_end(file))
        return ld_fail(err, LD_ERR_FORMAT, "truncated JPEG: %s", text);
    if (warned && is_harmless(text))
        return true;
    return ld_fail(err, LD_ERR_FORMAT, "%s JPEG: %s",
                   warned ? "damaged" : "unreadable", text);
}

/* In the rounding of OpenCV's colour reading; Adobe's files, the only ones
 * there are, store all four inverted. */
static void rgb_of_cmyk(uint8_t *rgb, const uint8_t *cmyk, size_t n_pixels)
{
    for (size_t i = 0; i < n_pixels; i++) {
        int k = cmyk[4 * i + 3];

        for (size_t c = 0; c < 3; c++) {
            int ink = 255 - cmyk[4 * i + c];

            rgb[3 * i + c] = (uint8_t)(k - (ink * k >> 8));
        }
    }
}

/* Into rows of W pixels; a picture of more scans than a camera or a person
 * would make is refused before it costs hours. */
static bool decompress(const struct ld_file *file,
                       const struct ld_image_header *header, uint8_t *pixels,
                       struct ld_err *err)
{
    tjhandle tj = tjInitDecompress();
    int format = header->n_channels == 4 ? TJPF_CMYK : TJPF_RGB;
    bool ok;

    if (!tj)
        return ld_fail(err, LD_ERR_MEMORY, "JPEG decoder: %s",
                       tjGetErrorStr2(NULL));
    ok = tjDecompress2(tj, file->data, file->len, pixels, header->W, 0,
                       header->H, format, TJFLAG_LIMITSCANS) == 0 ||
         judge_failure(tj, file, err);
    tjDestroy(tj);
    return ok;
}

bool ld_jpeg_decode(const struct ld_file *file,
                    const struct ld_image_header *header, uint8_t *rgb,
                    struct ld_err *err)
{
    size_t n_pixels = (size_t)header->H * header->W;
    uint8_t *cmyk;
    bool ok;

    if (header->n_channels != 4)
        return decompress(file, header, rgb, err);
    cmyk = ld_new(n_pixels, 4, err);
    ok = cmyk && decompress(file, header, cmyk, err);
    if (ok)
        rgb_of_cmyk(rgb, cmyk, n_pixels);
    ld_delete(cmyk);
    return ok;
}

/* Chroma is halved both ways (4:2:0), as in the data sets this stands beside.
 */
bool ld_jpeg_encode(const struct ld_image *image, struct ld_buf *out,
                    struct ld_err *err)
{
    tjhandle tj = tjInitCompress();
    unsigned char *bytes = NULL;
    unsigned long len = 0;
    bool ok = false;

    if (!tj)
        return ld_fail(err, LD_ERR_MEMORY, "JPEG encoder: %s",
                       tjGetErrorStr2(NULL));
    if (tjCompress2(tj, image->rgb, image->W, 0, image->H, TJPF_RGB, &bytes,
                    &len, TJSAMP_420, QUALITY, 0) == 0) {
        ld_buf_put(out, bytes, len);
        ok = ld_buf_ok(out, err);
    } else {
        ld_fail(err, LD_ERR_MEMORY, "JPEG encoder: %s", tjGetErrorStr2(tj));
    }
    tjFree(bytes);
    tjDestroy(tj);
    return ok;
}
