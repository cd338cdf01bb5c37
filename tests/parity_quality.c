#include <math.h>

#include "tests/parity.h"
#include "tests/suite.h"

enum { SIDES = 4, STATS = LD_QUALITY_STATS, HIDDEN = LD_QUALITY_HIDDEN };

/* Sums of 64 of 20 float32, in another order. */
static const double CLOSE = 2e-6;

/* The statistics' layers and their gradients, in both memories. */
struct layers {
    struct twin weight0, bias0, weight2, bias2;
    struct twin dweight0, dbias0, dweight2, dbias2;
};

static struct twin drawn(struct parity *p, size_t count, float scale)
{
    float *x = parity_normal(p, count);

    for (size_t i = 0; i < count; i++)
        x[i] *= scale;
    return parity_floats(p, x, count);
}

/* Gradients begin with something: they are added to. */
static struct layers layers_of(struct parity *p)
{
    return (struct layers){drawn(p, HIDDEN * STATS, 0.5F),
                           drawn(p, HIDDEN, 0.2F),
                           drawn(p, HIDDEN, 0.3F),
                           drawn(p, 1, 1),
                           drawn(p, HIDDEN * STATS, 1),
                           drawn(p, HIDDEN, 1),
                           drawn(p, HIDDEN, 1),
                           drawn(p, 1, 1)};
}

static struct ld_quality quality_on(const struct layers *l, int device,
                                    size_t n, int B)
{
    return (struct ld_quality){.n = n,
                               .B = B,
                               .weight0 = l->weight0.at[device],
                               .bias0 = l->bias0.at[device],
                               .weight2 = l->weight2.at[device],
                               .bias2 = l->bias2.at[device],
                               .dweight0 = l->dweight0.at[device],
                               .dbias0 = l->dbias0.at[device],
                               .dweight2 = l->dweight2.at[device],
                               .dbias2 = l->dbias2.at[device]};
}

static void compare(struct parity *p, size_t n, int B)
{
    size_t count = n * SIDES * (size_t)B;
    struct layers l = layers_of(p);
    struct twin rows = drawn(p, count, 3), dlogit = drawn(p, n, 1);
    struct twin drows = drawn(p, count, 1), logit = drawn(p, n, 1);

    for (int i = 0; i < PARITY_DEVICES; i++) {
        const struct ld_ops *ops = p->dev[i]->ops;
        struct ld_quality q = quality_on(&l, i, n, B);

        ops->quality_forward(p->dev[i], logit.at[i], rows.at[i], &q);
        ops->quality_backward(p->dev[i], drows.at[i], dlogit.at[i], rows.at[i],
                              &q);
    }
    parity_same(p, "quality", logit, n, CLOSE);
    parity_same(p, "rows' gradient", drows, count, CLOSE);
    parity_same(p, "weight0", l.dweight0, HIDDEN * STATS, CLOSE);
    parity_same(p, "bias0", l.dbias0, HIDDEN, CLOSE);
    parity_same(p, "weight2", l.dweight2, HIDDEN, CLOSE);
    parity_same(p, "bias2", l.dbias2, 1, CLOSE);
}

START_TEST(qualities_and_gradients_agree)
{
    struct parity p;

    if (!parity_open(&p, LD_PRECISION_FP32, 7))
        return;
    compare(&p, 1, 17);
    compare(&p, 129, 4);
    compare(&p, 300, 17);
    compare(&p, 40, 64);
    compare(&p, 0, 17);
    parity_close(&p);
}
END_TEST

/* More tiles of 128 locations than there are blocks, 256. */
START_TEST(a_block_takes_several_tiles)
{
    struct parity p;

    if (!parity_open(&p, LD_PRECISION_FP32, 8))
        return;
    compare(&p, 256 * 128 + 200, 4);
    parity_close(&p);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("parity of qualities");
    TCase *c = tcase_create("qualities");

    tcase_add_test(c, qualities_and_gradients_agree);
    tcase_add_test(c, a_block_takes_several_tiles);
    suite_add_tcase(s, c);
    return s;
}
