#include "tests/golden.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/suite.h"

/* Sums of case.json's "check" were taken in double over the float32 values; the
 * order of the additions is another, so allow for their rounding. */
static void compare_with_check(struct golden *g, int level)
{
    char name[32], path[128];
    struct golden_array array;
    const float *values;
    double sum = 0, abs_sum = 0;

    snprintf(name, sizeof(name), "tx_%d", level);
    if (!golden_has(g, name))
        return;
    array = golden_array(g, name);
    values = array.data;
    for (size_t i = 0; i < array.count; i++) {
        sum += (double)values[i];
        abs_sum += fabs((double)values[i]);
    }
    snprintf(path, sizeof(path), "generated_inputs.%s.check.sum", name);
    ck_assert_double_eq_tol(sum, golden_number(g, path), 1e-12 * abs_sum);
    snprintf(path, sizeof(path), "generated_inputs.%s.check.abs_sum", name);
    ck_assert_double_eq_tol(abs_sum, golden_number(g, path), 1e-12 * abs_sum);
    snprintf(path, sizeof(path), "generated_inputs.%s.check.first.3", name);
    ck_assert_double_eq((double)values[3], golden_number(g, path));
    snprintf(path, sizeof(path), "generated_inputs.%s.check.last", name);
    ck_assert_double_eq((double)values[array.count - 1],
                        golden_number(g, path));
}

static void compare_inputs(struct golden *g)
{
    for (int level = 0; level < 5; level++)
        compare_with_check(g, level);
}

START_TEST(generated_inputs_are_those_of_the_reference)
{
    ck_assert_int_gt(golden_each("05_ld_loss", compare_inputs), 0);
}
END_TEST

/* The running mean of a frozen layer, stored after a step: as generated. */
static void compare_frozen_mean(struct golden *g)
{
    const struct golden_array *arrays;
    const char *const *names;
    struct golden_array after, before;

    if (strcmp(g->name, "07_nets/r18_bn_train") != 0)
        return;
    ck_assert_int_gt(golden_weights(g, &names, &arrays), 100);
    ck_assert_str_eq(names[0], "conv1.weight");
    ck_assert_int_eq(arrays[0].n_dims, 4);
    ck_assert_int_eq(arrays[0].dim[3], 7);
    before = golden_array(g, "layer1.0.bn1.running_mean");
    after = golden_array(g, "after__layer1.0.bn1.running_mean");
    ck_assert_uint_eq(after.count, before.count);
    ck_assert_mem_eq(after.data, before.data, sizeof(float) * after.count);
}

START_TEST(generated_weights_equal_a_stored_frozen_layer_bit_for_bit)
{
    golden_each("07_nets", compare_frozen_mean);
}
END_TEST

static void read_paths(struct golden *g)
{
    if (strcmp(g->name, "07_nets/r18_bn_train") != 0)
        return;
    ck_assert_double_eq(golden_number(g, "params.bn_momentum"), 0.1);
    ck_assert_double_eq(golden_number(g, "params.norm_eval"), 0);
    ck_assert_str_eq(golden_string(g, "values.params_without_grad.0"),
                     "conv1.weight");
    ck_assert_double_eq(golden_number(g, "values.num_batches_tracked."
                                         "layer2.0.bn1.num_batches_tracked"),
                        1);
    ck_assert(!golden_has_value(g, "params.no.such.thing"));
    ck_assert(!golden_has_value(g, "values.params_without_grad.1000"));
    ck_assert(golden_rounding(g, "grad__layer2.0.bn1.weight") > 0);
    ck_assert(golden_rounding(g, "img") == 0);
    ck_assert(!golden_has(g, "no_such_array"));
}

START_TEST(values_are_found_by_path_even_when_keys_hold_dots)
{
    golden_each("07_nets", read_paths);
}
END_TEST

static void read_labels(struct golden *g)
{
    struct golden_array labels = golden_array(g, "gt_labels_0");

    ck_assert_int_eq(labels.dtype, 'i');
    ck_assert_int_eq(labels.n_dims, 1);
}

START_TEST(integers_are_read_as_such)
{
    golden_each("05_ld_loss", read_labels);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("golden");
    TCase *c = tcase_create("golden");

    tcase_add_test(c, generated_inputs_are_those_of_the_reference);
    tcase_add_test(c,
                   generated_weights_equal_a_stored_frozen_layer_bit_for_bit);
    tcase_add_test(c, values_are_found_by_path_even_when_keys_hold_dots);
    tcase_add_test(c, integers_are_read_as_such);
    suite_add_tcase(s, c);
    return s;
}
