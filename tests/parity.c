#include "tests/parity.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/devices.h"
#include "tests/suite.h"

const enum ld_precision parity_precisions[3] = {
    LD_PRECISION_FP32, LD_PRECISION_BF16, LD_PRECISION_TF32};

/* ---- opening ---- */

const char *parity_name(enum ld_precision precision)
{
    return precision == LD_PRECISION_BF16   ? "bf16"
           : precision == LD_PRECISION_TF32 ? "tf32"
                                            : "fp32";
}

bool parity_open(struct parity *p, enum ld_precision precision, uint64_t seed)
{
    const char *given = getenv("LD_SEED"), *name = device_asked_for("emulated");
    struct ld_err err = {0};

    *p = (struct parity){.precision = precision};
    if (given)
        seed = strtoull(given, NULL, 10);
    if (strcmp(name, "cuda") == 0 && last_skipped()) { /* opening takes long */
        note_skipped(last_skipped());
        return false;
    }
    p->dev[PARITY_CUDA] = device_open(name, 0, precision, &err);
    if (!p->dev[PARITY_CUDA] && strcmp(name, "cuda") == 0) {
        note_skipped(err.text);
        return false;
    }
    ck_assert_msg(p->dev[PARITY_CUDA] != NULL, "%s", err.text);
    p->dev[PARITY_CPU] = device_open("cpu", 1, LD_PRECISION_FP32, &err);
    ck_assert_msg(p->dev[PARITY_CPU] != NULL, "%s", err.text);
    printf("# %s, seed %llu\n", parity_name(precision),
           (unsigned long long)seed);
    p->seed = seed;
    p->rng = ld_rng_seed(seed, 0);
    return true;
}

static void release_all(struct parity *p)
{
    parity_sync(p);
    for (int d = 0; d < PARITY_DEVICES; d++)
        for (int i = 0; i < p->n_owned; i++)
            p->dev[d]->ops->release(p->dev[d], p->owned[i].at[d]);
    p->n_owned = 0;
}

void parity_close(struct parity *p)
{
    release_all(p);
    for (int d = 0; d < PARITY_DEVICES; d++)
        p->dev[d]->ops->close(p->dev[d]);
    if (p->nearest > 0)
        printf("# nearest to its bound, %.0f %%: %s\n", 100 * p->nearest,
               p->nearest_what);
    ld_arena_free(&p->arena);
}

void parity_cases(enum ld_precision precision, int n,
                  void (*run)(struct parity *p))
{
    struct parity p;

    if (!parity_open(&p, precision, 0))
        return;
    for (int i = 0; i < n; i++) {
        p.number = i;
        p.rng = ld_rng_seed(p.seed, (uint64_t)i);
        run(&p);
        release_all(&p);
        ld_arena_clear(&p.arena);
    }
    parity_close(&p);
}

void parity_sync(struct parity *p)
{
    for (int d = 0; d < PARITY_DEVICES; d++) {
        struct ld_err err = {0};

        ck_assert_msg(p->dev[d]->ops->sync(p->dev[d], &err), "%s", err.text);
    }
}

/* ---- numbers on the host ---- */

void *parity_host(struct parity *p, size_t count, size_t size)
{
    struct ld_err err = {0};
    void *memory = ld_arena_new(&p->arena, count, size, &err);

    ck_assert_msg(memory != NULL, "%s", err.text);
    return memory;
}

/* Bits of a float that a product does not read: all but 8 of 24 in bf16, all
 * but 11 in tf32. */
static int bits_unread(const struct parity *p)
{
    return p->precision == LD_PRECISION_BF16   ? 16
           : p->precision == LD_PRECISION_TF32 ? 13
                                               : 0;
}

/* To the nearest, ties to even. */
float parity_rounded(const struct parity *p, float x)
{
    int unread = bits_unread(p);
    uint32_t bits;

    if (unread == 0 || isnan(x))
        return x;
    memcpy(&bits, &x, sizeof(bits));
    bits += (1U << (unread - 1)) - 1 + (bits >> unread & 1);
    bits &= ~((1U << unread) - 1);
    memcpy(&x, &bits, sizeof(bits));
    return x;
}

float *parity_normal(struct parity *p, size_t count)
{
    float *values = parity_host(p, count, sizeof(float));

    for (size_t i = 0; i < count; i++)
        values[i] = ld_rng_normal(&p->rng);
    return values;
}

float *parity_factors(struct parity *p, size_t count)
{
    float *values = parity_normal(p, count);

    for (size_t i = 0; i < count; i++)
        values[i] = parity_rounded(p, values[i]);
    return values;
}

int parity_below(struct parity *p, int n)
{
    return (int)ld_rng_below(&p->rng, (uint32_t)n);
}

size_t parity_count(struct ld_shape s)
{
    return (size_t)s.N * (size_t)s.C * (size_t)s.H * (size_t)s.W;
}

/* ---- twins ---- */

