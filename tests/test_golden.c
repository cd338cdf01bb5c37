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

static void compare_frozen_weights(struct golden *g)
{
    const struct golden_array *arrays;
    const char *const *names;
    struct golden_array after;
    int n = golden_weights(g, &names, &arrays);

    ck_assert_int_gt(n, 100);
    ck_assert_str_eq(names[0], "backbone.conv1.weight");
    ck_assert_int_eq(arrays[0].n_dims, 4);
    ck_assert_int_eq(arrays[0].dim[3], 7);
    after = golden_array(g, "after1__backbone.conv1.weight");
    ck_assert_uint_eq(after.count, arrays[0].count);
    ck_assert_mem_eq(after.data, arrays[0].data, 4 * after.count);
    ck_assert_mem_eq(golden_array(g, names[0]).data, arrays[0].data,
                     4 * after.count);
}

START_TEST(generated_weights_equal_a_stored_frozen_layer_bit_for_bit)
{
    golden_each("09_train_step", compare_frozen_weights);
}
END_TEST

static void read_paths(struct golden *g)
{
    struct golden_array labels;

    if (strcmp(g->name, "09_train_step/ld_r18_r50") != 0)
        return;
    ck_assert_double_eq(golden_number(g, "params.momentum"), 0.9);
    ck_assert_double_eq(golden_number(g, "params.norm_eval"), 1);
    ck_assert_str_eq(golden_string(g, "params.components.0"), "loss_cls");
    ck_assert(!golden_has_value(g, "params.grad_clip"));
    ck_assert(!golden_has_value(g, "params.no.such.thing"));
    ck_assert(golden_has_value(
        g, "values.sum_sumsq_after1.backbone.layer1.0.bn1.weight.1"));
    ck_assert(golden_rounding(g, "losses_step1") > 0);
    labels = golden_array(g, "gt_labels_0");
    ck_assert_int_eq(labels.dtype, 'i');
    ck_assert_int_eq(labels.n_dims, 1);
}

START_TEST(values_are_found_by_path_even_when_keys_hold_dots)
{
    golden_each("09_train_step", read_paths);
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
    suite_add_tcase(s, c);
    return s;
}
