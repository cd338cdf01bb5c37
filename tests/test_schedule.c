#include "trainer/schedule.h"

#include <math.h>
#include <stdio.h>

#include "tests/golden.h"
#include "tests/suite.h"

static double value(struct golden *g, int i, const char *key)
{
    char path[64];

    snprintf(path, sizeof(path), "values.cfg_%d.%s", i, key);
    return golden_number(g, path);
}

static int read_steps(struct golden *g, int i, int *steps)
{
    char path[64];
    int n = 0;

    for (;; n++) {
        snprintf(path, sizeof(path), "values.cfg_%d.step.%d", i, n);
        if (!golden_has_value(g, path))
            return n;
        steps[n] = (int)golden_number(g, path);
    }
}

static void compare_schedules(struct golden *g)
{
    char name[16], path[64];

    for (int i = 0;; i++) {
        struct ld_config config = {0};
        int per_epoch, n;
        const float *want;

        snprintf(name, sizeof(name), "lr_%d", i);
        snprintf(path, sizeof(path), "values.cfg_%d.lr", i);
        if (!golden_has_value(g, path))
            break;
        config.train.lr = (float)value(g, i, "lr");
        config.train.warmup_steps = (int)value(g, i, "warmup_iters");
        config.train.warmup_ratio = (float)value(g, i, "warmup_ratio");
        config.train.n_lr_steps = read_steps(g, i, config.train.lr_steps);
        per_epoch = (int)value(g, i, "iters_per_epoch");
        n = per_epoch * (int)value(g, i, "epochs");
        want = golden_floats(g, name, (size_t)n);
        for (int step = 0; step < n; step++) {
            double got = ld_schedule_rate(&config, 1, step / per_epoch, step);

            /* float32 of both sides: config and expected values */
            ck_assert_msg(fabs(got - (double)want[step]) <=
                              4e-7 * (double)want[step],
                          "%s step %d: %g, expected %g", name, step, got,
                          (double)want[step]);
        }
    }
}

START_TEST(rates_are_those_of_the_reference_at_every_step)
{
    golden_each("10_lr_schedule", compare_schedules);
}
END_TEST

/* The published rule: 0.01 for 16 images a step, counted over all devices; the
 * rates of the recipes' 6, 4 and 2 images follow from it. */
START_TEST(the_rate_is_scaled_to_the_batch_where_a_base_is_given)
{
    static const struct {
        int batch;
        double rate;
    } recipes[] = {{16, 0.01}, {6, 0.00375}, {4, 0.0025}, {3, 0.001875}};
    struct ld_config config = {
        .train = {.lr = 0.01F, .warmup_steps = 0, .base_batch = 16}};

    for (size_t i = 0; i < sizeof(recipes) / sizeof(recipes[0]); i++) {
        /* train.lr is a float32 */
        ck_assert_double_eq_tol(ld_schedule_base(&config, recipes[i].batch),
                                recipes[i].rate, 1e-9);
        ck_assert_double_eq_tol(
            ld_schedule_rate(&config, recipes[i].batch, 0, 0), recipes[i].rate,
            1e-9);
    }
    config.train.base_batch = 0;
    ck_assert_double_eq_tol(ld_schedule_base(&config, 4), 0.01, 1e-9);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("schedule");
    TCase *c = tcase_create("schedule");

    tcase_add_test(c, rates_are_those_of_the_reference_at_every_step);
    tcase_add_test(c, the_rate_is_scaled_to_the_batch_where_a_base_is_given);
    suite_add_tcase(s, c);
    return s;
}
