#include <math.h>
#include <stdio.h>

#include "tests/parity.h"
#include "tests/suite.h"

static double mean_square(const float *values, size_t count)
{
    double sum = 0, n = 0;

    for (size_t i = 0; i < count; i++)
        if (isfinite(values[i])) {
            sum += (double)values[i] * (double)values[i];
            n += 1;
        }
    return n > 0 ? sum / n : 0;
}

/* What may be between two arrays. */
struct bound {
    double norm; /* |difference| / |CPU's|, as L2 norms */
    double one;  /* of a difference, by max(|number|, root mean square) .. */
    double size; /* .. and by |number| */
};

static void end_test(const struct parity *p, const char *what, const char *how)
{
    ck_abort_msg("%s: %s (%s, seed %llu, case %d)", what, how,
                 parity_name(p->precision), (unsigned long long)p->seed,
                 p->number);
}

static void note_share(struct parity *p, const char *what, double share)
{
    if (share <= p->nearest)
        return;
    p->nearest = share;
    snprintf(p->nearest_what, sizeof(p->nearest_what), "%s", what);
}

static void compare(struct parity *p, const char *what, const float *want,
                    const float *got, size_t count, struct bound b)
{
    double rms = sqrt(mean_square(want, count)), squares = 0, norm;
    char how[200];

    for (size_t i = 0; i < count; i++) {
        double size = fabs((double)want[i]);
        double gap = fabs((double)got[i] - (double)want[i]);
        double most = b.one * fmax(size, rms) + b.size * size + 1e-37;

        if (got[i] == want[i] || (isnan(got[i]) && isnan(want[i])))
            continue;
        squares += gap * gap;
        if (gap <= most) {
            note_share(p, what, b.size > 0 ? 0 : gap / most);
            continue;
        }
        snprintf(how, sizeof(how),
                 "number %zu of %zu is %.9g, on the CPU %.9g: apart by %.3g, "
                 "allowed %.3g",
                 i, count, (double)got[i], (double)want[i], gap, most);
        end_test(p, what, how);
    }
    norm = squares > 0 ? sqrt(squares / (double)count) / rms : 0;
    note_share(p, what, norm / b.norm);
    if (norm <= b.norm)
        return;
    snprintf(how, sizeof(how),
             "%zu numbers are apart by %.3g of the CPU's, "
             "allowed %.3g",
             count, norm, b.norm);
    end_test(p, what, how);
}

/* The root mean square of bf16's rounding of N(0, 1), relative; of a number at
 * most 2^-8, and 2^-7 from one number to the next. */
static const double BF16_ROUNDING = 1.66e-3;

/* Room above a prediction; few numbers may all be unlucky. */
static double with_room(double predicted, size_t count)
{
    return 1.5 * predicted * (1 + 2 / sqrt((double)count + 1));
}

/* Of numbers that are rounded to bf16 from some that are apart by `predicted`,
 * much less than by a step: a few fall to the other side. Room for two. */
static double of_steps(double predicted, size_t count)
{
    return with_room(sqrt(predicted * (predicted + 0x1p-8)), count) +
           0x1p-6 / sqrt((double)count + 1);
}

static const float *round_all(struct parity *p, const float *values,
                              size_t count)
{
    float *rounded = parity_host(p, count, sizeof(float));

    for (size_t i = 0; i < count; i++)
        rounded[i] = parity_rounded(p, values[i]);
    return rounded;
}

static void compare_maps(struct parity *p, const char *what, struct twin map,
                         struct ld_shape shape, bool rounds, struct bound b)
{
    const float *want = parity_read_map(p, PARITY_CPU, map, shape);
    const float *got = parity_read_map(p, PARITY_CUDA, map, shape);
    size_t count = parity_count(shape);

    compare(p, what, rounds ? round_all(p, want, count) : want, got, count, b);
}

static void compare_floats(struct parity *p, const char *what,
                           struct twin floats, size_t count, struct bound b)
{
    size_t bytes = count * sizeof(float);

    compare(p, what, parity_read(p, PARITY_CPU, floats, bytes),
            parity_read(p, PARITY_CUDA, floats, bytes), count, b);
}

void parity_same(struct parity *p, const char *what, struct twin floats,
                 size_t count, double tolerance)
{
    compare_floats(p, what, floats, count,
                   (struct bound){INFINITY, tolerance, 0});
}

void parity_same_map(struct parity *p, const char *what, struct twin map,
                     struct ld_shape shape, double tolerance)
{
    bool bf16 = p->precision == LD_PRECISION_BF16;
    struct bound b = {INFINITY, tolerance, 0};

    if (bf16 && tolerance > 0)
        b = (struct bound){of_steps(tolerance, parity_count(shape)), tolerance,
                           0x1p-7};
    compare_maps(p, what, map, shape, bf16, b);
}

/* A single difference: of errors that are uniform or normal, at most a few
 * times their root mean square. */
enum { OF_ONE = 8 };

void parity_near(struct parity *p, const char *what, struct twin floats,
                 size_t count, double predicted)
{
    double norm = with_room(predicted, count);

    compare_floats(p, what, floats, count,
                   (struct bound){norm, OF_ONE * norm, 0});
}

void parity_near_map(struct parity *p, const char *what, struct twin map,
                     struct ld_shape shape, double predicted)
{
    bool bf16 = p->precision == LD_PRECISION_BF16;
    bool rounds = bf16 && predicted < BF16_ROUNDING / 2;
    size_t count = parity_count(shape);
    double one = OF_ONE * with_room(predicted, count);
    double norm = rounds
                      ? of_steps(predicted, count)
                      : with_room(bf16 ? parity_both(predicted, BF16_ROUNDING)
                                       : predicted,
                                  count);

    compare_maps(p, what, map, shape, rounds,
                 (struct bound){norm, one, bf16 ? 0x1p-7 : 0});
}

/* ---- predictions ---- */

double parity_both(double a, double b)
{
    return sqrt(a * a + b * b);
}

/* Of tf32 what cutting costs: the libraries may do that instead. */
double parity_roundings(const struct parity *p, int n)
{
    double one = p->precision == LD_PRECISION_BF16   ? BF16_ROUNDING
                 : p->precision == LD_PRECISION_TF32 ? 4.15e-4
                                                     : 0;

    return one * sqrt(n);
}

/* Each device rounds up to k times, by 2.5e-8 of the sum until then; tensor
 * cores cut, eight products at a time. */
double parity_sums(const struct parity *p, size_t k)
{
    bool cut = p->precision != LD_PRECISION_FP32;

    return 5e-8 + 2.5e-8 * sqrt((double)k) + (cut ? 3e-9 * (double)k : 0);
}

void parity_same_bytes(struct parity *p, const char *what, struct twin bytes,
                       size_t n)
{
    const unsigned char *want = parity_read(p, PARITY_CPU, bytes, n);
    const unsigned char *got = parity_read(p, PARITY_CUDA, bytes, n);

    for (size_t i = 0; i < n; i++)
        if (got[i] != want[i])
            ck_abort_msg("%s: byte %zu is %d, on the CPU %d", what, i, got[i],
                         want[i]);
}
