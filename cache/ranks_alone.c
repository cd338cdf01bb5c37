#include "cache/ranks.h"
#include "kernels/base/launch.h"

bool ld_ranks_start(struct ld_share *out, struct ld_err *err)
{
    int n = ld_launched();

    *out = (struct ld_share){.count = 1};
    return n <= 1 ||
           ld_fail(err, LD_ERR_USAGE,
                   "started as one of %d processes, but built without MPI: use "
                   "--part I/N, or build with meson -Dmpi=enabled",
                   n);
}

void ld_ranks_stop(const struct ld_err *err)
{
    (void)err;
}
