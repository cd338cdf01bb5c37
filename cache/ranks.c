#include "cache/ranks.h"

#include <errno.h>
#include <stdlib.h>

static bool read_count(const char *text, char end, const char **rest, int *out)
{
    char *stop;
    long value;

    errno = 0;
    value = strtol(text, &stop, 10);
    *rest = stop;
    *out = (int)value;
    return stop != text && *stop == end && errno == 0 && value >= 1 &&
           value <= 1000000;
}

bool ld_share_read(const char *text, struct ld_share *out, struct ld_err *err)
{
    const char *rest;
    int part;

    if (!read_count(text, '/', &rest, &part) ||
        !read_count(rest + 1, 0, &rest, &out->count) || part > out->count)
        return ld_fail(err, LD_ERR_USAGE,
                       "--part %s: expected I/N, two numbers with 1 <= I <= N",
                       text);
    out->index = out->local = part - 1;
    return true;
}
