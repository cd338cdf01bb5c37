#include "trainer/order.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/suite.h"

enum { N = 53, BATCH = 4, SEED = 12 };

static uint8_t groups[N];

/* One image in four is of group 1; or none. */
static void group_images(bool mixed)
{
    for (int i = 0; i < N; i++)
        groups[i] = mixed && ld_rng_hash(3, (uint64_t)i, 0) % 4 == 0;
}

static struct ld_order *start(int repeat, int batch)
{
    struct ld_err err = {0};
    struct ld_order *order = ld_order_new(N, groups, repeat, batch, SEED, &err);

    ck_assert_msg(order != NULL, "%s", err.text);
    return order;
}

static int count_group(int group)
{
    int n = 0;

    for (int i = 0; i < N; i++)
        n += groups[i] == group;
    return n;
}

static void assert_whole_epochs(int repeat)
{
    struct ld_order *order = start(repeat, BATCH);
    int64_t steps = ld_order_steps(order);
    int seen[N], total = 0;

    ck_assert_int_eq(steps, (count_group(0) * repeat + BATCH - 1) / BATCH +
                                (count_group(1) * repeat + BATCH - 1) / BATCH);
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        memset(seen, 0, sizeof(seen));
        for (int64_t step = 0; step < steps; step++) {
            const int32_t *places = ld_order_batch(order, epoch, step);

            for (int i = 0; i < BATCH; i++) {
                seen[places[i] % N]++;
                ck_assert_int_eq(groups[places[i] % N], groups[places[0] % N]);
            }
        }
        total = 0;
        for (int i = 0; i < N; i++) {
            ck_assert_int_ge(seen[i], repeat);
            total += seen[i];
        }
        ck_assert_int_eq(total, steps * BATCH);
        ck_assert_int_lt(total - N * repeat, 2 * BATCH);
    }
    ld_order_free(order);
}

START_TEST(an_epoch_holds_every_image_in_batches_of_one_group)
{
    group_images(true);
    assert_whole_epochs(1);
    assert_whole_epochs(3);
    group_images(false);
    assert_whole_epochs(1);
}
END_TEST

START_TEST(of_one_group_or_one_image_a_batch_the_order_is_the_shuffled_one)
{
    int32_t shuffled[N];

    for (int batch = 1; batch <= BATCH; batch += BATCH - 1) {
        struct ld_order *order;

        group_images(batch == 1);
        order = start(1, batch);
        ld_rng_permutation(SEED, 2, shuffled, N);
        for (int64_t step = 0; step < ld_order_steps(order); step++)
            for (int i = 0; i < batch; i++)
                ck_assert_int_eq(ld_order_batch(order, 2, step)[i],
                                 shuffled[(step * batch + i) % N]);
        ld_order_free(order);
    }
}
END_TEST

START_TEST(a_batch_depends_on_seed_epoch_and_step_alone)
{
    struct ld_order *a, *b;
    int n_same = 0;

    group_images(true);
    a = start(2, BATCH);
    b = start(2, BATCH);
    for (int64_t step = 0; step < ld_order_steps(a); step++)
        for (int64_t epoch = 5; epoch > 3; epoch--) {
            int32_t want[BATCH];

            memcpy(want, ld_order_batch(a, epoch, step), sizeof(want));
            ck_assert_mem_eq(ld_order_batch(b, epoch, step), want,
                             sizeof(want));
            n_same +=
                memcmp(ld_order_batch(b, 6, step), want, sizeof(want)) == 0;
        }
    ck_assert_int_eq(n_same, 0);
    ld_order_free(a);
    ld_order_free(b);
}
END_TEST

START_TEST(a_group_smaller_than_a_batch_fills_one_by_repeating)
{
    struct ld_order *order;
    int n_lonely = 0;

    group_images(false);
    groups[7] = 1;
    order = start(1, BATCH);
    for (int64_t step = 0; step < ld_order_steps(order); step++) {
        const int32_t *places = ld_order_batch(order, 0, step);

        n_lonely += places[0] == 7;
        for (int i = 1; i < BATCH; i++)
            ck_assert_int_eq(places[i] == 7, places[0] == 7);
    }
    ck_assert_int_eq(n_lonely, 1);
    ld_order_free(order);
}
END_TEST

START_TEST(an_epoch_that_cannot_be_counted_is_refused)
{
    struct ld_err err = {0};

    ck_assert_ptr_null(ld_order_new(1 << 30, groups, 2, BATCH, SEED, &err));
    ck_assert_int_eq(err.code, LD_ERR_USAGE);
    ck_assert_ptr_nonnull(strstr(err.text, "data.repeat: 2 passes"));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("order");
    TCase *c = tcase_create("order");

    tcase_add_test(c, an_epoch_holds_every_image_in_batches_of_one_group);
    tcase_add_test(
        c, of_one_group_or_one_image_a_batch_the_order_is_the_shuffled_one);
    tcase_add_test(c, a_batch_depends_on_seed_epoch_and_step_alone);
    tcase_add_test(c, a_group_smaller_than_a_batch_fills_one_by_repeating);
    tcase_add_test(c, an_epoch_that_cannot_be_counted_is_refused);
    suite_add_tcase(s, c);
    return s;
}
