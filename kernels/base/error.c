#include "kernels/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* One line on a terminal: a control character from a file name or a file's
 * bytes becomes '?'. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

bool ld_fail(struct ld_err *err, enum ld_code code, const char *format, ...)
{
    va_list args;

    if (err->code != LD_OK)
        return false;

    err->code = code;
    va_start(args, format);
    vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    make_printable(err->text);
    return false;
}

bool ld_fail_in(struct ld_err *err, const char *place)
{
    char text[sizeof(err->text)];
    size_t room = sizeof(text) - 1, at;

    memcpy(text, err->text, sizeof(text));
    at = (size_t)snprintf(err->text, sizeof(err->text), "%s: ", place);
    at = at < room ? at : room;
    memcpy(err->text + at, text, room - at);
    err->text[room] = 0;
    make_printable(err->text);
    return false;
}
