#include "cache/report_html.h"

#include <inttypes.h>
#include <math.h>
#include <nettle/base64.h>

enum { THUMB_W = 220, THUMB_H = 160, CHART_W = 240, CHART_H = 96 };

static const char style[] =
    "body{font:15px/1.45 system-ui,sans-serif;color:#1d2530;background:#f3f5f8;"
    "margin:0 auto;max-width:1180px;padding:24px}"
    "h1{font-size:24px;margin:0 0 16px;word-break:break-all}"
    "h2{font-size:16px;margin:0 0 10px}"
    "main{display:grid;grid-template-columns:1fr 1fr;gap:16px}"
    "section{background:#fff;border:1px solid #dfe4ea;border-radius:8px;"
    "padding:16px;overflow:hidden}"
    ".full,.tiles{grid-column:1/-1}"
    ".tiles{display:grid;gap:8px;"
    "grid-template-columns:repeat(auto-fit,minmax(118px,1fr))}"
    ".tile b{display:block;font-size:21px}.tile span{color:#65707f}"
    "table{border-collapse:collapse;font-size:14px}.wide{width:100%}"
    "th{text-align:left;font-weight:500;color:#65707f;white-space:nowrap}"
    "th,td{padding:3px 12px 3px 0;vertical-align:top}"
    "td{overflow-wrap:anywhere}.n{text-align:right;white-space:nowrap;"
    "font-variant-numeric:tabular-nums}"
    ".wide td:last-child{width:40%}"
    ".bar{background:#2f6fd0;height:14px;border-radius:2px;min-width:1px}"
    ".charts,.views{display:grid;gap:16px;"
    "grid-template-columns:repeat(4,1fr)}"
    "figure{margin:0;max-width:240px}figcaption{font-size:13px;color:#65707f}"
    "svg{display:block}text{font-size:11px;fill:#65707f}"
    "p{margin:0 0 10px;font-size:13px;color:#65707f}"
    "i{display:inline-block;width:11px;height:11px;border-radius:2px;"
    "margin-left:8px}"
    ".main{background:#2f6fd0;fill:#2f6fd0}.vlr{background:#a9c6f2;"
    "fill:#a9c6f2}img{border-radius:4px;display:block}a{color:inherit}";

void ld_html_start(struct ld_buf *out, const char *title)
{
    ld_buf_printf(out, "<!DOCTYPE html>\n<html lang=en><meta charset=utf-8>"
                       "<meta name=viewport content=\"width=device-width\">"
                       "<title>");
    ld_html_text(out, title);
    ld_buf_printf(out, "</title>\n<style>%s</style>\n<h1>Cache ", style);
    ld_html_text(out, title);
    ld_buf_printf(out, "</h1>\n<main>\n");
}

void ld_html_end(struct ld_buf *out)
{
    ld_buf_printf(out, "</main></html>\n");
}

void ld_html_text(struct ld_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '<' || *text == '>' || *text == '&' || *text == '"')
            ld_buf_printf(out, "&#%d;", *text);
        else
            ld_buf_put(out, text, 1);
    }
}

static void put_bar(struct ld_buf *out, const char *kind, int bin, int n_bins,
                    double from, double to)
{
    double wide = (double)CHART_W / n_bins;

    if (to > from)
        ld_buf_printf(out,
                      "<rect class=%s x=%.1f y=%.1f width=%.1f height=%.1f />",
                      kind, bin * wide + 0.5, CHART_H * (1 - to), wide - 1,
                      CHART_H * (to - from));
}

void ld_html_histogram(struct ld_buf *out, const char *title,
                       const int64_t *dark, const int64_t *light, int n_bins,
                       double least, double most)
{
    int64_t highest = 1, n = 0;

    for (int i = 0; i < n_bins; i++) {
        int64_t both = dark[i] + light[i];

        n += both;
        highest = both > highest ? both : highest;
    }
    ld_buf_printf(out,
                  "<figure><svg width=%d height=%d role=img>"
                  "<line x1=0 y1=%d x2=%d y2=%d stroke=\"#c5ccd6\" />",
                  CHART_W, CHART_H + 16, CHART_H, CHART_W, CHART_H);
    for (int i = 0; i < n_bins; i++) {
        double first = (double)dark[i] / (double)highest;

        put_bar(out, "main", i, n_bins, 0, first);
        put_bar(out, "vlr", i, n_bins, first,
                first + (double)light[i] / (double)highest);
    }
    ld_buf_printf(out,
                  "<text x=0 y=%d>%g</text><text x=%d y=%d "
                  "text-anchor=end>%.4g</text></svg><figcaption>%s: %" PRId64
                  "</figcaption></figure>\n",
                  CHART_H + 13, least, CHART_W, CHART_H + 13, most, title, n);
}

static void draw_thumbnail(struct ld_page *page, const struct ld_render *render,
                           double zoom)
{
    const struct ld_sight *sight = render->sight;
    const struct ld_record *record = render->record;
    struct ld_grid grid = ld_shard_grid(render->facts, &record->view);

    ld_page_image(page, &sight->image, 0, 0, zoom, LD_PAGE_BLENDED);
    for (int i = 0; i < sight->n_truth; i++) {
        const struct ld_box *box = &sight->truth[i];

        cairo_rectangle(page->cr, zoom * (double)box->x0,
                        zoom * (double)box->y0,
                        zoom * (double)(box->x1 - box->x0),
                        zoom * (double)(box->y1 - box->y0));
        ld_page_stroke_dashed(page, 1);
    }
    for (int i = 0; i < record->n_rows; i++) {
        float x, y;

        if (!(record->kind[i] & LD_SHARD_MAIN))
            continue;
        ld_grid_centre(&grid, record->location[i], &x, &y);
        cairo_arc(page->cr, zoom * (double)x, zoom * (double)y, 2, 0, 2 * M_PI);
        ld_page_set_colour(
            page, ld_render_colour(ld_grid_level(&grid, record->location[i])));
        cairo_fill(page->cr);
    }
}

/* The bytes in base 64, as an image's source. */
static void put_image(struct ld_buf *out, const struct ld_buf *png, int H,
                      int W)
{
    size_t len = BASE64_ENCODE_RAW_LENGTH(png->len), at;

    ld_buf_printf(out, "<img width=%d height=%d src=\"data:image/png;base64,",
                  W, H);
    at = out->len;
    ld_buf_put(out, NULL, len);
    if (!out->failed)
        base64_encode_raw((char *)out->data + at, png->len, png->data);
    ld_buf_printf(out, "\">");
}

bool ld_html_thumbnail(struct ld_buf *out, const struct ld_render *render,
                       struct ld_err *err)
{
    const struct ld_sight *sight = render->sight;
    double zoom = fmin((double)THUMB_W / sight->image.W,
                       (double)THUMB_H / sight->image.H);
    int W = (int)fmax(1, zoom * sight->image.W + 0.5);
    int H = (int)fmax(1, zoom * sight->image.H + 0.5);
    struct ld_buf png = {.max = (size_t)1 << 24};
    struct ld_page page;
    bool ok;

    ld_page_start_png(&page, H, W);
    draw_thumbnail(&page, render, zoom);
    ok = ld_page_encode(&page, sight->name, &png, err);
    if (ok)
        put_image(out, &png, H, W);
    ld_page_free(&page);
    ld_buf_free(&png);
    return ok;
}
