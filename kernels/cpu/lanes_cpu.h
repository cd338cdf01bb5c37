/* lanes_cpu.h - normalisation of one plane of a map, 16 lanes at a time.
 *
 * Lane i of 16 belongs to channel i % block of the plane; what is given by lane
 * repeats for a block of 8. Of padding channels everything given is 0, so that
 * they stay 0. Sums are made in double over pieces of fixed size. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "kernels/cpu/cpu.h"

/* Count, mean and sum of squared deviations of some numbers. */
struct ld_moments {
    double count, mean, m2;
};

/* into := the moments of both together (Chan, Golub, LeVeque 1983). */
void ld_moments_merge(struct ld_moments *into, struct ld_moments more);

/* Merges the plane's numbers into the moments of its channels. */
void ld_lanes_moments(struct ld_moments channel[LD_LANES], const float *plane,
                      size_t floats, int block);

/* y = relu?((x - mean) * scale + beta), by lane. */
struct ld_lanes {
    float mean[LD_LANES], scale[LD_LANES], beta[LD_LANES];
    bool relu;
    float by_x[LD_LANES], constant[LD_LANES]; /* of backward alone */
};

void ld_lanes_forward(float *y, const float *x, size_t floats,
                      const struct ld_lanes *l);

/* Of each channel, with g = dy where y is not clamped, else 0. */
struct ld_lane_sums {
    double g[LD_LANES], gx[LD_LANES]; /* sum of g, of g * (x - mean) */
};

/* Adds the plane's sums to those of its channels. */
void ld_lanes_sums(struct ld_lane_sums *sums, const float *dy, const float *x,
                   size_t floats, int block, const struct ld_lanes *l);

/* dx = g * scale + (x - mean) * by_x + constant; dx may be dy. */
void ld_lanes_backward(float *dx, const float *dy, const float *x,
                       size_t floats, const struct ld_lanes *l);
