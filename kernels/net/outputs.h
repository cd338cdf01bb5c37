/* outputs.h - all that a detector says of a batch, on the host. */
#pragma once

#include "kernels/base/mem.h"
#include "kernels/net/net.h"

struct ld_outputs {
    float *scores; /* (N, A, K) 0 to 1, of the classes alone */
    float *bins;   /* (N, A, 4, B) box logits */
};

/* After a forward pass over N images; the arena's. */
bool ld_outputs_of(struct ld_outputs *out, struct ld_device *dev,
                   const struct ld_net *net, int N, struct ld_arena *arena,
                   struct ld_err *err);
