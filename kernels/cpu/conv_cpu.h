/* conv_cpu.h - which algorithm a convolution takes on the CPU. */
#pragma once

#include "kernels/cpu/onednn.h"

/* Whether Winograd's F(4x4, 3x3) is faster in all three passes, where the
 * library has it. Measured by scripts/bench_conv.c. */
bool ld_conv_prefers_winograd(const struct ld_conv_desc *desc);
