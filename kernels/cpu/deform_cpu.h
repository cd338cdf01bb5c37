/* deform_cpu.h - deformable convolution on the CPU: its sizes and its samples.
 *
 * Forward goes by strips of output pixels: their samples are laid out as the
 * rows of a matrix ("columns", after im2col), times the weights by the library.
 * Backward goes by planes of the input: what belongs to a plane, of dx and of
 * dweight, is summed by one thread in the order of the pixels. So no sum
 * depends on how many threads there are, and scratch is a strip a thread, not
 * the nine input maps that all columns are.
 *
 * A row of columns is ordered (plane, tap, channel of the plane). Weights are
 * packed likewise: for each group the matrix (group_K, group_O). */
#pragma once

#include <stdint.h>

#include "kernels/cpu/cpu.h"

/* Channels of a plane, from `first` to before `end`, that share offsets. The
 * padding channels belong to the last piece of their plane. */
struct ld_piece {
    int plane, first, end;
    int deform_group;
};

struct ld_deform {
    struct ld_deform_desc desc;
    struct ld_shape in, out, offset;
    int block, taps;
    int planes;  /* of an image of the input */
    size_t area; /* pixels of an image of the output */
    size_t in_floats, out_floats, offset_floats; /* of an image's maps */
    int conv_groups;
    /* They are taken together until their channels fill whole planes; the
     * weights between channels of different groups are zeros. */
    int groups, group_planes, group_K, group_O;
    struct ld_piece *piece; /* by rising plane, then deform_group */
    int n_pieces;
    int strip;             /* pixels of a strip, forward */
    size_t n_strips;       /* of an image */
    int lanes, grad_lanes; /* threads that work side by side at most: forward,
                              backward */
};

/* Where one tap of one output pixel reads a plane, and by which weights. */
struct ld_sample {
    int32_t at[4]; /* number in the plane: upper left, upper right, lower .. */
    float weight[4];
};

/* Of pixels begin to end of an image whose offsets are `offset`: sample
 * ((p - begin) * deform_groups + group) * taps + tap. */
void ld_deform_sample(const struct ld_deform *d, struct ld_sample *samples,
                      const float *offset, size_t begin, size_t end);

/* A sample's derivatives with respect to dy, dx and to the logit of its factor,
 * given the products <dy, x> with the four neighbours: (dy, dx, logit). */
void ld_deform_derivative(const struct ld_deform *d, float derivative[3],
                          const float *offset, size_t pixel, int tap_of_group,
                          const float product[4]);

/* Columns of a piece, of n_pixels; `row` numbers from one pixel's to the next.
 * Samples are those of the piece's deform_group's first tap. */
void ld_deform_gather(const struct ld_deform *d, const struct ld_piece *piece,
                      float *columns, size_t row, const float *plane,
                      const struct ld_sample *samples, size_t n_pixels);

/* The same columns, and what their gradients `dcolumns` add to dplane (NULL:
 * not wanted); products (n_pixels, taps, 4) of dcolumns and the neighbours.
 * Both columns are (n_pixels, taps, block). */
struct ld_scatter {
    float *columns, *products, *dplane;
    const float *dcolumns, *plane;
    const struct ld_sample *samples;
    size_t n_pixels;
};
void ld_deform_scatter(const struct ld_deform *d, const struct ld_piece *piece,
                       const struct ld_scatter *s);

/* weight (O, C / groups, kernel, kernel) += what belongs to a plane of the
 * input of packed weights. */
void ld_deform_unpack_add(const struct ld_deform *d, float *weight,
                          const float *packed, int plane);

/* Bytes of backward's scratch. */
size_t ld_deform_grad_scratch(const struct ld_deform *d);
