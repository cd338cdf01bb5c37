#include <math.h>

#include "tests/parity.h"
#include "tests/suite.h"

/* n places of a map, each once. */
static int32_t *some_places(struct parity *p, struct ld_shape shape, int n)
{
    int count = shape.N * shape.H * shape.W;
    int32_t *place = parity_host(p, (size_t)count, sizeof(*place));

    for (int i = 0; i < count; i++)
        place[i] = i;
    for (int i = 0; i < n; i++) {
        int other = i + parity_below(p, count - i);
        int32_t was = place[i];

        place[i] = place[other];
        place[other] = was;
    }
    return place;
}

static void compare(struct parity *p, struct ld_shape shape, int n)
{
    size_t C = (size_t)shape.C;
    struct twin map =
        parity_map(p, parity_normal(p, parity_count(shape)), shape);
    struct twin dmap = parity_map(p, NULL, shape);
    struct twin sum = parity_bytes(p, NULL, sizeof(double));
    struct twin place =
        parity_bytes(p, some_places(p, shape, n), (size_t)n * sizeof(int32_t));
    struct twin weight =
        parity_floats(p, parity_normal(p, (size_t)n), (size_t)n);
    struct twin teacher =
        parity_floats(p, parity_normal(p, (size_t)n * C), (size_t)n * C);
    const double *got, *want;

    for (int i = 0; i < PARITY_DEVICES; i++) {
        struct ld_feature_rows rows = {shape, n, place.at[i], weight.at[i],
                                       teacher.at[i]};

        p->dev[i]->ops->feature_loss(p->dev[i], sum.at[i], dmap.at[i],
                                     map.at[i], &rows);
    }
    want = parity_read(p, PARITY_CPU, sum, sizeof(*want));
    got = parity_read(p, PARITY_CUDA, sum, sizeof(*got));
    /* n C squares of size 2, of which both add some in float32 */
    ck_assert_double_le(fabs(*got - *want), 1e-7 * n * shape.C);
    ck_assert_int_eq(*want != 0, n > 0);
    parity_same_map(p, "feature_loss", dmap, shape, 1e-6);
}

static void check_feature_loss(struct parity *p)
{
    compare(p, (struct ld_shape){2, 20, 5, 7}, 30);
    compare(p, (struct ld_shape){1, 256, 4, 3}, 12);
    compare(p, (struct ld_shape){1, 8, 4, 3}, 0);
}

START_TEST(feature_losses_and_gradients_agree)
{
    parity_cases(parity_precisions[_i], 3, check_feature_loss);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("parity of imitation");
    TCase *c = tcase_create("imitation");

    tcase_add_loop_test(c, feature_losses_and_gradients_agree, 0, 2);
    suite_add_tcase(s, c);
    return s;
}
