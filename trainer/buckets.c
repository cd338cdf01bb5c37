#include "trainer/buckets.h"

/* Numbers of one: small ones cost a start each, and what the last one holds
 * nothing is left to hide behind. PyTorch's buckets are 25 MB, its first one
 * 1 MB. */
static const size_t LEAST = (size_t)1 << 20;

static void send_complete(void *context, size_t from)
{
    struct ld_buckets *b = context;
    size_t n = b->sent - from;

    if (n == 0 || (n < LEAST && from > 0)) {
        b->reducer->ops->progress(b->reducer);
        return;
    }
    b->sent = from;
    b->reducer->ops->start(b->reducer, b->gradients + from, n);
}

bool ld_buckets_open(struct ld_buckets *buckets, struct ld_net *net,
                     struct ld_reducer *reducer, struct ld_err *err)
{
    buckets->reducer = reducer;
    buckets->gradients = ld_net_gradients(net, &buckets->count);
    buckets->sent = buckets->count;
    return ld_net_watch(net, send_complete, buckets, err);
}

void ld_buckets_wait(struct ld_buckets *buckets)
{
    buckets->reducer->ops->wait(buckets->reducer);
    buckets->sent = buckets->count;
}
