/* buckets.h - gradients on their way to the other ranks while the backward pass
 * goes on: what of them is complete is sent in pieces of about 4 MB. */
#pragma once

#include "kernels/net/net.h"

struct ld_buckets {
    struct ld_reducer *reducer;
    float *gradients; /* (count) */
    size_t count;
    size_t sent; /* those from here on are on their way */
};

/* From now on each ld_net_backward sends the net's gradients by `reducer`; then
 * call ld_buckets_wait. `buckets` stays where it is as long as the net lives.
 */
bool ld_buckets_open(struct ld_buckets *buckets, struct ld_net *net,
                     struct ld_reducer *reducer, struct ld_err *err);

/* The device's next work finds means over all ranks. */
void ld_buckets_wait(struct ld_buckets *buckets);
