#include "trainer/page.h"

#include <cairo-svg.h>

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

/* All bytes of the finished file, which is written only if there are all. */
static cairo_status_t finish(struct ld_page *page, struct ld_buf *png,
                             const struct ld_buf **out)
{
    cairo_surface_t *surface = cairo_get_target(page->cr);
    cairo_status_t status = cairo_status(page->cr);

    if (status != CAIRO_STATUS_SUCCESS)
        return status;
    if (cairo_surface_get_type(surface) == CAIRO_SURFACE_TYPE_IMAGE) {
        *out = png;
        return cairo_surface_write_to_png_stream(surface, take_bytes, png);
    }
    *out = &page->svg;
    cairo_surface_finish(surface);
    return cairo_surface_status(surface);
}

bool ld_page_publish(struct ld_page *page, const char *path, struct ld_err *err)
{
    struct ld_buf png = {.max = (size_t)1 << 32};
    const struct ld_buf *bytes = NULL;
    cairo_status_t status = finish(page, &png, &bytes);
    bool ok;

    if (status == CAIRO_STATUS_SUCCESS)
        ok = ld_file_replace(path, bytes->data, bytes->len, err);
    else
        ok = ld_fail(
            err,
            status == CAIRO_STATUS_NO_MEMORY ? LD_ERR_MEMORY : LD_ERR_FORMAT,
            "%s: cannot draw: %s", path, cairo_status_to_string(status));
    ld_buf_free(&png);
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
