#include "trainer/tally.h"

#include "kernels/base/mem.h"

bool ld_tally_open(struct ld_tally *tally, struct ld_device *dev,
                   struct ld_err *err)
{
    *tally = (struct ld_tally){.dev = dev};
    tally->device =
        dev->ops->alloc(dev, LD_TALLY_ROOM * sizeof(*tally->device), err);
    tally->host = ld_new(LD_TALLY_ROOM, sizeof(*tally->host), err);
    return tally->device && tally->host;
}

void ld_tally_close(struct ld_tally *tally)
{
    if (tally->dev)
        tally->dev->ops->release(tally->dev, tally->device);
    ld_delete(tally->host);
    *tally = (struct ld_tally){0};
}

struct ld_loss_terms *ld_tally_next(struct ld_tally *tally, struct ld_err *err)
{
    if (tally->n_waiting == LD_TALLY_ROOM && !ld_tally_read(tally, err))
        return NULL;
    return tally->device + tally->n_waiting++;
}

static void add(struct ld_tally *tally, const struct ld_loss_terms *terms)
{
    for (int term = 0; term < LD_N_TERMS; term++)
        for (int level = 0; level < LD_MAX_LEVELS; level++)
            tally->sum.value[term][level] += terms->value[term][level];
    tally->n_summed++;
    tally->last = ld_loss_total(terms);
    tally->any = true;
}

bool ld_tally_read(struct ld_tally *tally, struct ld_err *err)
{
    struct ld_device *dev = tally->dev;
    int n = tally->n_waiting;

    tally->n_waiting = 0;
    dev->ops->download(dev, tally->host, tally->device,
                       (size_t)n * sizeof(*tally->host));
    if (!dev->ops->sync(dev, err))
        return false;
    for (int i = 0; i < n; i++)
        add(tally, &tally->host[i]);
    return true;
}

struct ld_loss_terms ld_tally_mean(struct ld_tally *tally)
{
    struct ld_loss_terms mean = tally->sum;

    for (int term = 0; term < LD_N_TERMS; term++)
        for (int level = 0; level < LD_MAX_LEVELS; level++)
            mean.value[term][level] /= tally->n_summed;
    tally->sum = (struct ld_loss_terms){0};
    tally->n_summed = 0;
    return mean;
}
