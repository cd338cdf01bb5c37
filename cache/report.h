/* report.h - all that there is to know of a cache, as one page of HTML. */
#pragma once

#include "cache/inspect.h"
#include "cache/report_count.h"

/* Writes folder/index.html, which needs nothing beside it: pictures are in it.
 * With a config (NULL: none) it shows the views that stand out, each linked to
 * a folder/view-ID-NUMBER.png of ld_render_write. LD_ERR_MISMATCH if the cache
 * is not of the config. */
bool ld_report_write(const char *folder, const struct ld_inspection *sum,
                     const struct ld_report_count *count, const char *config,
                     struct ld_err *err);
