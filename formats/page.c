#include "formats/page.h"

#include <cairo-svg.h>
#include <string.h>
#include <strings.h>

#include "formats/file.h"

static cairo_status_t take_bytes(void *out, const unsigned char *bytes,
                                 unsigned int len)
{
    struct ld_buf *buf = out;

    ld_buf_put(buf, bytes, len);
    return buf->failed ? CAIRO_STATUS_NO_MEMORY : CAIRO_STATUS_SUCCESS;
}

static void page_start(struct ld_page *page, cairo_surface_t *surface)
{
    page->cr = cairo_create(surface);
    cairo_surface_destroy(surface); /* the context holds it */
}

void ld_page_start_png(struct ld_page *page, int H, int W)
{
    *page = (struct ld_page){0};
    page_start(page, cairo_image_surface_create(CAIRO_FORMAT_RGB24, W, H));
}

void ld_page_start_svg(struct ld_page *page, int H, int W)
{
    *page = (struct ld_page){.svg.max = (size_t)1 << 30};
    page_start(page, cairo_svg_surface_create_for_stream(take_bytes, &page->svg,
                                                         W, H));
}

static bool ends_in(const char *path, const char *ending)
{
    size_t len = strlen(path), n = strlen(ending);

    return len > n && strcasecmp(path + len - n, ending) == 0;
}

bool ld_page_start(struct ld_page *page, const char *path, int H, int W,
                   struct ld_err *err)
{
    *page = (struct ld_page){0};
    if (ends_in(path, ".svg"))
        ld_page_start_svg(page, H, W);
    else if (ends_in(path, ".png"))
        ld_page_start_png(page, H, W);
    else
        return ld_fail(err, LD_ERR_USAGE,
                       "%s: expected a name that ends in .svg or .png", path);
    return true;
}

static cairo_status_t encode(struct ld_page *page, struct ld_buf *out)
{
    cairo_surface_t *surface = cairo_get_target(page->cr);
    cairo_status_t status = cairo_status(page->cr);

    if (status != CAIRO_STATUS_SUCCESS)
        return status;
    if (cairo_surface_get_type(surface) == CAIRO_SURFACE_TYPE_IMAGE)
        return cairo_surface_write_to_png_stream(surface, take_bytes, out);
    cairo_surface_finish(surface);
    status = cairo_surface_status(surface);
    return status == CAIRO_STATUS_SUCCESS
               ? take_bytes(out, page->svg.data, (unsigned)page->svg.len)
               : status;
}

bool ld_page_encode(struct ld_page *page, const char *name, struct ld_buf *out,
                    struct ld_err *err)
{
    cairo_status_t status = encode(page, out);

    return status == CAIRO_STATUS_SUCCESS ||
           ld_fail(err,
                   status == CAIRO_STATUS_NO_MEMORY ? LD_ERR_MEMORY
                                                    : LD_ERR_FORMAT,
                   "%s: cannot draw: %s", name, cairo_status_to_string(status));
}

bool ld_page_publish(struct ld_page *page, const char *path, struct ld_err *err)
{
    struct ld_buf bytes = {.max = (size_t)1 << 32};
    bool ok = ld_page_encode(page, path, &bytes, err) &&
              ld_file_replace(path, bytes.data, bytes.len, err);

    ld_buf_free(&bytes);
    return ok;
}

void ld_page_free(struct ld_page *page)
{
    if (page->cr)
        cairo_destroy(page->cr);
    ld_buf_free(&page->svg);
    *page = (struct ld_page){0};
}

void ld_page_set_colour(struct ld_page *page, struct ld_colour colour)
{
    cairo_set_source_rgb(page->cr, colour.r, colour.g, colour.b);
}

void ld_page_set_font(struct ld_page *page, double size, bool bold)
{
    cairo_select_font_face(page->cr, "sans", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD
                                : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(page->cr, size);
}

double ld_page_text_width(struct ld_page *page, const char *text)
{
    cairo_text_extents_t size;

    cairo_text_extents(page->cr, text, &size);
    return size.x_advance;
}

static cairo_surface_t *surface_of(const struct ld_image *image)
{
    cairo_surface_t *surface =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, image->W, image->H);
    unsigned char *pixels = cairo_image_surface_get_data(surface);
    size_t stride = (size_t)cairo_image_surface_get_stride(surface);
    const uint8_t *rgb = image->rgb;

    if (!pixels)
        return surface;
    for (int y = 0; y < image->H; y++)
        for (int x = 0; x < image->W; x++, rgb += 3) {
            uint32_t pixel =
                (uint32_t)rgb[0] << 16 | (uint32_t)rgb[1] << 8 | rgb[2];

            memcpy(pixels + y * stride + 4 * (size_t)x, &pixel, 4);
        }
    cairo_surface_mark_dirty(surface);
    return surface;
}

void ld_page_image(struct ld_page *page, const struct ld_image *image, double x,
                   double y, double zoom, enum ld_page_pixels pixels)
{
    cairo_surface_t *surface = surface_of(image);
    cairo_t *cr = page->cr;

    cairo_save(cr);
    cairo_translate(cr, x, y);
    cairo_scale(cr, zoom, zoom);
    cairo_rectangle(cr, 0, 0, image->W, image->H);
    cairo_set_source_surface(cr, surface, 0, 0);
    cairo_pattern_set_extend(cairo_get_source(cr), CAIRO_EXTEND_PAD);
    cairo_pattern_set_filter(cairo_get_source(cr), pixels == LD_PAGE_SQUARES
                                                       ? CAIRO_FILTER_NEAREST
                                                       : CAIRO_FILTER_GOOD);
    cairo_fill(cr);
    cairo_restore(cr);
    cairo_surface_destroy(surface);
}

void ld_page_stroke_dashed(struct ld_page *page, double line)
{
    double dash = 4 * line;

    cairo_set_line_width(page->cr, line);
    cairo_set_source_rgba(page->cr, 0, 0, 0, 0.6);
    cairo_stroke_preserve(page->cr);
    cairo_set_dash(page->cr, &dash, 1, 0);
    cairo_set_source_rgb(page->cr, 1, 1, 1);
    cairo_stroke(page->cr);
    cairo_set_dash(page->cr, NULL, 0, 0);
}
