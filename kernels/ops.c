#include "kernels/ops.h"

static int reach(int size, const struct ld_conv_desc *desc)
{
    int taken = desc->dilation * (desc->kernel - 1) + 1;

    return (size + 2 * desc->pad - taken) / desc->stride + 1;
}

struct ld_shape ld_conv_out(const struct ld_conv_desc *desc)
{
    return (struct ld_shape){desc->in.N, desc->O, reach(desc->in.H, desc),
                             reach(desc->in.W, desc)};
}

struct ld_shape ld_deform_offsets(const struct ld_deform_desc *desc)
{
    int taps = desc->conv.kernel * desc->conv.kernel;
    struct ld_shape shape = ld_conv_out(&desc->conv);

    shape.C = (desc->modulated ? 3 : 2) * taps * desc->deform_groups;
    return shape;
}
