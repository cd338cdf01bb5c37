/* error.h - how a function says that it failed.
 *
 * A function that can fail takes a `struct ld_err *` as its last parameter and
 * returns false or NULL. One that takes none cannot fail. The text is written
 * where the cause is known and printed once, by a command's main(). */
#pragma once

#include <stdbool.h>

enum ld_code {
    LD_OK = 0,
    LD_ERR_USAGE = 2, /* a flag, a config key or a value the user can mend */
    LD_ERR_IO,        /* the system refused to open, read, write or rename */
    LD_ERR_FORMAT,    /* bytes that are not what their format promises */
    LD_ERR_MEMORY,    /* host or device memory is used up */
    LD_ERR_DEVICE,    /* the device is absent or reported a fault */
    LD_ERR_NUMBER,    /* a loss or a gradient that is not finite */
    LD_ERR_MISMATCH,  /* a cache, checkpoint or data set of another run */
};

struct ld_err {
    enum ld_code code; /* LD_OK until the first failure */
    char text[4096];   /* one line, no newline, ready for the user */
};

/* Records a failure. Always returns false, so `return ld_fail(...)` reads as a
 * sentence. The first failure stands: a later one does not overwrite it. */
bool ld_fail(struct ld_err *err, enum ld_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "<place>: " before the text of a failure from below. Returns false. */
bool ld_fail_in(struct ld_err *err, const char *place);
