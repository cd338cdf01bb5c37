#include "kernels/cpu/lanes_cpu.h"

#include <string.h>

/* GCC's and Clang's vectors: 16 floats, whatever registers the machine has. */
typedef float lanes __attribute__((vector_size(64), aligned(4), may_alias));
typedef int masks __attribute__((vector_size(64), aligned(4), may_alias));

/* Rows of 16 summed in float before the sum goes on in double: 16 kB, so that a
 * second walk over them finds them in the first cache. */
enum { PIECE = 256 * LD_LANES };

static lanes load(const float *from)
{
    return *(const lanes *)from;
}

static void store(float *to, lanes value)
{
    *(lanes *)to = value;
}

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

/* Of whole rows of 16. The deviations are taken from the piece's own mean, so
 * nothing cancels; what that mean misses by rounding is put right. */
static void piece_moments(struct ld_moments channel[LD_LANES], const float *x,
                          size_t floats, int block)
{
    double count = (double)(floats / LD_LANES);
    lanes sum = {0}, rest = {0}, squares = {0};

    for (size_t i = 0; i < floats; i += LD_LANES)
        sum += load(x + i);
    sum /= (float)count;
    for (size_t i = 0; i < floats; i += LD_LANES) {
        lanes gap = load(x + i) - sum;

        rest += gap;
        squares += gap * gap;
    }
    for (int i = 0; i < LD_LANES; i++) {
        double off = (double)rest[i] / count;

        ld_moments_merge(
            &channel[i % block],
            (struct ld_moments){count, (double)sum[i] + off,
                                (double)squares[i] - off * off * count});
    }
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

/* Half a row: the end of a plane of an odd number of places, in blocks of 8. */
static lanes load_half(const float *from)
{
    lanes value = {0};

    memcpy(&value, from, LD_LANES / 2 * sizeof(float));
    return value;
}

static void store_half(float *to, lanes value)
{
    memcpy(to, &value, LD_LANES / 2 * sizeof(float));
}

static inline lanes normalise(lanes x, const struct ld_lanes *l)
{
    return (x - load(l->mean)) * load(l->scale) + load(l->beta);
}

/* A NaN stays one. */
static inline lanes clamp(lanes y, bool relu)
{
    return relu ? (lanes)(~(y < 0) & (masks)y) : y;
}

void ld_lanes_forward(float *y, const float *x, size_t floats,
                      const struct ld_lanes *l)
{
    size_t whole = whole_rows(floats);

    for (size_t i = 0; i < whole; i += LD_LANES)
        store(y + i, clamp(normalise(load(x + i), l), l->relu));
    if (whole < floats)
        store_half(y + whole,
                   clamp(normalise(load_half(x + whole), l), l->relu));
}

static inline lanes pass(lanes dy, lanes x, const struct ld_lanes *l)
{
    return l->relu ? (lanes)((normalise(x, l) > 0) & (masks)dy) : dy;
}

static void piece_sums(struct ld_lane_sums *sums, const float *dy,
                       const float *x, size_t floats, int block,
                       const struct ld_lanes *l)
{
    lanes g_sum = {0}, gx_sum = {0};

    for (size_t i = 0; i < floats; i += LD_LANES) {
        lanes at = load(x + i), g = pass(load(dy + i), at, l);

        g_sum += g;
        gx_sum += g * (at - load(l->mean));
    }
    for (int i = 0; i < LD_LANES; i++) {
        sums->g[i % block] += (double)g_sum[i];
        sums->gx[i % block] += (double)gx_sum[i];
    }
}

void ld_lanes_sums(struct ld_lane_sums *sums, const float *dy, const float *x,
                   size_t floats, int block, const struct ld_lanes *l)
{
    size_t whole = whole_rows(floats);

    for (size_t i = 0; i < whole; i += PIECE)
        piece_sums(sums, dy + i, x + i, whole - i < PIECE ? whole - i : PIECE,
                   block, l);
    if (whole < floats) {
        float dy_end[LD_LANES], x_end[LD_LANES];

        store(dy_end, load_half(dy + whole));
        store(x_end, load_half(x + whole));
        piece_sums(sums, dy_end, x_end, LD_LANES, block, l);
    }
}

static inline lanes slope(lanes dy, lanes x, const struct ld_lanes *l)
{
    return pass(dy, x, l) * load(l->scale) +
           (x - load(l->mean)) * load(l->by_x) + load(l->constant);
}

void ld_lanes_backward(float *dx, const float *dy, const float *x,
                       size_t floats, const struct ld_lanes *l)
{
    size_t whole = whole_rows(floats);

    for (size_t i = 0; i < whole; i += LD_LANES)
        store(dx + i, slope(load(dy + i), load(x + i), l));
    if (whole < floats)
        store_half(dx + whole,
                   slope(load_half(dy + whole), load_half(x + whole), l));
}
