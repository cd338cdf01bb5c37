#include "kernels/cuda/kernel_name.h"

#include <string.h>

#include "tests/suite.h"

static void check_name(const char *symbol, const char *expected)
{
    char name[LD_KERNEL_NAME];

    ld_kernel_name(name, symbol);
    ck_assert_str_eq(name, expected);
}

START_TEST(result_parameters_and_name_spaces_are_left_out)
{
    check_name("_Z10sgd_kernelPfS_PKfm", "sgd_kernel");
    check_name("_ZN12_GLOBAL__N_110sgd_kernelEPfS0_PKfm", "sgd_kernel");
    check_name("_Z11norm_kernelIfEvPT_PKS0_i", "norm_kernel<float>");
    check_name("_ZL11norm_kernelI13__nv_bfloat16EvPT_PKS1_i",
               "norm_kernel<__nv_bfloat16>");
    check_name("_ZN7cutlass7Kernel2I31cutlass_80_tensorop_gemm_128x64EEvNT_"
               "6ParamsE",
               "Kernel2<cutlass_80_tensorop_gemm_128x64>");
    check_name("_ZN2at6native4fillINS_3sum3addELi4EEEvT_", "fill<add, 4>");
    check_name("_ZN3one3TwoIiE3runEv", "Two<int>::run");
    check_name("_ZN3one3twoIN12_GLOBAL__N_15threeEEEvT_", "two<three>");
}
END_TEST

START_TEST(what_is_no_symbol_of_cpp_stays)
{
    check_name("sm90_xmma_fprop_implicit_gemm_bf16", "sm90_xmma_fprop_implicit_"
                                                     "gemm_bf16");
    check_name("nvjet_tst_128x64(a)::b", "nvjet_tst_128x64(a)::b");
    check_name("", "");
    check_name("_Z", "_Z");
}
END_TEST

START_TEST(a_name_is_cut_to_its_room)
{
    char symbol[1000] = "", name[LD_KERNEL_NAME];

    memset(symbol, 'k', sizeof(symbol) - 1);
    ld_kernel_name(name, symbol);
    ck_assert_uint_eq(strlen(name), LD_KERNEL_NAME - 1);
}
END_TEST

Suite *suite(void)
{
    Suite *s = suite_create("kernel_name");
    TCase *c = tcase_create("kernel_name");

    tcase_add_test(c, result_parameters_and_name_spaces_are_left_out);
    tcase_add_test(c, what_is_no_symbol_of_cpp_stays);
    tcase_add_test(c, a_name_is_cut_to_its_room);
    suite_add_tcase(s, c);
    return s;
}
