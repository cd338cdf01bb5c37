/* kernel_name.h - what a kernel is called, for people. */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

enum { LD_KERNEL_NAME = 160 };

/* From a kernel's symbol: demangled, without result, parameters and the names
 * of name spaces; cut to its room. What is no C++ symbol stays. */
void ld_kernel_name(char out[LD_KERNEL_NAME], const char *symbol);

#ifdef __cplusplus
}
#endif
