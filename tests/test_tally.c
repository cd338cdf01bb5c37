#include "trainer/tally.h"

#include <math.h>
#include <string.h>

#include "tests/maps.h"
#include "tests/suite.h"

/* What a step of this number leaves, and the device's look at it. */
static void leave_step(struct maps *m, struct ld_tally *tally, int64_t step,
                       double value)
{
    struct ld_loss_terms terms = {0}, *at;
    struct ld_err err = {0};

    terms.value[LD_TERM_DFL][1] = value;
    terms.value[LD_TERM_LD][4] = 2 * value;
    at = ld_tally_next(tally, &err);
    ck_assert_msg(at != NULL, "%s", err.text);
    m->dev->ops->upload(m->dev, at, &terms, sizeof(terms));
    m->dev->ops->loss_check(m->dev, at, step);
}

START_TEST(means_are_over_the_steps_since_the_last)
{
    struct ld_loss_terms mean;
    struct ld_tally tally;
    struct ld_err err = {0};
    struct maps m;

    maps_open(&m, 1, 1);
    ck_assert(ld_tally_open(&tally, m.dev, &err));
    for (int i = 0; i < 2 * LD_TALLY_ROOM + 3; i++) /* more than has room */
        leave_step(&m, &tally, i + 1, i);
    ck_assert(ld_tally_read(&tally, &err));
    ck_assert_double_eq(tally.last, 3.0 * (2 * LD_TALLY_ROOM + 2));
    mean = ld_tally_mean(&tally);
    ck_assert_double_eq(mean.value[LD_TERM_DFL][1], LD_TALLY_ROOM + 1);
    ck_assert_double_eq(mean.value[LD_TERM_LD][4], 2 * (LD_TALLY_ROOM + 1));
    ck_assert_double_eq(ld_loss_total(&mean), 3 * (LD_TALLY_ROOM + 1));
    leave_step(&m, &tally, 1, 7);
    ck_assert(ld_tally_read(&tally, &err) && ld_tally_read(&tally, &err));
    leave_step(&m, &tally, 2, 9);
    ck_assert(ld_tally_read(&tally, &err));
    mean = ld_tally_mean(&tally);
    ck_assert_double_eq(mean.value[LD_TERM_DFL][1], 8);
    ld_tally_close(&tally);
    maps_close(&m);
}
END_TEST

START_TEST(the_first_bad_step_is_named_however_late_it_is_read)
{
    struct ld_sgd sgd = {.rate = 1, .step = 3};
    const float grad[1] = {1};
    float after = 0, *param, *momentum;
    struct ld_tally tally;
    struct ld_err err = {0};
    struct maps m;

    maps_open(&m, 1, 1);
    ck_assert(ld_tally_open(&tally, m.dev, &err));
    param = maps_vector(&m, (const float[]){5}, 1);
    momentum = maps_vector(&m, (const float[]){0}, 1);
    leave_step(&m, &tally, 2, 1);
    leave_step(&m, &tally, 3, INFINITY);
    m.dev->ops->sgd(m.dev, param, momentum, maps_vector(&m, grad, 1), 1, sgd);
    leave_step(&m, &tally, 4, NAN);
    m.dev->ops->download(m.dev, &after, param, sizeof(after));
    ck_assert(!ld_tally_read(&tally, &err));
    ck_assert_int_eq(err.code, LD_ERR_NUMBER);
    ck_assert_ptr_nonnull(strstr(err.text, "step 3: loss_dfl is not finite"));
    ck_assert(after == 5); /* nothing moved after it */
    ld_tally_close(&tally);
    maps_close(&m);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("tally");
    TCase *c = tcase_create("tally");

    tcase_add_test(c, means_are_over_the_steps_since_the_last);
    tcase_add_test(c, the_first_bad_step_is_named_however_late_it_is_read);
    suite_add_tcase(s, c);
    return s;
}
