#include <math.h>

#include "tests/parity.h"
#include "tests/suite.h"

enum { CASES = 12 };

static struct ld_shape any_shape(struct parity *p)
{
    static const int channels[] = {1, 3, 8, 20, 64, 68};

    return (struct ld_shape){1 + parity_below(p, 3),
                             channels[parity_below(p, 6)],
                             1 + parity_below(p, 13), 1 + parity_below(p, 13)};
}

START_TEST(what_is_packed_unpacks_to_the_same_bits)
{
    struct parity p;
    struct ld_shape shape;
    struct twin map;

    if (!parity_case(&p, _i))
        return;
    shape = any_shape(&p);
    map = parity_map(&p, parity_normal(&p, parity_count(shape)), shape);
    ck_assert_mem_eq(parity_read_map(&p, PARITY_CUDA, map, shape),
                     parity_read_map(&p, PARITY_CPU, map, shape),
                     parity_count(shape) * sizeof(float));
    parity_close(&p);
}
END_TEST

START_TEST(adding_and_masking_agree)
{
    struct parity p;
    struct ld_shape shape;
    struct twin sum, clamped, masked, x;
    float *plain;

    if (!parity_case(&p, _i))
        return;
    shape = any_shape(&p);
    plain = parity_normal(&p, parity_count(shape));
    plain[0] = NAN;
    sum = parity_map(&p, plain, shape);
    clamped = parity_map(&p, plain, shape);
    masked = parity_map(&p, plain, shape);
    x = parity_map(&p, parity_normal(&p, parity_count(shape)), shape);
    for (int i = 0; i < PARITY_DEVICES; i++) {
        const struct ld_ops *ops = p.dev[i]->ops;

        ops->add(p.dev[i], sum.at[i], x.at[i], shape);
        ops->add_relu(p.dev[i], clamped.at[i], x.at[i], shape);
        ops->relu_backward(p.dev[i], masked.at[i], x.at[i], shape);
    }
    parity_same_map(&p, "add", sum, shape, 0); /* one operation: exact */
    parity_same_map(&p, "add_relu", clamped, shape, 0);
    parity_same_map(&p, "relu_backward", masked, shape, 0);
    parity_close(&p);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("parity of maps");
    TCase *c = tcase_create("maps");

    tcase_add_loop_test(c, what_is_packed_unpacks_to_the_same_bits, 0, CASES);
    tcase_add_loop_test(c, adding_and_masking_agree, 0, CASES);
    suite_add_tcase(s, c);
    return s;
}
