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
 * What goes into a map is first rounded to the numbers of the plug-in's maps,
 * so that both compute from the same. All belongs to one struct parity and dies
 * with it. */
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
    struct ld_arena arena;
    struct ld_rng rng;
    struct twin owned[256];
    int n_owned;
};

/* Prints the seed, which is taken from $LD_SEED where that is set. False where
 * there is no GPU: the test, counted as skipped with the reason, returns. */
bool parity_open(struct parity *p, enum ld_precision precision, uint64_t seed);

/* Case i of a loop test: fp32 if i is even, else bf16; the seed is i / 2. */
bool parity_case(struct parity *p, int i);
void parity_close(struct parity *p);

/* On the host: zeros; N(0, 1), rounded as in a map; 0 <= number < n. */
void *parity_host(struct parity *p, size_t count, size_t size);
float *parity_normal(struct parity *p, size_t count);
int parity_below(struct parity *p, int n);
/* Nearest number of the plug-in's maps. */
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
 * number where the CPU's is none. Of a map there is added what rounding to its
 * numbers costs: 2^-8 of a number in bf16. */
void parity_same(struct parity *p, const char *what, struct twin floats,
                 size_t count, double tolerance);
void parity_same_map(struct parity *p, const char *what, struct twin map,
                     struct ld_shape shape, double tolerance);
void parity_same_bytes(struct parity *p, const char *what, struct twin bytes,
                       size_t n);

/* Fails the test on a fault of either device. */
void parity_sync(struct parity *p);
