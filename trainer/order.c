#include "trainer/order.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

struct ld_order {
    int32_t n, n_places;
    int batch;
    uint64_t seed;
    uint8_t *groups; /* (n) */
    int64_t steps, epoch;
    int32_t *shuffled; /* (n_places) of epoch */
    int32_t *waiting;  /* (LD_ORDER_GROUPS, batch) */
    int32_t *dealt;    /* (steps, batch) of epoch */
};

static int group_of(const struct ld_order *order, int32_t place)
{
    return order->groups[place % order->n];
}

static int64_t count_steps(const struct ld_order *order, int repeat)
{
    int64_t n[LD_ORDER_GROUPS] = {0}, steps = 0;

    for (int32_t i = 0; i < order->n; i++)
        n[order->groups[i]] += repeat;
    for (int g = 0; g < LD_ORDER_GROUPS; g++)
        steps += (n[g] + order->batch - 1) / order->batch;
    return steps;
}

static bool make_room(struct ld_order *order, const uint8_t *groups, int repeat,
                      struct ld_err *err)
{
    size_t n = (size_t)order->n, batch = (size_t)order->batch;

    order->groups = ld_new(n, 1, err);
    if (!order->groups)
        return false;
    memcpy(order->groups, groups, n);
    order->steps = count_steps(order, repeat);
    order->shuffled =
        ld_new((size_t)order->n_places, sizeof(*order->shuffled), err);
    order->waiting =
        ld_new(LD_ORDER_GROUPS * batch, sizeof(*order->waiting), err);
    order->dealt =
        ld_new((size_t)order->steps * batch, sizeof(*order->dealt), err);
    return order->shuffled && order->waiting && order->dealt;
}

struct ld_order *ld_order_new(int32_t n, const uint8_t *groups, int repeat,
                              int batch, uint64_t seed, struct ld_err *err)
{
    struct ld_order *order;

    if ((int64_t)n * repeat > INT32_MAX) {
        ld_fail(err, LD_ERR_USAGE,
                "data.repeat: %d passes over %d images are too many for one "
                "epoch",
                repeat, n);
        return NULL;
    }
    order = ld_new(1, sizeof(*order), err);
    if (!order)
        return NULL;
    order->n = n;
    order->n_places = n * repeat;
    order->batch = batch;
    order->seed = seed;
    order->epoch = -1;
    if (make_room(order, groups, repeat, err))
        return order;
    ld_order_free(order);
    return NULL;
}

void ld_order_free(struct ld_order *order)
{
    if (!order)
        return;
    ld_delete(order->groups);
    ld_delete(order->shuffled);
    ld_delete(order->waiting);
    ld_delete(order->dealt);
    ld_delete(order);
}

int64_t ld_order_steps(const struct ld_order *order)
{
    return order->steps;
}

/* From the front of the epoch, over and over if the group is smaller than a
 * batch. */
static void fill_up(const struct ld_order *order, int group, int32_t *waiting,
                    int n_waiting)
{
    for (int32_t i = 0; n_waiting < order->batch; i = (i + 1) % order->n_places)
        if (group_of(order, order->shuffled[i]) == group)
            waiting[n_waiting++] = order->shuffled[i];
}

static void deal(struct ld_order *order)
{
    size_t batch = (size_t)order->batch, size = batch * sizeof(*order->dealt);
    int n_waiting[LD_ORDER_GROUPS] = {0};
    int32_t *next = order->dealt;

    for (int32_t i = 0; i < order->n_places; i++) {
        int32_t place = order->shuffled[i];
        int group = group_of(order, place);
        int32_t *waiting = order->waiting + (size_t)group * batch;

        waiting[n_waiting[group]++] = place;
        if (n_waiting[group] < order->batch)
            continue;
        memcpy(next, waiting, size);
        next += batch;
        n_waiting[group] = 0;
    }
    for (int group = 0; group < LD_ORDER_GROUPS; group++) {
        int32_t *waiting = order->waiting + (size_t)group * batch;

        if (n_waiting[group] == 0)
            continue;
        fill_up(order, group, waiting, n_waiting[group]);
        memcpy(next, waiting, size);
        next += batch;
    }
}

const int32_t *ld_order_batch(struct ld_order *order, int64_t epoch,
                              int64_t step)
{
    if (epoch != order->epoch) {
        ld_rng_permutation(order->seed, (uint64_t)epoch, order->shuffled,
                           order->n_places);
        deal(order);
        order->epoch = epoch;
    }
    return order->dealt + step * order->batch;
}
