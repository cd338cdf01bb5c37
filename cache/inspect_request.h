/* inspect_request.h - the command line of ld-inspect.
 *
 * Private to cache/inspect*.c. */
#pragma once

#include <stdint.h>

#include "kernels/base/error.h"

enum ld_inspect_task {
    LD_INSPECT_SUMMARY,
    LD_INSPECT_VERIFY,
    LD_INSPECT_RECORD,
    LD_INSPECT_RENDER,
    LD_INSPECT_REPORT,
    LD_INSPECT_WATCH,
};

enum { LD_INSPECT_LOCATIONS = 8 };

struct ld_inspect_request {
    enum ld_inspect_task task;
    bool json;
    int64_t image_id; /* of a record */
    int view;
    const char *config, *out; /* NULL if not given */
    int locations[LD_INSPECT_LOCATIONS], n_locations;
    char **paths;
    int n_paths;
};

/* False with err unset: --help or --version was answered. LD_ERR_USAGE. */
bool ld_inspect_parse(int argc, char **argv, struct ld_inspect_request *request,
                      struct ld_err *err);
