/* layer.h - a layer written the plain way, in double, to hold a device's
 * against.
 */
#pragma once

#include "tests/golden.h"
#include "tests/maps.h"

struct layer {
    struct ld_shape in, out;
    int groups; /* of GN; 0: BN with the batch's statistics */
    bool relu;  /* of BN */
    double *x, *gamma, *beta, *dy; /* plain, host */
    void (*forward)(const struct layer *l, double *y);
};

/* x, dy, gamma, beta from N(0, 1); each a fp32 number. */
struct layer layer_of(struct maps *m, struct ld_shape in, struct ld_shape out,
                      void (*forward)(const struct layer *l, double *y));

/* x, "upstream" and, where there are, w and b of a golden instance; without
 * `forward`. */
struct layer layer_golden(struct maps *m, struct golden *g);

/* Host copies in the other precision; device copies. */
double *layer_double(struct maps *m, const float *from, size_t count);
float *layer_float(struct maps *m, const double *from, size_t count);
float *layer_map(struct maps *m, const double *plain, struct ld_shape shape);
float *layer_vector(struct maps *m, const double *plain, size_t count);

/* Fails the test unless the map y is the plain version's, to 2e-6 in relative
 * L2: one pass in fp32 with sums in double rounds each value a few times by
 * 6e-8. */
void layer_check(struct maps *m, const struct layer *l, const char *what,
                 const float *y);

/* Fails the test unless `gradient` is that of <y, dy> with respect to `at`, an
 * array of the layer's, by central differences of the plain version at eight
 * random places. */
void layer_check_gradient(struct maps *m, const struct layer *l,
                          const char *what, double *at, size_t count,
                          const float *gradient);
