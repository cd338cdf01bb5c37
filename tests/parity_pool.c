#include <math.h>

#include "tests/parity.h"
#include "tests/suite.h"

enum { CASES = 12 };

static struct ld_shape any_shape(struct parity *p)
{
    static const int channels[] = {3, 16, 20, 64};

    return (struct ld_shape){1 + parity_below(p, 3),
                             channels[parity_below(p, 4)],
                             1 + parity_below(p, 12), 1 + parity_below(p, 12)};
}

static struct ld_shape pooled(struct ld_shape in)
{
    return (struct ld_shape){in.N, in.C, (in.H + 1) / 2, (in.W + 1) / 2};
}

/* Whole numbers: many are equal. One is none at all. */
static float *equals(struct parity *p, size_t count)
{
    float *values = parity_normal(p, count);

    for (size_t i = 0; i < count; i++)
        values[i] = floorf(values[i] * 2);
    values[count / 2] = NAN;
    return values;
}

/* Which won is seen in where dy goes. */
static void check_max_pool(struct parity *p)
{
    struct ld_shape in, out;
    struct twin x, y, dx, dy, from, alone;

    in = any_shape(p);
    out = pooled(in);
    x = parity_map(p, equals(p, parity_count(in)), in);
    y = parity_map(p, NULL, out);
    alone = parity_map(p, NULL, out);
    dy = parity_map(p, parity_normal(p, parity_count(out)), out);
    dx = parity_map(p, NULL, in);
    for (int i = 0; i < PARITY_DEVICES; i++) {
        const struct ld_ops *ops = p->dev[i]->ops;
        struct ld_err err = {0};

        from.at[i] =
            ops->alloc(p->dev[i], ops->map_values(p->dev[i], out), &err);
        ck_assert_msg(from.at[i] != NULL, "%s", err.text);
        ops->maxpool_forward(p->dev[i], alone.at[i], NULL, x.at[i], in);
        ops->maxpool_forward(p->dev[i], y.at[i], from.at[i], x.at[i], in);
        ops->maxpool_backward(p->dev[i], dx.at[i], dy.at[i], from.at[i], in);
        ops->release(p->dev[i], from.at[i]);
    }
    parity_same_map(p, "maxpool_forward", y, out, 0);
    parity_same_map(p, "maxpool_forward alone", alone, out, 0);
    parity_same_map(p, "maxpool_backward", dx, in, 1e-6);
}

START_TEST(max_pool_and_its_gradient_agree)
{
    parity_cases(parity_precisions[_i], CASES, check_max_pool);
}
END_TEST

static void check_means(struct parity *p)
{
    int kernel = 2 + p->number % 2;
    struct ld_shape in, out;
    struct twin x, y, dx, dy;

    in = any_shape(p);
    out = pooled(in);
    x = parity_map(p, parity_normal(p, parity_count(in)), in);
    dy = parity_map(p, parity_normal(p, parity_count(out)), out);
    y = parity_map(p, NULL, out);
    dx = parity_map(p, NULL, in);
    for (int i = 0; i < PARITY_DEVICES; i++) {
        const struct ld_ops *ops = p->dev[i]->ops;

        ops->avgpool_forward(p->dev[i], y.at[i], x.at[i], in, kernel);
        ops->avgpool_backward(p->dev[i], dx.at[i], dy.at[i], in, kernel);
    }
    /* sums of up to 9, in fp32 */
    parity_same_map(p, "avgpool_forward", y, out, 1e-6);
    parity_same_map(p, "avgpool_backward", dx, in, 1e-6);
}

START_TEST(means_and_their_gradients_agree)
{
    parity_cases(parity_precisions[_i], CASES, check_means);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("parity of pools");
    TCase *c = tcase_create("pools");

    tcase_add_loop_test(c, max_pool_and_its_gradient_agree, 0, 2);
    tcase_add_loop_test(c, means_and_their_gradients_agree, 0, 2);
    suite_add_tcase(s, c);
    return s;
}
