#include <math.h>
#include <string.h>

#include "tests/parity.h"
#include "tests/suite.h"

START_TEST(steps_agree)
{
    /* whole fours, and some left; not at a multiple of 16 bytes */
    static const size_t counts[] = {1, 4, 1023, 4096, 5};
    struct ld_sgd s = {.rate = 0.1F, .momentum = 0.9F, .decay = 1e-4F, 3};
    struct parity p;

    if (!parity_open(&p, LD_PRECISION_FP32, 1))
        return;
    for (int i = 0; i < 5; i++) {
        size_t n = counts[i], first = i == 4;
        struct twin x = parity_floats(&p, parity_normal(&p, n + 3), n + 3);
        struct twin v = parity_floats(&p, parity_normal(&p, n + 3), n + 3);
        struct twin g = parity_floats(&p, parity_normal(&p, n + 3), n + 3);

        for (int d = 0; d < PARITY_DEVICES; d++)
            for (int step = 0; step < 3; step++)
                p.dev[d]->ops->sgd(p.dev[d], (float *)x.at[d] + first,
                                   (float *)v.at[d] + first,
                                   (float *)g.at[d] + first, n, s);
        /* three roundings a step; and those behind the last stay */
        parity_same(&p, "parameters", x, n + 3, 1e-6);
        parity_same(&p, "velocities", v, n + 3, 1e-6);
    }
    parity_close(&p);
}
END_TEST

START_TEST(a_velocity_that_is_not_finite_is_named_and_nothing_moves_after_it)
{
    struct ld_sgd s = {.rate = 1, .momentum = 1, .step = 41};
    struct parity p;
    struct twin x;
    float values[4] = {1, 1, 1, _i ? INFINITY : NAN};

    if (!parity_open(&p, LD_PRECISION_FP32, 1))
        return;
    x = parity_floats(&p, values, 4);
    for (int d = 0; d < PARITY_DEVICES; d++) {
        struct ld_device *dev = p.dev[d];
        float *at = x.at[d], back[4];
        struct ld_err err = {0};

        dev->ops->sgd(dev, at, at + 1, at + 2, 1, s);
        dev->ops->sgd(dev, at, at + 1, at + 3, 1, s);
        s.step = 42;
        dev->ops->sgd(dev, at + 2, at + 1, at + 2, 1, s);
        s.step = 41;
        ck_assert(!dev->ops->sync(dev, &err));
        ck_assert_int_eq(err.code, LD_ERR_NUMBER);
        ck_assert_msg(strstr(err.text, "step 41: "), "%s", err.text);
        dev->ops->download(dev, back, at, sizeof(back));
        ck_assert(dev->ops->sync(dev, &err));
        ck_assert_float_eq(back[2], 1);
    }
    parity_close(&p);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("parity of the optimizer");
    TCase *c = tcase_create("optimizer");

    tcase_add_test(c, steps_agree);
    tcase_add_loop_test(
        c, a_velocity_that_is_not_finite_is_named_and_nothing_moves_after_it, 0,
        2);
    suite_add_tcase(s, c);
    return s;
}
