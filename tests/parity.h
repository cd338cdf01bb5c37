/* parity.h - calls of the op table on two devices, which must agree: the CPU's,
 * and the CUDA plug-in's, emulated or, with LD_TEST_DEVICE=cuda, a GPU's.
 *
 * A twin is one thing in both memories. A test makes twins, runs the call on
 * both devices, and compares:
 *
 *     struct twin y = parity_map(&p, plain, shape);
 *
 *     for (int i = 0; i < PARITY_DEVICES; i++)
 *         p.dev[i]->ops->add(p.dev[i], y.at[i], x.at[i], shape);
 *     parity_same_map(&p, "add", y, shape, 1e-6);
 *
 * What goes into a map is first rounded to numbers that the plug-in's products
 * take as they are, so that both compute from the same. All belongs to one
 * struct parity and dies with it. */
#pragma once

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/ops.h"

enum { PARITY_CPU, PARITY_CUDA, PARITY_DEVICES };

struct twin {
    void *at[PARITY_DEVICES];
};

struct parity {
    struct ld_device *dev[PARITY_DEVICES];
    enum ld_precision precision; /* of the plug-in */
    uint64_t seed;
    int number; /* of the case */
    struct ld_arena arena;
    struct ld_rng rng;
    struct twin owned[256];
    int n_owned;
    double nearest; /* what came nearest to its bound: the share of that */
    char nearest_what[256];
};

/* Loop tests run once in each: the first two, or all where products matter. */
extern const enum ld_precision parity_precisions[3]; /* fp32, bf16, tf32 */
const char *parity_name(enum ld_precision precision);

/* Prints the seed, which is taken from $LD_SEED where that is set. False where
 * there is no GPU: the test, counted as skipped with the reason, returns. */
bool parity_open(struct parity *p, enum ld_precision precision, uint64_t seed);
/* Prints what came nearest to its bound. */
void parity_close(struct parity *p);

/* Opens, runs n cases, each with random numbers and memory of its own, closes:
 * opening a GPU takes longer than the cases. */
void parity_cases(enum ld_precision precision, int n,
                  void (*run)(struct parity *p));

/* On the host: zeros; N(0, 1); the same, rounded as parity_rounded does;
 * 0 <= number < n. */
void *parity_host(struct parity *p, size_t count, size_t size);
float *parity_normal(struct parity *p, size_t count);
float *parity_factors(struct parity *p, size_t count);
int parity_below(struct parity *p, int n);
/* Nearest number that the plug-in's products take as it is. */
float parity_rounded(const struct parity *p, float x);

size_t parity_count(struct ld_shape shape); /* without padding */

/* On both devices: bytes (NULL: zeros); floats; a map of plain (N, C, H, W).
 * A map of NULL is junk, its padding too: for what is overwritten. */
struct twin parity_bytes(struct parity *p, const void *bytes, size_t n);
struct twin parity_floats(struct parity *p, const float *values, size_t count);
struct twin parity_map(struct parity *p, const float *plain,
                       struct ld_shape shape);

/* Bytes full of NaNs on one of them, which the caller releases. */
void *parity_junk(struct parity *p, int device, size_t bytes);

/* Back on the host. A map: plain, and the test fails where a padding channel is
 * not zero. */
const void *parity_read(struct parity *p, int device, struct twin from,
                        size_t bytes);
const float *parity_read_map(struct parity *p, int device, struct twin map,
                             struct ld_shape shape);

/* Fails the test, printing `what`, unless each number is within
 * tolerance * max(|number|, root mean square of all) of the CPU's, and not a
 * number where the CPU's is none. A map of bf16 is held against the CPU's
 * numbers rounded, of which few may be a step off, if tolerance is 0 none. */
void parity_same(struct parity *p, const char *what, struct twin floats,
                 size_t count, double tolerance);
void parity_same_map(struct parity *p, const char *what, struct twin map,
                     struct ld_shape shape, double tolerance);

/* Fails the test, printing `what`, unless |cuda - cpu|, as an L2 norm, is about
 * what was predicted, relative to |cpu|; no difference may be far larger. What
 * the rounding of a map's own numbers costs is added to the prediction. */
void parity_near(struct parity *p, const char *what, struct twin floats,
                 size_t count, double predicted);
void parity_near_map(struct parity *p, const char *what, struct twin map,
                     struct ld_shape shape, double predicted);

/* Predictions, independent of each other: n roundings to the numbers of
 * products (fp32: 0); sums of k products in fp32; both. */
double parity_roundings(const struct parity *p, int n);
double parity_sums(const struct parity *p, size_t k);
double parity_both(double a, double b);

void parity_same_bytes(struct parity *p, const char *what, struct twin bytes,
                       size_t n);

/* Fails the test on a fault of either device. */
void parity_sync(struct parity *p);
