#include "kernels/cpu/lanes_cpu.h"

#include "kernels/cpu/quads.h"

enum { QUADS = LD_LANES / 4 };

/* Rows of 16 summed in float before the sum goes on in double: 16 kB, so that a
 * second walk over them finds them in the first cache. */
enum { PIECE = 256 * LD_LANES };

static size_t whole_rows(size_t floats)
{
    return floats / LD_LANES * LD_LANES;
}

void ld_moments_merge(struct ld_moments *into, struct ld_moments more)
{
    double count = into->count + more.count;
    double gap = more.mean - into->mean;

    if (more.count == 0)
        return;
    into->mean += gap * more.count / count;
    into->m2 += more.m2 + gap * gap * into->count * more.count / count;
    into->count = count;
}

static void merge_row(struct ld_moments channel[LD_LANES], int block,
                      double count, const quad mean[QUADS],
                      const quad rest[QUADS], const quad squares[QUADS])
{
    for (int i = 0; i < LD_LANES; i++) {
        double off = (double)rest[i / 4][i % 4] / count;

        ld_moments_merge(&channel[i % block],
                         (struct ld_moments){count,
                                             (double)mean[i / 4][i % 4] + off,
                                             (double)squares[i / 4][i % 4] -
                                                 off * off * count});
    }
}

/* Of whole rows of 16. The deviations are taken from the piece's own mean, so
 * nothing cancels; what that mean misses by rounding is put right. */
static void piece_moments(struct ld_moments channel[LD_LANES], const float *x,
                          size_t floats, int block)
{
    quad mean[QUADS] = {0}, rest[QUADS] = {0}, squares[QUADS] = {0};
    double count = (double)(floats / LD_LANES);

    for (size_t i = 0; i < floats; i += LD_LANES)
        for (int q = 0; q < QUADS; q++)
            mean[q] += quad_load(x + i, q);
    for (int q = 0; q < QUADS; q++)
        mean[q] /= (float)count;
    for (size_t i = 0; i < floats; i += LD_LANES)
        for (int q = 0; q < QUADS; q++) {
            quad gap = quad_load(x + i, q) - mean[q];

            rest[q] += gap;
            squares[q] += gap * gap;
        }
    merge_row(channel, block, count, mean, rest, squares);
}

void ld_lanes_moments(struct ld_moments channel[LD_LANES], const float *plane,
                      size_t floats, int block)
{
    size_t whole = whole_rows(floats);

    for (size_t i = 0; i < whole; i += PIECE)
        piece_moments(channel, plane + i, whole - i < PIECE ? whole - i : PIECE,
                      block);
    for (size_t i = whole; i < floats; i++)
        ld_moments_merge(&channel[(i - whole) % (size_t)block],
                         (struct ld_moments){1, (double)plane[i], 0});
}

/* Quads of a plane: of an odd number of places in blocks of 8 the last row is
 * half a row. */
static int quads_at(size_t i, size_t floats)
{
    return floats - i < LD_LANES ? QUADS / 2 : QUADS;
}

static inline quad normalise(quad x, const struct ld_lanes *l, int q)
{
    return (x - quad_load(l->mean, q)) * quad_load(l->scale, q) +
           quad_load(l->beta, q);
}

/* A NaN stays one. */
static inline quad clamp(quad y)
{
    return (quad)(~(y < 0) & (quad_mask)y);
}

static inline void forward_row(float *y, const float *x, int quads,
                               const struct ld_lanes *l, bool relu)
{
    for (int q = 0; q < quads; q++) {
        quad value = normalise(quad_load(x, q), l, q);

        quad_store(y, q, relu ? clamp(value) : value);
    }
}

void ld_lanes_forward(float *y, const float *x, size_t floats,
                      const struct ld_lanes *given)
{
    struct ld_lanes l = *given; /* a copy cannot be what y points to */
    size_t whole = whole_rows(floats);

    for (size_t i = 0; i < whole; i += LD_LANES)
        forward_row(y + i, x + i, QUADS, &l, l.relu);
    if (whole < floats)
        forward_row(y + whole, x + whole, quads_at(whole, floats), &l, l.relu);
}

static inline quad pass(quad dy, quad x, const struct ld_lanes *l, int q)
{
    return l->relu ? (quad)((normalise(x, l, q) > 0) & (quad_mask)dy) : dy;
}

static void piece_sums(struct ld_lane_sums *sums, const float *dy,
                       const float *x, size_t floats, int block,
                       const struct ld_lanes *l)
{
    quad g_sum[QUADS] = {0}, gx_sum[QUADS] = {0};

    for (size_t i = 0; i < floats; i += LD_LANES) {
        int quads = quads_at(i, floats);

        for (int q = 0; q < quads; q++) {
            quad at = quad_load(x + i, q),
                 g = pass(quad_load(dy + i, q), at, l, q);

            g_sum[q] += g;
            gx_sum[q] += g * (at - quad_load(l->mean, q));
        }
    }
    for (int i = 0; i < LD_LANES; i++) {
        sums->g[i % block] += (double)g_sum[i / 4][i % 4];
        sums->gx[i % block] += (double)gx_sum[i / 4][i % 4];
    }
}

void ld_lanes_sums(struct ld_lane_sums *sums, const float *dy, const float *x,
                   size_t floats, int block, const struct ld_lanes *l)
{
    for (size_t i = 0; i < floats; i += PIECE)
        piece_sums(sums, dy + i, x + i, floats - i < PIECE ? floats - i : PIECE,
                   block, l);
}

static inline void backward_row(float *dx, const float *dy, const float *x,
                                int quads, const struct ld_lanes *l)
{
    for (int q = 0; q < quads; q++) {
        quad at = quad_load(x, q), g = pass(quad_load(dy, q), at, l, q);

        quad_store(dx, q,
                   g * quad_load(l->scale, q) +
                       (at - quad_load(l->mean, q)) * quad_load(l->by_x, q) +
                       quad_load(l->constant, q));
    }
}

void ld_lanes_backward(float *dx, const float *dy, const float *x,
                       size_t floats, const struct ld_lanes *given)
{
    struct ld_lanes l = *given; /* a copy cannot be what dx points to */
    size_t whole = whole_rows(floats);

    for (size_t i = 0; i < whole; i += LD_LANES)
        backward_row(dx + i, dy + i, x + i, QUADS, &l);
    if (whole < floats)
        backward_row(dx + whole, dy + whole, x + whole, quads_at(whole, floats),
                     &l);
}
