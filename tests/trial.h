/* trial.h - one convolution, done twice: by plain loops and by a device. */
#pragma once

#include "tests/maps.h"

struct trial {
    struct ld_conv_desc desc;
    struct ld_shape out;
    /* Plain, host; the last three may be NULL. `before` is in dx. */
    float *x, *w, *dy, *bias, *identity, *before;
};

struct outcome {
    double *y, *dx, *dw, *dbias;
};

/* Of random numbers. */
struct trial trial_of(struct maps *m, struct ld_conv_desc desc, bool with_bias);
size_t trial_weights(const struct ld_conv_desc *desc); /* how many */

/* By plain loops, in double. */
struct outcome trial_plain(struct maps *m, const struct trial *t);

/* On the device. The caller frees `conv`; maps and vectors are of `m`. */
struct prepared {
    struct ld_conv *conv;
    void *packed, *scratch;
    float *x, *y, *identity, *dx, *dy, *dw, *dbias;
};

/* Prepares and packs; y is NaN, and dx unless it is added to; dw and dbias are
 * 0. */
struct prepared prepared_new(struct maps *m, const struct trial *t);

/* All passes that the trial's convolution was made for. */
void prepared_run(struct maps *m, const struct trial *t,
                  const struct prepared *s);
