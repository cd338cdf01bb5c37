/* deforming.h - one deformable convolution, done twice: by plain loops and by a
 * device. */
#pragma once

#include "tests/maps.h"

struct deforming {
    struct ld_deform_desc desc; /* conv.groups is not 0 */
    struct ld_shape out, offsets;
    float *x, *offset, *w, *bias, *dy; /* plain, host; bias may be NULL */
};

/* Of random numbers; some samples leave small maps. */
struct deforming deforming_of(struct maps *m, struct ld_deform_desc desc);
size_t deforming_weights(const struct deforming *t); /* how many */

/* By plain loops, in double. */
struct wanted {
    double *y, *dx, *doffset, *dw, *dbias;
};
struct wanted deforming_plain(struct maps *m, const struct deforming *t);

/* On the device, forward and backward, back in the plain order; dw and dbias
 * are the device's. */
struct got {
    const float *y, *dx, *doffset, *dw, *dbias;
};
struct got deforming_run(struct maps *m, const struct deforming *t);
