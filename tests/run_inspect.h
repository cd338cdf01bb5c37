/* run_inspect.h - ld-inspect as a user runs it. */
#pragma once

#include <stddef.h>

/* Its exit status; `out` (room) receives what it prints, errors too. */
int run_inspect(const char *arguments, char *out, size_t room);
