/* export.h - a trained detector, alone, in a file that other programs load. */
#pragma once

#include "formats/checkpoint.h"
#include "formats/config.h"
#include "formats/setup.h"

/* A detector on its way out. */
struct ld_export {
    struct ld_checkpoint checkpoint; /* n_momentum is 0 */
    struct ld_model model;
    struct ld_config config; /* of its training, and what was set since */
};

/* Reads the checkpoint `from` and writes its detector to `out`, whole or not at
 * all; a file that stands there is replaced. `format` is a name of the table in
 * export.c, or NULL: by the ending of `out`. `settings` change the config that
 * goes along (test.*, data.val), never its model. LD_ERR_USAGE if it is of no
 * format, with the names there are; else what reading and writing say. */
bool ld_export_run(const char *from, const char *format, const char *out,
                   const struct ld_settings *settings, struct ld_err *err);
