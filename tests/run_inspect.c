#include "tests/run_inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/suite.h"

int run_inspect(const char *arguments, char *out, size_t room)
{
    const char *build = getenv("LD_BUILD");
    char command[1024];
    FILE *pipe;
    size_t len;
    int status;

    snprintf(command, sizeof(command), "(%s/cache/ld-inspect %s) 2>&1",
             build ? build : "build", arguments);
    pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    len = fread(out, 1, room - 1, pipe);
    out[len] = 0;
    status = pclose(pipe);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}