static void *new_memory(struct parity *p, int device, size_t bytes)
{
    struct ld_device *dev = p->dev[device];
    struct ld_err err = {0};
    void *memory = dev->ops->alloc(dev, bytes, &err);

    ck_assert_msg(memory != NULL, "%s", err.text);
    return memory;
}

static struct twin keep(struct parity *p, struct twin twin)
{
    ck_assert_int_lt(p->n_owned, (int)(sizeof(p->owned) / sizeof(p->owned[0])));
    p->owned[p->n_owned++] = twin;
    return twin;
}

struct twin parity_bytes(struct parity *p, const void *bytes, size_t n)
{
    struct twin twin;

    for (int d = 0; d < PARITY_DEVICES; d++) {
        twin.at[d] = new_memory(p, d, n);
        if (bytes)
            p->dev[d]->ops->upload(p->dev[d], twin.at[d], bytes, n);
    }
    return keep(p, twin);
}

struct twin parity_floats(struct parity *p, const float *values, size_t count)
{
    return parity_bytes(p, values, count * sizeof(float));
}

static void fill_with_junk(struct parity *p, int device, void *map,
                           size_t bytes)
{
    void *junk = parity_host(p, bytes, 1);

    memset(junk, 0xff, bytes); /* NaNs */
    p->dev[device]->ops->upload(p->dev[device], map, junk, bytes);
}

void *parity_junk(struct parity *p, int device, size_t bytes)
{
    struct ld_err err = {0};
    void *memory = p->dev[device]->ops->alloc(p->dev[device], bytes, &err);
    void *junk = parity_host(p, bytes, 1);

    ck_assert_msg(memory != NULL, "%s", err.text);
    memset(junk, 0xff, bytes); /* NaNs */
    p->dev[device]->ops->upload(p->dev[device], memory, junk, bytes);
    return memory;
}

struct twin parity_map(struct parity *p, const float *plain,
                       struct ld_shape shape)
{
    size_t count = parity_count(shape);
    float *rounded = parity_host(p, count, sizeof(float));
    struct twin map, from = {0};

    for (size_t i = 0; plain && i < count; i++)
        rounded[i] = parity_rounded(p, plain[i]);
    if (plain)
        from = parity_floats(p, rounded, count);
    for (int d = 0; d < PARITY_DEVICES; d++) {
        const struct ld_ops *ops = p->dev[d]->ops;
        size_t bytes = ops->map_bytes(p->dev[d], shape);

        map.at[d] = new_memory(p, d, bytes);
        fill_with_junk(p, d, map.at[d], bytes);
        if (plain)
            ops->map_pack(p->dev[d], map.at[d], from.at[d], shape);
    }
    return keep(p, map);
}

/* ---- back ---- */

static void *read_back(struct parity *p, int device, const void *from,
                       size_t bytes)
{
    struct ld_device *dev = p->dev[device];
    void *to = parity_host(p, bytes, 1);

    dev->ops->download(dev, to, from, bytes);
    parity_sync(p);
    return to;
}

const void *parity_read(struct parity *p, int device, struct twin from,
                        size_t bytes)
{
    return read_back(p, device, from.at[device], bytes);
}

/* Packing what was unpacked gives the map again only if its padding is zero; a
 * zero may have a sign. */
static void check_padding(struct parity *p, int device, const void *map,
                          const float *plain, struct ld_shape shape)
{
    struct ld_device *dev = p->dev[device];
    size_t bytes = dev->ops->map_bytes(dev, shape);
    bool halves = device == PARITY_CUDA && p->precision == LD_PRECISION_BF16;
    size_t step = halves ? sizeof(uint16_t) : sizeof(float);
    void *again = new_memory(p, device, bytes);
    const unsigned char *is, *want;

    dev->ops->map_pack(dev, again, plain, shape);
    is = read_back(p, device, map, bytes);
    want = read_back(p, device, again, bytes);
    dev->ops->release(dev, again);
    for (size_t i = 0; i < bytes; i += step) {
        uint32_t a = 0, b = 0;

        memcpy(&a, is + i, step);
        memcpy(&b, want + i, step);
        if (b == 0)
            a &= halves ? 0x7fff : 0x7fffffff;
        if (a != b && !(b == 0x7fff && a > 0x7f80))
            ck_abort_msg("device %d: a padding channel is not zero, word %zu: "
                         "%x, not %x",
                         device, i / step, a, b);
    }
}

const float *parity_read_map(struct parity *p, int device, struct twin map,
                             struct ld_shape shape)
{
    struct ld_device *dev = p->dev[device];
    size_t bytes = parity_count(shape) * sizeof(float);
    float *on_device = new_memory(p, device, bytes);
    const float *plain;

    dev->ops->map_unpack(dev, on_device, map.at[device], shape);
    check_padding(p, device, map.at[device], on_device, shape);
    plain = read_back(p, device, on_device, bytes);
    dev->ops->release(dev, on_device);
    return plain;
}
