#include "kernels/net/outputs.h"

#include "kernels/net/imitate.h"

/* The arena's; NULL also where there are no such rows. */
static float *fetched(struct ld_device *dev, const float *rows, size_t count,
                      struct ld_arena *arena, struct ld_err *err)
{
    float *to = rows ? ld_arena_new(arena, count, sizeof(*to), err) : NULL;

    if (to)
        dev->ops->download(dev, to, rows, count * sizeof(*to));
    return to;
}

bool ld_outputs_of(struct ld_outputs *out, struct ld_device *dev,
                   const struct ld_net *net, int N, struct ld_arena *arena,
                   struct ld_err *err)
{
    const struct ld_model *model = ld_net_model(net);
    struct ld_grid grid = ld_net_grid(net);
    size_t places = (size_t)N * (size_t)grid.start[grid.n_levels];
    int n_logits = ld_model_class_logits(model), K = model->n_classes;
    float *logits = fetched(dev, ld_net_class_rows(net),
                            places * (size_t)n_logits, arena, err);
    float *quality = fetched(dev, ld_net_quality_rows(net), places, arena, err);

    out->bins = fetched(dev, ld_net_box_rows(net),
                        places * 4 * ((size_t)model->reg_max + 1), arena, err);
    out->scores =
        ld_arena_new(arena, places * (size_t)K, sizeof(*out->scores), err);
    if (err->code != LD_OK || !dev->ops->sync(dev, err))
        return false;
    ld_scores_of(out->scores, logits, quality, places, K, n_logits);
    return true;
}
