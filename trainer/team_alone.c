#include "kernels/base/launch.h"
#include "trainer/team.h"

const struct ld_team ld_team_alone = {
    .n_ranks = 1, .n_machines = 1, .n_sharing = 1, .speaker = -1};

bool ld_team_start(struct ld_team *team, struct ld_err *err)
{
    int n = ld_launched();

    *team = ld_team_alone;
    return n <= 1 ||
           ld_fail(err, LD_ERR_USAGE,
                   "started as one of %d processes, but built without MPI: "
                   "build with meson -Dmpi=enabled",
                   n);
}

bool ld_team_agree(struct ld_team *team, bool ok, struct ld_err *err)
{
    (void)team;
    (void)err;
    return ok;
}

void ld_team_fail(struct ld_team *team, const struct ld_err *err)
{
    (void)team;
    (void)err;
}

void ld_team_stop(struct ld_team *team)
{
    (void)team;
}

bool ld_team_reducer(struct ld_team *team, struct ld_device *dev,
                     struct ld_reducer **out, struct ld_err *err)
{
    (void)team;
    (void)dev;
    (void)err;
    *out = NULL;
    return true;
}

void ld_team_send(const struct ld_team *team, void *data, size_t size)
{
    (void)team;
    (void)data;
    (void)size;
}

void ld_team_mean(const struct ld_team *team, double *values, int n)
{
    (void)team;
    (void)values;
    (void)n;
}

bool ld_team_gather(const struct ld_team *team, const struct ld_buf *own,
                    struct ld_buf *all, struct ld_err *err)
{
    (void)team;
    ld_buf_put(all, own->data, own->len);
    return ld_buf_ok(all, err);
}
