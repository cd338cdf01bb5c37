#include "kernels/backend.h"

#include <string.h>

#include "tests/suite.h"

START_TEST(the_cpu_refuses_numbers_that_it_does_not_have)
{
    struct ld_device_options options = {.name = "cpu"};

    for (int i = LD_PRECISION_AUTO; i <= LD_PRECISION_BF16; i++) {
        struct ld_err err = {0};
        struct ld_device *dev;

        options.precision = (enum ld_precision)i;
        dev = ld_device_open(&options, NULL, &err);
        ck_assert((dev != NULL) == (i <= LD_PRECISION_FP32));
        if (dev) {
            ck_assert_str_eq(ld_device_precision(dev, &options), "fp32");
            dev->ops->close(dev);
            continue;
        }
        ck_assert_int_eq(err.code, LD_ERR_USAGE);
        ck_assert_ptr_nonnull(strstr(err.text, "expected auto or fp32"));
    }
}
END_TEST

START_TEST(a_plug_in_that_is_not_there_is_named)
{
    struct ld_device_options options = {.name = "cuda"};
    struct ld_err err = {0};

    ck_assert_ptr_null(
        ld_device_open_plugin("/nowhere/ld_cuda.so", &options, NULL, &err));
    ck_assert_int_eq(err.code, LD_ERR_DEVICE);
    ck_assert_ptr_nonnull(strstr(err.text, "/nowhere/ld_cuda.so"));
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("backend");
    TCase *c = tcase_create("backend");

    tcase_add_test(c, the_cpu_refuses_numbers_that_it_does_not_have);
    tcase_add_test(c, a_plug_in_that_is_not_there_is_named);
    suite_add_tcase(s, c);
    return s;
}
